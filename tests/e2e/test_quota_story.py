"""The original's test 3 (provider quota exceeded), step by step on the real local server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.dev_server import DevServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quota") / "data"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[DevServer]:
    with DevServer(folder, "--no-schedules") as started:
        yield started


def test_3_provider_quota_exceeded(server: DevServer, folder: Path) -> None:
    admin = {"Authorization": f"Bearer {server.post('/dev/token').json()['token']}"}
    app = {"Authorization": f"Bearer {(folder / 'usage.key').read_text().strip()}"}
    _not_just_before_midnight()
    # 1. Reduce user's quota to 5 calls
    limits = {"plan": "internal", "day": {"calls": 5}}
    quota = server.put("/api/usage/ada/quota", json=limits, headers=admin)
    assert quota.ok, quota.text
    # 2. Make 6 API calls
    replies = [_call(server, app, number) for number in range(1, 7)]
    # 3. Verify 6th call returns 429 (quota exceeded)
    assert [reply.status_code for reply in replies] == [201, 201, 201, 201, 201, 429]
    refused = replies[-1]
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["code"] == "quota_exceeded"
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    # and what it was refused is not counted
    assert server.get("/api/usage/ada", headers=admin).json()["daily"][0]["calls"] == 5
    # 4. Check notification: "Usage warning: 100% of quota"
    told = server.get("/api/ops/inbox", headers=admin).json()["notifications"]
    assert [(one["title"], one["kind"]) for one in told] == [
        ("Usage warning: 100% of quota", "quota"),
        ("Usage warning: 80% of quota", "quota"),
    ]
    assert "5 of 5 calls" in told[0]["message"]
    assert "ada" not in str(told)
    # 5. Create incident: "provider-degradation"
    incident = {
        "title": "provider-degradation",
        "impact": "medium",
        "components": ["AI_Providers"],
        "publicVisible": True,
    }
    created = server.post("/api/incidents", json=incident, headers=admin)
    assert created.ok, created.text
    # 6. Verify incident appears on status page

    def page() -> str | None:
        time.sleep(0.5)  # a client may ask 60 times a minute
        text = server.get("/status").text
        return text if "provider-degradation" in text else None

    text = server.wait_for(page)
    assert f"/status/incidents/{created.json()['id']}" in text
    assert "Usage warning" not in text


def _call(server: DevServer, app: dict[str, str], number: int) -> Any:
    """What an app does for one call: reserve it, make it, settle it. The answer to the reservation."""
    call = {"uid": "ada", "provider": "anthropic", "model": "claude-haiku-4-5"}
    most = {"requestId": f"chat-of-ada-{number}", "maxInputTokens": 1000, "maxOutputTokens": 500}
    reserved = server.post("/api/usage/reservations", json=call | most, headers=app)
    if reserved.status_code == 201:
        path = f"/api/usage/reservations/{reserved.json()['reservationId']}/settle"
        settled = server.post(path, json=call | {"tokens": {"input": 800, "output": 200}}, headers=app)
        assert settled.ok, settled.text
    return reserved


def _not_just_before_midnight() -> None:
    """The quota is of a day in UTC, and the server has the real clock."""
    now = datetime.now(UTC)
    seconds = (23 - now.hour) * 3600 + (59 - now.minute) * 60 + 60 - now.second
    if seconds < 120:  # what a busy machine may need
        time.sleep(seconds)
