"""firestore.rules, on the emulator, through the REST interface that browsers use."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

RULES = Path(__file__).parents[2] / "firestore.rules"
READABLE = ("status/public",)
HIDDEN = (
    "status/components",
    "status/components/items/api",
    "incidents/i1",
    "incidents/i1/audit/00000001",
    "maintenances/m1",
    "alerts/a1",
    "config/flags",
    "other/x",
)


def token(**claims: Any) -> str:
    """An unsigned ID token, which the emulator takes for a signed-in user's."""
    parts = ({"alg": "none", "typ": "JWT"}, {"sub": "u1", "user_id": "u1", **claims})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


OWNER = {"Authorization": "Bearer owner"}
ADMIN = {"Authorization": f"Bearer {token(admin=True)}"}
STRANGERS: dict[str, dict[str, str]] = {
    "nobody": {},
    "a user": {"Authorization": f"Bearer {token()}"},
    "admin false": {"Authorization": f"Bearer {token(admin=False)}"},
    "admin as text": {"Authorization": f"Bearer {token(admin='true')}"},
}
EVERYBODY = {**STRANGERS, "an admin": ADMIN}


class Database:
    """The REST interface of one project's database, with the rules in force."""

    def __init__(self, emulator: str) -> None:
        self._session = requests.Session()
        project = f"test-{secrets.token_hex(6)}"
        self._documents = f"http://{emulator}/v1/projects/{project}/databases/(default)/documents"
        rules = {"rules": {"files": [{"name": "firestore.rules", "content": RULES.read_text()}]}}
        answer = self._session.put(f"http://{emulator}/emulator/v1/projects/{project}:securityRules", json=rules)
        assert answer.status_code == 200, answer.text
        for path in (*READABLE, *HIDDEN):
            assert self.call("PATCH", path, OWNER, {"fields": {}}) == 200

    def call(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> int:
        url = self._documents + ("" if path.startswith(":") else "/") + path
        return self._session.request(method, url, headers=headers, json=body, timeout=10).status_code

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="module")
def database(emulator: str) -> Iterator[Database]:
    database = Database(emulator)
    yield database
    database.close()


@pytest.mark.parametrize("who", EVERYBODY)
def test_everybody_gets_the_public_status(database: Database, who: str) -> None:
    assert database.call("GET", "status/public", EVERYBODY[who]) == 200


@pytest.mark.parametrize("path", HIDDEN)
@pytest.mark.parametrize("who", STRANGERS)
def test_strangers_get_nothing_else(database: Database, who: str, path: str) -> None:
    assert database.call("GET", path, STRANGERS[who]) == 403


@pytest.mark.parametrize("path", ["status", "incidents", "alerts", "status/components/items"])
@pytest.mark.parametrize("who", STRANGERS)
def test_strangers_list_nothing(database: Database, who: str, path: str) -> None:
    assert database.call("GET", path, STRANGERS[who]) == 403


@pytest.mark.parametrize("path", [*READABLE, *HIDDEN, "status", "status/components/items"])
def test_an_admin_reads_everything(database: Database, path: str) -> None:
    assert database.call("GET", path, ADMIN) == 200


@pytest.mark.parametrize(("who", "expected"), [*((who, 403) for who in STRANGERS), ("an admin", 200)])
def test_queries_are_for_admins(database: Database, who: str, expected: int) -> None:
    query = {"structuredQuery": {"from": [{"collectionId": "items", "allDescendants": True}]}}
    assert database.call("POST", ":runQuery", EVERYBODY[who], query) == expected


@pytest.mark.parametrize("path", [*READABLE, *HIDDEN, "status/new"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("who", EVERYBODY)
def test_nobody_writes(database: Database, who: str, method: str, path: str) -> None:
    assert database.call(method, path, EVERYBODY[who], {"fields": {}} if method == "PATCH" else None) == 403
