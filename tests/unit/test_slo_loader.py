"""Which SLO configuration is in force: the document over the file, and the last good one if it is broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shared.domain.faults import ConfigError
from shared.slo_loader import DOCUMENT, LAST_GOOD, SloLoader, digest_of
from shared.store.protocol import Delete, Put, Store, Unavailable, Write
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW


class Time:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Failing:
    """A store that can be made to fail for reads or for writes."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.reads_fail = self.writes_fail = False

    def get(self, path: str) -> Any:
        if self.reads_fail:
            raise Unavailable("down")
        return self.inner.get(path)

    def commit(self, writes: Sequence[Write]) -> None:
        if self.writes_fail:
            raise Unavailable("down")
        self.inner.commit(writes)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def failing(sqlite_store: SqliteStore) -> Failing:
    return Failing(sqlite_store)


def loader(store: Any, time: Time | None = None, config_dir: Path = CONFIG) -> SloLoader:
    return SloLoader(store, config_dir, time or Time())


def put(store: Store, target: Any, **more: Any) -> None:
    data = json.loads((CONFIG / "slo.json").read_text())
    data["slos"][0]["target"] = target
    store.commit([Put(DOCUMENT, {**data, **more})])


def target(found: SloLoader) -> float:
    return float(found.current(max_age=0).slos[0].target)


def test_without_a_document_the_file_is_in_force(store: Store) -> None:
    assert target(loader(store)) == 99.5


def test_a_document_wins_over_the_file(store: Store) -> None:
    put(store, 98.7, rev="abc", updatedBy="ada")
    assert target(loader(store)) == 98.7


def test_a_broken_document_names_every_fault_and_the_last_good_one_stays(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    found = loader(store)
    put(store, 98.7)
    assert target(found) == 98.7
    good = found.current(max_age=0).hash
    put(store, "high", extra=1)
    assert target(found) == 98.7
    assert found.current(max_age=0).hash == good
    assert [fault.partition(":")[0] for fault in found.faults] == ["slos[0].target", "extra"]
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["severity"] for line in told] == ["ERROR"]
    assert told[0]["faults"] == list(found.faults)


def test_the_last_good_one_stays_for_a_new_instance_too(store: Store) -> None:
    put(store, 98.7)
    good = loader(store).current().hash
    put(store, "high")
    fresh = loader(store)
    assert target(fresh) == 98.7
    assert fresh.current().hash == good
    assert fresh.faults


def test_if_no_document_was_ever_good_the_file_stays(store: Store) -> None:
    put(store, "high")
    assert target(loader(store)) == 99.5


def test_once_mended_the_document_is_in_force_again(store: Store) -> None:
    found = loader(store)
    put(store, "high")
    assert target(found) == 99.5
    put(store, 97)
    assert (target(found), found.faults) == (97, ())


def test_once_a_broken_document_is_deleted_the_file_is_in_force(store: Store) -> None:
    put(store, 98.7)
    found = loader(store)
    target(found)
    put(store, "high")
    target(found)
    store.commit([Delete(DOCUMENT)])
    assert (target(found), found.faults) == (99.5, ())


def test_a_last_good_one_that_this_release_cannot_use_gives_way_to_the_file(sqlite_store: SqliteStore) -> None:
    put(sqlite_store, "high")
    sqlite_store.commit([Put(LAST_GOOD, {"slos": [{"metric": "of another release"}]})])
    assert target(loader(sqlite_store)) == 99.5


def test_it_is_read_once_a_minute_and_written_only_when_it_changed(sqlite_store: SqliteStore, time: Time) -> None:
    put(sqlite_store, 98.7)
    found = loader(sqlite_store, time)
    found.current()
    before = sqlite_store.meter.snapshot()
    for _ in range(5):
        found.current()
    time.seconds = 59.9
    found.current()
    assert sqlite_store.meter.since(before).reads == 0
    time.seconds = 60
    found.current()
    used = sqlite_store.meter.since(before)
    assert (used.reads, used.writes) == (1, 0)


