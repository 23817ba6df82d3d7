"""The public page and healthz over HTTP, through functions-framework, from a real store, and in a real browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.bootstrap import App
from shared.status.publish import publish_status
from shared.status_page.page import MAX_BYTES
from tests.e2e.status_support import HEALTHZ, ROOT, cut_off, get, served
from tests.unit.status_scenes import (
    BILLING,
    COMPONENTS,
    NOW,
    SCENES,
    fill,
    incident,
    minutes,
    scene_app,
    update,
)
from tests.unit.status_views import component, history, snapshot, view_app

GOLDEN = Path(__file__).parent / "golden_status"


Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves a scene by name, or an App."""
    with ExitStack() as stack:
        yield lambda what: stack.enter_context(served(what if isinstance(what, App) else scene_app(tmp_path, what)))


def matches_golden(name: str, text: str) -> None:
    """Set UPDATE_GOLDEN=1 to write the files anew; read the difference before it is committed."""
    file = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def body_of(html: str) -> str:
    """The page from its heading on; style and script have files of their own."""
    return html[html.index("<header>") : html.rindex("<script>") if "<script>" in html else None]


class Seen(HTMLParser):
    """Landmarks, headings, ids and attributes of a page; fails on an element that is not closed."""

    VOID = {"meta", "link", "use", "path", "circle", "br"}  # noqa: RUF012

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def named(self, *tags: str) -> list[str]:
        return [tag for tag, _ in self.tags if tag in tags]


@pytest.mark.parametrize("scene", [*SCENES])
def test_the_page_is_as_in_its_golden_file(serve: Serve, scene: str) -> None:
    answer = get(serve(scene) + "/status")
    assert answer.status_code == 200
    matches_golden(f"{scene}.html", body_of(answer.text))


@pytest.mark.parametrize("scene", [*SCENES])
def test_healthz_is_as_in_its_golden_file(serve: Serve, scene: str) -> None:
    answer = get(serve(scene) + HEALTHZ)
    assert answer.status_code == 200
    matches_golden(f"{scene}.json", json.dumps(answer.json(), indent=2) + "\n")


class TestHealthz:
    def test_headers_let_everybody_read_and_a_cache_hold_it_shortly(self, serve: Serve) -> None:
        answer = get(serve("operational") + HEALTHZ)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "public, max-age=0, s-maxage=5, stale-while-revalidate=30"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["ETag"] == 'W/"1"'
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize("tag", ['W/"1"', '"1"', '"0", W/"1"', "*"])
    def test_who_has_it_is_told_so(self, serve: Serve, tag: str) -> None:
        answer = get(serve("operational") + HEALTHZ, If_None_Match=tag)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", 'W/"1"')
        assert "Content-Type" not in answer.headers
        assert answer.headers["Access-Control-Allow-Origin"] == "*"

    def test_who_has_another_one_gets_it(self, serve: Serve) -> None:
        assert get(serve("operational") + HEALTHZ, If_None_Match='W/"11", "2"').status_code == 200

    def test_head_has_the_headers_and_no_body(self, serve: Serve) -> None:
        url = serve("operational") + HEALTHZ
        answer = requests.head(url, timeout=20)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["Content-Length"] == str(len(get(url).content))

    def test_a_browser_of_another_site_may_send_its_etag(self, serve: Serve) -> None:
        answer = requests.options(serve("operational") + HEALTHZ, timeout=20)
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Access-Control-Allow-Headers"] == "If-None-Match"

    @pytest.mark.parametrize(
        ("scene", "status"), [("outage", 503), ("degraded", 200), ("no_data", 200), ("disabled", 200)]
    )
    def test_strict_says_an_outage_by_its_status(self, serve: Serve, scene: str, status: int) -> None:
        url = serve(scene) + HEALTHZ
        strict = get(url + "?strict=1")
        assert strict.status_code == status
        assert strict.json() == get(url).json()
        assert get(url + "?strict=0").status_code == 200

    def test_the_age_counts_up_though_the_rest_is_prepared(self, tmp_path: Path, serve: Serve) -> None:
        app = scene_app(tmp_path, "operational")
        url = serve(app) + HEALTHZ
        ages = []
        for seconds in (0, 7, 61, -5):
            app.clock = lambda seconds=seconds: NOW + timedelta(seconds=seconds)  # type: ignore[misc]
            ages.append(get(url).json()["ageSeconds"])
        assert ages == [0, 7, 61, 0]

    def test_in_the_steady_state_the_store_is_not_read(self, tmp_path: Path, serve: Serve) -> None:
        app = scene_app(tmp_path, "operational")
        app.monotonic = lambda: 1.0
        url = serve(app)
        get(url + HEALTHZ)
        before = app.store.meter.snapshot()
        for path in (HEALTHZ, "/status"):
            for _ in range(20):
                assert get(url + path).status_code == 200
        assert app.store.meter.since(before).reads == 0

    def test_it_needs_neither_pydantic_nor_the_page(self) -> None:
        code = (
            "import sys, functions.status_api.handler, shared.status.cache, shared.status_page.healthz\n"
            "print([m for m in ('pydantic', 'shared.status_page.page', 'google.cloud.firestore') if m in sys.modules])"
        )
        found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]"


