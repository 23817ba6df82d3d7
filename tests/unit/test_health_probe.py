"""healthProbe against real servers that fail, hang, are late, answer garbage; nothing twice, nothing old over new."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.bootstrap import App
from shared.domain.probing import Entry, Finding
from shared.metrics.fold import fold
from shared.metrics.rollups import read_blocks
from shared.outbound import HttpOutbound
from shared.probes import rounds as rounds_module
from shared.probes.rounds import Rounds
from shared.probes.run import Report, run_health_probe
from shared.status.cache import SnapshotCache
from shared.status.publish import HISTORY, PROBED, SNAPSHOT
from shared.store.protocol import Data, Delete, Put, Query, Store, Unavailable
from shared.store.sqlite import SqliteStore
from tests.certificates import self_signed
from tests.core import CONFIG, NOW, Clock, every_byte, make_app, ms, registry, shipped
from tests.fake_servers import Behaviour, Exchange, FakeSlack, closing, failing, garbage, hanging
from tests.planted import WAYS, Calls, Faulty, Killed

HTTP = {"id": "health", "kind": "http"}
OK = failing(200, '{"status": "ok"}')


@dataclass
class World:
    """An App whose clock goes on only while it sleeps. `while_asleep` is called once a run, between its rounds."""

    store: Store
    folder: Path
    while_asleep: Callable[[], None] = lambda: None
    clock: Clock = field(default_factory=Clock)
    env: dict[str, str] = field(default_factory=dict)
    outbound: HttpOutbound = field(default_factory=HttpOutbound)
    monotonic: Callable[[], float] = time.monotonic

    def configure(self, *components: Any) -> World:
        shutil.copytree(CONFIG, self.folder / "config", dirs_exist_ok=True)
        written = {"page": {"name": "F0"}, "components": list(components)}
        (self.folder / "config" / "components.json").write_text(json.dumps(written))
        return self

    def one(self, url: str, **more: Any) -> World:
        return self.configure({"id": "API", "name": "API", "probes": [{**HTTP, "url": url, **more}]})

    def app(self, store: Store | None = None) -> App:
        app = make_app(store or self.store, self.clock, self.folder / "config", **self.env)
        app.sleep, app.outbound, app.monotonic = self._sleep, self.outbound, self.monotonic
        return app

    def _sleep(self, seconds: float) -> None:
        if seconds > 1:  # between the rounds, and not before another attempt
            self.while_asleep()

    def run(self, store: Store | None = None) -> Report:
        """A run, and then the time until the next minute."""
        try:
            return run_health_probe(self.app(store), self.clock.now)
        finally:
            self.clock.now += timedelta(minutes=1)

    def entry(self, probe: str = "health", component: str = "API") -> Entry:
        doc = self.store.get(PROBED)
        assert doc is not None
        found: Entry = doc.data["probes"][component][probe]
        return found

    def snapshot(self) -> Data:
        doc = self.store.get(SNAPSHOT)
        assert doc is not None
        return doc.data

    def state(self, component: str = "API") -> str:
        return next(str(c["state"]) for c in self.snapshot()["components"] if c["id"] == component)


@pytest.fixture
def world(store: Store, tmp_path: Path) -> World:
    return World(store, tmp_path)


@pytest.fixture
def local(sqlite_store: SqliteStore, tmp_path: Path) -> World:
    return World(sqlite_store, tmp_path)


def switched(*behaviours: Behaviour) -> Behaviour:
    """Each request meets the next behaviour, the last one for ever."""

    def behave(exchange: Exchange) -> None:
        behaviours[min(exchange.received.number, len(behaviours) - 1)](exchange)

    return behave


def test_a_failure_is_degraded_at_once_an_outage_after_its_rounds_and_recovers_after_two(world: World) -> None:
    with FakeSlack(OK) as server:
        world.one(server.url)
        world.run()
        assert world.state() == "operational"
        server.behave = failing(500)
        world.run()
        assert (world.state(), world.entry()["reason"], world.entry()["detail"]) == (
            "degraded",
            "status_unexpected",
            "500",
        )
        world.run()
        assert world.state() == "outage"
        server.behave = OK
        world.run()
        assert world.state() == "operational"
    (api,) = world.snapshot()["components"]
    assert api["history"]["days"][-1] == {"operational": 60, "degraded": 90, "outage": 60, "unknown": BEFORE}


BEFORE = 12 * 3600 + 2 * 60 + 30  # seconds of the day of NOW, before the first round


def test_a_lost_packet_is_no_outage(local: World) -> None:
    """Every other request is lost, and each is made up for by its retry."""
    with FakeSlack() as server:
        server.behave = lambda exchange: (closing if exchange.received.number % 2 == 0 else OK)(exchange)
        local.one(server.url)
        for _ in range(5):
            local.run()
            assert (local.state(), local.entry()["failures"]) == ("operational", 0)
        assert len(server.received) == 20


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (hanging, "timeout"),
        (closing, "connection_lost"),
        (garbage, "unreadable_answer"),
        (failing(503), "status_unexpected"),
        (failing(200, "not json"), "not_json"),
        (failing(302, "", {"Location": "http://10.0.0.1/"}), "address_refused"),
    ],
    ids=["hangs", "closes", "garbage", "503", "no json", "private redirect"],
)
def test_whatever_the_target_does_it_is_told_in_a_word(local: World, behave: Behaviour, reason: str) -> None:
    with FakeSlack(behave) as server:
        patience = 0.3 if behave is hanging else 5
        expect = {"json": [{"path": "status", "equals": "ok"}]}
        local.one(server.url, expect=expect, retries=0, timeoutSeconds=patience)
        local.run()
        assert (local.state(), local.entry()["reason"]) == ("degraded", reason)


def test_nobody_there_and_no_such_name_are_failures(local: World) -> None:
    local.one("http://127.0.0.1:1/")
    assert local.run().failed == ["API.health: connection_refused"]
    local.one("http://no-such-name.invalid/")
    assert local.run().failed == ["API.health: connect_failed"]


def test_a_slow_answer_is_degraded_and_says_so(local: World) -> None:
    passed = [0.0]
    local.monotonic = lambda: passed[0]

    def slow(exchange: Exchange) -> None:
        passed[0] += 0.7
        OK(exchange)

    with FakeSlack(slow) as server:
        local.one(server.url, slowMs=500, shows="latency")
        local.run()
        (api,) = local.snapshot()["components"]
        assert (api["state"], api["message"]) == ("degraded", "Increased latency detected")
        assert api["latency"] == 700
        server.behave = OK
        local.run()
        assert local.state() == "operational"


def test_a_certificate_about_to_expire_is_degraded(local: World, tmp_path: Path) -> None:
    files = self_signed(tmp_path, timedelta(days=3))
    local.outbound = HttpOutbound(files[0])
    local.clock.now = datetime.now(NOW.tzinfo)
    with FakeSlack(OK, tls=files) as server:
        local.one(server.url, expect={"certificateDays": 14})
        local.run()
        assert (local.entry()["state"], local.entry()["reason"]) == ("degraded", "certificate_expires")
        local.one(server.url, expect={"certificateDays": 1})
        local.run()
        assert local.entry()["state"] == "operational"
        local.outbound = HttpOutbound()
        local.run()
        assert local.entry()["reason"] == "certificate_refused"


def test_a_target_that_hangs_delays_no_other(local: World) -> None:
    with FakeSlack(hanging) as hung, FakeSlack(OK) as well:
        answered = threading.Event()

        def behave(exchange: Exchange) -> None:
            OK(exchange)
            answered.set()

        well.behave = behave
        hung.behave = lambda exchange: (answered.wait(30), hanging(exchange))[1]  # it hangs until after the other
        probes = [{**HTTP, "id": f"hung{n}", "url": hung.url, "timeoutSeconds": 0.3} for n in range(20)]
        local.configure({"id": "API", "name": "API", "probes": [*probes, {**HTTP, "url": well.url}]})
        local.run()
        assert (local.entry()["state"], local.entry("hung7")["reason"]) == ("operational", "timeout")


def test_a_thread_that_never_comes_back_is_left_behind_and_its_probe_waits_for_it() -> None:
    times = iter((0.0, 0.0))  # the deadline passes once the first answer is there
    released, rounds = threading.Event(), Rounds(lambda: next(times, 100.0))

    def stuck() -> Finding:
        released.wait()
        return Finding("good", "answered")

    questions = {("API", "stuck"): stuck, ("API", "well"): lambda: Finding("good", "answered")}
    assert {k[1]: f.reason for k, f in rounds.all(questions, 60.0).items()} == {"stuck": "timeout", "well": "answered"}
    assert {k[1]: f.reason for k, f in rounds.all(questions, 60.0).items()} == {"stuck": "hangs", "well": "answered"}
    released.set()
    for thread in rounds._running.values():
        thread.join()
    assert {f.reason for f in rounds.all(questions, 60.0).values()} == {"answered"}


def test_one_that_has_answered_is_asked_again_though_its_thread_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    released, answer = threading.Event(), rounds_module._answer

    def linger(*question: Any) -> None:
        answer(*question)
        released.wait()

    monkeypatch.setattr(rounds_module, "_answer", linger)
    rounds, key = Rounds(time.monotonic), ("API", "x")
    found = [rounds.all({key: lambda: Finding("good", "answered")}, 60.0)[key].reason for _ in range(2)]
    released.set()
    assert found == ["answered", "answered"]


def test_a_fault_of_ours_in_one_probe_does_not_fail_the_round() -> None:
    def broken() -> Finding:
        raise ZeroDivisionError

    found = Rounds(time.monotonic).all({("API", "x"): broken}, 60.0)
    assert found["API", "x"].outcome == "unknown"


def test_a_failure_between_two_rounds_is_public_within_60_seconds(local: World) -> None:
    """The worst moment: right after a round. What is served is read from the snapshot at most 5 s later."""
    with FakeSlack(OK) as server:

        def break_it() -> None:
            server.behave = failing(500)

        local.one(server.url)
        local.while_asleep = break_it  # broken between 12:02:30 and 12:03:00
        local.run()
        assert local.snapshot()["publishedAt"] == NOW + timedelta(seconds=30)
        assert local.state() == "degraded"


def test_a_state_that_changes_in_the_first_round_is_published_before_the_second(local: World) -> None:
    seen = []
    with FakeSlack(failing(500)) as server:
        local.one(server.url)
        local.while_asleep = lambda: seen.append(local.state())
        local.run()
        local.run()
    assert seen == ["degraded", "degraded"]


def test_without_its_setting_a_component_is_not_monitored(world: World) -> None:
    shutil.copytree(CONFIG, world.folder / "config")
    world.run()
    states = {c["id"]: c["state"] for c in world.snapshot()["components"]}
    assert {name: states[name] for name in ("API", "Auth", "Billing", "Storage", "Database")} == {
        "API": "no_data",  # of its SLOs, which were never evaluated
        "Auth": "not_monitored",
        "Billing": "not_monitored",
        "Storage": "not_monitored",
        "Database": "operational",
    }
    assert world.entry("api", "Billing")["detail"] == "STRIPE_API_KEY"


def test_the_store_is_written_and_read_with_its_latencies(world: World) -> None:
    world.configure({"id": "Database", "name": "Database", "probes": [{"id": "store", "kind": "store"}]})
    world.run()
    (database,) = world.snapshot()["components"]
    assert database["state"] == "operational"
    assert {"readLatency", "writeLatency"} <= database.keys()


def test_a_refused_key_is_told_in_the_log_and_becomes_no_data(local: World, capsys: pytest.CaptureFixture[str]) -> None:
    local.env = {"STRIPE_API_KEY": "rk_revoked"}
    with FakeSlack(failing(200, '{"object": "balance"}')) as server:
        stripe = {"id": "pay", "kind": "stripe", "url": server.url}
        local.configure({"id": "Billing", "name": "Billing", "probes": [stripe]})
        local.run()
        assert local.state("Billing") == "operational"
        server.behave = failing(401)
        capsys.readouterr()
        for _ in range(5):
            local.run()
        assert local.state("Billing") == "no_data"
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [(line["severity"], line["reason"]) for line in lines if line.get("probe") == "pay"]
    assert told == [("WARNING", "key_refused")]


def test_a_probe_with_a_longer_pause_is_left_out_in_between(local: World) -> None:
    with FakeSlack(OK) as server:
        local.one(server.url, everySeconds=120)
        for _ in range(4):
            local.run()
        assert len(server.received) == 2
        assert local.state() == "operational"


def test_an_older_round_never_overwrites_a_newer_one(world: World) -> None:
    with FakeSlack(failing(500)) as server:
        world.one(server.url)
        world.clock.now = NOW + timedelta(minutes=5)
        world.run()
        newer = world.entry()
        server.behave = OK
        world.clock.now = NOW
        report = world.run()
    assert report.overtaken
    assert (world.entry(), world.state()) == (newer, "degraded")
    assert world.snapshot()["publishedAt"] == NOW + timedelta(minutes=5, seconds=30)


def test_a_run_by_hand_between_two_minutes_leaves_out_no_round_of_the_schedule(local: World) -> None:
    with FakeSlack(OK) as server:
        local.one(server.url)
        local.run()
        by_hand = local.clock.now - timedelta(seconds=33)
        run_health_probe(local.app(), by_hand)  # its rounds are 33 and 3 s before the next minute
        report = local.run()
        assert (report.rounds, report.asked, report.overtaken) == (2, 2, False)
        assert len(server.received) == 6


def test_two_runs_at_once_count_a_round_once(local: World) -> None:
    with FakeSlack(failing(500)) as server:
        local.one(server.url)
        for _ in range(4):
            run_health_probe(local.app(), local.clock.now)
        assert local.entry()["failures"] == 2


def test_a_second_round_that_could_not_end_in_time_is_left_out(local: World) -> None:
    with FakeSlack(OK) as server:
        local.one(server.url)
        app = local.app()
        passed = [0.0]
        app.monotonic = lambda: passed[0]

        def oversleep(seconds: float) -> None:
            passed[0] += 40

        app.sleep = oversleep
        assert run_health_probe(app, NOW).rounds == 1
        assert len(server.received) == 1
        assert local.entry()["checkedAt"] == NOW


@pytest.mark.parametrize("when", WAYS)
def test_whichever_call_to_the_store_is_hit_the_next_run_sees_everything(local: World, when: str) -> None:
    """Each in turn, with a state that changes in the first round: so both rounds are stored and published."""
    with FakeSlack(failing(500)) as server:
        local.one(server.url)
        calls = Calls()
        local.run(Faulty(local.store, calls, [PROBED, SNAPSHOT]))
        assert calls.made > 12
        for at in range(1, calls.made + 1):
            local.store.commit([Delete(path) for path in (PROBED, SNAPSHOT, HISTORY)])
            began = local.clock.now
            with suppress(Killed, Unavailable):
                local.run(Faulty(local.store, Calls(at, when), [PROBED, SNAPSHOT]))
            local.run()
            assert local.entry()["state"] in ("degraded", "outage"), (at, when)
            assert local.entry()["failures"] in (2, 3, 4), (at, when)
            assert local.entry()["roundAt"] == began + timedelta(seconds=90), (at, when)
            snapshot = local.snapshot()
            assert snapshot["publishedAt"] == began + timedelta(seconds=90), (at, when)
            (api,) = snapshot["components"]
            today = api["history"]["days"][-1] if "history" in api else {}
            assert sum(n for state, n in today.items() if state != "unknown") <= 90, (at, when)


def test_what_was_found_becomes_metrics_that_count_once(store: Store, tmp_path: Path) -> None:
    world = World(store, tmp_path)
    with FakeSlack(switched(OK, failing(500))) as server:
        world.one(server.url, retries=0)
        world.run()
    fold(store, registry(), shipped().definitions, NOW + timedelta(minutes=1))
    block = read_blocks(store, [ms(NOW) // 300_000])[ms(NOW) // 300_000]
    labels = '{"component":"API","probe":"health"}'
    assert (block[f"probe_success{labels}"].count, block[f"probe_success{labels}"].total) == (2, 1)
    assert block[f"probe_latency{labels}"].count == 1


def test_the_test_write_and_read_of_the_store_are_samples_of_its_latencies(local: World) -> None:
    local.configure({"id": "Database", "name": "Database", "probes": [{"id": "store", "kind": "store"}]})
    local.run()
    fold(local.store, registry(), shipped().definitions, NOW + timedelta(minutes=1))
    block = read_blocks(local.store, [ms(NOW) // 300_000])[ms(NOW) // 300_000]
    labels = '{"operation":"probe","store":"sqlite"}'
    assert [block[f"firestore_{what}_latency{labels}"].count for what in ("read", "write")] == [2, 2]


def test_no_metrics_while_their_collection_is_off(local: World) -> None:
    local.store.commit([Put("config/flags", {"ops": {"metrics_collection": False}, "rev": "r1"})])
    with FakeSlack(OK) as server:
        local.one(server.url)
        local.run()
    assert local.store.query(Query("segments", group=True)) == []
    assert local.state() == "operational"


def test_secrets_are_sent_and_are_in_no_record_answer_or_log(
    sqlite_store: SqliteStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = "canary-9f8e7d"
    world = World(sqlite_store, tmp_path, env={"PROBE_TOKEN": canary, "STRIPE_API_KEY": f"sk_{canary}"})
    told = []
    for behave in (
        OK,
        failing(500, canary),
        closing,
        garbage,
        failing(302, "", {"Location": f"http://10.0.0.1/{canary}"}),
    ):
        with FakeSlack(behave) as server:
            http = {
                **HTTP,
                "url": f"{server.url}?key=${{PROBE_TOKEN}}",
                "headers": {"Authorization": "Bearer ${PROBE_TOKEN}"},
            }
            stripe = {"id": "pay", "kind": "stripe", "url": server.url}
            world.configure({"id": "API", "name": "API", "probes": [http, stripe]})
            told.append(repr(world.run()) + repr(world.app().settings))
            assert all(canary in json.dumps(dict(r.headers)) for r in server.received)
            assert server.received
    assert canary.encode() not in every_byte(tmp_path / "store.db")
    assert canary not in "".join(told)
    assert canary not in capsys.readouterr().out


def test_a_run_costs_few_operations(local: World) -> None:
    with FakeSlack(OK) as server:
        local.one(server.url)
        local.run()
        app = local.app()
        app.flags.on("ops.metrics_collection")
        app.slos.current()
        before = local.store.meter.snapshot()
        run_health_probe(app, NOW + timedelta(minutes=1))
    cost = local.store.meter.since(before)
    # what is known, what is to be replaced; snapshot, four sources, two queries that find nothing; flags and SLOs again
    assert (cost.reads, cost.writes, cost.deletes) == (9, 3, 0)


def test_what_is_served_follows_the_snapshot(local: World) -> None:
    with FakeSlack(failing(500)) as server:
        local.one(server.url)
        local.run()
    app = local.app()
    served = SnapshotCache(local.store, app.flags, time.monotonic).served()
    assert served.snapshot is not None
    assert served.snapshot["overall"] == "degraded"


class TestStatusPage:
    """The probe of the page itself, which is shipped."""

    def samples(self, world: World) -> dict[str, tuple[int, float]]:
        fold(world.store, registry(), shipped().definitions, NOW + timedelta(minutes=1))
        block = read_blocks(world.store, [ms(NOW) // 300_000])[ms(NOW) // 300_000]
        return {key: (stats.count, stats.total) for key, stats in block.items() if key.startswith("probe_success")}

    def test_without_its_address_it_is_not_asked(self, local: World) -> None:
        local.configure({"id": "API", "name": "API"})
        report = local.run()
        assert (report.asked, report.states) == (0, {})

    def test_its_health_answer_is_asked_and_only_the_report_knows(self, local: World) -> None:
        with FakeSlack(OK) as server:
            local.env = {"STATUS_PAGE_URL": f"{server.url}/status"}
            local.configure({"id": "API", "name": "API"})
            report = local.run()
            assert {request.path for request in server.received} == {"/api/status/healthz"}
        assert (report.asked, report.failed) == (2, [])
        assert [(c["id"], c["state"]) for c in local.snapshot()["components"]] == [("API", "not_monitored")]
        assert self.samples(local) == {'probe_success{"probe":"status_page"}': (2, 2.0)}

    def test_a_page_that_fails_is_no_component_that_does(self, local: World) -> None:
        with FakeSlack(failing(503)) as server:
            local.env = {"STATUS_PAGE_URL": server.url}
            local.configure({"id": "API", "name": "API"})
            report = local.run()
        assert report.failed == ["status-page.status_page: status_unexpected"]
        assert local.snapshot()["overall"] == "unknown"
        assert self.samples(local) == {'probe_success{"probe":"status_page"}': (2, 0.0)}
