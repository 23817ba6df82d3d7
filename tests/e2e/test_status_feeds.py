"""Atom and RSS, read by the parser that feed readers use."""

from __future__ import annotations

import html
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import feedparser
import pytest

from shared.bootstrap import App
from tests.e2e.status_support import FEEDS, cut_off, get, served
from tests.unit.status_scenes import NOW, minutes
from tests.unit.status_views import PAST, PAYMENTS, PLANNED, RUNNING, VIEWS, incident, snapshot, update, view_app

GOLDEN = Path(__file__).parent / "golden_status"
FULL = snapshot("outage", incidents=[PAYMENTS, *PAST], maintenances=[RUNNING, PLANNED])

Serve = Callable[[Any], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda what: stack.enter_context(served(what if isinstance(what, App) else view_app(tmp_path, what)))


def parsed(url: str) -> Any:
    answer = get(url)
    assert answer.status_code == 200
    found = feedparser.parse(answer.content, response_headers={"content-type": answer.headers["Content-Type"]})
    assert not found.bozo, found.bozo_exception
    return found


@pytest.mark.parametrize("path", FEEDS)
def test_it_is_as_in_its_golden_file(serve: Serve, path: str) -> None:
    """Set UPDATE_GOLDEN=1 to write the files anew; read the difference before it is committed."""
    text = get(serve(FULL) + path).text
    file = GOLDEN / path.strip("/")
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize(("path", "version"), [(FEEDS[0], "atom10"), (FEEDS[1], "rss20")])
def test_it_is_valid_and_has_every_event_newest_first(serve: Serve, path: str, version: str) -> None:
    url = serve(FULL)
    found = parsed(url + path)
    assert found.version == version
    assert found.feed.title == "F0 - Incident History"
    assert [entry.title for entry in found.entries] == [
        "Payments are failing for some cards",
        "Storage is being upgraded",
        "Database moves to a new region",
        "Sign-in was not possible",
        "Delayed e-mails",
    ]
    assert found.entries[0].link == "http://127.0.0.1:8080/status/incidents/payments"
    headers = get(url + path).headers
    assert headers["Content-Type"] == f"application/{path[9:]}+xml; charset=utf-8"
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_an_entry_of_atom_has_what_a_reader_of_statuspage_expects(serve: Serve) -> None:
    url = serve(FULL)
    found = parsed(url + "/history.atom")
    assert found.feed.id == "tag:127.0.0.1,2005:/history"
    entry = found.entries[0]
    assert entry.id == "tag:127.0.0.1,2005:Incident/payments"
    assert (entry.published, entry.updated) == ("2026-03-04T09:03:30Z", "2026-03-04T09:58:30Z")
    assert entry.content[0].type == "text/html"
    text = html.unescape(get(url + "/history.atom").text)
    assert (
        "<p><small>Mar <var data-var='date'>4</var>, <var data-var='time'>09:58</var> UTC</small><br>"
        "<strong>Mitigating</strong> - The webhook is deployed anew."
    ) in text
    assert re.findall(r"<strong>(\w+)</strong>", text)[:3] == ["Mitigating", "Identified", "Investigating"]


def test_an_entry_keeps_its_id_while_it_changes(tmp_path: Path) -> None:
    later = update(NOW + minutes(1), "resolved", "All is well.")
    changed = {
        **PAYMENTS,
        "status": "resolved",
        "resolvedAt": NOW + minutes(1),
        "updates": [*PAYMENTS["updates"], later],
    }
    before, after = (
        parsed_entry(tmp_path / name, view)
        for name, view in (("before", FULL), ("after", snapshot("operational", incidents=[changed])))
    )
    assert before.id == after.id
    assert after.updated > before.updated
    assert after.published == before.published


def parsed_entry(folder: Path, view: Any) -> Any:
    """The entry of the payments' incident, of a view that is served by itself."""
    folder.mkdir()
    with served(view_app(folder, view)) as url:
        return next(e for e in parsed(url + "/history.atom").entries if e.id.endswith("/payments"))


@pytest.mark.parametrize("path", FEEDS)
def test_while_nothing_happens_it_stays_the_same(tmp_path: Path, path: str) -> None:
    tags = set()
    for n in range(2):
        (tmp_path / str(n)).mkdir()
        later = {**FULL, "publishedAt": NOW + minutes(5 * n), "seq": 7 + n}
        with served(view_app(tmp_path / str(n), later)) as url:
            tags.add(get(url + path).headers["ETag"])
    assert len(tags) == 1


@pytest.mark.parametrize("path", FEEDS)
def test_what_people_wrote_breaks_neither_xml_nor_html(serve: Serve, path: str) -> None:
    nasty = incident(
        "a b/&<>\"'", "<script>alert(1)</script> & ]]> \x00\x08\ufffe", "low", ["API"], NOW,
        update(NOW, "investigating", "<img src=x onerror=alert(1)> &amp; \x1b[31m \U0001f600"),
    )  # fmt: skip
    answer = get(serve(snapshot("degraded", incidents=[nasty])) + path)
    root = ET.fromstring(answer.content)
    texts = [text for element in root.iter() for text in (element.text or "",)]
    content = next(text for text in texts if "Investigating" in text)
    assert "<img" not in content
    assert "&lt;img src=x onerror=alert(1)&gt; &amp;amp; [31m \U0001f600" in content
    assert any(text.startswith("<script>alert(1)</script> & ]]>") for text in texts)
    assert not feedparser.parse(answer.content).bozo


@pytest.mark.parametrize("path", FEEDS)
def test_of_an_empty_page_it_is_an_empty_feed(serve: Serve, path: str) -> None:
    found = parsed(serve(snapshot("operational", incidents=[], maintenances=[])) + path)
    assert (found.feed.title, found.entries) == ("F0 - Incident History", [])


@pytest.mark.parametrize("path", FEEDS)
def test_switched_off_it_is_an_empty_feed_that_says_so(serve: Serve, path: str) -> None:
    found = parsed(serve(VIEWS["disabled"]) + path)
    assert found.entries == []
    assert "switched off" in found.feed.subtitle


@pytest.mark.parametrize("path", FEEDS)
def test_with_the_store_down_from_the_start_readers_keep_what_they_have(
    tmp_path: Path, serve: Serve, path: str
) -> None:
    app = view_app(tmp_path, FULL)
    cut_off(app)
    assert get(serve(app) + path).status_code == 503


def test_times_are_in_the_zone_of_the_page(serve: Serve) -> None:
    page = {**FULL["page"], "timeZone": "Europe/Zurich"}
    text = get(serve({**FULL, "page": page}) + "/history.atom").text
    assert "<var data-var='time'>10:58</var> CET" in text.replace("&lt;", "<").replace("&gt;", ">")


def test_it_holds_the_fifty_newest(serve: Serve) -> None:
    many = [incident(f"i{n}", f"Number {n}", "low", ["API"], NOW - timedelta(hours=n)) for n in range(60)]
    found = parsed(serve(snapshot("degraded", incidents=many, maintenances=[])) + "/history.rss")
    assert [entry.title for entry in found.entries] == [f"Number {n}" for n in range(50)]
