"""Storage usage over real buckets and both stores: each object once, wherever a run is killed, fails or is doubled."""

from __future__ import annotations

import json
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.storage_usage import handler
from functions.storage_usage.listing import CloudListing
from scripts.deploy.plan import Target, as_script, steps
from scripts.manifest import ROOT, load
from shared import bootstrap
from shared.bootstrap import App
from shared.domain.series import SeriesTable
from shared.domain.storage import StorageConfig
from shared.metrics import storage_usage
from shared.metrics.fold import fold
from shared.metrics.group_commit import GroupCommit
from shared.metrics.rollup_codec import decode_rollup
from shared.metrics.segment import decode_segment
from shared.metrics.storage_usage import RUN, ListingError, Measured, Totals, measure
from shared.settings import SettingsError, refuse_unsafe
from shared.store.protocol import Conflict, Delete, Doc, Merge, Put, Query, Store, StoreError, Unavailable, Write
from tests import fake_buckets
from tests.core import CONFIG, Clock, flask_app, make_app, registry, shipped
from tests.dev_server import DevServer
from tests.e2e.support import Scheduler, served
from tests.e2e.test_delivery import Wrapped
from tests.fake_servers import Behaviour, Exchange, FakeSlack, failing, throttled
from tests.planted import WAYS, Calls, Faulty, Killed
from tests.unit.test_auth import ACCOUNT

NOW = datetime(2026, 11, 23, 3, 10, tzinfo=UTC)
DAY = "2026-11-23"
APP, EXTRA = "my-app.appspot.com", "my-app-uploads"
CONFIGURED = StorageConfig.model_validate(
    {
        "buckets": [
            {"name": APP, "userPattern": ["users/{uid}/**", "avatars/{uid}"]},
            {"name": EXTRA, "userPattern": "{uid}/*"},
        ]
    }
)
SMALL_PAGE = 40
Sizes = dict[str, dict[str, int]]


def some_objects() -> Sizes:
    """Objects of known sizes: of users in both buckets, of nobody, of what is no user."""
    rng = random.Random(22)
    app = {f"users/user-{rng.randrange(60):02}/{n:03}.png": rng.randrange(0, 3000) for n in range(180)}
    app |= {f"avatars/user-{n:02}": 100 + n for n in range(0, 60, 7)}
    app |= {f"static/{n}.css": 1000 for n in range(5)} | {"users/__all__/x": 9, f"users/{'u' * 129}/x": 11}
    extra = {f"user-{rng.randrange(40, 80)}/ä {n} + %2F.bin": rng.randrange(0, 3000) for n in range(60)}
    return {APP: app, EXTRA: extra | {"a/b/c": 13}}


OBJECTS = some_objects()


def users_of(objects: Sizes) -> dict[str, tuple[int, int]]:
    """Bytes and objects of every user, counted in another way than the product's."""
    found: dict[str, tuple[int, int]] = {}
    for bucket, sizes in objects.items():
        for name, size in sizes.items():
            parts = name.split("/")
            place = 0 if bucket == EXTRA else 1
            is_users = len(parts) == 2 if bucket == EXTRA else parts[0] in ("users", "avatars") and len(parts) >= 2
            if is_users and parts[place].startswith("user-"):
                bytes_, count = found.get(parts[place], (0, 0))
                found[parts[place]] = (bytes_ + size, count + 1)
    return found


@pytest.fixture(scope="module")
def buckets() -> Iterator[str]:
    with fake_buckets.emulator() as address:
        for bucket, sizes in OBJECTS.items():
            fake_buckets.fill(address, bucket, sizes)
        yield address


@pytest.fixture(autouse=True)
def _pages_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.storage_usage.listing.PAGE", SMALL_PAGE)
    monkeypatch.setattr(storage_usage, "PAGE", SMALL_PAGE)
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


@pytest.fixture
def front(buckets: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlack]:
    with FakeSlack(fake_buckets.paging(buckets)) as front:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_buckets.address_of(front))
        yield front


def always() -> None:
    return None


def run(
    store: Store,
    listing: Any = None,
    now: datetime = NOW,
    config: StorageConfig = CONFIGURED,
    may_go_on: Callable[[], str | None] = always,
) -> Measured:
    totals = Totals(GroupCommit(store), SeriesTable(registry(), shipped().bounds(registry()), json.loads))
    return measure(store, totals, config, listing or hasty(), now, may_go_on)