def test_while_the_store_is_down_the_known_one_stays(failing: Failing, capsys: pytest.CaptureFixture[str]) -> None:
    put(failing, 98.7)
    found = loader(failing)
    assert target(found) == 98.7
    failing.reads_fail = True
    assert target(found) == 98.7
    assert "stays in force" in capsys.readouterr().out


def test_with_the_store_down_from_the_start_nothing_is_guessed(failing: Failing) -> None:
    failing.reads_fail = True
    with pytest.raises(Unavailable):
        loader(failing).current()


def test_a_good_document_is_in_force_though_it_cannot_be_kept(failing: Failing) -> None:
    found = loader(failing)
    assert target(found) == 99.5
    put(failing, 98.7)
    failing.writes_fail = True
    assert target(found) == 98.7
    assert target(found) == 98.7


def test_a_broken_file_is_told_with_every_fault(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    shutil.copytree(CONFIG, tmp_path / "config")
    (tmp_path / "config" / "slo.json").write_text('{"slos": [{"name": "X"}]}')
    with pytest.raises(ConfigError) as caught:
        loader(sqlite_store, config_dir=tmp_path / "config").current()
    assert len(caught.value.faults) == 5


@pytest.mark.parametrize("text", ["{", '{"slos": [{"name": "X"}]}'])
def test_a_file_that_breaks_later_leaves_the_last_good_one_in_force(
    sqlite_store: SqliteStore, tmp_path: Path, text: str
) -> None:
    shutil.copytree(CONFIG, tmp_path / "config")
    found = loader(sqlite_store, config_dir=tmp_path / "config")
    assert target(found) == 99.5
    (tmp_path / "config" / "slo.json").write_text(text)
    assert target(found) == 99.5
    assert found.faults


def test_broken_metrics_are_told_with_every_fault(sqlite_store: SqliteStore, tmp_path: Path) -> None:
    shutil.copytree(CONFIG, tmp_path / "config")
    data = json.loads((CONFIG / "metrics.json").read_text())
    data["metrics"]["api_latency"] |= {"unit": "furlongs", "extra": 1}
    (tmp_path / "config" / "metrics.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError) as caught:
        loader(sqlite_store, config_dir=tmp_path / "config")
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "metrics.api_latency.unit", "metrics.api_latency.extra",
    ]  # fmt: skip


def uploaded(store: Store, target: Any, version: int) -> None:
    """As the upload script leaves the document."""
    content = json.loads((CONFIG / "slo.json").read_text())
    content["slos"][0]["target"] = target
    mine = {"rev": "r", "version": version, "hash": digest_of(content), "updatedAt": NOW, "updatedBy": "ada"}
    store.commit([Put(DOCUMENT, content | mine)])


def test_an_uploaded_document_says_its_version_and_the_file_has_none(store: Store) -> None:
    found = loader(store)
    assert found.current().version is None
    uploaded(store, 98.7, 3)
    assert found.current(max_age=0).version == 3
    assert loader(store).current().version == 3


def test_a_document_that_was_changed_by_hand_is_no_version_any_more(store: Store) -> None:
    found = loader(store)
    uploaded(store, 98.7, 3)
    assert found.current(max_age=0).version == 3
    doc = store.get(DOCUMENT)
    assert doc
    doc.data["slos"][0]["target"] = 97
    store.commit([Put(DOCUMENT, doc.data)])
    assert (target(found), found.current(max_age=0).version) == (97, None)


def test_the_same_content_uploaded_again_has_its_new_version(sqlite_store: SqliteStore) -> None:
    found = loader(sqlite_store)
    uploaded(sqlite_store, 98.7, 3)
    assert found.current(max_age=0).version == 3
    uploaded(sqlite_store, 98.7, 5)
    assert found.current(max_age=0).version == 5


def test_the_last_good_one_keeps_its_version_while_the_document_is_broken(store: Store) -> None:
    found = loader(store)
    uploaded(store, 98.7, 3)
    found.current(max_age=0)
    uploaded(store, "high", 4)
    for read in (found, found, loader(store)):
        current = read.current(max_age=0)
        assert (float(current.slos[0].target), current.version) == (98.7, 3)
