"""The badges: the picture, and the custom element in a page of another site, in a real browser."""

from __future__ import annotations

import gzip
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from werkzeug.serving import make_server

from shared.bootstrap import App
from shared.store.protocol import Put
from tests.e2e.status_support import ROOT, cut_off, get, served
from tests.unit.status_scenes import NOW, minutes
from tests.unit.status_views import VIEWS, view_app

SCRIPT = ROOT / "shared/status_page/badge.js"
Serve = Callable[[Any], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda what: stack.enter_context(served(what if isinstance(what, App) else view_app(tmp_path, what)))


class TestPicture:
    @pytest.mark.parametrize(
        ("view", "word"),
        [("operational", "operational"), ("degraded", "degraded"), ("outage", "outage"), ("maintenance", "operational"),
         ("no_data", "unknown"), ("disabled", "disabled")],
    )  # fmt: skip
    def test_it_says_the_state_in_one_word_and_has_a_name(self, serve: Serve, view: str, word: str) -> None:
        answer = get(serve(VIEWS[view]) + "/api/status/badge.svg")
        assert answer.headers["Content-Type"] == "image/svg+xml"
        root = ET.fromstring(answer.content)
        assert (root.get("role"), root.get("aria-label")) == ("img", f"Status: {word}")
        assert [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")] == ["status", word]
        assert root.findtext("{http://www.w3.org/2000/svg}title") == f"Status: {word}"

    def test_an_outdated_view_is_unknown(self, tmp_path: Path, serve: Serve) -> None:
        url = serve(view_app(tmp_path, VIEWS["outage"], NOW + minutes(11)))
        assert "Status: unknown" in get(url + "/api/status/badge.svg").text

    def test_with_the_store_down_from_the_start_it_is_unknown(self, tmp_path: Path, serve: Serve) -> None:
        app = view_app(tmp_path, VIEWS["outage"])
        cut_off(app)
        assert "Status: unknown" in get(serve(app) + "/api/status/badge.svg").text


def test_the_script_is_small_and_plain(serve: Serve) -> None:
    answer = get(serve(VIEWS["operational"]) + "/status-badge.js")
    assert answer.content == SCRIPT.read_bytes()
    assert len(gzip.compress(answer.content)) <= 2048
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Cache-Control"].startswith("public, max-age=300")


def test_switched_off_the_script_is_a_comment(serve: Serve) -> None:
    assert get(serve(VIEWS["disabled"]) + "/status-badge.js").text == "// The status page is switched off.\n"


@contextmanager
def a_site(status: str) -> Iterator[str]:
    """A page of another origin, with a policy as strict as the badge allows, and the badge in its navigation."""
    site = Flask("site")

    @site.get("/")
    def home() -> Response:
        html = (
            f'<!doctype html><html lang="en"><title>Shop</title><script src="{status}/status-badge.js"></script>'
            "<body><nav><a id=first href='#'>Shop</a> <status-badge></status-badge> <a id=last href='#'>Cart</a></nav>"
        )
        policy = f"default-src 'none'; script-src {status}; connect-src {status}; img-src data:"
        return Response(html, headers={"Content-Security-Policy": policy})

    server = make_server("127.0.0.1", 0, site)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Badge:
    """The element in a browser's page, and the App behind it, whose snapshot the test changes."""

    def __init__(self, page: Any, app: App, site: str) -> None:
        self.page, self.app = page, app
        self.faults: list[str] = []
        self.seconds = 0.0
        app.monotonic = lambda: self.seconds
        page.on("console", lambda message: self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.asked: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.clock.install(time=NOW)
        page.goto(site)
        self.dot = page.locator("status-badge a")

    def becomes(self, view: str) -> None:
        """The snapshot changes, and ten seconds pass."""
        self.app.store.commit([Put("status/public", {**VIEWS[view], "seq": self.seq() + 1})])
        self.seconds += 60
        self.page.clock.run_for(10_000)

    def seq(self) -> int:
        doc = self.app.store.get("status/public")
        assert doc is not None
        return int(doc.data["seq"])

    def is_called(self, name: str) -> None:
        self.page.locator(f'status-badge a[aria-label="{name}"]').wait_for()

    def stand_still(self) -> None:
        """From now on time passes for the page only where the test says so, and it has just asked."""
        later = datetime.fromtimestamp(self.page.evaluate("Date.now()") / 1000 + 60, UTC)
        self.page.clock.pause_at(later)
        self.asks("document.dispatchEvent(new Event('visibilitychange'))")

    def asks(self, why: str | int) -> None:
        """Until it has asked, and knows when it asks next: because of a script, or of milliseconds that pass."""
        timer = "document.querySelector('status-badge').timer"
        before = self.page.evaluate(timer)
        if isinstance(why, int):
            self.page.clock.run_for(why)
        else:
            self.page.evaluate(why)
        for _ in range(1000):
            if self.page.evaluate(timer) != before:
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("it did not ask")

    def polls(self) -> int:
        return sum(url.endswith("/healthz") for url in self.asked)


@pytest.fixture
def badge(tmp_path: Path, browser: Any) -> Iterator[Badge]:
    app = view_app(tmp_path, VIEWS["operational"])
    with served(app) as status, a_site(status) as site:
        context = browser.new_context()
        yield Badge(context.new_page(), app, site)
        context.close()


def test_green_yellow_red_and_green_again(badge: Badge) -> None:
    badge.is_called("Status: operational")
    colour = "getComputedStyle(document.querySelector('status-badge').shadowRoot.querySelector('i')).backgroundColor"
    assert badge.page.evaluate(colour) == "rgb(45, 164, 78)"
    assert badge.dot.get_attribute("role") == "img"
    badge.becomes("degraded")
    badge.is_called("Degraded: API, AI Providers")
    assert badge.page.evaluate(colour) == "rgb(240, 180, 41)"
    assert (badge.dot.get_attribute("role"), badge.dot.get_attribute("href")) == ("img", None)
    badge.becomes("outage")
    badge.is_called("Outage: Billing")  # what is degraded only is not in it
    assert badge.page.evaluate(colour) == "rgb(207, 34, 46)"
    assert badge.dot.get_attribute("role") == "link"
    assert badge.dot.get_attribute("href").endswith("/status")
    badge.becomes("operational")
    badge.is_called("Status: operational")
    assert badge.dot.get_attribute("href") is None
    assert badge.faults == []


def test_the_tooltip_comes_with_pointer_and_focus_and_goes_with_escape(badge: Badge) -> None:
    tip = badge.page.locator("status-badge span")
    badge.is_called("Status: operational")
    badge.page.locator("status-badge").hover()
    assert not tip.is_visible()
    badge.page.mouse.move(0, 400)
    badge.becomes("degraded")
    badge.is_called("Degraded: API, AI Providers")
    badge.page.locator("status-badge").hover()
    assert tip.inner_text() == "Degraded: API, AI Providers"
    badge.page.mouse.move(0, 400)
    assert not tip.is_visible()
    badge.page.locator("#first").focus()
    badge.page.keyboard.press("Tab")
    assert tip.is_visible()
    badge.page.keyboard.press("Escape")
    assert not tip.is_visible()
    badge.page.keyboard.press("Tab")
    assert badge.page.evaluate("document.activeElement.id") == "last"


def test_while_all_is_well_it_is_no_stop_of_the_keyboard(badge: Badge) -> None:
    badge.is_called("Status: operational")
    badge.page.locator("#first").focus()
    badge.page.keyboard.press("Tab")
    assert badge.page.evaluate("document.activeElement.id") == "last"


def test_it_keeps_the_focus_while_it_gets_worse(badge: Badge) -> None:
    badge.is_called("Status: operational")
    badge.becomes("degraded")
    badge.is_called("Degraded: API, AI Providers")
    badge.dot.focus()
    badge.becomes("outage")
    badge.is_called("Outage: Billing")  # what is degraded only is not in it
    assert badge.page.evaluate("document.activeElement.shadowRoot.activeElement.getAttribute('role')") == "link"


def test_errors_make_it_ask_more_seldom_and_then_it_knows_nothing(badge: Badge) -> None:
    badge.is_called("Status: operational")
    badge.stand_still()
    badge.page.context.set_offline(True)
    for seconds in (10, 20, 40, 80, 160, 300, 300):
        before = badge.polls()
        badge.page.clock.run_for((seconds - 1) * 1000)
        badge.page.wait_for_timeout(50)
        assert badge.polls() == before
        badge.asks(1000)
        assert badge.polls() == before + 1
    badge.is_called("Status: unknown")
    badge.page.context.set_offline(False)
    badge.page.clock.run_for(300_000)
    badge.is_called("Status: operational")


def test_in_a_hidden_tab_it_does_not_ask(badge: Badge) -> None:
    badge.is_called("Status: operational")
    hide = "v => { Object.defineProperty(document, 'hidden', {value: v, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    badge.page.evaluate(hide, True)
    before = badge.polls()
    badge.page.clock.run_for(600_000)
    assert badge.polls() == before
    badge.becomes("outage")
    badge.page.evaluate(hide, False)
    badge.is_called("Outage: Billing")  # what is degraded only is not in it
    assert badge.polls() == before + 1


def test_an_outdated_view_turns_it_grey(badge: Badge) -> None:
    badge.is_called("Status: operational")
    badge.app.clock = lambda: NOW + minutes(12)
    badge.page.clock.run_for(10_000)
    badge.is_called("Status: unknown")


def test_switched_off_it_is_not_there(badge: Badge) -> None:
    badge.is_called("Status: operational")
    badge.becomes("disabled")
    badge.page.locator("status-badge").wait_for(state="hidden")
    badge.becomes("operational")
    badge.page.locator("status-badge").wait_for(state="visible")


def test_it_asks_far_less_than_it_may(badge: Badge) -> None:
    badge.is_called("Status: operational")
    badge.stand_still()
    before = badge.polls()
    for _ in range(6):
        badge.asks(10_000)
    assert badge.polls() - before == 6


def test_one_that_is_taken_away_asks_no_more(badge: Badge) -> None:
    badge.is_called("Status: operational")
    badge.page.evaluate("document.querySelector('status-badge').remove()")
    before = badge.polls()
    badge.page.clock.run_for(120_000)
    assert badge.polls() == before
    assert badge.faults == []