def hasty() -> CloudListing:
    return CloudListing("test", time.monotonic, answer_seconds=10, retry_seconds=0.4)


def stored(store: Store, day: str = DAY) -> dict[str, tuple[int, int]]:
    """Every user's figures of a day, read document by document."""
    docs = store.query(Query("storage", group=True, limit=1000))
    assert all(doc.data["gb"] == doc.data["bytes"] / 10**9 for doc in docs)
    return {
        doc.path.split("/")[1]: (doc.data["bytes"], doc.data["objects"]) for doc in docs if doc.path.endswith(f"/{day}")
    }


def metrics(store: Store, now: datetime = NOW) -> dict[str, list[tuple[int, float]]]:
    """Count and sum of every series of storage_usage in each block, once all is folded."""
    for _ in range(2):
        assert fold(store, registry(), shipped().definitions, now).complete
    found: dict[str, list[tuple[int, float]]] = {}
    for doc in store.query(Query("m5", group=True, limit=1000)):
        for key, stats in decode_rollup(doc.data["payload"]).items():
            assert key.startswith("storage_usage{")
            found.setdefault(key.removeprefix("storage_usage"), []).append((stats.count, stats.total))
    return found


def expected_metrics(objects: Sizes = OBJECTS) -> dict[str, list[tuple[int, float]]]:
    return {f'{{"bucket":"{name}"}}': [(1, sum(sizes.values()) / 10**9)] for name, sizes in objects.items()}


def run_document(store: Store) -> dict[str, Any]:
    doc = store.get(RUN)
    assert doc is not None
    return doc.data


def is_right(store: Store) -> bool:
    return stored(store) == users_of(OBJECTS) and metrics(store) == expected_metrics()


# What is counted


def test_every_user_and_every_bucket_is_counted_as_an_independent_count_has_it(store: Store, front: FakeSlack) -> None:
    measured = run(store)
    assert measured.finished
    assert stored(store) == users_of(OBJECTS)
    assert len(users_of(OBJECTS)) > 60
    assert metrics(store) == expected_metrics()
    found = {bucket["name"]: bucket for bucket in run_document(store)["buckets"]}
    for name, sizes in OBJECTS.items():
        assert (found[name]["objects"], found[name]["bytes"]) == (len(sizes), sum(sizes.values()))
    assert (found[APP]["noUserObjects"], found[APP]["noUserBytes"]) == (7, 5000 + 9 + 11)
    assert (found[EXTRA]["noUserObjects"], found[EXTRA]["noUserBytes"]) == (1, 13)


def test_a_later_run_of_the_day_replaces_the_figures_and_adds_a_second_sample(store: Store, front: FakeSlack) -> None:
    run(store)
    run(store, now=NOW + timedelta(hours=2))
    assert stored(store) == users_of(OBJECTS)
    assert metrics(store, NOW + timedelta(hours=2)) == {k: v * 2 for k, v in expected_metrics().items()}


def test_each_day_has_its_own_figures_and_a_user_whose_files_are_gone_gets_none(sqlite_store: Store) -> None:
    run(sqlite_store, Listed({APP: {"users/ada/1": 5, "users/bob/1": 7}, EXTRA: {}}))
    run(sqlite_store, Listed({APP: {"users/bob/1": 7}, EXTRA: {}}), NOW + timedelta(days=1))
    assert stored(sqlite_store) == {"ada": (5, 1), "bob": (7, 1)}
    assert stored(sqlite_store, "2026-11-24") == {"bob": (7, 1)}


def test_no_user_is_named_in_a_metric_or_in_a_log(
    store: Store, front: FakeSlack, capsys: pytest.CaptureFixture[str]
) -> None:
    run(store, Failing(hasty(), 3, ListingError("connection failed")))
    run(store)
    assert "user-" not in "".join(capsys.readouterr())
    assert "user-" not in json.dumps(run_document(store), default=str)
    for collection in ("segments", "m5"):
        assert all(b"user-" not in doc.data["payload"] for doc in store.query(Query(collection, group=True, limit=100)))


def test_a_page_that_is_larger_than_asked_is_stored_in_parts(
    store: Store, buckets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator gives all at once, as an API might that knows no pages."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{buckets}")
    assert run(store).finished
    assert is_right(store)


