"""Kill switches over real sockets: read, changed by one of two who see the same, and on record."""

from __future__ import annotations

import argparse
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.ops.client import CannotAsk, Client
from scripts.ops.flags import add_to
from scripts.ops.screen import Screen
from shared.flags import DOCUMENT
from shared.store.protocol import Create, Store
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW
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
    assert before.json["flags"]["alerts.enabled"] == {"value": True, "default": True, "set": False}
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
        ({"quotas.hard_limit_block": 2.1}, ["flags.quotas.hard_limit_block"]),
        ({"quotas.soft_limit_warning": 80}, ["flags.quotas.soft_limit_warning"]),
        ({"quotas.soft_limit_warning": 0}, ["flags.quotas.soft_limit_warning"]),
        ({"alerts": {"enabled": False}}, ["flags.alerts"]),
    ],
)  # fmt: skip
def test_what_is_no_flag_or_no_value_of_it_is_refused_and_changes_nothing(
    quick: Ops, flags: Any, faults: list[str]
) -> None:
    refused = change(quick, flags)
    assert (refused.status, refused.json["code"]) == (400, "invalid_body")
    assert sorted(error["path"] for error in refused.json["errors"]) == faults
    assert quick.app.store.get(DOCUMENT) is None


def test_what_is_set_is_told_also_where_it_changes_nothing(quick: Ops) -> None:
    quick.app.store.commit([Create(DOCUMENT, {"alerts": {"enabled": "off"}, "ops.slo_enforced": True})])
    seen = quick.get(PATH).json
    assert seen["changed"] == []
    assert [name for name, one in seen["flags"].items() if one["set"]] == ["alerts.enabled", "ops.slo_enforced"]


def test_a_switch_can_be_thrown_where_somebody_wrote_a_value_over_its_group(ops: Ops) -> None:
    ops.app.store.commit([Create(DOCUMENT, {"alerts": False, "alerts.slack": False})])
    assert change(ops, {"alerts.enabled": False}).json["changed"] == ["alerts.enabled", "alerts.slack"]


def test_the_api_works_on_a_file_with_one_flag(store: Store, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(CONFIG, tmp_path / "config"))
    (folder / "flags.json").write_text('{"alerts": {"enabled": false}}')
    with ops_api(store, NOW, CONFIG_DIR=str(folder)) as found:
        seen = found.get(PATH).json["flags"]
        assert seen["alerts.enabled"] == {"value": False, "default": False, "set": False}
        assert change(found, {"costs.dashboard": False}).json["changed"] == ["costs.dashboard"]


class Console:
    """`./ops flag` in this process, its questions answered as given."""

    def __init__(self, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = Client(f"http://127.0.0.1:{ops.port}", ops.token())
        self.monkeypatch = monkeypatch

    def __call__(self, *arguments: str, typed: str = "n\n") -> str:
        parser = argparse.ArgumentParser()
        add_to(parser.add_subparsers())
        options = parser.parse_args(["flag", *arguments])
        self.monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return str(options.run(options, self.client, Screen(io.StringIO(), 100, colours=False, braille=False)))


@pytest.fixture
def console(quick: Ops, monkeypatch: pytest.MonkeyPatch) -> Console:
    return Console(quick, monkeypatch)


def test_a_reset_of_what_is_not_set_asks_nothing_and_changes_nothing(quick: Ops, console: Console) -> None:
    assert console("reset", "alerts.enabled") == "alerts.enabled has its default already: true."
    assert json.loads(console("reset", "alerts.enabled", "--json"))["changed"] == []
    assert quick.app.store.get(DOCUMENT) is None


def test_a_reset_removes_also_what_is_set_and_changes_nothing(
    quick: Ops, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    change(quick, {"alerts.enabled": True})
    assert console("reset", "alerts.enabled", typed="y\n").startswith("alerts.enabled is true")
    assert "Remove what is set for alerts.enabled? It stays true. [y/N]" in capsys.readouterr().err
    assert quick.get(PATH).json["flags"]["alerts.enabled"]["set"] is False


def test_a_percentage_in_the_place_of_a_share_is_refused_before_anything_is_asked(
    quick: Ops, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CannotAsk, match=r"quotas.soft_limit_warning must be a share from 0.01 to 1: 0.8 is 80 %\."):
        console("set", "quotas.soft_limit_warning", "80")
    assert (capsys.readouterr().err, quick.app.store.get(DOCUMENT)) == ("", None)
