"""The original's tests 5 (incident timeline) and 7 (service restoration), step by step on the real local server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.dev_server import DevServer


class OnCall:
    """An admin with a terminal."""

    def __init__(self, server: DevServer) -> None:
        self.server = server
        self._headers = {"Authorization": f"Bearer {server.post('/dev/token').json()['token']}"}

    def post(self, path: str, body: Any = None) -> Any:
        reply = self.server.post(path, json=body or {}, headers=self._headers)
        assert reply.ok, reply.text
        return reply.json()

    def get(self, path: str, **headers: str) -> Any:
        return self.server.get(path, headers=self._headers | headers)

    def page(self) -> str:
        return self.server.get("/status").text

    def api(self) -> str:
        """The API's state, as programs read it."""
        components = self.server.get("/api/status/healthz").json().get("components", {})
        return str(components.get("API", {}).get("status"))


@pytest.fixture(scope="module")
def on_call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnCall]:
    with DevServer(tmp_path_factory.mktemp("incidents") / "data", "--no-schedules") as server:
        yield OnCall(server)


def test_5_incident_timeline(on_call: OnCall) -> None:
    # 1. Create incident: "Billing Outage"
    incident = {"title": "Billing Outage", "impact": "high", "components": ["Billing"], "publicVisible": True}
    name = on_call.post("/api/incidents", incident)["id"]
    path = f"/api/incidents/{name}"
    # 2. Add update: "Investigating payment failures"
    on_call.post(f"{path}/updates", {"message": "Investigating payment failures"})
    # 3. Add update: "Identified Stripe webhook issue"
    on_call.post(f"{path}/updates", {"message": "Identified Stripe webhook issue", "status": "identified"})
    # 4. Add update: "Mitigated - redeployed webhook function"
    on_call.post(
        f"{path}/updates", {"message": "Mitigated - redeployed webhook function", "status": "mitigating"}
    )  # fmt: skip
    # 5. Resolve incident
    on_call.post(f"{path}/resolve", {"message": "Payments work again."})
    # 6. Verify timeline shows all updates with timestamps
    timeline = on_call.get(f"{path}/updates").json()["updates"]
    assert [(u["status"], u["message"].partition(" Resolved after")[0]) for u in timeline] == [
        ("investigating", "We are looking into it."),
        ("investigating", "Investigating payment failures"),
        ("identified", "Identified Stripe webhook issue"),
        ("mitigating", "Mitigated - redeployed webhook function"),
        ("resolved", "Payments work again."),
    ]
    stamps = [datetime.fromisoformat(u["timestamp"]) for u in timeline]
    assert stamps == sorted(stamps)
    found = on_call.get(path).json()
    reached = [
        datetime.fromisoformat(found[f"{name}At"]) for name in ("started", "identified", "mitigated", "resolved")
    ]
    assert reached == sorted(reached)
    # 7. Verify public status page displays incident (publicVisible = true)
    page = _eventually(on_call, on_call.page, "Payments work again.")
    for text in ("Billing Outage", *(u["message"] for u in timeline)):
        assert text in page
    # And with publicVisible = false it does not.
    hidden = on_call.post("/api/incidents", {"title": "Only for us", "impact": "low", "components": ["Billing"]})
    assert hidden["published"] is True
    assert "Only for us" not in on_call.page()


def test_7_service_restoration(on_call: OnCall) -> None:
    # 1. Create outage incident
    outage = {"title": "The API is down", "impact": "critical", "components": ["API"], "publicVisible": True}
    name = on_call.post("/api/incidents", outage)["id"]
    path = f"/api/incidents/{name}"
    assert _eventually(on_call, on_call.api, "outage")
    # 2. Update status: "mitigating"
    on_call.post(f"{path}/updates", {"message": "Rolling the release back.", "status": "mitigating"})
    # 3. Fix issue: requests succeed, and alertRules has seen it.
    now_ms = on_call.server.get("/dev/clock").json()["now_ms"]
    labels = {"endpoint": "/api/orders", "method": "GET", "status": "200"}
    # Also in the slot that has begun: it is judged if this one is over by then.
    moments = (now_ms - 300_000, now_ms)
    good = [{"name": "api_latency", "value": 90, "timestamp": moment, "labels": labels} for moment in moments] * 50
    assert on_call.server.send("restored-1", *good).status_code == 202
    assert on_call.server.run("alertRules").status_code == 200
    # 4. Update status: "resolved"
    on_call.post(f"{path}/updates", {"message": "It works again.", "status": "resolved"})
    # 5. Verify status page shows "operational"
    assert _eventually(on_call, on_call.api, "operational")
    assert "Outage: API" not in on_call.page()
    # 6. Verify timeline shows MTTR (Mean Time To Resolve)
    found = on_call.get(path).json()
    assert " Resolved after " in found["updates"][-1]["message"]
    assert found["times"]["toResolve"] > 0
    stats = on_call.get("/api/incidents/stats").json()
    assert stats["all"]["resolved"] >= 1
    assert stats["all"]["mttr"] > 0
    # 7. Verify post-mortem template generated
    postmortem = on_call.get(f"{path}/postmortem").json()
    assert (postmortem["state"], postmortem["overdue"]) == ("generated", False)
    for text in (
        "# Post-mortem: The API is down",
        "## Impact",
        "## Root cause",
        "Rolling the release back.",
        "API Avail",
    ):
        assert text in postmortem["markdown"]
    plain = on_call.get(f"{path}/postmortem", Accept="text/markdown")
    assert plain.headers["Content-Type"].startswith("text/markdown")


def _eventually(on_call: OnCall, read: Any, wanted: str) -> Any:
    """What is read once `wanted` is in it: an instance of statusApi looks at the snapshot every 5 seconds."""

    def look() -> Any:
        time.sleep(0.5)  # a client may ask 60 times a minute
        found = read()
        return found if wanted in found else None

    return on_call.server.wait_for(look)
