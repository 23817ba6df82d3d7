"""The story as a visitor sees it: an endpoint goes off and comes back, in a real browser, with axe looking on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.bootstrap import App
from shared.outbound import HttpOutbound
from shared.probes.run import run_health_probe
from shared.settings import Settings
from shared.store.protocol import Put
from shared.store.sqlite import SqliteStore
from tests.core import NOW, Clock
from tests.e2e.axe import faults_of
from tests.e2e.status_support import ROOT, served
from tests.fake_servers import FakeSlack, failing
from tests.unit.status_views import VIEWS, view_app

OK = failing(200, '{"status": "ok"}')
BADGE = "<script src='/status-badge.js'></script><nav><status-badge></status-badge></nav>"


class World:
    """healthProbe, statusApi and the visitor's browser on one clock, which the test moves by whole minutes."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        config = shutil.copytree(ROOT / "config", folder / "config")
        probe = {"id": "health", "kind": "http", "url": endpoint}
        parts = [{"id": "API", "name": "API", "probes": [probe]}]
        (config / "components.json").write_text(json.dumps({"page": {"name": "F0"}, "components": parts}))
        self.clock = Clock(NOW)
        settings = Settings.load({"F0_STORE": "sqlite", "CONFIG_DIR": str(config)})
        store = SqliteStore(folder / "store.db")
        self.app = App(settings, store, HttpOutbound(), self.clock, lambda: self.clock.now.timestamp())
        self.app.sleep = lambda seconds: None

    def minute(self, page: Any) -> None:
        """A run of healthProbe; then a minute passes for everybody."""
        run_health_probe(self.app, self.clock.now)
        self.clock.now += timedelta(minutes=1)
        for _ in range(6):
            page.clock.run_for(10_000)
            page.wait_for_timeout(30)


@contextmanager
def a_visit(browser: Any, url: str, path: str) -> Iterator[Any]:
    context = browser.new_context()
    page = context.new_page()
    page.clock.install(time=NOW)
    page.goto(url + path)
    yield page
    context.close()


def test_off_is_degraded_within_a_minute_and_the_badge_yellow_and_on_is_operational(
    tmp_path: Path, browser: Any
) -> None:
    with FakeSlack(OK) as endpoint:
        world = World(tmp_path, endpoint.url)
        run_health_probe(world.app, world.clock.now)
        world.clock.now += timedelta(minutes=1)
        with served(world.app) as url, a_visit(browser, url, "/status") as page:
            faults: list[str] = []
            page.on("pageerror", lambda error: faults.append(str(error)))
            badge = browser.new_page()  # a window of its own: a tab behind another one asks nothing
            badge.clock.install(time=NOW)
            badge.route("**/navbar", lambda route: route.fulfill(content_type="text/html", body=BADGE))
            badge.goto(f"{url}/navbar")

            def both(headline: str, dot: str) -> None:
                page.get_by_role("heading", name=headline, exact=True).wait_for()
                for _ in range(6):
                    badge.clock.run_for(10_000)
                    badge.wait_for_timeout(30)
                badge.locator(f'status-badge a[aria-label="{dot}"]').wait_for()

            both("All systems operational", "Status: operational")
            endpoint.behave = failing(503)
            world.minute(page)
            both("Degraded: API", "Degraded: API")
            assert badge.locator("status-badge a").get_attribute("class") == "degraded"
            assert page.locator(".rows .state").inner_text() == "Degraded"
            world.minute(page)
            both("Outage: API", "Outage: API")
            assert badge.locator("status-badge a").get_attribute("href") == f"{url}/status"
            endpoint.behave = OK
            world.minute(page)
            both("All systems operational", "Status: operational")
            badge.close()
            assert faults == []


def test_axe_finds_nothing_to_complain_about(tmp_path: Path, browser: Any) -> None:
    """All rules that axe has, light and dark, on every kind of page, with all that can be opened open."""
    found: dict[str, list[str]] = {}
    others = ["history", "incidents/payments", "incidents/move", "incidents/none"]
    pages = {view: ["/status"] for view in VIEWS}
    pages["outage"] += [f"/status/{name}" for name in others]
    context = browser.new_context(bypass_csp=True, viewport={"width": 390, "height": 800})
    for view, paths in pages.items():
        (tmp_path / view).mkdir()
        with served(view_app(tmp_path / view, VIEWS[view])) as url:
            for path in paths:
                page = context.new_page()
                page.goto(url + path)
                page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
                found |= faults_of(page, f"{view} {path}")
                page.close()
    context.close()
    assert found == {}


def test_axe_finds_nothing_in_a_navigation_with_a_badge(tmp_path: Path, browser: Any) -> None:
    html = f"<!doctype html><html lang=en><title>Shop</title><body>{BADGE}<main><h1>Shop</h1></main>"
    found: dict[str, list[str]] = {}
    for view in ("operational", "degraded", "outage"):
        (tmp_path / view).mkdir()
        with served(view_app(tmp_path / view, VIEWS[view])) as url:
            page = browser.new_page()
            page.route("**/shop", lambda route: route.fulfill(content_type="text/html", body=html))
            page.goto(url + "/shop")
            page.locator(f"status-badge a.{view}").wait_for()
            found |= faults_of(page, view)
            page.close()
    assert found == {}


def test_everything_can_be_reached_and_opened_with_the_keyboard(tmp_path: Path, browser: Any) -> None:
    with served(view_app(tmp_path, VIEWS["operational"])) as url:
        page = browser.new_page()
        page.goto(url + "/status")
        reached = []
        for _ in range(40):
            page.keyboard.press("Tab")
            at = page.evaluate("document.activeElement.tagName + ' ' + document.activeElement.textContent")
            if at in reached or at.startswith("BODY"):
                break
            reached.append(at)
            if at.startswith("SUMMARY"):
                page.keyboard.press("Enter")
        texts = " | ".join(reached)
        assert [
            t for t in ("days with problems of API", "Database moves", "Sign-in was", "Atom") if t not in texts
        ] == []
        assert page.get_by_role("cell", name="outage for 1 h 12 min, degraded for 10 min").is_visible()
        page.close()


def test_a_refresh_keeps_the_focus_on_a_link_and_a_table_open(tmp_path: Path, browser: Any) -> None:
    app = view_app(tmp_path, VIEWS["outage"])
    seconds = [0.0]
    app.monotonic = lambda: seconds[0]
    with served(app) as url, a_visit(browser, url, "/status") as page:
        page.locator("#d-API summary").click()
        page.locator("#active a").first.focus()
        changed = {**VIEWS["outage"], "seq": 8}
        first, *others = VIEWS["outage"]["incidents"]
        changed["incidents"] = [{**first, "impact": "high"}, *others]
        changed["components"] = [{**c, "latency": 999} for c in VIEWS["outage"]["components"]]
        app.store.commit([Put("status/public", changed)])
        seconds[0] = 60.0
        page.clock.run_for(10_000)
        page.get_by_text("High impact · affects Billing").wait_for()
        page.get_by_text("Response time 999 ms").first.wait_for()
        assert page.evaluate("document.activeElement.href").endswith("/status/incidents/payments")
        assert page.locator("#d-API").get_attribute("open") is not None
