"""What can be seen of F0 Ops from outside: health answer, status page, Slack messages, and an incident's document."""

from __future__ import annotations

import html
import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from shared.store.sqlite import SqliteStore

_INCIDENT = re.compile(r"incident `([^`]+)`")
_SLACK_TIME = re.compile(r"<!date\^\d+\^[^|]*\|([^>]*)>")


@dataclass(frozen=True, slots=True)
class Message:
    """A Slack message. `lines` is what people read in it, as plain text: title, what happened, the figures."""

    id: str
    title: str
    lines: tuple[str, ...]
    incident_id: str | None

    @classmethod
    def of(cls, message: dict[str, Any]) -> Self:
        payload = message["payload"]
        texts = list(_texts(payload.get("blocks", []))) or [payload.get("text", "")]
        found = _INCIDENT.search("\n".join(texts))
        lines = tuple(_plain(text) for text in texts[:3])
        return cls(message["id"], lines[0], lines, found[1] if found else None)


class Ops:
    """The local server at `port`, with its data in `folder`. Whatever cannot be read right now is None or empty."""

    def __init__(self, port: int, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._store = SqliteStore(folder / "store.db")

    def health(self) -> dict[str, Any] | None:
        body = self._get("/api/status/healthz")
        return json.loads(body) if body else None

    def component(self, name: str) -> dict[str, Any]:
        components = (self.health() or {}).get("components", {})
        found: dict[str, Any] = components.get(name, {})
        return found

    def page(self) -> str:
        return html.unescape(self._get("/status") or "")

    def messages(self) -> list[Message]:
        """Slack messages, oldest first."""
        body = self._get("/dev/inbox.json")
        found = json.loads(body)["messages"] if body else []
        return [Message.of(message) for message in reversed(found) if message["kind"] == "slack"]

    def incident(self, incident_id: str) -> dict[str, Any] | None:
        """Incidents that automation opens are internal: no public answer tells of them, so the store is asked."""
        doc = self._store.get(f"incidents/{incident_id}")
        return doc.data if doc else None

    def close(self) -> None:
        self._store.close()

    def _get(self, path: str) -> str | None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
            return body if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def _texts(blocks: list[dict[str, Any]]) -> Iterator[str]:
    """The texts of Slack blocks in the order they are shown; a section's fields on one line."""
    for block in blocks:
        if isinstance(block.get("text"), dict):
            yield block["text"]["text"]
        if "fields" in block:
            yield " · ".join(field["text"].replace("*\n", ": ").replace("*", "") for field in block["fields"])
        if "elements" in block:
            yield " · ".join(e["text"] for e in block["elements"] if isinstance(e.get("text"), str))


def _plain(text: str) -> str:
    text = _SLACK_TIME.sub(r"\1", text)
    return html.unescape(" ".join(text.replace("*", "").replace("`", "").split()))
