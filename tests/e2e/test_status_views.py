"""The pages of snapshots with everything in them: history, providers, maintenance, pages of incidents, looks."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.bootstrap import App
from shared.components import MOST_LOGO_BYTES, ComponentsError, load_components, parse_components
from shared.domain.component import GROUNDS, contrast
from shared.status.publish import publish_status
from shared.status_page.bars import bars
from shared.status_page.page import MAX_BYTES
from tests.e2e.status_support import HEALTHZ, PAGES, ROOT, ROUTES, cut_off, get, served
from tests.e2e.test_status_page import Seen, body_of, matches_golden
from tests.unit.status_scenes import NOW, fill, minutes, scene_app
from tests.unit.status_views import (
    PAST,
    PAYMENTS,
    PLANNED,
    RUNNING,
    SLOW,
    VIEWS,
    component,
    components,
    history,
    incident,
    maintenance,
    provider,
    snapshot,
    update,
    view_app,
)

Serve = Callable[[Any], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves a snapshot, or an App."""
    with ExitStack() as stack:
        yield lambda what: stack.enter_context(served(what if isinstance(what, App) else view_app(tmp_path, what)))


@pytest.mark.parametrize("view", ["degraded", "maintenance"])
def test_the_page_is_as_in_its_golden_file(serve: Serve, view: str) -> None:
    matches_golden(f"view_{view}.html", body_of(get(serve(VIEWS[view]) + "/status").text))


@pytest.mark.parametrize(
    ("name", "path"),
    [("history", "/status/history"), ("incident", "/status/incidents/payments"), ("planned", "/status/incidents/move")],
)
def test_the_other_pages_are_as_in_their_golden_files(serve: Serve, name: str, path: str) -> None:
    matches_golden(f"page_{name}.html", body_of(get(serve(VIEWS["outage"]) + path).text))


@pytest.mark.parametrize("view", [*VIEWS])
def test_every_page_is_well_formed_and_small(serve: Serve, view: str) -> None:
    url = serve(VIEWS[view])
    for path in (*PAGES, "/status/incidents/signin", "/status/incidents/none"):
        is_sound(get(url + path))


def is_sound(answer: requests.Response) -> None:
    assert len(answer.content) <= MAX_BYTES
    seen = Seen(answer.text)
    assert len(seen.named("h1")) == 1
    assert len(seen.named("main")) == 1
    assert not [a for _, a in seen.tags if "style" in a]
    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_what_the_timeline_of_a_maintenance_says_stands_there_alone(serve: Serve) -> None:
    said = {"message": "Uploads wait.", "updates": [update(NOW, "scheduled", "Uploads wait.")]}
    work = maintenance("w", "Work", "scheduled", NOW + timedelta(days=1), 1, ["Storage"], **said)
    url = serve(snapshot("operational", maintenances=[work]))
    assert [get(url + path).text.count("Uploads wait.") for path in ("/status", "/status/incidents/w")] == [1, 1]


def test_what_a_component_says_its_providers_do_not_say_again(serve: Serve) -> None:
    text = "There are no recent measurements"
    names = [provider(name, [], "no_data", message=text) for name in ("Claude", "OpenAI")]
    part = component("AI_Providers", state="no_data", message=text, providers=names)
    assert get(serve(snapshot("unknown", [part])) + "/status").text.count(text) == 1


