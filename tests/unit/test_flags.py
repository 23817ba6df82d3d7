"""Kill switches: read at run time, cached for eight seconds, and never guessed."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from shared.flags import DOCUMENT, Flags, FlagsUnknown, flatten, load_defaults
from shared.store.protocol import Delete, Put, Store, Unavailable
from tests.core import CONFIG


class Time:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Counting:
    """A store whose reads are counted, can fail, and can be made to wait."""

    def __init__(self, inner: Store | None = None) -> None:
        self.inner = inner
        self.reads = 0
        self.down = False
        self.gate: threading.Event | None = None

    def get(self, path: str) -> Any:
        self.reads += 1
        if self.gate:
            assert self.gate.wait(timeout=20)
        if self.down:
            raise Unavailable("down")
        return self.inner.get(path) if self.inner else None


@pytest.fixture
def time() -> Time:
    return Time()


def flags(store: Any, time: Time | None = None) -> Flags:
    return Flags(store, load_defaults(CONFIG), time or Time())


def test_without_a_document_the_defaults_of_the_plan_are_in_force(store: Store) -> None:
    assert flags(store).all() == {
        "alerts.enabled": True, "alerts.slack": True, "alerts.email": True, "alerts.pagerduty": False,
        "ops.slo_enforced": True, "ops.public_status_page": True, "ops.metrics_collection": True,
        "quotas.enabled": True, "quotas.soft_limit_warning": 0.8, "quotas.hard_limit_block": 1.0,
        "costs.dashboard": True, "costs.realtime_tracking": True,
    }  # fmt: skip


def test_the_document_wins_where_it_says_something(store: Store) -> None:
    store.commit([Put(DOCUMENT, {"alerts": {"enabled": False}, "quotas": {"soft_limit_warning": 1}, "rev": "x"})])
    found = flags(store)
    assert (found.on("alerts.enabled"), found.on("alerts.slack"), found.value("quotas.soft_limit_warning")) == (
        False, True, 1,
    )  # fmt: skip


def test_dotted_names_in_the_document_mean_the_same(store: Store) -> None:
    store.commit([Put(DOCUMENT, {"alerts.enabled": False})])
    assert not flags(store).on("alerts.enabled")


@pytest.mark.parametrize(
    "entry",
    [{"alerts": {"enabled": "false"}}, {"alerts": {"enabled": 0}}, {"alerts": {"enabled": None}}, {"alerts": False},
     {"quotas": {"soft_limit_warning": True}}, {"quotas": {"soft_limit_warning": "0.9"}}, {"alerts": {"fax": True}}],
)  # fmt: skip
def test_an_entry_that_is_no_flag_or_of_a_wrong_type_changes_nothing_and_is_told(
    store: Store, capsys: pytest.CaptureFixture[str], entry: dict[str, Any]
) -> None:
    store.commit([Put(DOCUMENT, entry)])
    assert flags(store).all() == flatten(load_defaults(CONFIG))
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["severity"] == "WARNING"
    assert line["flag"] in flatten(entry)


def test_a_change_is_seen_after_eight_seconds_and_not_before(store: Store, time: Time) -> None:
    found = flags(store, time)
    assert found.on("alerts.enabled")
    store.commit([Put(DOCUMENT, {"alerts": {"enabled": False}})])
    time.seconds = 7.9
    assert found.on("alerts.enabled")
    time.seconds = 8.0
    assert not found.on("alerts.enabled")
    store.commit([Delete(DOCUMENT)])
    time.seconds = 16.0
    assert found.on("alerts.enabled")


def test_while_they_cannot_be_read_the_last_known_ones_stay(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    counting = Counting()
    found = flags(counting, time)
    assert found.on("alerts.enabled")
    counting.down = True
    time.seconds = 100
    assert found.on("alerts.enabled")
    assert "last known" in capsys.readouterr().out


def test_if_they_were_never_read_nothing_is_guessed(time: Time) -> None:
    counting = Counting()
    counting.down = True
    found = flags(counting, time)
    with pytest.raises(FlagsUnknown):
        found.on("alerts.enabled")
    counting.down = False
    assert found.on("alerts.enabled")


def test_many_threads_at_once_make_one_read() -> None:
    counting = Counting()
    counting.gate = threading.Event()
    found = flags(counting)
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append(found.on("alerts.enabled"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    counting.gate.set()
    for thread in threads:
        thread.join()
    assert (counting.reads, seen) == (1, [True] * 20)


def test_an_unknown_flag_is_an_error_and_not_off() -> None:
    with pytest.raises(KeyError):
        flags(Counting()).on("alerts.fax")


def test_a_number_is_never_on() -> None:
    assert not flags(Counting()).on("quotas.hard_limit_block")


def test_the_defaults_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "flags.json").write_text('{"a": {"b": true}, "c": 1}')
    assert flatten(load_defaults(tmp_path)) == {"a.b": True, "c": 1}