class TestRoutes:
    def test_the_page_is_also_at_the_root(self, serve: Serve) -> None:
        url = serve("operational")
        assert get(url + "/").content == get(url + "/status").content

    @pytest.mark.parametrize("path", ["/nothing", "/statusx", "/api/status", "/api/status/healthz/x", "/api/v2/x"])
    def test_nothing_else_is_there(self, serve: Serve, path: str) -> None:
        answer = get(serve("operational") + path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert answer.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize("path", ["/status", "/status/history", "/status/incidents/i3"])
    def test_a_slash_at_the_end_is_the_same_page(self, serve: Serve, path: str) -> None:
        url = serve("outage")
        with_slash = get(f"{url}{path}/")
        assert with_slash.status_code == 200
        assert with_slash.content == get(url + path).content

    @pytest.mark.parametrize("path", ["/status/x", "/status/incidents", "/status/incidents/x/y", "/status/history/x"])
    def test_a_wrong_path_below_the_page_is_a_page_that_leads_back(self, serve: Serve, path: str) -> None:
        answer = get(serve("operational") + path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert answer.headers["Cache-Control"] == "no-store"
        assert "<h1>There is nothing here</h1>" in answer.text
        assert '<a href="/status">See the current status</a>' in answer.text

    @pytest.mark.parametrize(("path", "allow"), [("/status", "GET, HEAD"), (HEALTHZ, "GET, HEAD, OPTIONS")])
    def test_writing_is_not_allowed(self, serve: Serve, path: str, allow: str) -> None:
        answer = requests.post(serve("operational") + path, timeout=20)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allow)
        assert answer.json()["code"] == "method_not_allowed"


class TestPage:
    def test_headers_are_strict(self, serve: Serve) -> None:
        headers = get(serve("operational") + "/status").headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "public, max-age=0, s-maxage=5, stale-while-revalidate=30"

    def test_who_has_it_is_told_so(self, serve: Serve) -> None:
        url = serve("operational") + "/status"
        answer = get(url, If_None_Match=get(url).headers["ETag"])
        assert (answer.status_code, answer.content) == (304, b"")

    @pytest.mark.parametrize("scene", [*SCENES])
    def test_it_is_one_small_request_and_well_formed(self, serve: Serve, scene: str) -> None:
        html = get(serve(scene) + "/status").text
        seen = Seen(html)
        assert len(html.encode()) <= MAX_BYTES
        assert len(html.partition("<script>")[2].partition("</script>")[0].encode()) <= 1536
        assert "style" not in {name for _, attrs in seen.tags for name in attrs}
        assert not [a for t, a in seen.tags if t in ("script", "img", "iframe") and "src" in a]
        ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        labels = {attrs["aria-labelledby"] for _, attrs in seen.tags if "aria-labelledby" in attrs}
        assert labels <= set(ids)

    def test_landmarks_and_headings_make_an_outline(self, serve: Serve) -> None:
        seen = Seen(get(serve("outage") + "/status").text)
        assert seen.named("header", "main", "footer", "nav") == ["header", "main", "footer", "nav"]
        levels = [int(tag[1]) for tag in seen.named("h1", "h2", "h3", "h4")]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))

    def test_a_state_is_a_word_and_a_symbol(self, serve: Serve) -> None:
        html = get(serve("mix") + "/status").text
        states = re.findall(r'<p class="state (\w+)"><svg.*?href="#(\w+)"/></svg>([^<]+)</p>', html)
        assert {(c, i, w) for c, i, w in states} == {
            ("operational", "operational", "Operational"),
            ("no_data", "no_data", "No data"),
            ("not_monitored", "not_monitored", "Not monitored"),
        }
        assert len(states) == 6

    def test_what_people_wrote_is_escaped(self, serve: Serve) -> None:
        html = get(serve("outage") + "/status").text
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; so on." in html

    def test_times_are_for_machines_too(self, serve: Serve) -> None:
        html = get(serve("outage") + "/status").text
        assert '<time datetime="2026-03-04T09:20:30Z">4 Mar 2026, 09:20 UTC</time>' in html

    def test_an_old_snapshot_never_claims_to_be_the_present(self, tmp_path: Path, serve: Serve) -> None:
        app = scene_app(tmp_path, "operational")
        url = serve(app) + "/status"
        assert "<h2>All systems operational</h2>" in get(url).text
        app.clock = lambda: NOW + minutes(11)
        html = get(url).text
        assert "<h2>Last known: all systems operational</h2>" in html
        assert "has not been updated for a while" in html
        assert "11 minutes ago" in html

    def test_with_the_store_down_the_last_view_stays_with_its_age(self, tmp_path: Path, serve: Serve) -> None:
        app = scene_app(tmp_path, "degraded")
        url = serve(app)
        get(url + "/status")
        cut_off(app)
        app.clock = lambda: NOW + minutes(3)
        html = get(url + "/status").text
        assert "<h2>Degraded: API</h2>" in html
        assert "New information cannot be read at the moment" in html
        assert "3 minutes ago" in html
        assert get(url + HEALTHZ).json()["ageSeconds"] == 180

    def test_with_the_store_down_from_the_start_it_says_so(self, tmp_path: Path, serve: Serve) -> None:
        app = scene_app(tmp_path, "operational")
        cut_off(app)
        url = serve(app)
        page = get(url + "/status")
        assert (page.status_code, page.headers["Cache-Control"]) == (503, "no-store")
        assert "<h2>Status unknown</h2>" in page.text
        health = get(url + HEALTHZ)
        assert (health.status_code, health.json()) == (503, {"status": "unknown", "components": {}})

    def test_with_many_long_incidents_it_stays_small_and_says_what_it_leaves_out(
        self, tmp_path: Path, serve: Serve
    ) -> None:
        app = scene_app(tmp_path, "operational")
        texts = [update(NOW - minutes(m), "investigating", f"{m} <&>" * 900) for m in range(6)]
        many = {
            f"incidents/many{n}": incident(
                "<" * 300, "critical", ("API", "Storage"), NOW - minutes(60 + n), updates=texts
            )
            for n in range(40)
        }
        fill(app.store, many)
        publish_status(app.store, COMPONENTS, app.flags, NOW)
        html = get(serve(app) + "/status").text
        assert len(html.encode()) <= MAX_BYTES
        assert '<p class="meta">And 30 more.</p>' in html
        assert re.search(r"\d+ earlier updates are not shown", html)
        Seen(html)


