"""The page of an incident whose older updates stand in a document of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.bootstrap import App
from shared.status.publish import SNAPSHOT, publish_status
from shared.status_page.timelines import Timelines
from shared.store.protocol import Data, Delete, Unavailable
from tests.e2e.status_support import cut_off, get, served
from tests.unit.status_scenes import COMPONENTS, NOW, app_on, fill, minutes
from tests.unit.status_views import snapshot, view_app

PAGE = "/status/incidents/now"
ALL = PAGE + "?updates=all"


def current(count: int) -> Data:
    """An incident with `count` updates of 4 kB each: 500 kB of them do not fit into the snapshot."""
    updates = [
        {
            "timestamp": NOW - minutes(500 - n),
            "status": "investigating",
            "message": f"{n} " + "x" * 3_990,
            "author": "u",
        }
        for n in range(count)
    ]
    frame = {"title": "Slow", "impact": "low", "status": "investigating", "components": ["API"], "publicVisible": True}
    return {**frame, "startedAt": NOW - minutes(500), "updates": updates}


def publish(app: App) -> None:
    publish_status(app.store, COMPONENTS, app.flags, NOW)


@pytest.fixture
def app(tmp_path: Path) -> App:
    """With an incident of 150 updates, of which the snapshot has the newest."""
    app = view_app(tmp_path, None)
    fill(app.store, {"incidents/now": current(150)})
    publish(app)
    return app


@pytest.fixture
def url(app: App) -> Iterator[str]:
    with ExitStack() as stack:
        yield stack.enter_context(served(app))


def numbers(url: str, path: str = ALL) -> list[int]:
    """The updates that a page shows, as it has them."""
    return [int(n) for n in re.findall(r'<p class="text">(\d+) x', get(url + path).text)]


def test_every_update_is_there_newest_first(app: App, url: str) -> None:
    known = app.store.get(SNAPSHOT)
    assert known is not None
    assert len(known.data["incidents"][0]["updates"]) < 150
    assert numbers(url) == list(range(149, -1, -1))
    assert "not shown" not in get(url + ALL).text


def test_its_own_page_has_the_newest_and_leads_to_all(url: str) -> None:
    html = get(url + PAGE).text
    shown = numbers(url, PAGE)
    assert shown[0] == 149
    assert f"{150 - len(shown)} earlier updates are not shown." in html
    assert f'<a href="{ALL}">Show the whole timeline</a>' in html


def test_it_takes_one_read_until_the_updates_change(app: App, url: str) -> None:
    numbers(url)
    read = app.store.meter.snapshot()
    for path in (ALL, PAGE, ALL):
        numbers(url, path)
    assert app.store.meter.since(read).reads == 0
    start = app.monotonic()
    publish(app)
    app.snapshot_cache._monotonic = lambda: start + 60
    assert len(numbers(url)) == 150
    assert app.store.meter.since(read).reads < 20  # those of the publication, and the snapshot
    fill(app.store, {"incidents/now": current(151)})
    publish(app)
    app.snapshot_cache._monotonic = lambda: start + 120
    assert numbers(url)[0] == 150


def test_while_the_store_is_down_what_was_read_stays(app: App, url: str) -> None:
    assert len(numbers(url)) == 150
    cut_off(app)
    app.clock = lambda: NOW + minutes(5)
    assert len(numbers(url)) == 150


def test_what_cannot_be_read_is_told_and_read_later(app: App, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fail(path: str) -> None:
        asked.append(path)
        raise Unavailable("down")

    time = [app.monotonic()]
    app.monotonic = lambda: time[0]
    with monkeypatch.context() as patch:
        patch.setattr(app.store, "get", fail)
        shown = numbers(url)
        assert 0 < len(shown) < 150
        assert f"{150 - len(shown)} earlier updates are not shown." in get(url + ALL).text
        assert len(asked) == 1  # and not once more by each who looks
    time[0] += 6
    assert len(numbers(url)) == 150


def test_a_document_that_is_gone_leaves_what_the_snapshot_has(app: App, url: str) -> None:
    app.store.commit([Delete("status/incidents/items/now")])
    shown = numbers(url)
    assert 0 < len(shown) < 150
    assert f"{150 - len(shown)} earlier updates are not shown." in get(url + ALL).text


def test_nothing_of_it_is_shown_once_it_is_not_public(app: App, url: str) -> None:
    numbers(url)
    fill(app.store, {"incidents/now": {**current(150), "publicVisible": False}})
    publish(app)
    start = app.monotonic()
    app.snapshot_cache._monotonic = lambda: start + 60
    assert get(url + ALL).status_code == 404


def test_what_is_newer_than_the_document_is_shown_too(tmp_path: Path) -> None:
    app = view_app(tmp_path, snapshot("degraded", incidents=[]))
    older = [{"timestamp": NOW - minutes(n), "status": "investigating", "message": str(n)} for n in (5, 4, 3)]
    fill(app.store, {"status/incidents/items/a": {"updates": older}})
    event = {
        "id": "a",
        "updatesHash": "h",
        "earlierUpdates": 4,
        "updates": [{**older[2], "message": "3…"}, {"timestamp": NOW, "status": "investigating", "message": "0"}],
    }
    whole = app_on(app.store).part(Timelines).whole(app.snapshot_cache.served(), event)
    assert [u["message"] for u in whole["updates"]] == ["5", "4", "3", "0"]
    assert whole["earlierUpdates"] == 2
    app.store.close()
