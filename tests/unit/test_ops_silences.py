"""Silences and acknowledging over real sockets: who may, what is refused, what it says of why nobody was paged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.alerts.follow_up import follow_up
from shared.alerts.silences import not_ended
from shared.store.sqlite import SqliteStore
from tests.core import NOW
from tests.ops_api import Ops, Reply, ops_api
from tests.ops_cli import cli
from tests.unit.test_follow_up import ALERT, alert, firing

PATH = "/api/ops/silences"
ONE = {"matchers": ['component="API"', 'severity=~"critical|high"'], "minutes": 60, "comment": "a deployment"}


@pytest.fixture
def ops(sqlite_store: SqliteStore) -> Iterator[Ops]:
    firing(sqlite_store)
    with ops_api(sqlite_store, NOW, SLACK_WEBHOOK_URL="http://127.0.0.1:9/x") as ops:
        yield ops


def post(ops: Ops, body: Any, path: str = PATH, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ops.get(path, method="POST", body=json.dumps(body).encode(), headers=named)


def made(ops: Ops, **changes: Any) -> Any:
    reply = post(ops, {**ONE, **changes})
    assert reply.status == 201, reply.text
    return reply.json


def test_a_silence_says_who_why_and_until_when_and_is_listed(ops: Ops) -> None:
    one = made(ops)
    assert one | {"id": "x"} == {
        "id": "x", "state": "active", "comment": "a deployment", "createdBy": "local-admin", "expiredAt": None,
        "text": ONE["matchers"], "startsAt": "2026-03-10T12:02:30Z", "endsAt": "2026-03-10T13:02:30Z",
        "createdAt": "2026-03-10T12:02:30Z", "matchers": [
            {"name": "component", "operator": "=", "value": "API"},
            {"name": "severity", "operator": "=~", "value": "critical|high"},
        ],
    }  # fmt: skip
    assert ops.get(PATH).json == {"silences": [one]}
    assert ops.get(f"{PATH}/{one['id']}").json == one


def test_it_can_be_ended_early_and_then_is_among_those_that_ended(ops: Ops) -> None:
    one = made(ops)
    over = ops.get(f"{PATH}/{one['id']}", method="DELETE")
    assert (over.status, over.json["state"], over.json["expiredAt"]) == (200, "expired", "2026-03-10T12:02:30Z")
    assert ops.get(PATH).json == {"silences": []}
    assert ops.get(PATH, {"state": "expired"}).json == {"silences": [over.json]}
    assert ops.get(f"{PATH}/{one['id']}", method="DELETE").json == over.json
    assert ops.get(f"{PATH}/nothing", method="DELETE").json["code"] == "unknown_silence"


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"matchers": []}, ["matchers"]),
        ({"matchers": ['severity=~".*"']}, ["matchers"]),
        ({"matchers": ["severity", 'a=~"("', {"name": "a", "operator": "~", "value": ""}]},
         ["matchers[0]", "matchers[1]", "matchers[2]"]),
        ({"minutes": None}, ["endsAt"]),
        ({"endsAt": "2026-03-10T13:00:00Z"}, ["endsAt"]),
        ({"minutes": None, "endsAt": "2026-03-10T12:00:00Z"}, ["endsAt"]),
        ({"minutes": None, "endsAt": "2026-05-10T12:00:00Z"}, ["endsAt"]),
        ({"comment": ""}, ["comment"]),
        ({"who": "me"}, ["who"]),
        ({"comment": "", "minutes": None, "endsAt": "2026-03-10T12:00:00Z"}, ["comment", "endsAt"]),
        ({"matchers": ["severity", 5, {"name": "a", "value": "b", "vlaue": ""}], "comment": "", "minutes": 0, "who": 1},
         ["matchers[0]", "matchers[1]", "matchers[2]", "comment", "minutes", "who"]),
        ({"matchers": [], "startsAt": "2027-03-10T12:00:00Z", "comment": None}, ["comment", "matchers", "startsAt"]),
    ],
)  # fmt: skip
def test_every_fault_is_told_with_its_path_and_nothing_is_silenced(
    ops: Ops, changes: dict[str, Any], paths: list[str]
) -> None:
    reply = post(ops, {**ONE, **changes})
    assert (reply.status, reply.json["code"]) == (400, "invalid_body")
    assert [error["path"] for error in reply.json["errors"]] == paths
    assert not_ended(ops.app.store, NOW) == []


def test_a_silence_lasts_30_days_at_most(ops: Ops) -> None:
    times = {"minutes": None, "startsAt": "2026-03-10T12:30:00Z", "endsAt": "2026-04-09T12:30:01Z"}
    assert [error["path"] for error in post(ops, {**ONE, **times}).json["errors"]] == ["endsAt"]
    assert made(ops, **{**times, "endsAt": "2026-04-09T12:30:00Z"})["endsAt"] == "2026-04-09T12:30:00Z"


def test_the_same_request_again_makes_no_second_one(ops: Ops) -> None:
    first, second = (post(ops, ONE, Idempotency_Key="k1") for _ in range(2))
    assert (first.status, second.status) == (201, 200)
    assert first.json == second.json
    other = post(ops, {**ONE, "minutes": 5}, Idempotency_Key="k1")
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    assert len(not_ended(ops.app.store, NOW)) == 1


def test_a_preview_shows_what_would_be_held_back_and_changes_nothing(ops: Ops) -> None:
    shown = post(ops, {"matchers": ONE["matchers"]}, f"{PATH}/preview").json
    assert (shown["matches"], shown["firing"], shown["alerts"][0]["alertId"]) == (1, 1, ALERT)
    assert shown["alerts"][0]["labels"]["component"] == "API"
    assert post(ops, {"matchers": ['component="Auth"']}, f"{PATH}/preview").json["matches"] == 0
    assert not_ended(ops.app.store, NOW) == []


def test_a_label_that_no_alert_has_is_warned_of_before_anybody_is_asked(ops: Ops) -> None:
    slip = 'compnent="API"'
    words = 'compnent="API": no alert has a label compnent; did you mean component?'
    assert post(ops, {"matchers": [slip, *ONE["matchers"]]}, f"{PATH}/preview").json["warnings"] == [words]
    assert post(ops, {"matchers": ONE["matchers"]}, f"{PATH}/preview").json["warnings"] == []
    given = ("--match", slip, "--minutes", "5", "--comment", "a deployment")
    asked = cli(ops, "silence", "add", *given, typed="n\n")
    assert words in asked.err
    assert not_ended(ops.app.store, NOW) == []
    assert words in cli(ops, "silence", "add", *given, "--yes").out
    assert words in cli(ops, "silence", "preview", "--match", slip).out


def test_the_labels_of_an_slo_are_known_before_an_alert_has_them(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ops.app.slos.current()
    labelled = replace(config, slos=(replace(config.slos[0], labels=(("endpoint", "/pay"),)), *config.slos[1:]))
    matchers = ['endpoint="/pay"', 'plan="pro"']
    told = post(ops, {"matchers": matchers}, f"{PATH}/preview").json["warnings"]
    assert [words.partition(":")[0] for words in told] == matchers
    monkeypatch.setattr(ops.app.slos, "current", lambda: labelled)
    told = post(ops, {"matchers": matchers}, f"{PATH}/preview").json["warnings"]
    assert [words.partition(":")[0] for words in told] == matchers[1:]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--minutes", "0"), ["minutes: must be at least 1"]),
        (
            ("--minutes", "50000", "--match", "x"),
            ["matchers[1]: a matcher is a text such as", "minutes: must be at most"],
        ),
        (("--minutes", "5", "--comment", "c" * 201), ["comment: must have at most 200 characters"]),
    ],
)
def test_nobody_is_asked_about_a_silence_that_cannot_be(ops: Ops, arguments: tuple[str, ...], told: list[str]) -> None:
    given = ("--match", 'component="API"', "--comment", "a deployment", *arguments)
    refused = cli(ops, "silence", "add", *given, typed="y\n")
    assert (refused.code, "Silence what matches" in refused.err) == (2, False)
    assert [words in refused.err for words in told] == [True] * len(told)
    assert not_ended(ops.app.store, NOW) == []
    made = cli(ops, "silence", "add", *given[:4], "--minutes", "5", typed="y\n")
    assert (made.code, "Silence what matches" in made.err) == (0, True)


def test_the_alert_says_why_nobody_was_paged(ops: Ops) -> None:
    one = made(ops)
    body = ops.get(f"/api/ops/alerts/{ALERT}").json
    held = {"reason": "silenced", "by": one["id"], "until": "2026-03-10T13:02:30Z"}
    assert body["holds"] == {  # also of those that it is passed on to
        "slack": held,
        "email": {"reason": "not_configured", "by": None, "until": None},
        "pagerduty": {"reason": "channel_disabled", "by": None, "until": None},
    }
    assert (body["told"]["slack"]["state"], body["acknowledged"]) == ("pending", None)


def test_an_alert_is_acknowledged_with_a_note_and_given_back(ops: Ops) -> None:
    path = f"/api/ops/alerts/{ALERT}/acknowledge"
    reply = post(ops, {"note": "on it"}, path)
    assert (reply.status, reply.headers["ETag"]) == (200, f'"{reply.json["rev"]}"')
    assert reply.json["acknowledged"] == {"by": "local-admin", "at": "2026-03-10T12:02:30Z", "note": "on it"}
    assert ops.get(f"/api/ops/alerts/{ALERT}").json["next"] == {
        "escalates": None, "repeats": None, "speaksAgain": None, "escalatesTo": [], "escalationDue": False,
    }  # fmt: skip
    assert follow_up(ops.app, NOW + timedelta(hours=5)) == []
    assert ops.get(path, method="DELETE").json["acknowledged"] is None
    assert alert(ops.app.store)["acknowledged"] is None
    assert post(ops, {}, path, If_Match='"another"').json["code"] == "alert_changed"
    assert post(ops, {}, "/api/ops/alerts/nothing/acknowledge").json["code"] == "unknown_alert"