def test_what_a_thousand_objects_cost(sqlite_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(storage_usage, "PAGE", 400)
    users = {f"users/u{n // 20:04}/{n:05}": 1000 for n in range(10_000)}
    listing = Listed({APP: users, EXTRA: {}}, 400)
    before = sqlite_store.meter.snapshot()
    run(sqlite_store, listing)
    cost = sqlite_store.meter.since(before)
    monkeypatch.undo()
    pages, users_a_page = 25, 20
    assert listing.asked == pages + 1  # one more for the empty bucket
    assert (
        cost.writes == pages * (users_a_page + 1) + 2 * 3 + 2
    )  # a bucket: listed, its metric, counted; begun, finished
    assert cost.reads == pages * (users_a_page + 1) + 2 * 2 + 3
    assert cost.deletes == 0


# Killed, failed, doubled


class Listed:
    """Buckets in memory, a page at a time; each page is a call that a process can be killed at."""

    def __init__(self, objects: Sizes, page: int = SMALL_PAGE, calls: Calls | None = None) -> None:
        self.objects, self.page, self.calls, self.asked = objects, page, calls or Calls(), 0

    def pages(self, bucket: str, after: str) -> Iterator[Sequence[tuple[str, int]]]:
        left = [o for o in sorted(self.objects[bucket].items()) if o[0] >= after]
        for start in range(0, len(left) or 1, self.page):
            self.asked += 1
            yield self.calls.around(lambda start=start: left[start : start + self.page])


class Failing:
    """A listing that fails at its n-th page, and at every one after that unless it is `once`."""

    def __init__(self, inner: Any, at: int, error: ListingError) -> None:
        self.inner, self.left, self.error = inner, at, error

    def pages(self, bucket: str, after: str) -> Iterator[Sequence[tuple[str, int]]]:
        for page in self.inner.pages(bucket, after):
            self.left -= 1
            if self.left <= 0:
                raise self.error
            yield page


FEW: Sizes = {
    APP: {f"users/user-{n % 7}/{n}": n * n for n in range(19)} | {"static/a": 5},
    EXTRA: {f"user-{n % 9}/{n}": n + 1 for n in range(11)},
}


@pytest.mark.parametrize("when", WAYS)
def test_whichever_call_is_hit_the_next_one_ends_with_the_same_numbers(
    store: Store, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call to the store and for a page, one after the other; what is left is taken up by a new process."""
    monkeypatch.setattr(storage_usage, "PAGE", 6)
    calls = Calls()
    run(Faulty(store, calls, [RUN]), Listed(FEW, 6, calls))
    assert calls.made > 30
    for at in range(1, calls.made + 1):
        empty(store)
        hit, ended = Calls(at, when), 1
        try:
            run(Faulty(store, hit, [RUN]), Listed(FEW, 6, hit))
        except (Killed, Unavailable):
            before = store.get(RUN)
            again = run(store, Listed(FEW, 6))
            ended = 2 if before and before.data["finishedAt"] else 1  # the call died, its work was done
            assert before is None or ended == 2 or again.run["runId"] == before.data["runId"]
        assert run_document(store)["finishedAt"] == NOW, (at, when)
        assert stored(store) == users_of(FEW), (at, when)
        assert sorted(sent(store).values()) == sorted([*totals_of(FEW)] * ended), (at, when)


def sent(store: Store) -> dict[bytes, tuple[str, int, float]]:
    """The samples by the hash of their batch: series, block, value. What has the same hash counts once."""
    found: dict[bytes, tuple[str, int, float]] = {}
    for doc in store.query(Query("segments", group=True, limit=1000)):
        for batch in decode_segment(doc.data["payload"]):
            (block,) = batch.blocks
            sample = (batch.series[block.raw_series[0]][0], block.number, block.raw_values[0])
            assert found.setdefault(batch.hash, sample) == sample
    return found


def totals_of(objects: Sizes) -> Iterator[tuple[str, int, float]]:
    for bucket, sizes in objects.items():
        yield f'storage_usage{{"bucket":"{bucket}"}}', int(NOW.timestamp()) // 300, sum(sizes.values()) / 10**9


def empty(store: Store) -> None:
    docs = [doc for name in ("storage", "segments", "runs") for doc in store.query(Query(name, group=True, limit=400))]
    if docs:
        store.commit([Delete(doc.path) for doc in docs])


@pytest.mark.parametrize("times", [2, 4])
def test_runs_at_the_same_time_come_to_the_same(store: Store, front: FakeSlack, times: int) -> None:
    errors: list[BaseException] = []

    def measure_once() -> None:
        try:
            run(store)
        except BaseException as error:  # noqa: BLE001 - a thread's error must reach the test
            errors.append(error)

    threads = [threading.Thread(target=measure_once) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert run_document(store)["finishedAt"] == NOW
    assert stored(store) == users_of(OBJECTS)


def test_it_stops_before_the_time_is_over_and_the_next_call_goes_on_there(store: Store, front: FakeSlack) -> None:
    for calls in range(1, 40):
        left = iter([None, None])
        measured = run(store, may_go_on=lambda left=left: next(left, "time"), now=NOW + timedelta(minutes=calls))
        if measured.finished:
            break
        assert measured.stopped == "time"
    assert calls > 5
    assert stored(store) == users_of(OBJECTS)
    assert {
        key: sum(count for count, _ in blocks) for key, blocks in metrics(store, NOW + timedelta(hours=1)).items()
    } == dict.fromkeys(expected_metrics(), 1)


def test_what_was_not_finished_goes_on_the_next_day_which_then_has_a_run_of_its_own(sqlite_store: Store) -> None:
    left = iter([None, None, None])
    first = run(sqlite_store, Listed(OBJECTS), may_go_on=lambda: next(left, "time"))
    second = run(sqlite_store, Listed(OBJECTS), NOW + timedelta(days=1))
    assert second.finished
    assert second.run["runId"] != first.run["runId"]
    assert stored(sqlite_store) == stored(sqlite_store, "2026-11-24") == users_of(OBJECTS)
    assert run_document(sqlite_store)["startedAt"] == NOW + timedelta(days=1)


def test_a_run_of_another_configuration_or_of_last_week_is_given_up(sqlite_store: Store) -> None:
    left = iter([None, None, None])
    first = run(sqlite_store, Listed(OBJECTS), may_go_on=lambda: next(left, "time"))
    one = StorageConfig(buckets=CONFIGURED.buckets[:1])
    second = run(sqlite_store, Listed(OBJECTS), config=one)
    assert second.finished
    assert second.run["runId"] != first.run["runId"]
    assert stored(sqlite_store) | users_of({APP: OBJECTS[APP]}) == stored(sqlite_store)
    left = iter([None, None, None])
    run(sqlite_store, Listed(OBJECTS), may_go_on=lambda: next(left, "time"))
    third = run(sqlite_store, Listed(OBJECTS), NOW + timedelta(days=8))
    assert third.finished
    assert stored(sqlite_store, "2026-12-01") == users_of(OBJECTS)


def test_a_total_that_is_too_old_to_be_a_metric_is_left_out_and_told(
    sqlite_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process died between the end of a listing and its metric, and nobody called for three days."""

    class NoMetric(Wrapped):
        def commit(self, writes: Sequence[Write]) -> None:
            if "/segments/" in writes[0].path:
                raise Killed
            self.inner.commit(writes)

    with pytest.raises(Killed):
        run(NoMetric(sqlite_store), Listed(FEW))
    later = NOW + timedelta(days=3)
    assert run(sqlite_store, Listed(FEW), later).finished
    assert "too old to become a metric" in capsys.readouterr().out
    samples = {key: sum(count for count, _ in blocks) for key, blocks in metrics(sqlite_store, later).items()}
    assert samples == {
        f'{{"bucket":"{APP}"}}': 1,
        f'{{"bucket":"{EXTRA}"}}': 2,
    }  # today's; what was left of the old run


# Buckets that fail


def fails_for(bucket: str, behave: Behaviour, buckets: str, after: int = 0) -> Behaviour:
    """One bucket misbehaves, from its n-th request on."""
    seen = [0]
    sound = fake_buckets.paging(buckets)

    def choose(exchange: Exchange) -> None:
        mine = f"/b/{bucket}/" in exchange.received.path
        seen[0] += mine
        (behave if mine and seen[0] > after else sound)(exchange)

    return choose


@pytest.mark.parametrize(("status", "reason"), [(403, "not allowed (403)"), (404, "no such bucket (404)")])
def test_a_bucket_that_a_person_must_put_right_is_told_and_the_others_are_counted(
    store: Store, front: FakeSlack, buckets: str, capsys: pytest.CaptureFixture[str], status: int, reason: str
) -> None:
    front.behave = fails_for(APP, failing(status), buckets)
    measured = run(store)
    assert measured.finished
    assert measured.faults == [(APP, reason)]
    assert [b["state"] for b in measured.run["buckets"]] == ["failed", "counted"]
    assert stored(store) == users_of({EXTRA: OBJECTS[EXTRA]})
    assert metrics(store) == expected_metrics({EXTRA: OBJECTS[EXTRA]})
    (told,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"ERROR"' in line]
    assert (told["bucket"], told["reason"]) == (APP, reason)


def test_a_bucket_that_is_throttled_half_way_is_gone_on_with_and_no_object_counts_twice(
    store: Store, front: FakeSlack, buckets: str
) -> None:
    front.behave = fails_for(APP, throttled(), buckets, after=2)
    first = run(store)
    assert (first.finished, first.stopped, first.faults) == (False, None, [(APP, "throttled (429)")])
    assert metrics(store) == expected_metrics({EXTRA: OBJECTS[EXTRA]})
    front.behave = fake_buckets.paging(buckets)
    second = run(store)
    assert (second.finished, second.faults) == (True, [])
    assert second.run["runId"] == first.run["runId"]
    assert is_right(store)


def test_a_bucket_that_fails_all_day_is_given_up_on_the_next_one(sqlite_store: Store) -> None:
    broken = ListingError("refused (503)")
    first = run(sqlite_store, Failing(Listed(OBJECTS), 2, broken))
    assert not first.finished
    second = run(sqlite_store, Failing(Listed(OBJECTS), 1, broken), NOW + timedelta(days=1))
    assert second.run["runId"] != first.run["runId"]  # today's is tried, too
    assert not second.finished
    assert run(sqlite_store, Listed(OBJECTS), NOW + timedelta(days=1, minutes=5)).finished
    assert stored(sqlite_store, "2026-11-24") == users_of(OBJECTS)


def test_a_listing_out_of_order_is_a_fault_and_no_wrong_number(sqlite_store: Store) -> None:
    class Backwards(Listed):
        def pages(self, bucket: str, after: str) -> Iterator[Sequence[tuple[str, int]]]:
            yield from reversed(list(super().pages(bucket, after)))

    measured = run(sqlite_store, Backwards(OBJECTS))
    assert measured.faults[0] == (APP, "out of order")


def test_a_store_that_never_answers_ends_the_call_with_its_error(sqlite_store: Store) -> None:
    class Dead(Wrapped):
        def commit(self, writes: Sequence[Write]) -> None:
            raise Unavailable("nobody there")

    with pytest.raises(StoreError):
        run(Dead(sqlite_store), Listed(OBJECTS))


def test_a_commit_that_lands_late_changes_no_number(sqlite_store: Store) -> None:
    """It is said to be lost, and takes effect after the next one was tried."""

    class Late(Wrapped):
        def __init__(self, inner: Store) -> None:
            super().__init__(inner)
            self.made = 0
            self.late: list[Sequence[Write]] = []

        def get(self, path: str) -> Doc | None:
            found = self.inner.get(path)
            for writes in self.late:
                try:
                    self.inner.commit(writes)
                except Conflict:
                    continue
            self.late = []
            return found

        def commit(self, writes: Sequence[Write]) -> None:
            self.made += 1
            if self.made % 3 == 0:
                self.late.append(writes)
                raise Unavailable("lost")
            self.inner.commit(writes)

    assert run(Late(sqlite_store), Listed(OBJECTS)).finished
    assert stored(sqlite_store) == users_of(OBJECTS)


# The function


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler]:
    scheduler = Scheduler()
    yield scheduler
    scheduler.close()


def configured(folder: Path, buckets: Any) -> Path:
    made = Path(shutil.copytree(CONFIG, folder / "config"))
    (made / "storage.json").write_text(json.dumps({"buckets": buckets}))
    return made


TWO = [b.model_dump(by_alias=True) for b in CONFIGURED.buckets]


def app_of(store: Store, config_dir: Path, scheduler: Scheduler, **env: str) -> App:
    more = {"SCHEDULER_SERVICE_ACCOUNT": ACCOUNT, "DEV_SCHEDULER_JWKS_URL": scheduler.keys_url, **env}
    app = make_app(store, Clock(NOW), config_dir, **more)
    app._parts[handler.listing_of] = hasty()
    return app


def called(app: App, scheduler: Scheduler) -> tuple[int, Any]:
    bootstrap.install(app)
    try:
        with served(prefixed(flask_app("storageUsage"))) as url:
            answer = scheduler.call(url, "storageUsage", NOW)
    finally:
        bootstrap.install(None)
    return answer.status, answer.json


def prefixed(application: Any) -> Any:
    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        environ["PATH_INFO"] = "/"
        return application(environ, start_response)

    return serve


def test_the_scheduler_gets_what_every_bucket_holds_and_the_database_is_a_sample_too(
    sqlite_store: Store, front: FakeSlack, scheduler: Scheduler, tmp_path: Path
) -> None:
    app = app_of(sqlite_store, configured(tmp_path, TWO), scheduler, SQLITE_PATH=str(tmp_path / "store.db"))
    status, body = called(app, scheduler)
    assert (status, body["finished"], body["day"]) == (200, True, DAY)
    assert [(b["name"], b["objects"], b["state"]) for b in body["buckets"]] == [
        (name, len(sizes), "counted") for name, sizes in OBJECTS.items()
    ]
    assert body["database"] >= (tmp_path / "store.db").stat().st_size > 0
    assert metrics(sqlite_store) == {**expected_metrics(), '{"store":"sqlite"}': [(1, body["database"] / 10**9)]}


def test_without_a_bucket_the_local_database_alone_is_measured(
    sqlite_store: Store, scheduler: Scheduler, tmp_path: Path
) -> None:
    app = app_of(sqlite_store, configured(tmp_path, []), scheduler, SQLITE_PATH=str(tmp_path / "store.db"))
    status, body = called(app, scheduler)
    assert (status, list(body)) == (200, ["database"])
    assert sqlite_store.get(RUN) is None
    assert list(metrics(sqlite_store)) == ['{"store":"sqlite"}']


def test_without_a_bucket_and_with_firestore_nothing_is_done(
    firestore_store: Store, scheduler: Scheduler, tmp_path: Path
) -> None:
    more = {"F0_STORE": "firestore", "GOOGLE_CLOUD_PROJECT": "test-project"}
    before = firestore_store.meter.snapshot()
    status, body = called(app_of(firestore_store, configured(tmp_path, []), scheduler, **more), scheduler)
    assert (status, body) == (200, {"skipped": "config/storage.json names no bucket"})
    assert firestore_store.meter.since(before).writes == 0


def test_while_collection_is_off_nothing_is_stored_and_the_answer_says_so(
    store: Store, front: FakeSlack, scheduler: Scheduler, tmp_path: Path
) -> None:
    store.commit([Put("config/flags", {"ops": {"metrics_collection": False}})])
    before = store.meter.snapshot()
    status, body = called(app_of(store, configured(tmp_path, TWO), scheduler), scheduler)
    assert (status, body["stored"]) == (200, False)
    assert store.meter.since(before).writes == 0
    assert front.received == []


def test_collection_that_is_switched_off_meanwhile_ends_the_run_where_it_is(
    sqlite_store: Store, front: FakeSlack, scheduler: Scheduler, tmp_path: Path, buckets: str
) -> None:
    app = app_of(sqlite_store, configured(tmp_path, TWO), scheduler)
    seconds = [0.0]
    app.monotonic = lambda: seconds[0]
    sound = fake_buckets.paging(buckets)

    def switch_off(exchange: Exchange) -> None:
        if exchange.received.number == 2:
            sqlite_store.commit([Merge("config/flags", {"ops": {"metrics_collection": False}})])
            seconds[0] += 9  # the flags are cached for 8
        sound(exchange)

    front.behave = switch_off
    status, body = called(app, scheduler)
    assert (status, body["finished"], body["stopped"]) == (200, False, "switched_off")
    assert run_document(sqlite_store)["buckets"][0]["objects"] == 2 * SMALL_PAGE


def test_a_bucket_that_is_away_makes_the_scheduler_call_again(
    sqlite_store: Store, front: FakeSlack, scheduler: Scheduler, tmp_path: Path, buckets: str
) -> None:
    front.behave = fails_for(EXTRA, failing(503), buckets)
    app = app_of(sqlite_store, configured(tmp_path, TWO), scheduler)
    status, body = called(app, scheduler)
    assert (status, body["code"]) == (503, "buckets_unavailable")
    assert body["errors"] == [{"path": EXTRA, "detail": "refused (503)"}]
    front.behave = fake_buckets.paging(buckets)
    assert called(app, scheduler)[0] == 200
    assert stored(sqlite_store) == users_of(OBJECTS)


def test_a_bucket_that_is_forbidden_does_not_make_the_scheduler_call_again(
    sqlite_store: Store, front: FakeSlack, scheduler: Scheduler, tmp_path: Path, buckets: str
) -> None:
    front.behave = fails_for(EXTRA, failing(403), buckets)
    status, body = called(app_of(sqlite_store, configured(tmp_path, TWO), scheduler), scheduler)
    assert status == 200
    assert [b["fault"] for b in body["buckets"]] == [None, "not allowed (403)"]


def test_time_that_is_over_makes_the_scheduler_call_again(
    sqlite_store: Store, front: FakeSlack, scheduler: Scheduler, tmp_path: Path, buckets: str
) -> None:
    app = app_of(sqlite_store, configured(tmp_path, TWO), scheduler)
    seconds = [0.0]
    app.monotonic = lambda: seconds[0]
    sound = fake_buckets.paging(buckets)

    def slowly(exchange: Exchange) -> None:
        seconds[0] += 200
        sound(exchange)

    front.behave = slowly
    statuses = []
    for _ in range(9):
        status, body = called(app, scheduler)
        statuses.append(status)
        if status == 200:
            break
        assert body["code"] == "run_unfinished"
    assert statuses[-1] == 200
    assert len(statuses) > 2
    assert stored(sqlite_store) == users_of(OBJECTS)


def test_nobody_but_the_scheduler_may_call(sqlite_store: Store, scheduler: Scheduler, tmp_path: Path) -> None:
    app = app_of(sqlite_store, configured(tmp_path, []), scheduler)
    bootstrap.install(app)
    try:
        answer = flask_app("storageUsage").test_client().post("/")
    finally:
        bootstrap.install(None)
    assert answer.status_code == 401


def test_a_broken_configuration_is_an_error_and_reaches_no_bucket(
    sqlite_store: Store, front: FakeSlack, scheduler: Scheduler, tmp_path: Path
) -> None:
    status, body = called(app_of(sqlite_store, configured(tmp_path, [{"name": "X"}]), scheduler), scheduler)
    assert (status, body["code"], front.received) == (500, "configuration_not_usable", [])


def test_the_local_server_runs_it_on_demand(buckets: str, tmp_path: Path) -> None:
    config = configured(tmp_path, TWO)
    emulated = {"CONFIG_DIR": str(config), "STORAGE_EMULATOR_HOST": f"http://{buckets}"}
    with DevServer(tmp_path / "data", "--no-schedules", **emulated) as server:
        answer = server.post("/_scheduler/storageUsage")
    assert answer.status_code == 200, answer.text
    assert [(b["name"], b["objects"]) for b in answer.json()["buckets"]] == [(n, len(s)) for n, s in OBJECTS.items()]
    assert answer.json()["database"] > 0


def test_the_example_of_the_settings_page_is_a_configuration() -> None:
    examples = re.findall(r"```json\n(.*?)```", (ROOT / "docs/settings.md").read_text(), re.DOTALL)
    (example,) = [text for text in examples if "buckets" in text]
    (bucket,) = StorageConfig.model_validate_json(example).buckets
    assert bucket.owner_of("users/ada/photos/1.png") == bucket.owner_of("avatars/ada") == "ada"


# In the cloud


def test_the_storage_emulator_refuses_to_start_in_the_cloud() -> None:
    with pytest.raises(SettingsError, match="STORAGE_EMULATOR_HOST"):
        refuse_unsafe({"K_SERVICE": "storageusage", "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9023"})


def test_the_deployment_lets_the_account_list_each_bucket() -> None:
    script = as_script(steps(load(ROOT / "functions.yaml"), Target("ops-prod", buckets=[APP]), {}))
    (line,) = [line for line in script.splitlines() if "add-iam-policy-binding gs://" in line]
    assert f"gs://{APP} --member=serviceAccount:f0-ops@ops-prod.iam.gserviceaccount.com" in line
    assert "--role=roles/storage.objectViewer" in line
    alone = as_script(steps(load(ROOT / "functions.yaml"), Target("ops-prod", only=["statusApi"], buckets=[APP]), {}))
    assert "gs://" not in alone