class TestHistory:
    def test_each_row_is_one_drawing_with_its_words(self, serve: Serve) -> None:
        html = get(serve(VIEWS["operational"]) + "/status").text
        labels = re.findall(r'<svg class="days"[^>]* role="img" aria-label="([^"]+)">', html)
        assert labels == [
            "The last 90 days: 99.94 % uptime, 1 day with an outage, 1 day degraded",
            "The last 90 days: 100 % uptime, no problems",
            "The last 90 days: 100 % uptime, 1 day with maintenance",
            "The last 90 days: 99.81 % uptime, 1 day with an outage, 2 days degraded",
            "The last 90 days: 99.99 % uptime, no problems",
            "The last 90 days: 100 % uptime, 67 days without data",
        ]

    def test_every_day_with_a_problem_stands_in_a_table_too(self, serve: Serve) -> None:
        html = get(serve(VIEWS["operational"]) + "/status").text
        table = html.partition('<details id="d-API">')[2].partition("</details>")[0]
        assert re.findall(r"<th scope=\"row\">([^<]+)</th><td>([^<]+)</td>", table) == [
            ("1 March 2026", "degraded for 1 h 30 min"),
            ("22 January 2026", "outage for 1 h 12 min, degraded for 10 min"),
        ]

    def test_the_drawing_has_a_bar_for_each_day_and_no_other(self) -> None:
        drawn = bars(component("API", history=history({0: (1, 0, 0), 89: (0, 9, 0)}, known=90)), titles=True)
        assert drawn is not None
        days: dict[int, str] = {}
        for run in drawn.runs:
            for start, length in re.findall(r"M(\d+) 17h(\d+)", run.path):
                for day in range((int(length) + 3) // 8):
                    days[int(start) // 8 + day] = run.state
        assert days == {0: "outage", **dict.fromkeys(range(1, 89), "operational"), 89: "degraded"}
        assert [run.title for run in drawn.runs if run.title] == [
            "5 December 2025: outage for 1 min",
            "4 March 2026: degraded for 1 min",
        ]

    def test_a_hundred_percent_is_said_of_what_is_whole_only(self, serve: Serve) -> None:
        html = get(
            serve(snapshot("operational", [component("API", history=history({}), uptime90=99.99)])) + "/status"
        ).text
        assert "99.99 % uptime" in html

    @pytest.mark.parametrize(
        ("known", "told"), [(90, "100 % uptime"), (23, "100 % uptime in 23 days"), (1, "100 % uptime in 10 h 8 min")]
    )
    def test_the_uptime_says_of_how_long_it_is(self, serve: Serve, known: int, told: str) -> None:
        part = component("API", history=history({}, known=known), uptime90=100.0)
        html = get(serve(snapshot("operational", [part])) + "/status").text
        assert f"<i></i><span>{told}</span><i></i>Today" in html

    @pytest.mark.parametrize(
        ("known", "since", "told"),
        [
            (1, minutes(55), "100 % uptime since 09:12 UTC today"),
            (2, timedelta(hours=11), "100 % uptime since 3 Mar"),
            (23, timedelta(days=22), "100 % uptime since 10 Feb"),
            (90, timedelta(days=89, hours=2), "100 % uptime since 5 Dec"),
        ],
    )
    def test_where_less_than_90_days_is_known_it_says_since_when(
        self, serve: Serve, known: int, since: timedelta, told: str
    ) -> None:
        begin = NOW.replace(second=0) - since
        part = component("API", history=history({}, known=known), uptime90=100.0, uptimeSince=begin)
        url = serve(snapshot("operational", [part]))
        html = get(url + "/status").text
        uptime, begin_told = told.split(" since ")
        together = f"since {begin_told}".replace(" ", "\N{NO-BREAK SPACE}")
        assert f"<i></i><span>{uptime} {together}</span><i></i>Today" in html
        assert f'aria-label="The last 90 days: {told}, ' in html
        health = get(url + HEALTHZ).json()
        assert health["components"]["API"]["uptime"] == 100.0
        assert health["uptimeSince"] == {"API": int(begin.timestamp() * 1000)}

    def test_days_of_which_nothing_is_known_in_between_are_not_passed_over(self, serve: Serve) -> None:
        gap = history({}, known=9)
        gap["days"][-4] = {"unknown": 86_400}
        part = component("API", history=gap, uptime90=100.0, uptimeSince=NOW - timedelta(days=8))
        html = get(serve(snapshot("operational", [part])) + "/status").text
        assert "<span>100 % uptime in 8 days</span>" in html

    def test_without_a_history_there_is_no_drawing(self, serve: Serve) -> None:
        html = get(serve(snapshot("operational", [component("API")])) + "/status").text
        assert '<svg class="days"' not in html
        assert "Operational" in html

    def test_where_every_day_was_bad_it_still_fits_and_the_words_are_whole(self, serve: Serve) -> None:
        bad = history(dict.fromkeys(range(90), (600, 600, 600)))
        parts = [component(f"C{n}", history=bad, uptime90=97.5) for n in range(12)]
        answer = get(serve(snapshot("operational", parts)) + "/status")
        assert len(answer.content) <= MAX_BYTES
        assert answer.text.count("90 days with an outage") == 12
        assert "earlier days." in answer.text

    def test_fifty_components_whose_days_change_all_the_time_still_fit(self, serve: Serve) -> None:
        restless = history({n: (600, 0, 0) if n % 4 else (0, 60, 0) for n in range(90) if n % 2})
        parts = [component(f"C{n}", "Component " * 5, history=restless, uptime90=97.5) for n in range(50)]
        answer = get(serve(snapshot("operational", parts)) + "/status")
        assert len(answer.content) <= MAX_BYTES
        assert answer.text.count("97.50 % uptime") == 50


class TestProviders:
    def test_each_has_its_own_state_models_and_figures(self, serve: Serve) -> None:
        html = get(serve(VIEWS["degraded"]) + "/status").text
        row = html.partition("<h3>AI Providers</h3>")[2].partition("</li>")[0]
        assert re.findall(r"<p>(\w+)</p><p class=\"sub (\w+)\">", row) == [
            ("Claude", "operational"),
            ("OpenAI", "degraded"),
        ]
        assert "sonnet-4-5, opus-4 · Response time 1,200\N{NO-BREAK SPACE}ms" in row
        assert "gpt-4 · Response time 3,500\N{NO-BREAK SPACE}ms · As its own status page says" in row
        assert "Increased latency." in row

    def test_healthz_has_the_original_form(self, serve: Serve) -> None:
        found = get(serve(VIEWS["degraded"]) + HEALTHZ).json()["components"]
        assert found["API"] == {
            "status": "degraded",
            "latency": 834,
            "message": "Slower than usual",
            "uptime": 99.94,
            "lastCheck": 1772618830000,
        }
        assert found["AI_Providers"] == {
            "Claude": {
                "status": "operational",
                "models": ["sonnet-4-5", "opus-4"],
                "latency": 1200,
                "lastCheck": 1772618830000,
            },
            "OpenAI": {
                "status": "degraded",
                "models": ["gpt-4"],
                "latency": 3500,
                "message": "Increased latency",
                "basis": "feed",
                "lastCheck": 1772618830000,
            },
        }
        assert found["Database"] | {"lastCheck": 0} == {
            "status": "operational",
            "provider": "Firestore",
            "readLatency": 45,
            "writeLatency": 78,
            "uptime": 99.99,
            "lastCheck": 0,
        }

    def test_what_its_provider_says_is_not_said_twice(self, serve: Serve) -> None:
        told = [provider("OpenAI", ["gpt-4"], "degraded", message="Increased latency")]
        part = component("AI", state="degraded", message="OpenAI: Increased latency", providers=told)
        html = get(serve(snapshot("degraded", [part])) + "/status").text
        assert html.count("Increased latency") == 1


class TestMaintenance:
    def test_in_healthz_it_is_operational_and_says_so(self, serve: Serve) -> None:
        found = get(serve(VIEWS["maintenance"]) + HEALTHZ).json()
        assert found["status"] == "operational"
        storage = found["components"]["Storage"]
        assert (storage["status"], storage["maintenance"]) == ("operational", True)
        assert [name for name, c in found["components"].items() if "maintenance" in c] == ["Storage"]

    def test_of_a_component_with_providers_each_says_so(self, serve: Serve) -> None:
        view = snapshot("operational", components(AI_Providers={"maintenance": True}))
        view["components"][3]["providers"][0]["state"] = "outage"
        found = get(serve(view) + HEALTHZ).json()["components"]["AI_Providers"]
        assert {name: (p["status"], p["maintenance"]) for name, p in found.items()} == {
            "Claude": ("operational", True),
            "OpenAI": ("operational", True),
        }

    def test_an_incident_shows_through_it(self, serve: Serve) -> None:
        view = snapshot("outage", components(Storage={"maintenance": True, "state": "outage"}))
        url = serve(view)
        assert "<h2>Outage: Storage</h2>" in get(url + "/status").text
        assert get(url + HEALTHZ).json()["components"]["Storage"]["status"] == "outage"

    def test_the_page_names_what_is_under_way_before_what_is_planned(self, serve: Serve) -> None:
        html = get(serve(VIEWS["maintenance"]) + "/status").text
        assert "<h2>Maintenance under way: Storage</h2>" in html
        assert html.index("Storage is being upgraded") < html.index("Database moves to a new region")

    def test_one_that_is_cancelled_or_done_is_not_on_the_page(self, serve: Serve) -> None:
        gone = [maintenance(s, f"Work {s}", s, NOW, 1, ["API"]) for s in ("cancelled", "completed")]
        url = serve(snapshot("operational", maintenances=gone))
        assert "Work " not in get(url + "/status").text
        assert "Work completed" in get(url + "/status/history").text
        assert "Work cancelled" not in get(url + "/status/history").text
        assert get(url + "/status/incidents/cancelled").status_code == 404


class TestIncidents:
    def test_each_has_a_page_with_its_whole_timeline(self, serve: Serve) -> None:
        html = get(serve(VIEWS["outage"]) + "/status/incidents/payments").text
        assert "<h1>Payments are failing for some cards</h1>" in html
        assert re.findall(r"<strong>(\w+)</strong>", html) == ["Mitigating", "Identified", "Investigating"]
        assert "<title>Payments are failing for some cards · F0 status</title>" in html

    def test_one_under_way_without_a_component_is_no_calm(self, serve: Serve) -> None:
        html = get(serve(snapshot("operational", incidents=[{**SLOW, "components": []}])) + "/status").text
        assert "<h2>An incident is under way</h2>" in html

    def test_past_ones_stand_by_day(self, serve: Serve) -> None:
        html = get(serve(VIEWS["operational"]) + "/status").text
        assert re.findall(r'<h3 class="day">([^<]+)</h3>', html) == ["1 March 2026", "21 February 2026"]

    def test_a_name_with_anything_in_it_has_its_page(self, serve: Serve) -> None:
        name = "a b?c#d&\"'<é>"
        url = serve(snapshot("degraded", incidents=[{**SLOW, "id": name}]))
        (link,) = re.findall(r'<h3><a href="([^"]+)">Answers take', get(url + "/status").text)
        assert "<h1>Answers take longer than usual</h1>" in get(url + link).text

    def test_one_that_is_not_there_is_not_found_and_not_quoted(self, serve: Serve) -> None:
        answer = get(serve(VIEWS["operational"]) + "/status/incidents/%3Cscript%3Equoted")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")
        assert "There is nothing here" in answer.text
        assert "quoted" not in body_of(answer.text)

    def test_asking_for_many_that_are_not_there_fills_no_memory(self, tmp_path: Path, serve: Serve) -> None:
        app = view_app(tmp_path, VIEWS["operational"])
        url = serve(app)
        for n in range(30):
            assert get(f"{url}/status/incidents/none{n}").status_code == 404
        assert len(app.snapshot_cache.served().prepared) == 1

    def test_a_long_history_fits_and_leads_to_the_rest(self, serve: Serve) -> None:
        many = [incident(f"i{n}", "<" * 200, "low", ["API"], NOW - timedelta(hours=5 * n)) for n in range(50)]
        work = [
            maintenance(f"m{n}", "&" * 200, "completed", NOW - timedelta(hours=7 * n), 1, ["API"]) for n in range(50)
        ]
        answer = get(serve(snapshot("degraded", incidents=many, maintenances=work)) + "/status/history")
        assert len(answer.content) <= MAX_BYTES
        assert '<a rel="next" href="/status/history?page=2">Older</a>' in answer.text
        days = re.findall(r'<h2 class="day">([^<]+)</h2>', answer.text)
        assert len(days) == len(set(days))

    def test_a_maintenance_that_began_late_stands_by_the_day_of_its_begin(self, serve: Serve) -> None:
        late = maintenance(
            "late", "Late", "completed", NOW - timedelta(days=3), 1, [], startedAt=NOW - timedelta(days=1)
        )
        others = [incident(f"i{n}", f"I{n}", "low", [], NOW - timedelta(days=n)) for n in (0, 1, 2, 3)]
        html = get(serve(snapshot("degraded", incidents=others, maintenances=[late])) + "/status/history").text
        assert html.count("3 March 2026</h2>") == 1
        assert html.index("3 March 2026</h2>") < html.index(">Late</a>") < html.index("2 March 2026</h2>")

    def test_a_maintenance_that_was_begun_early_ends_after_it_began(self, serve: Serve) -> None:
        times = {"startedAt": NOW - timedelta(minutes=90), "completedAt": NOW - timedelta(minutes=60)}
        early = maintenance("early", "Early", "completed", NOW + timedelta(hours=1), 1, [], **times)
        html = get(serve(snapshot("operational", maintenances=[early])) + "/status/incidents/early").text
        found = re.search(r'datetime="([^"]+)">[^<]+</time> to <time datetime="([^"]+)"', html)
        assert found
        assert found.groups() == tuple(f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in times.values())

    def test_a_long_one_fits_and_says_what_it_leaves_out(self, serve: Serve) -> None:
        updates = [update(NOW - minutes(100 - n), "investigating", f"{n} <&> " * 600) for n in range(100)]
        url = serve(snapshot("degraded", incidents=[incident("long", "Long", "low", ["API"], NOW, *updates)]))
        answer = get(url + "/status/incidents/long")
        assert len(answer.content) <= MAX_BYTES
        assert re.search(r"\d+ earlier updates are not shown", answer.text)
        Seen(answer.text)

    def test_its_whole_timeline_is_a_click_away(self, serve: Serve) -> None:
        updates = [update(NOW - minutes(100 - n), "investigating", f"{n} <&> " * 600) for n in range(100)]
        url = serve(snapshot("degraded", incidents=[incident("a&b", "Long", "low", ["API"], NOW, *updates)]))
        (link,) = re.findall(r'<a href="([^"]+)">Show the whole timeline', get(url + "/status/incidents/a%26b").text)
        html = get(url + link).text
        assert all(f">{n} &lt;&amp;&gt;" in html for n in range(100))
        assert "not shown" not in html
        assert "whole timeline" not in html
        Seen(html)


class TestSwitch:
    def test_every_route_obeys_it(self, serve: Serve) -> None:
        url = serve(VIEWS["disabled"])
        silent = [path for path in ROUTES if not says_that_it_is_off(get(url + path))]
        assert silent == []

    def test_it_is_obeyed_before_anybody_publishes_anew(self, tmp_path: Path, serve: Serve) -> None:
        app = scene_app(tmp_path, "operational")
        fill(app.store, {"config/flags": {"ops": {"public_status_page": False}, "rev": "r2"}})
        url = serve(app)
        silent = [path for path in ROUTES if not says_that_it_is_off(get(url + path))]
        assert silent == []


def says_that_it_is_off(answer: requests.Response) -> bool:
    """And nothing else: no component, no provider, no incident."""
    assert not [name for name in ("Firestore", "Stripe", "sonnet", "Sign-in") if name in answer.text]
    return "switched off" in answer.text or "disabled" in answer.text


class TestWithTheStoreDown:
    @pytest.mark.parametrize("path", [*PAGES, "/status/incidents/signin"])
    def test_every_page_stays_with_its_age(self, tmp_path: Path, serve: Serve, path: str) -> None:
        app = view_app(tmp_path, VIEWS["operational"])
        url = serve(app)
        assert get(url + path).status_code == 200
        cut_off(app)
        app.clock = lambda: NOW + minutes(4)
        answer = get(url + path)
        assert answer.status_code == 200
        assert "New information cannot be read at the moment" in answer.text
        assert "4 minutes ago" in answer.text
        app.clock = lambda: NOW + timedelta(hours=3)
        assert "Last known: all systems operational" in get(url + path).text

    def test_the_last_known_trouble_is_named(self, tmp_path: Path, serve: Serve) -> None:
        app = view_app(tmp_path, VIEWS["degraded"], NOW + timedelta(hours=3))
        assert "<h2>Last known: degraded (API and AI Providers)</h2>" in get(serve(app) + "/status").text

    def test_a_new_instance_answers_something_on_every_route(self, tmp_path: Path, serve: Serve) -> None:
        app = view_app(tmp_path, VIEWS["operational"])
        cut_off(app)
        url = serve(app)
        for path in ROUTES:
            answer = get(url + path)
            assert answer.status_code == (200 if "badge" in path else 503)
            assert answer.content

    def test_an_outdated_view_has_another_tag_so_that_its_age_is_learned(self, tmp_path: Path, serve: Serve) -> None:
        app = view_app(tmp_path, VIEWS["operational"])
        url = serve(app)
        tag = get(url + HEALTHZ).headers["ETag"]
        app.clock = lambda: NOW + minutes(10)
        assert get(url + HEALTHZ, If_None_Match=tag).status_code == 304
        app.clock = lambda: NOW + minutes(11)
        assert get(url + HEALTHZ, If_None_Match=tag).json()["ageSeconds"] == 660


class TestSending:
    def test_what_is_large_is_packed_for_who_wants_it(self, serve: Serve) -> None:
        url = serve(VIEWS["operational"])
        with requests.get(url + "/status", headers={"Accept-Encoding": "gzip"}, stream=True, timeout=20) as packed:
            raw = packed.raw.read(decode_content=False)
        plain = requests.get(url + "/status", headers={"Accept-Encoding": "identity"}, timeout=20)
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(raw) == plain.content
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
        assert len(raw) < 10_000
        refused = requests.get(url + "/status", headers={"Accept-Encoding": "gzip;q=0"}, timeout=20)
        assert "Content-Encoding" not in refused.headers

    def test_headers_are_strict_everywhere(self, serve: Serve) -> None:
        url = serve(VIEWS["operational"])
        for path in ROUTES:
            self.are_strict(get(url + path).headers)

    def are_strict(self, headers: Mapping[str, str]) -> None:
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in headers
        assert headers["Cache-Control"].startswith("public")
        assert "s-maxage" in headers["Cache-Control"]

    @pytest.mark.parametrize("path", ["/status", HEALTHZ, "/api/v2/summary.json", "/status-badge.js"])
    def test_after_sixty_requests_a_client_waits(self, tmp_path: Path, serve: Serve, path: str) -> None:
        app = view_app(tmp_path, VIEWS["operational"])
        app.monotonic = lambda: 1.0
        url = serve(app)
        session = requests.Session()
        mine = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 151.101.1.2"}
        assert {session.get(url + path, headers=mine, timeout=20).status_code for _ in range(60)} == {200}
        refused = session.get(url + path, headers=mine | {"X-Forwarded-For": "203.0.113.7"}, timeout=20)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.headers["Retry-After"] == "60"
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["Cache-Control"] == "private, no-store"
        open_to_all = path not in PAGES
        assert ("Access-Control-Allow-Origin" in refused.headers) is open_to_all
        other = session.get(url + path, headers={"X-Forwarded-For": "203.0.113.8"}, timeout=20)
        assert other.status_code == 200
        session.close()

    def test_who_looks_with_a_browser_waits_before_a_page(self, tmp_path: Path, serve: Serve) -> None:
        app = view_app(tmp_path, VIEWS["operational"])
        app.monotonic = lambda: 1.0
        url = serve(app)
        with requests.Session() as session:
            session.headers["Accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"
            for _ in range(60):
                session.get(url + "/status", timeout=20)
            refused = session.get(url + "/status", timeout=20)
            script = session.get(url + "/status-badge.js", timeout=20)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        assert refused.headers["Cache-Control"] == "no-store"
        assert "<h2>Too many requests</h2>" in refused.text
        assert "Please try again in 60 seconds." in refused.text
        assert "<script>" not in refused.text
        is_sound(refused)
        assert script.json()["code"] == "too_many_requests"

    def test_a_long_timeline_under_way_shows_the_newest_and_unfolds_the_rest(self, serve: Serve) -> None:
        said = [update(NOW - minutes(60 - n), "investigating", f"Told {n}.") for n in range(12)]
        view = snapshot("degraded", incidents=[incident("long", "Long", "low", ["API"], NOW - minutes(61), *said)])
        html = get(serve(view) + "/status").text
        open_, _, folded = html.partition('<details id="t-long"><summary>8 earlier updates')
        told = r"Told (\d+)\."
        assert [int(n) for n in re.findall(told, open_)] == [11, 10, 9, 8]
        assert [int(n) for n in re.findall(told, folded)] == [7, 6, 5, 4, 3, 2, 1, 0]

    def test_nothing_is_folded_that_is_no_longer_than_its_fold(self, serve: Serve) -> None:
        said = [update(NOW - minutes(60 - n), "investigating", f"Told {n}.") for n in range(5)]
        view = snapshot("degraded", incidents=[incident("long", "Long", "low", ["API"], NOW - minutes(61), *said)])
        assert "earlier update" not in get(serve(view) + "/status").text

    def test_of_many_in_outage_the_headline_names_some(self, serve: Serve) -> None:
        parts = [component(f"C{n}", state="outage") for n in range(9)]
        html = get(serve(snapshot("outage", parts, incidents=[])) + "/status").text
        assert "<h2>Outage: C0, C1, C2, C3 and 5 more</h2>" in html


class TestLooks:
    def published(self, folder: Path, page: dict[str, Any], logo: bytes | None = None) -> App:
        """An App whose page is configured so, published by the real code."""
        config = shutil.copytree(ROOT / "config", folder / "config")
        data = json.loads((config / "components.json").read_text())
        (config / "components.json").write_text(json.dumps({**data, "page": {**data["page"], **page}}))
        if logo is not None:
            (config / "logo.svg").write_bytes(logo)
        app = scene_app(folder, "operational")
        publish_status(app.store, load_components(config), app.flags, NOW)
        return app

    def test_name_links_logo_and_colours_come_from_the_configuration(self, tmp_path: Path, serve: Serve) -> None:
        logo = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
        page = {
            "name": "Teapots <&> Co",
            "links": [{"label": "Shop", "url": "https://shop.example.com/?a=1&b=2"}],
            "logo": "logo.svg",
            "colours": {"light": {"operational": "#00557f"}, "dark": {"operational": "#66ccff", "accent": "#ffcc00"}},
        }
        answer = get(serve(self.published(tmp_path, page, logo)) + "/status")
        html = answer.text
        assert f'<img src="data:image/svg+xml;base64,{base64.b64encode(logo).decode()}" alt="" height="28">' in html
        assert "Teapots &lt;&amp;&gt; Co status</h1>" in html
        assert '<a href="https://shop.example.com/?a=1&amp;b=2">Shop</a>' in html
        light = "@media (prefers-color-scheme:light){:root{--operational:#00557f;--operational-bar:#00557f;}}"
        assert light in html
        assert html.index(light) < html.index("--operational:#66ccff")
        style = html.partition("<style>")[2].partition("</style>")[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in answer.headers["Content-Security-Policy"]

    def test_a_colour_that_cannot_be_read_is_refused(self) -> None:
        faults = self.faults({"colours": {"light": {"degraded": "#ffcc00"}, "dark": {"outage": "#550000"}}})
        assert faults == [
            "page.colours: light.degraded #ffcc00: its contrast to #f6f7f9 is below 4.5; "
            "dark.outage #550000: its contrast to #171b21 is below 4.5"
        ]

    @pytest.mark.parametrize("colour", ["red", "#fff", "#12345g", "#123456;}</style>", "url(x)"])
    def test_a_colour_is_six_digits(self, colour: str) -> None:
        assert self.faults({"colours": {"light": {"accent": colour}}})[0].startswith("page.colours.light.accent: ")

    @pytest.mark.parametrize("logo", ["../logo.svg", "https://x.example.com/logo.png", "logo.gif", "data:text/html,x"])
    def test_a_logo_is_a_file_beside_the_configuration(self, logo: str) -> None:
        assert self.faults({"logo": logo})[0].startswith("page.logo: ")

    def test_a_logo_that_is_missing_or_too_large_is_told(self, tmp_path: Path) -> None:
        data = json.loads((ROOT / "config" / "components.json").read_text())
        data["page"]["logo"] = "logo.png"
        (tmp_path / "components.json").write_text(json.dumps(data))
        with pytest.raises(ComponentsError) as missing:
            load_components(tmp_path)
        assert missing.value.faults[0].startswith("page.logo: logo.png cannot be read: ")
        (tmp_path / "logo.png").write_bytes(b"x" * (MOST_LOGO_BYTES + 1))
        with pytest.raises(ComponentsError) as large:
            load_components(tmp_path)
        assert large.value.faults == ["page.logo: logo.png has 6145 bytes: it takes up to 6144"]

    def faults(self, page: dict[str, Any]) -> list[str]:
        data = json.loads((ROOT / "config" / "components.json").read_text())
        data["page"] |= page
        with pytest.raises(ComponentsError) as caught:
            parse_components(json.dumps(data))
        return caught.value.faults

    def test_the_grounds_are_those_of_the_style(self) -> None:
        light, dark = (
            (ROOT / "shared/status_page/page.css").read_text().split("@media (prefers-color-scheme: dark)")[:2]
        )
        assert f"--ground: {GROUNDS['light']}" in light
        assert f"--paper: {GROUNDS['dark']}" in dark.partition("}")[0]

    @pytest.mark.parametrize(("one", "other", "ratio"), [("#000000", "#ffffff", 21), ("#777777", "#ffffff", 4.48)])
    def test_contrast_is_that_of_wcag(self, one: str, other: str, ratio: float) -> None:
        assert round(contrast(one, other), 2) == round(contrast(other, one), 2) == ratio


def test_an_older_snapshot_without_the_newer_fields_is_shown_as_it_is(serve: Serve) -> None:
    old = {k: v for k, v in snapshot("operational", [component("API")]).items() if k != "maintenances"}
    old["incidents"] = [{k: v for k, v in i.items() if k != "earlierUpdates"} for i in PAST]
    url = serve(old)
    for path in (*ROUTES, "/status/incidents/signin"):
        assert get(url + path).status_code == 200


def test_the_newest_answers_are_those_of_the_running_work(serve: Serve) -> None:
    html = get(
        serve(snapshot("operational", maintenances=[PLANNED, RUNNING], incidents=[PAYMENTS])) + "/status/history"
    ).text
    assert html.index("Storage is being upgraded") < html.index("Payments are failing")
    assert "Database moves" not in html


def test_an_app_on_an_empty_store_says_that_there_is_no_data(tmp_path: Path, serve: Serve) -> None:
    url = serve(view_app(tmp_path, None))
    for path in (*PAGES, "/status/incidents/x"):
        assert "<h2>No data yet</h2>" in get(url + path).text
