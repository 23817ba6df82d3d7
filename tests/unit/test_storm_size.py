"""More alerts than one query may answer fire at once: none is left out of what is decided about them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from shared.alerts import firings
from shared.alerts import follow_up as following
from shared.alerts.quiet import AGE_SECONDS, QuietReader, quiet_reader
from shared.store.protocol import Create, Store
from tests.core import NOW
from tests.unit.test_follow_up import app_over

COUNT = firings.PAGE + 1


def storm(store: Store, **last: Any) -> None:
    """As many as one query answers, and one that comes after all of them."""
    fires = {
        "state": "firing", "rule": "threshold", "severity": "warning", "component": "Auth", "metric": "error_rate",
        "acknowledged": None, "firedAt": NOW, "seq": 1, "firingSeq": 1, "channels": {}, "rev": "0" * 16,
    }  # fmt: skip
    alerts = [Create(f"alerts/a{n:05}", {**fires, "alertId": f"a{n:05}"}) for n in range(COUNT - 1)]
    alerts.append(Create("alerts/z", {**fires, "alertId": "z", **last}))
    for n in range(0, COUNT, 300):
        store.commit(alerts[n : n + 300])


def held(reader: QuietReader, now: datetime = NOW) -> Any:
    latency = {"metric": "api_latency_p95", "severity": "warning", "component": "API"}
    return reader.hold("slack", "latency", "threshold", latency, now)


def test_an_outage_holds_back_what_follows_from_it_however_many_fire_before_it_by_id(store: Store) -> None:
    storm(store, severity="critical", component="API")
    hold = held(quiet_reader(app_over(store)))
    assert hold is not None
    assert (hold.reason, hold.by) == ("inhibited", "z")


def test_the_last_of_them_is_passed_on_as_the_first_is(store: Store) -> None:
    storm(store, severity="critical")
    assert following.follow_up(app_over(store), NOW + timedelta(minutes=15)) == ["z"]


def test_what_fires_is_read_once_in_a_while_however_long_the_reading_takes(sqlite_store: Store) -> None:
    storm(sqlite_store, severity="critical", component="API")
    app = app_over(sqlite_store)
    seconds = [0.0]
    slow = QuietReader(sqlite_store, quiet_reader(app).policy, lambda: seconds[0])

    def reads(later: float) -> int:
        seconds[0] += later
        before = sqlite_store.meter.reads
        assert held(slow) is not None
        return sqlite_store.meter.reads - before

    assert reads(0) >= COUNT
    assert reads(AGE_SECONDS - 1) == 0
    assert reads(1) >= COUNT
