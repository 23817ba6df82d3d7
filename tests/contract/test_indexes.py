"""The check that every query has its index, and the check of the check."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.indexes import faults, load
from shared.store.protocol import Query

ROOT = Path(__file__).parents[2]
NONE: dict[str, Any] = {"indexes": [], "fieldOverrides": []}
DUE = Query("notifications", (("open", "==", True), ("dueAt", "<=", 1)), (("dueAt", "asc"),))
OPEN = Query("notifications", (("open", "==", True),), (("lane", "desc"), ("seq", "desc")))
EARLIER = Query("notifications", (("lane", "==", "x"), ("seq", "<", 1)), (("seq", "desc"),))
DEAD = Query("notifications", (("state", "==", "dead"),), (("createdAt", "desc"),))
BY_CHANNEL = Query("notifications", (("channel", "==", "x"),), (("createdAt", "desc"),))
BY_ALERT = Query("notifications", (("alertId", "==", "x"),), (("createdAt", "desc"),))
LATER = Query("notifications", (("lane", "==", "x"), ("seq", ">", 1)), (("seq", "asc"),))
ALERTS = Query("alerts", (("state", "==", "firing"),), (("updatedAt", "asc"),))
PUBLIC = Query("incidents", (("publicVisible", "==", True),), (("startedAt", "desc"),))
WORKS = Query("maintenances", (("publicVisible", "==", True),), (("scheduledFor", "desc"),))
PLANNED = Query("maintenances", (("status", "==", "scheduled"),), (("scheduledFor", "desc"),))
NEXT = Query("maintenances", (("publicVisible", "==", True), ("scheduledFor", ">=", 1)), (("scheduledFor", "asc"),))
CAUSE = Query("incidents", (("cause", "==", "API:error_rate"),), (("startedAt", "desc"),))
STATUS = Query("incidents", (("status", "==", "resolved"), ("startedAt", ">=", 1)), (("startedAt", "desc"),))
KNOWN = [DUE, OPEN, EARLIER, DEAD, BY_CHANNEL, BY_ALERT, LATER, ALERTS, PUBLIC, WORKS, PLANNED, NEXT, CAUSE, STATUS]


@pytest.mark.parametrize("query", KNOWN, ids=str)
def test_a_known_query_is_served_by_the_declared_indexes(query: Query) -> None:
    assert faults([query.shape], load()) == []


@pytest.mark.parametrize("query", KNOWN, ids=str)
def test_without_its_index_it_is_at_fault(query: Query) -> None:
    assert len(faults([query.shape], NONE)) == 1


def test_no_declared_index_is_superfluous() -> None:
    declared = load()
    for n in range(len(declared["indexes"])):
        fewer = {**declared, "indexes": declared["indexes"][:n] + declared["indexes"][n + 1 :]}
        assert faults([query.shape for query in KNOWN], fewer), declared["indexes"][n]


def test_a_fault_names_the_index_that_would_mend_it() -> None:
    (fault,) = faults([OPEN.shape], NONE)
    index = json.loads(fault.partition(": ")[2])
    assert faults([OPEN.shape], {**NONE, "indexes": [index]}) == []


@pytest.mark.parametrize(
    "query",
    [
        Query("alerts"),
        Query("alerts", (("state", "==", "ok"),)),
        Query("alerts", (("n", ">", 1), ("n", "<=", 9)), (("n", "desc"),)),
        Query("alerts", order=(("updatedAt", "desc"),)),
        Query("alerts", (("state", "==", "ok"),), (("state", "asc"),)),
    ],
    ids=str,
)
def test_one_field_needs_no_composite_index(query: Query) -> None:
    assert faults([query.shape], NONE) == []


@pytest.mark.parametrize(
    "query",
    [
        Query("alerts", (("state", "==", "ok"),), (("updatedAt", "desc"),)),
        Query("alerts", (("severity", "==", "high"),), (("updatedAt", "asc"),)),
        Query("alerts", (("state", "==", "ok"), ("severity", "==", "high"))),
        Query("alerts", order=(("state", "asc"), ("severity", "asc"))),
        Query("alerts", (("state", "in", ("ok",)), ("updatedAt", ">", 1)), (("updatedAt", "desc"),)),
        Query("incidents", (("state", "==", "ok"),), (("updatedAt", "asc"),)),
    ],
    ids=str,
)
def test_another_direction_field_or_collection_is_at_fault(query: Query) -> None:
    assert len(faults([query.shape], load())) == 1


@pytest.mark.parametrize(("group", "name"), [("m5", "payload"), ("runs", "anything"), ("metrics", "expireAt")])
def test_a_query_of_an_exempt_field_is_at_fault(group: str, name: str) -> None:
    assert len(faults([Query(group, order=((name, "asc"),)).shape], load())) == 1


PLANTED = """
from shared.store.protocol import Query

def test_planted(sqlite_store):
    sqlite_store.{call}(Query("planted/x/alerts", (("severity", "==", "high"),), (("{field}", "asc"),)))
"""


@pytest.mark.parametrize(
    ("call", "field", "code"), [("query", "seq", 1), ("count", "seq", 1), ("query", "severity", 0)]
)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_test_run_fails_for_a_planted_query_without_an_index(
    tmp_path: Path, call: str, field: str, code: int, workers: int
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_planted.py").write_text(PLANTED.format(call=call, field=field))
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"-n{workers}",
            f"--rootdir={tmp_path}",
            str(tmp_path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "1 passed" in run.stdout, run.stdout + run.stderr
    assert run.returncode == code
    assert ("needs a composite index" in run.stdout) == bool(code)
