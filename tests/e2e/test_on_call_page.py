"""The pages that messages lead to, as the one on call uses them: a real browser, the real local server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.dev_server import ROOT, DevServer
from tests.e2e.axe import faults_of

NOON = 1_796_040_000_000  # 2026-11-30: the slot of five minutes does not end while the alert is made
ALERT = "api-latency-p95-threshold"
ROBBER = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """With an alert that fires, as README's `try_alert.py` makes it."""
    folder = tmp_path_factory.mktemp("on-call") / "data"
    with DevServer(folder, "--no-schedules", DEV_CLOCK_START=str(NOON + 120_000)) as server:
        slow = {
            "name": "api_latency",
            "value": 900,
            "labels": {"endpoint": "/api/orders"},
            "timestamp": NOON - 60_000,
            "aggregation": "p95",
        }
        assert server.send("twenty-slow-ones", *[slow] * 20).status_code == 202
        assert server.run("alertRules").json()["fired"] == [ALERT]
        yield server


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A phone's page; what its console says against it fails the test."""
    context = browser.new_context(viewport={"width": 320, "height": 640})
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: page.faults.append(said.text) if "Content Security" in said.text else None)
    yield page
    context.close()
    assert page.faults == []


def admin(server: DevServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.post('/dev/token').json()['token']}"}


def acknowledged(server: DevServer) -> Any:
    return server.get(f"/api/ops/alerts/{ALERT}", headers=admin(server)).json()["acknowledged"]


def links(server: DevServer) -> dict[str, str]:
    """Of the message in the local inbox, by label."""
    (message,) = server.get("/dev/inbox.json").json()["messages"]
    return {label: url for url, label in re.findall(r"<(http[^|>]+)\|([^>]+)>", str(message["payload"]["blocks"]))}


def test_the_link_of_a_message_leads_to_acknowledge_and_a_key_acknowledges_and_gives_back(
    server: DevServer, page: Any
) -> None:
    page.goto(links(server)["Acknowledge"])
    page.get_by_role("heading", level=1, name="API Latency (p95)").wait_for()
    shown = page.locator("main").inner_text()
    for said in (
        "It is told again at 2026-12-01",
        "900 ms",
        "at most 400 ms",
        "0 of 20 were good",
        "20 × the whole budget is spent",
        "slack: trigger delivered",
    ):
        assert said in shown
    assert page.locator(":focus").inner_text() == "Acknowledge"
    assert acknowledged(server) is None, "opening the page acknowledges nothing"
    page.keyboard.press("Enter")
    outcome = page.get_by_role("status").filter(has_text="Acknowledged. local-admin has it")
    outcome.wait_for()
    assert acknowledged(server)["by"] == "local-admin"
    assert page.locator(":focus").get_attribute("id") == "outcome", "a second Enter must not give it back"
    page.get_by_text("Nothing but its end: somebody has it.").wait_for()
    page.get_by_role("button", name="Give back").press("Enter")
    page.get_by_role("status").filter(has_text="Given back.").wait_for()
    assert acknowledged(server) is None


def test_from_the_alert_one_comes_to_its_incident_its_runbook_and_all_open_alerts(server: DevServer, page: Any) -> None:
    page.goto(links(server)["Alert"])
    page.get_by_role("link", name="api-outage").click()
    page.get_by_role("heading", level=1, name="API outage").wait_for()
    page.get_by_role("heading", level=2, name="Mitigation").wait_for()
    page.goto(links(server)["Incident"])
    entry = page.get_by_role("listitem").filter(has_text="Opened by the alert")
    entry.get_by_text("f0-ops, internal").wait_for()
    entry.get_by_text("The public reads: Found by our monitoring.").wait_for()
    assert re.search(r"Seen by\s+the team only", page.locator("main").inner_text())
    page.get_by_role("link", name="Open alerts").click()
    page.get_by_role("link", name="API Latency (p95)").click()
    page.get_by_role("button", name="Acknowledge").wait_for()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == 320


def test_of_an_alert_of_no_slo_none_is_asked_for(server: DevServer, page: Any) -> None:
    """Alerts on costs, of counting and of the watchdog have their own name in the place of an SLO's."""
    name = "cost-spike-organisation"
    known = server.get(f"/api/ops/alerts/{ALERT}", headers=admin(server)).json()
    told = {**known, "alertId": name, "sloId": name, "sloName": "Spending", "incidentId": None}
    page.route(f"**/api/ops/alerts/{name}", lambda route: route.fulfill(json=told))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/on-call/alerts/{name}")
    page.get_by_role("heading", level=1, name="Spending").wait_for()
    assert "Error budget" not in page.locator("main").inner_text()
    assert [url for url in asked if "/slos/" in url] == []


