"""Kill switches over real sockets: read, changed by one of two who see the same, and on record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shared.flags import DOCUMENT
from shared.store.protocol import Create, Store
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.ops_api import Ops, Reply, ops_api

PATH = "/api/ops/flags"


@pytest.fixture
def ops(store: Store) -> Iterator[Ops]:
    with ops_api(store, NOW) as found:
        yield found


@pytest.fixture
def quick(sqlite_store: SqliteStore) -> Iterator[Ops]:
    with ops_api(sqlite_store, NOW) as found:
        yield found


def change(ops: Ops, flags: Any, match: str | None = "*") -> Reply:
    headers = {"If-Match": match} if match else {}
    return ops.get(PATH, method="PATCH", headers=headers, body=json.dumps({"flags": flags}).encode())


def test_a_switch_is_thrown_obeyed_recorded_and_taken_back(ops: Ops) -> None:
    before = ops.get(PATH)
    assert before.json["flags"]["alerts.enabled"] == {"value": True, "default": True}
    thrown = change(ops, {"alerts.enabled": False, "quotas.soft_limit_warning": 0.5}, before.headers["ETag"])
    assert (thrown.status, thrown.json["changed"]) == (200, ["alerts.enabled", "quotas.soft_limit_warning"])
    doc = ops.app.store.get(DOCUMENT)
    assert doc is not None
    assert (doc.data["alerts"], doc.data["quotas"]) == ({"enabled": False}, {"soft_limit_warning": 0.5})
    assert ops.app.flags.merged(doc)["alerts.enabled"] is False
    back = change(ops, {"alerts.enabled": None}, thrown.headers["ETag"])
    assert back.json["changed"] == ["quotas.soft_limit_warning"]
    audit = ops.get(f"{PATH}/audit").json["audit"]
    assert [(e["n"], e["by"], e["before"].get("alerts"), e["after"].get("alerts")) for e in audit] == [
        (1, "local-admin", None, {"enabled": False}), (2, "local-admin", {"enabled": False}, None),
    ]  # fmt: skip


def test_two_who_saw_the_same_do_not_undo_each_other(quick: Ops) -> None:
    seen = quick.get(PATH).headers["ETag"]
    assert change(quick, {"alerts.slack": False}, seen).status == 200
    late = change(quick, {"alerts.email": False}, seen)
    assert (late.status, late.json["code"]) == (412, "version_changed")
    assert change(quick, {"alerts.email": False}, None).status == 428
    assert change(quick, {"alerts.email": False}).json["changed"] == ["alerts.slack", "alerts.email"]


def test_a_document_that_people_made_by_hand_is_kept_but_for_what_is_changed(quick: Ops) -> None:
    quick.app.store.commit([Create(DOCUMENT, {"alerts": {"enabled": False}, "mine": [1]})])
    seen = quick.get(PATH)
    assert seen.json["changed"] == ["alerts.enabled"]
    assert change(quick, {"alerts.slack": False}, seen.headers["ETag"]).status == 200
    doc = quick.app.store.get(DOCUMENT)
    assert doc is not None
    assert (doc.data["alerts"], doc.data["mine"]) == ({"enabled": False, "slack": False}, [1])


@pytest.mark.parametrize(
    ("flags", "faults"),
    [
        ({}, ["flags"]),
        ({"alerts.sms": True, "alerts.slack": 1}, ["flags.alerts.slack", "flags.alerts.sms"]),
        ({"alerts.sms": True, "alerts.slack": "off", "alerts.email": []},
         ["flags.alerts.email", "flags.alerts.slack", "flags.alerts.sms"]),
        ({"quotas.hard_limit_block": True}, ["flags.quotas.hard_limit_block"]),
        ({"quotas.hard_limit_block": 101}, ["flags.quotas.hard_limit_block"]),
    ],
)  # fmt: skip
def test_what_is_no_flag_or_no_value_of_it_is_refused_and_changes_nothing(
    quick: Ops, flags: Any, faults: list[str]
) -> None:
    refused = change(quick, flags)
    assert (refused.status, refused.json["code"]) == (400, "invalid_body")
    assert sorted(error["path"] for error in refused.json["errors"]) == faults
    assert quick.app.store.get(DOCUMENT) is None
