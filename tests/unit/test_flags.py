"""Kill switches: read at run time, cached for eight seconds, and never guessed."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from shared.domain.faults import ConfigError
from shared.domain.flags import SHIPPED, flatten
from shared.flags import (
    AGAIN_SECONDS,
    CACHE_SECONDS,
    DOCUMENT,
    LATE_SECONDS,
    Flags,
    FlagsUnknown,
    load_defaults,
)
from shared.store.protocol import Delete, Put, Store, Unavailable
from tests.core import CONFIG, make_app


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
        self.asked = threading.Event()

    def get(self, path: str) -> Any:
        self.reads += 1
        self.asked.set()
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


@pytest.mark.parametrize(("text", "meaning"), [("false", False), ("FALSE", False), ("True", True)])
def test_a_switch_may_be_typed_as_text(
    store: Store, capsys: pytest.CaptureFixture[str], text: str, meaning: bool
) -> None:
    store.commit([Put(DOCUMENT, {"alerts": {"enabled": text, "pagerduty": text}})])
    found = flags(store)
    assert (found.value("alerts.enabled"), found.value("alerts.pagerduty")) == (meaning, meaning)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("entry", "severity"),
    [({"alerts": {"enabled": "off"}}, "ERROR"), ({"alerts": {"enabled": 0}}, "ERROR"),
     ({"alerts": {"enabled": None}}, "ERROR"), ({"alerts.enabled": [False]}, "ERROR"),
     ({"alerts": {"enabled": {}}}, "ERROR"), ({"quotas": {"soft_limit_warning": True}}, "ERROR"),
     ({"quotas": {"soft_limit_warning": "0.9"}}, "ERROR"), ({"quotas": {"soft_limit_warning": 80}}, "ERROR"),
     ({"quotas": {"soft_limit_warning": 0}}, "ERROR"), ({"quotas": {"hard_limit_block": 100}}, "ERROR"),
     ({"quotas.hard_limit_block": float("nan")}, "ERROR"),
     ({"alerts": False}, "WARNING"), ({"alerts": {"fax": True}}, "WARNING")],
)  # fmt: skip
def test_an_entry_that_is_no_flag_or_of_a_wrong_type_changes_nothing_and_is_told(
    store: Store, capsys: pytest.CaptureFixture[str], entry: dict[str, Any], severity: str
) -> None:
    store.commit([Put(DOCUMENT, entry)])
    assert flags(store).all() == load_defaults(CONFIG)
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["severity"] == severity
    assert line["flag"] in flatten(entry)
    assert line.keys() == {"severity", "message", "time", "flag"}  # the value is not told


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
    time.seconds = AGAIN_SECONDS
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


def hanging(time: Time, *, known: bool) -> tuple[Counting, Flags]:
    """A store that hangs until its gate is opened and then fails, and flags that were read from it before, or not."""
    counting = Counting()
    found = flags(counting, time)
    if known:
        found.all()
    counting.reads, counting.down, counting.gate = 0, True, threading.Event()
    counting.asked.clear()
    return counting, found


def ask(found: Flags, times: int) -> tuple[list[threading.Thread], list[bool | None]]:
    """So many threads that ask for a flag, and what they were told; None is `FlagsUnknown`."""
    told: list[bool | None] = []

    def one() -> None:
        try:
            told.append(found.on("alerts.enabled"))
        except FlagsUnknown:
            told.append(None)

    threads = [threading.Thread(target=one, daemon=True) for _ in range(times)]
    for thread in threads:
        thread.start()
    return threads, told


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(timeout=15)  # less than the gate waits: whoever hangs in the store is still alive
        assert not thread.is_alive()


def test_while_the_store_hangs_one_caller_waits_and_the_others_use_what_is_known(time: Time) -> None:
    counting, found = hanging(time, known=True)
    time.seconds = CACHE_SECONDS
    reader, told_to_reader = ask(found, 1)
    assert counting.asked.wait(timeout=20)
    others, told = ask(found, 10)
    join(others)
    assert (told, told_to_reader, counting.reads) == ([True] * 10, [], 1)
    assert counting.gate is not None
    counting.gate.set()
    join(reader)
    assert told_to_reader == [True]


@pytest.mark.parametrize("known", [True, False])
def test_after_a_read_that_failed_the_next_one_waits_for_the_mark(time: Time, known: bool) -> None:
    counting, found = hanging(time, known=known)
    assert counting.gate is not None
    counting.gate.set()
    told_all = []
    for seconds in (CACHE_SECONDS, CACHE_SECONDS + AGAIN_SECONDS - 0.1, CACHE_SECONDS + AGAIN_SECONDS):
        time.seconds = seconds
        threads, told = ask(found, 10)
        join(threads)
        told_all.append((told, counting.reads))
    answers = [True if known else None] * 10
    assert told_all == [(answers, 1), (answers, 1), (answers, 2)]


def test_with_nothing_known_all_wait_for_one_read_and_fail_together(time: Time) -> None:
    counting, found = hanging(time, known=False)
    assert counting.gate is not None
    threads, told = ask(found, 10)
    assert counting.asked.wait(timeout=20)
    assert told == []
    counting.gate.set()
    join(threads)
    assert (told, counting.reads) == ([None] * 10, 1)


def test_after_a_quiet_hour_nobody_acts_on_old_flags_while_the_store_answers(store: Store, time: Time) -> None:
    counting = Counting(store)
    found = flags(counting, time)
    assert found.on("alerts.enabled")
    store.commit([Put(DOCUMENT, {"alerts": {"enabled": False}})])
    counting.gate = threading.Event()
    counting.asked.clear()
    time.seconds = CACHE_SECONDS + LATE_SECONDS + 0.1
    threads, told = ask(found, 10)
    assert counting.asked.wait(timeout=20)
    counting.gate.set()
    join(threads)
    assert (told, counting.reads) == ([False] * 10, 2)


def test_a_slow_read_counts_from_its_beginning(time: Time) -> None:
    counting = Counting()
    found = flags(counting, time)
    counting.gate = threading.Event()
    threads, _ = ask(found, 1)
    assert counting.asked.wait(timeout=20)
    time.seconds = 4
    counting.gate.set()
    join(threads)
    time.seconds = CACHE_SECONDS
    found.all()
    assert counting.reads == 2


def test_an_unforeseen_fault_frees_the_next_caller(time: Time) -> None:
    class Broken(Counting):
        def get(self, path: str) -> Any:
            if super().get(path) is None and self.reads == 1:
                raise ZeroDivisionError

    found = flags(Broken(), time)
    with pytest.raises(ZeroDivisionError):
        found.all()
    assert found.on("alerts.enabled")


def test_an_unknown_flag_is_an_error_and_not_off() -> None:
    with pytest.raises(KeyError):
        flags(Counting()).on("alerts.fax")


def test_a_number_is_never_on() -> None:
    assert not flags(Counting()).on("quotas.hard_limit_block")


def written(folder: Path, text: str) -> Path:
    (folder / "flags.json").write_text(text)
    return folder


def test_the_file_says_what_is_shipped() -> None:
    assert flatten(json.loads((CONFIG / "flags.json").read_text())) == SHIPPED


@pytest.mark.parametrize("text", ["{}", '{"alerts": {}}'])
def test_of_what_the_file_does_not_name_the_shipped_default_holds(tmp_path: Path, text: str) -> None:
    assert load_defaults(written(tmp_path, text)) == SHIPPED


@pytest.mark.parametrize("text", ['{"alerts": {"enabled": false}}', '{"alerts.enabled": false}',
                                  '{"alerts": {"enabled": "False"}}'])  # fmt: skip
def test_a_file_with_one_flag_changes_that_one(tmp_path: Path, text: str) -> None:
    assert load_defaults(written(tmp_path, text)) == {**SHIPPED, "alerts.enabled": False}


def test_a_share_in_the_file_is_a_number_that_a_store_takes(tmp_path: Path, store: Store) -> None:
    found = load_defaults(written(tmp_path, '{"quotas": {"soft_limit_warning": 0.01}}'))["quotas.soft_limit_warning"]
    store.commit([Put(DOCUMENT, {"quotas": {"soft_limit_warning": found}})])
    assert flags(store).value("quotas.soft_limit_warning") == 0.01


FAULTY = """{"alerts": {"enabled": "off", "enabeld": false, "slack": false, "email": null}, "ops": true,
             "quotas": {"enabled": {}, "soft_limit_warning": 80, "hard_limit_block": NaN}}"""
NO_SUCH_FLAG = f"there is no such flag; there are {', '.join(SHIPPED)}"


def test_every_fault_of_the_file_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as found:
        load_defaults(written(tmp_path, FAULTY))
    assert (found.value.source, found.value.faults) == ("flags.json", [
        "alerts.enabled: must be true or false",
        f"alerts.enabeld: {NO_SUCH_FLAG}",
        "alerts.email: must be true or false",
        f"ops: {NO_SUCH_FLAG}",
        "quotas.enabled: must be true or false",
        "quotas.soft_limit_warning: must be a share from 0.01 to 1: 0.8 is 80 %",
        "quotas.hard_limit_block: must be a share from 0 to 2: 0.8 is 80 %",
    ])  # fmt: skip


def test_where_it_runs_already_a_fault_of_the_file_is_an_error_in_the_log_and_takes_nothing_down(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    found = make_app(store, config_dir=written(tmp_path, FAULTY)).flags
    assert found.all() == {**SHIPPED, "alerts.slack": False}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["severity"], line["flag"]) for line in lines] == [
        ("ERROR", name)
        for name in ("alerts.enabled", "alerts.enabeld", "alerts.email", "ops", "quotas.enabled",
                     "quotas.soft_limit_warning", "quotas.hard_limit_block")
    ]  # fmt: skip
    assert "off" not in " ".join(line["fault"] for line in lines)


@pytest.mark.parametrize("text", ["", "{", "[]", "false"])
def test_of_a_file_that_cannot_be_read_nothing_is_guessed(tmp_path: Path, store: Store, text: str) -> None:
    app = make_app(store, config_dir=written(tmp_path, text))
    with pytest.raises(ConfigError):
        app.flags.on("alerts.enabled")


def test_a_document_wins_over_a_file_with_one_flag(tmp_path: Path, store: Store) -> None:
    store.commit([Put(DOCUMENT, {"alerts": {"enabled": True}, "quotas": {"hard_limit_block": 1.5}})])
    app = make_app(store, config_dir=written(tmp_path, '{"alerts": {"enabled": false}}'))
    assert app.flags.all() == {**SHIPPED, "quotas.hard_limit_block": 1.5}