class TestBrowser:
    def test_nothing_is_wider_than_a_small_phone(self, serve: Serve, browser: Any) -> None:
        page = browser.new_page(viewport={"width": 320, "height": 640})
        page.goto(serve("outage") + "/status")
        assert page.evaluate("document.documentElement.scrollWidth") == 320

    def test_nor_where_little_is_known_of_the_uptime(self, tmp_path: Path, browser: Any) -> None:
        part = component("API", history=history({}, known=1), uptime90=67.26)
        with served(view_app(tmp_path, snapshot("operational", [part]))) as url:
            page = browser.new_page(viewport={"width": 320, "height": 640})
            page.goto(url + "/status")
            assert page.get_by_text("67.26 % uptime in 10 h 8 min").is_visible()
            assert page.evaluate("document.documentElement.scrollWidth") == 320

    def test_on_the_first_day_no_word_is_broken_on_a_small_phone(self, tmp_path: Path, browser: Any) -> None:
        part = component("API", history=history({}, known=1), uptime90=100, uptimeSince=NOW - minutes(55))
        with served(view_app(tmp_path, snapshot("operational", [part]))) as url:
            page = browser.new_page(viewport={"width": 320, "height": 640})
            page.goto(url + "/status")
            lines = """() => {
                const words = document.createRange();
                words.selectNodeContents(document.querySelector(".scale span"));
                return [...new Set([...words.getClientRects()].map(line => line.top))].length;
            }"""
            assert page.evaluate(lines) == 2
            assert page.evaluate("document.documentElement.scrollWidth") == 320

    @pytest.mark.parametrize("width", [320, 390, 1280])
    def test_without_an_uptime_the_ends_of_the_days_stand_at_the_ends_of_their_row(
        self, tmp_path: Path, browser: Any, width: int
    ) -> None:
        part = component("Billing", state="degraded", history=history({}, known=1))
        with served(view_app(tmp_path, snapshot("degraded", [part]))) as url:
            page = browser.new_page(viewport={"width": width, "height": 640})
            page.goto(url + "/status")
            left, right = page.evaluate("""() => {
                const scale = document.querySelector(".scale"), words = document.createRange();
                const gap = (node, side) => {
                    words.selectNodeContents(node);
                    return Math.abs(words.getBoundingClientRect()[side] - scale.getBoundingClientRect()[side]);
                };
                return [gap(scale.firstChild, "left"), gap(scale.lastChild, "right")];
            }""")
            assert max(left, right) < 1

    @pytest.mark.parametrize(("zone", "told"), [("Europe/Zurich", "01:00 CET"), ("Asia/Kathmandu", "05:45 GMT+5:45")])
    def test_what_ended_soon_says_its_day_once(self, tmp_path: Path, browser: Any, zone: str, told: str) -> None:
        begin = NOW.replace(hour=22, minute=30, second=0) - timedelta(days=3)
        done = update(begin + minutes(90), "resolved", "It works again.")
        past = incident("Sign-in failed", "low", (), begin, status="resolved", updates=[done])
        shown = [{**past, "id": "i1", "earlierUpdates": 0, "resolvedAt": begin + minutes(90)}]
        with served(view_app(tmp_path, snapshot("operational", incidents=shown))) as url:
            assert "1 Mar 2026, 22:30 UTC" in get(url + "/status").text
            assert ">00:00 UTC</time>, resolved after" in get(url + "/status").text
            context = browser.new_context(timezone_id=zone, locale="en-GB")
            page = context.new_page()
            page.goto(url + "/status")
            assert page.locator("#past .meta time.clock").inner_text() == told
            context.close()

    def test_without_javascript_everything_is_there(self, serve: Serve, browser: Any) -> None:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(serve("outage") + "/status")
        assert page.locator("main").get_by_text("Payments are failing for some cards").is_visible()
        assert page.locator(".rows li").count() == 6

    def test_the_refresh_changes_what_changed_and_keeps_focus_and_opened_timelines(
        self, tmp_path: Path, serve: Serve, browser: Any
    ) -> None:
        app = scene_app(tmp_path, "operational")
        seconds = [0.0]
        app.monotonic = lambda: seconds[0]
        url = serve(app)
        page = browser.new_context(timezone_id="America/New_York", locale="en-US").new_page()
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.clock.install(time=NOW)
        page.goto(url + "/status")
        assert "5:07 AM EST" in page.locator("#updated time").inner_text().replace("\u202f", " ").replace("05", "5")
        page.locator("#past summary").first.focus()
        page.keyboard.press("Enter")
        page.evaluate("document.getElementById('components').dataset.mark = 'kept'")
        page.evaluate("document.querySelector('.rows').dataset.mark = 'kept'")

        resolved = {**BILLING, "status": "resolved", "resolvedAt": NOW}
        fill(app.store, {"incidents/i9": resolved})
        publish_status(app.store, COMPONENTS, app.flags, NOW)
        seconds[0] = 60.0
        page.clock.run_for(10_000)
        page.get_by_role("heading", name="Payments are failing for some cards").wait_for()
        assert page.evaluate("document.activeElement.parentNode.id") == "i-i1"
        assert page.locator("#i-i1").get_attribute("open") is not None
        assert page.evaluate("document.querySelector('.rows').dataset.mark") == "kept"
        assert "EST" in page.locator("#past time").first.inner_text()

        fill(app.store, {"incidents/i9": BILLING})
        publish_status(app.store, COMPONENTS, app.flags, NOW)
        seconds[0] = 120.0
        page.clock.run_for(10_000)
        page.get_by_role("heading", name="Outage: API and Billing").wait_for()
        assert page.title() == "Outage: API and Billing · F0 status"
        assert faults == []

    def test_a_page_that_cannot_refresh_says_so_and_recovers(self, serve: Serve, browser: Any) -> None:
        page = browser.new_page()
        page.clock.install(time=NOW)
        page.goto(serve("operational") + "/status")
        page.context.set_offline(True)
        page.clock.run_for(10_000)
        page.get_by_text("This page cannot be refreshed at the moment").wait_for()
        page.context.set_offline(False)
        page.clock.run_for(10_000)
        page.get_by_text("This page cannot be refreshed at the moment").wait_for(state="hidden")

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_page_that_is_refused_keeps_what_it_shows(self, serve: Serve, browser: Any, status: int) -> None:
        """As a new instance does that knows nothing yet, or one that was asked too often from this network."""
        page = browser.new_page()
        page.clock.install(time=NOW)
        page.goto(serve("operational") + "/status")
        body = '<div id="banner" data-part>Status unknown</div>'
        page.route("**/status", lambda route: route.fulfill(status=status, content_type="text/html", body=body))
        page.clock.run_for(10_000)
        page.get_by_text("This page cannot be refreshed at the moment").wait_for()
        assert page.locator("#banner h2").inner_text() == "All systems operational"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_has_the_contrast_of_wcag_aa(self, serve: Serve, browser: Any, scheme: str) -> None:
        page = browser.new_context(color_scheme=scheme).new_page()
        page.goto(serve("outage") + "/status")
        assert page.evaluate(CONTRASTS) >= 4.5


CONTRASTS = """() => {
  const light = rgb => rgb.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const rgb = text => text.match(/[\\d.]+/g).map((n, i) => text.startsWith("color(srgb") && i < 3 ? n * 255 : +n);
  const ground = e => { const c = rgb(getComputedStyle(e).backgroundColor);
    return c.length === 4 && c[3] === 0 ? e.parentElement ? ground(e.parentElement) : [255, 255, 255] : c; };
  const texts = [...document.querySelectorAll("main *, h1, footer *")].filter(e =>
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
  return Math.min(...texts.map(e => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e).slice(0, 3))].sort((x, y) => y - x);
    return (a + .05) / (b + .05);
  }));
}"""
