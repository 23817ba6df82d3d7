"""Two hundred edits of one incident at once, over HTTP, by two processes: none is lost, each refused one is told."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.dev.issuer import AdminIssuer, new_key
from tests.emulator import forget
from tests.key_server import KeyServer
from tests.ops_api import ISSUER
from tests.served import served_function

EDITS = 200
AT_ONCE = 16


class Two:
    """The same function in two processes over one store, as an admin calls it."""

    def __init__(self, ports: list[int], token: str) -> None:
        self._urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._headers = {"Authorization": f"Bearer {token}"}

    def send(self, process: int, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        given = self._headers | {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(method, self._urls[process % 2] + path, json=body, headers=given, timeout=60)

    def all(self, path: str, key: str) -> list[Any]:
        found: list[Any] = []
        cursor = None
        while True:
            query = f"?limit=200&cursor={cursor}" if cursor else "?limit=200"
            page = self.send(0, "GET", path + query).json()
            found += page[key]
            cursor = page["cursor"]
            if cursor is None:
                return found


@pytest.fixture(params=["sqlite", "firestore"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Two]:
    keys = KeyServer()
    project = f"edits-{secrets.token_hex(6)}"
    admins = AdminIssuer(new_key(), ISSUER, project)
    keys.body = json.dumps(admins.jwks()).encode()
    env = {"DEV_ADMIN_ISSUER": f"{ISSUER}/dev/admins", "DEV_ADMIN_JWKS_URL": keys.url, "GOOGLE_CLOUD_PROJECT": project}
    emulator = None
    if request.param == "firestore":
        emulator = request.getfixturevalue("emulator")
        env |= {"F0_STORE": "firestore", "FIRESTORE_EMULATOR_HOST": emulator}
    try:
        with ExitStack() as opened:
            served = [
                opened.enter_context(served_function(tmp_path / "store.db", "incidentsApi", **env)) for _ in range(2)
            ]
            yield Two([one.port for one in served], admins.token(datetime.now(UTC))[0])
    finally:
        keys.close()
        if emulator is not None:
            forget(emulator, project)


def edits(path: str, seen: str) -> list[tuple[str, str, Any, dict[str, str]]]:
    """Method, path, body and headers of each. Every fifth of the plain updates comes twice, with one key."""
    found: list[tuple[str, str, Any, dict[str, str]]] = []
    for n in range(EDITS):
        match n % 10:
            case 0:
                found.append(("PATCH", path, {"title": f"Title {n}"}, {"If_Match": seen}))
            case 1:
                found.append(("PATCH", path, {"impact": "high"}, {"If_Match": "*"}))
            case 2:
                found.append(("POST", f"{path}/updates", {"message": f"m{n}", "status": "identified"}, {}))
            case 3:
                found.append(("POST", f"{path}/updates", {"message": f"m{n}", "status": "mitigating"}, {}))
            case 4:
                found.append(("POST", f"{path}/actions", {"title": f"Item {n}"}, {}) if n % 4 == 0 else
                             ("POST", f"{path}/resolve", {"message": f"m{n}."}, {}))  # fmt: skip
            case 5:
                found.append(("POST", f"{path}/reopen", {"message": f"m{n}"}, {}))
            case 6 | 7:
                key = {"Idempotency_Key": f"twice-{n // 10}"}
                found.append(("POST", f"{path}/updates", {"message": f"twice-{n // 10}", "public": True}, key))
            case _:
                found.append(("POST", f"{path}/updates", {"message": f"m{n}", "public": True}, {}))
    return found


def test_two_hundred_edits_at_once_lose_nothing_keep_their_order_and_are_all_answered(two: Two) -> None:
    opened = two.send(0, "POST", "/api/incidents", {"title": "t", "impact": "low", "publicVisible": True})
    assert opened.status_code == 201, opened.text
    path = f"/api/incidents/{opened.json()['id']}"
    wanted = edits(path, opened.headers["ETag"])

    def send(n: int) -> requests.Response:
        method, where, body, headers = wanted[n]
        return two.send(n, method, where, body, **headers)

    with ThreadPoolExecutor(AT_ONCE) as people:
        replies = list(people.map(send, range(EDITS)))

    codes = Counter(reply.status_code for reply in replies)
    assert set(codes) <= {200, 201, 409, 412}, [r.text for r in replies if r.status_code >= 500][:3]
    for reply in replies:
        if reply.status_code == 412:
            assert reply.json()["version"]
        if reply.status_code == 409:
            assert reply.json()["allowed"]
    assert sum(r.status_code == 200 for r, w in zip(replies, wanted, strict=True) if w[3].get("If_Match") == "*") == 20
    assert (
        sum(r.ok for r, w in zip(replies, wanted, strict=True) if "If_Match" in w[3] and w[3]["If_Match"] != "*") <= 1
    )

    # Each that was taken is there once, and nothing else is.
    repeated = sum("Idempotency-Replayed" in reply.headers for reply in replies)
    taken = [
        w for reply, w in zip(replies, wanted, strict=True) if reply.ok and "Idempotency-Replayed" not in reply.headers
    ]
    assert repeated == 20
    audit = two.all(f"{path}/audit", "audit")
    assert [entry["n"] for entry in audit] == list(range(1, len(taken) + 2))
    timeline = two.all(f"{path}/updates", "updates")
    told = Counter(update["message"].partition(" Resolved after")[0] for update in timeline[1:])
    assert told == Counter(w[2]["message"] for w in taken if "message" in w[2])
    stamps = [datetime.fromisoformat(u["timestamp"]) for u in timeline]
    assert stamps == sorted(stamps)
    assert [u["n"] for u in timeline] == list(range(len(timeline)))

    # The log, replayed from its first entry, is the incident: each change was made to what the one before had left.
    state: dict[str, Any] = {}
    entries: list[str] = []
    for entry in audit:
        for name, before in entry["before"].items():
            assert state.get(name) == before, (entry["n"], name)
        entries += [update["message"] for update in entry["after"].pop("updates", [])]
        state |= entry["after"]
    now = two.send(1, "GET", path).json()
    assert entries == [update["message"] for update in timeline]
    for name in ("title", "impact", "status", "actionItems", "identifiedAt", "mitigatedAt", "resolvedAt", "reopened"):
        assert state[name] == now[name], name
    assert len(now["actionItems"]) == sum(1 for w in taken if w[1].endswith("/actions"))
