"""What has left the snapshot stays readable for 90 days: pages, history, feeds, API v2; on both stores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import feedparser
import pytest

from shared.bootstrap import App
from shared.status.past import DOCUMENT
from shared.status.past import EVERY as LOOKS_EVERY
from shared.status.publish import SNAPSHOT, publish_status
from shared.status_page.page import MAX_BYTES
from shared.store.protocol import Data, Delete, Store, Unavailable
from tests.e2e.status_support import cut_off, get, served
from tests.unit.status_scenes import COMPONENTS, NOW, app_on, fill, incident, minutes, update

HISTORY = "/status/history"
OLD = "/status/incidents/old"


def ended(days: float, title: str = "Sign-in failed", **more: Any) -> Data:
    began = NOW - timedelta(days=days)
    said = [update(began, "investigating", "We look into it."), update(began + minutes(30), "resolved", "It works.")]
    return incident(
        title, "high", ("Auth",), began, status="resolved", resolvedAt=began + minutes(30), updates=said, **more
    )


def work(days: float, status: str = "completed") -> Data:
    began = NOW - timedelta(days=days)
    return {
        "title": "The disks were renewed", "message": "Uploads wait.", "status": status, "components": ["Storage"],
        "scheduledFor": began, "scheduledUntil": began + minutes(60), "startedAt": began, "updates": [],
        "completedAt": began + minutes(50), "publicVisible": True, "rev": "r1",
    }  # fmt: skip


class Place:
    """An App over `store`, and what a visitor asks of it; `later` lets time pass for the caches only."""

    def __init__(self, store: Store, stack: ExitStack) -> None:
        self.store = store
        self.app: App = app_on(store)
        self.passed = 0.0
        start = self.app.monotonic()
        self.app.monotonic = lambda: start + self.passed
        self.app.snapshot_cache._monotonic = self.app.monotonic
        self._stack = stack
        self._url: str | None = None

    @property
    def url(self) -> str:
        self._url = self._url or self._stack.enter_context(served(self.app))
        return self._url

    def publish(self, after: timedelta = timedelta(0), *, changed: bool = False) -> None:
        publish_status(self.store, COMPONENTS, self.app.flags, NOW + after, changed=changed)
        self.later()

    def later(self) -> None:
        self.passed += 6

    def status(self, path: str) -> int:
        return get(self.url + path).status_code

    def text(self, path: str) -> str:
        return get(self.url + path).text


@pytest.fixture
def place(store: Store) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(store, stack)


def test_an_incident_older_than_two_weeks_has_its_page_for_ninety_days(place: Place) -> None:
    fill(place.store, {"incidents/old": ended(60), "incidents/older": ended(91)})
    place.publish()
    html = place.text(OLD)
    assert "<h1>Sign-in failed</h1>" in html
    assert "It works." in html
    assert place.status("/status/incidents/older") == 404


def test_the_history_has_incidents_and_maintenance_of_ninety_days_once_each(place: Place) -> None:
    fill(
        place.store,
        {"incidents/new": ended(3, "New"), "incidents/old": ended(60, "Old"), "maintenances/m": work(40)}
        | {"maintenances/no": {**work(41, "cancelled"), "title": "Nothing came of it"}},
    )
    place.publish()
    assert re.findall(r"<h3><a [^>]+>([^<]+)<", place.text(HISTORY)) == ["New", "The disks were renewed", "Old"]


def test_the_page_itself_has_two_weeks_only(place: Place) -> None:
    fill(place.store, {"incidents/old": ended(60)})
    place.publish()
    assert "None in the last 14 days." in place.text("/status")


def test_the_fifty_first_incident_of_a_bad_week_has_its_page_too(place: Place) -> None:
    fill(place.store, {f"incidents/i{n}": ended(n / 10, f"Number {n}") for n in range(60)})
    place.publish()
    assert "<h1>Number 59</h1>" in place.text("/status/incidents/i59")


def test_a_long_history_has_pages_that_lead_to_one_another(place: Place) -> None:
    fill(place.store, {f"incidents/i{n}": ended(n, f"Number {n} " + "<" * 150) for n in range(80)})
    place.publish()
    path, seen, sizes = HISTORY, [], []
    while path:
        answer = get(place.url + path)
        sizes.append(len(answer.content))
        seen += [int(n) for n in re.findall(r">Number (\d+)", answer.text)]
        back = re.findall(r'<a rel="prev" href="([^"]+)"', answer.text)
        assert bool(back) is (len(sizes) > 1)
        path = "".join(re.findall(r'<a rel="next" href="([^"]+)"', answer.text))
    assert seen == list(range(80))
    assert len(sizes) > 2
    assert max(sizes) <= MAX_BYTES


@pytest.mark.parametrize("number", ["0", "2", "-1", "x", "1.0", "9999", "", "²"])
def test_a_page_of_the_history_that_is_not_there_is_not_found(place: Place, number: str) -> None:
    fill(place.store, {"incidents/old": ended(60)})
    place.publish()
    assert place.status(f"{HISTORY}?page={number}") == 404


def test_feeds_and_the_api_have_the_fifty_newest_whatever_their_age(place: Place) -> None:
    fill(place.store, {f"incidents/i{n}": ended(n, f"Number {n}") for n in range(80)} | {"maintenances/m": work(70)})
    place.publish()
    told = get(place.url + "/api/v2/incidents.json").json()["incidents"]
    assert [each["name"] for each in told] == [f"Number {n}" for n in range(50)]
    assert len(feedparser.parse(place.text("/history.atom")).entries) == 50
    assert len(feedparser.parse(place.text("/history.rss")).entries) == 50
    works = get(place.url + "/api/v2/scheduled-maintenances.json").json()["scheduled_maintenances"]
    assert [each["name"] for each in works] == ["The disks were renewed"]


def test_the_past_is_read_once_for_each_change_of_it_and_never_for_the_page(place: Place) -> None:
    fill(place.store, {f"incidents/i{n}": ended(20 + n) for n in range(5)})
    place.publish()
    place.text("/status")
    before = place.store.meter.snapshot()
    place.text("/status")
    assert place.store.meter.since(before).reads == 0
    for path in (HISTORY, "/status/incidents/i1", "/status/incidents/none", "/history.atom", "/api/v2/incidents.json"):
        place.text(path)
    assert place.store.meter.since(before).reads == 1
    publish_status(place.store, COMPONENTS, place.app.flags, NOW + minutes(1))
    before = place.store.meter.snapshot()
    place.later()
    for path in (HISTORY, "/status/incidents/i2"):
        place.text(path)
    assert place.store.meter.since(before).reads == 2  # snapshot and flags: nothing in the past has changed


def test_what_is_hidden_later_is_gone_at_once_where_the_change_is_told(place: Place) -> None:
    fill(place.store, {"incidents/old": ended(60)})
    place.publish()
    assert place.status(OLD) == 200
    fill(place.store, {"incidents/old": ended(60, publicVisible=False)})
    place.publish(minutes(1), changed=True)
    assert place.status(OLD) == 404
    assert "Sign-in failed" not in place.text(HISTORY)


def test_and_within_minutes_where_nobody_told_of_it(place: Place) -> None:
    fill(place.store, {"incidents/old": ended(60)})
    place.publish()
    fill(place.store, {"incidents/old": ended(60, publicVisible=False)})
    place.publish(LOOKS_EVERY - minutes(1))
    assert place.status(OLD) == 200
    place.publish(LOOKS_EVERY)
    assert place.status(OLD) == 404


def test_what_leaves_the_snapshot_is_in_the_past_at_the_same_moment(place: Place) -> None:
    fill(place.store, {"incidents/old": ended(14)})
    place.publish()
    assert place.status(OLD) == 200
    place.publish(minutes(31))
    known = place.store.get(SNAPSHOT)
    assert known is not None
    assert known.data["incidents"] == []
    assert place.status(OLD) == 200


def test_one_that_is_opened_again_is_told_as_it_is_now(place: Place) -> None:
    fill(place.store, {"incidents/old": ended(60)})
    place.publish()
    place.text(OLD)
    fill(place.store, {"incidents/old": {**ended(60, "Broken again"), "status": "identified", "resolvedAt": None}})
    place.publish(minutes(1))
    assert "<h1>Broken again</h1>" in place.text(OLD)
    assert place.text(HISTORY).count(f'href="{OLD}"') == 1


def test_a_publication_in_which_nothing_of_it_changed_reads_and_writes_no_more_than_before(place: Place) -> None:
    place.publish()
    before = place.store.meter.snapshot()
    place.publish(minutes(1))
    without = place.store.meter.since(before)
    fill(place.store, {f"incidents/i{n}": ended(60 + n) for n in range(9)})
    place.publish(minutes(2), changed=True)
    before = place.store.meter.snapshot()
    place.publish(minutes(3))
    assert place.store.meter.since(before).writes == without.writes
    assert place.store.meter.since(before).reads == without.reads + 8  # the newest nine, which it reads anyway


def test_while_the_store_is_down_what_was_read_stays(place: Place) -> None:
    fill(place.store, {"incidents/old": ended(60)})
    place.publish()
    assert place.status(OLD) == 200
    cut_off(place.app)
    place.later()
    html = place.text(OLD)
    assert "<h1>Sign-in failed</h1>" in html
    assert "New information cannot be read at the moment." in html


def test_what_cannot_be_read_is_told_calmly_and_read_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(place.store, {"incidents/old": ended(60), "incidents/new": ended(1, "New")})
    place.publish()
    place.text("/status")
    asked: list[str] = []

    def fail(path: str) -> None:
        asked.append(path)
        raise Unavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(place.store, "get", fail)
        answer = get(place.url + OLD)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (503, "no-store")
        assert "<h1>This cannot be read at the moment</h1>" in answer.text
        html = place.text(HISTORY)
        assert ">New</a>" in html
        assert "What ended more than 14 days ago cannot be read at the moment." in html
        assert get(place.url + "/api/v2/incidents.json").json()["incidents"][0]["name"] == "New"
        assert asked == [DOCUMENT]  # and not once more by each who looks
    place.later()
    assert place.status(OLD) == 200
    assert "cannot be read" not in place.text(HISTORY)


def test_while_the_page_is_switched_off_there_is_no_past(place: Place) -> None:
    fill(place.store, {"incidents/old": ended(60)})
    place.publish()
    fill(place.store, {"config/flags": {"ops": {"public_status_page": False}, "rev": "r1"}})
    place.publish(minutes(1))
    assert place.store.get(DOCUMENT) is None
    assert "Sign-in failed" not in place.text(OLD) + place.text(HISTORY) + place.text("/history.atom")
    place.store.commit([Delete("config/flags")])
    publish_status(place.store, COMPONENTS, app_on(place.store).flags, NOW + minutes(2))
    known = place.store.get(DOCUMENT)
    assert known is not None
    assert [each["id"] for each in known.data["incidents"]] == ["old"]


def test_a_past_that_does_not_fit_keeps_the_newest(place: Place) -> None:
    long = [update(NOW - timedelta(days=20), "investigating", f"{n} " + "x" * 3_990) for n in range(200)]
    fill(place.store, {f"incidents/i{n}": {**ended(20 + n), "updates": long} for n in range(60)})
    place.publish()
    known = place.store.get(DOCUMENT)
    assert known is not None
    kept = [each["id"] for each in known.data["incidents"]]
    assert kept == [f"i{n}" for n in range(len(kept))]
    assert 20 < len(kept) < 60
    shown = known.data["incidents"][0]
    assert shown["earlierUpdates"] + len(shown["updates"]) == 200


def test_the_newest_document_counts_where_the_snapshot_is_older(place: Place) -> None:
    """Between the reads of the two a publication can have come."""
    fill(place.store, {"incidents/old": ended(60)})
    place.publish()
    place.text("/status")
    fill(place.store, {"incidents/old": ended(60, "Sign-in failed for some")})
    publish_status(place.store, COMPONENTS, place.app.flags, NOW + minutes(1), changed=True)
    assert "<h1>Sign-in failed for some</h1>" in place.text(OLD)
    place.later()
    assert "<h1>Sign-in failed for some</h1>" in place.text(OLD)