def test_what_is_held_back_is_due_since_its_time_and_not_passed_on_in_the_past(server: DevServer, page: Any) -> None:
    path = f"/api/ops/alerts/{ALERT}"
    known = server.get(path, headers=admin(server)).json()
    due = {**known["next"], "escalates": "2026-12-01T03:32:00Z", "escalatesTo": ["email"], "escalationDue": True}
    held = {"email": {"reason": "silenced", "by": "s1", "until": None}}
    page.route(f"**{path}", lambda route: route.fulfill(json={**known, "next": due, "holds": held}))
    page.goto(f"{server.url}/on-call/alerts/{ALERT}")
    page.get_by_text("Passing it on to email is due since").wait_for()
    said = page.locator("main").inner_text()
    assert "held back: silenced by s1." in said
    assert "It is passed on" not in said


def test_what_fires_on_after_it_was_resolved_by_hand_is_told_again_and_the_page_says_when(
    server: DevServer, page: Any
) -> None:
    path = f"/api/ops/alerts/{ALERT}"
    known = server.get(path, headers=admin(server)).json()
    again = {**known["next"], "escalates": None, "repeats": None, "speaksAgain": "2026-12-01T03:32:00Z"}
    page.route(f"**{path}", lambda route: route.fulfill(json={**known, "next": again}))
    page.goto(f"{server.url}/on-call/alerts/{ALERT}")
    page.get_by_text("It is told again at").wait_for()
    assert "its incident is open again then" in page.locator("main").inner_text()


def test_what_others_wrote_is_text_and_never_markup(server: DevServer, page: Any) -> None:
    body = {"title": ROBBER, "impact": "low", "components": ["API"], "message": ROBBER}
    made = server.post("/api/incidents", json=body, headers={**admin(server), "Idempotency-Key": "robber-1"})
    assert made.status_code == 201, made.text
    page.goto(f"{server.url}/on-call/incidents/{made.json()['id']}")
    page.get_by_role("heading", level=1, name=ROBBER).wait_for()
    assert page.locator("img").count() == 0


def test_what_is_to_be_written_and_done_after_an_incident_is_shown(server: DevServer, page: Any) -> None:
    headers = admin(server)
    made = server.post("/api/incidents", json={"title": "Orders failed", "impact": "high"}, headers=headers).json()[
        "id"
    ]
    item = {"title": "Watch the age of secrets", "owner": "ada", "dueAt": "2031-01-31T00:00:00Z"}
    assert server.post(f"/api/incidents/{made}/actions", json=item, headers=headers).status_code == 201
    assert server.post(f"/api/incidents/{made}/resolve", json={}, headers=headers).status_code == 200
    page.goto(f"{server.url}/on-call/alerts")
    page.get_by_role("heading", level=2, name="Post-mortems due").wait_for()
    page.get_by_role("link", name="Orders failed").click()
    page.get_by_text("Post-mortem").wait_for()
    shown = page.locator("main").inner_text()
    assert re.search(r"Post-mortem\s+due 2026-12-02 \d\d:\d\d UTC", shown)
    assert re.search(r"1 Watch the age of secrets\s+ada, open, due 2031-01-31", shown)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("alerts/nothing", "No alert of the name “nothing” ever began."),
        ("incidents/nothing", "There is no incident of the name “nothing”."),
        ("runbooks/nothing", "There is no runbook of the name “nothing”."),
        ("elsewhere", "There is no page at this address."),
        ("alerts/%ff", "There is no page at this address."),
    ],
)
def test_what_there_is_not_is_said_in_plain_words(server: DevServer, page: Any, path: str, said: str) -> None:
    page.goto(f"{server.url}/on-call/{path}")
    page.get_by_role("heading", level=1, name="Not found").wait_for()
    page.get_by_text(said).wait_for()


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "You are signed out"), (403, "Not for this account"), (503, "No answer"), (None, "No answer")],
)
def test_who_may_not_and_a_server_that_fails_are_told_apart(
    server: DevServer, page: Any, status: int | None, said: str
) -> None:
    page.route("**/api/ops/**", lambda route: route.fulfill(status=status) if status else route.abort())
    page.goto(f"{server.url}/on-call/alerts/{ALERT}")
    page.get_by_role("heading", level=1, name=said).wait_for()
    page.unroute("**/api/ops/**")
    if status != 403:
        page.get_by_role("button", name="Try again").click()
        page.get_by_role("heading", level=1, name="API Latency (p95)").wait_for()


