"""The last messages that had no real address to go to, kept in the data folder."""

from __future__ import annotations

import json
import secrets
import threading
from collections import deque
from datetime import datetime
from typing import Any

from scripts.dev.folder import Folder

KEPT = 200


class Inbox:
    """Messages are {id, kind, receivedAt (epoch ms), payload}, newest first.

    `kind` is slack, mail, page (PagerDuty) or webhook.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        try:
            kept = json.loads(folder.inbox.read_text())
        except (OSError, ValueError):
            kept = []
        self._messages: deque[dict[str, Any]] = deque(kept, maxlen=KEPT)

    def add(self, kind: str, payload: dict[str, Any], now: datetime) -> None:
        """On return the message is in the folder."""
        message = {
            "id": secrets.token_hex(8),
            "kind": kind,
            "receivedAt": int(now.timestamp() * 1000),
            "payload": payload,
        }
        with self._lock:
            self._messages.append(message)
            self._folder.write(self._folder.inbox.name, json.dumps(list(self._messages)).encode())

    def newest_first(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(reversed(self._messages))