def test_an_acknowledge_that_fails_says_so_and_can_be_pressed_again(server: DevServer, page: Any) -> None:
    page.goto(f"{server.url}/on-call/alerts/{ALERT}/acknowledge")
    page.route("**/acknowledge", lambda route: route.abort())
    button = page.get_by_role("button", name="Acknowledge")
    button.press("Enter")
    page.get_by_role("status").filter(has_text="The server cannot be reached").wait_for()
    assert button.get_attribute("aria-disabled") is None
    assert acknowledged(server) is None


def test_axe_finds_nothing_to_complain_about_in_light_and_dark(server: DevServer, browser: Any) -> None:
    context = browser.new_context(bypass_csp=True, viewport={"width": 390, "height": 800})
    page = context.new_page()
    found: dict[str, list[str]] = {}
    for path in ("alerts", f"alerts/{ALERT}", f"incidents/{ALERT}-1", "runbooks/api-outage", "alerts/nothing"):
        page.goto(f"{server.url}/on-call/{path}")
        page.locator("h1:not(:text-is('On call'))").wait_for()
        found |= faults_of(page, path)
    context.close()
    assert found == {}


SDK = """
globalThis.firebase = {
  initializeApp: (config) => { if (config.projectId !== "my-project") throw new Error("no config"); },
};
"""
SDK_AUTH = """
const auth = {
  currentUser: null,
  onAuthStateChanged(told) { setTimeout(() => told(this.currentUser)); return () => {}; },
  async signInWithPopup() { this.currentUser = { getIdToken: async (fresh) => fresh ? "new" : "old" }; },
  async signOut() { this.currentUser = null; },
};
firebase.auth = Object.assign(() => auth, { GoogleAuthProvider: class {} });
"""


def test_away_from_this_machine_one_signs_in_first_and_an_old_token_is_renewed(page: Any) -> None:
    """Hosting's reserved addresses and the SDK are stand-ins: what Firebase itself does is not tried here."""
    asked: list[tuple[str, str]] = []

    def hosting(route: Any) -> None:
        path = route.request.url.removeprefix("https://my-project.web.app").partition("?")[0]
        if path == "/__/firebase/init.json":
            route.fulfill(json={"projectId": "my-project"})
        elif path.endswith(("-app-compat.js", "-auth-compat.js")):
            route.fulfill(body=SDK if "-app-" in path else SDK_AUTH, content_type="text/javascript")
        elif path.startswith("/api/"):
            bearer = route.request.headers["authorization"]
            asked.append((path, bearer))
            good = bearer == "Bearer new"
            route.fulfill(status=200 if good else 401, json={"alerts": [], "cursor": None})
        elif path.startswith("/on-call/"):
            route.fulfill(path=ROOT / "public" / "on-call.html")
        else:
            route.fulfill(path=ROOT / "public" / path.lstrip("/"))

    page.route("https://my-project.web.app/**", hosting)
    page.goto("https://my-project.web.app/on-call/alerts")
    page.get_by_role("heading", level=1, name="You are signed out").wait_for()
    assert asked == []
    with page.expect_response(
        lambda answer: "/api/incidents" in answer.url and answer.ok
    ):  # asked once alerts are shown
        page.get_by_role("button", name="Sign in with Google").click()
    page.get_by_text("Nothing fires now.").wait_for()
    assert asked == [
        (path, bearer) for path in ("/api/ops/alerts", "/api/incidents") for bearer in ("Bearer old", "Bearer new")
    ]
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", level=1, name="You are signed out").wait_for()


def test_where_signing_in_cannot_be_loaded_the_page_says_so(page: Any) -> None:
    def hosting(route: Any) -> None:
        path = route.request.url.removeprefix("https://my-project.web.app")
        if path.startswith("/__/"):
            route.fulfill(status=404, body="<h1>Not found</h1>", content_type="text/html")
        else:
            route.fulfill(path=ROOT / "public" / ("on-call.html" if "/on-call/" in path else path.lstrip("/")))

    page.route("https://my-project.web.app/**", hosting)
    page.goto("https://my-project.web.app/on-call/alerts")
    page.get_by_role("heading", level=1, name="You cannot sign in just now").wait_for()
    page.get_by_role("button", name="Try again").wait_for()
