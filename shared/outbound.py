"""Calls to other people's servers: one deadline a call, a bounded answer, no redirects, no retry."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_ANSWER_BYTES = 64 * 1024


class OutboundError(Exception):
    """No usable answer. `sent` is False only if the other side cannot have received the request."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Outbound(Protocol):
    def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        """POST and read the answer within `deadline` seconds in all. Raises `OutboundError`."""
        ...


class RequestsOutbound:
    """Over `requests`, with a session a thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        import requests  # not every function calls out

        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        end = time.monotonic() + deadline
        try:
            with session.post(
                url,
                data=body,
                headers=dict(headers),
                timeout=(min(3.0, deadline), deadline),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = bytearray()
                while len(content) < MAX_ANSWER_BYTES:
                    if time.monotonic() > end:
                        raise OutboundError("timeout", sent=True)
                    # read1 returns what is there, so a server that drips bytes meets the deadline above
                    part = response.raw.read1(4096, decode_content=True)
                    if not part:
                        break
                    content += part
                return Reply(response.status_code, dict(response.headers), bytes(content[:MAX_ANSWER_BYTES]))
        except requests.ConnectTimeout as error:
            raise OutboundError("connect_timeout", sent=False) from error
        except requests.Timeout as error:
            raise OutboundError("timeout", sent=True) from error
        except requests.ConnectionError as error:
            raise OutboundError("connection_failed", sent=True) from error
        except (requests.RequestException, OSError, ValueError) as error:
            raise OutboundError(type(error).__name__, sent=True) from error
        except Exception as error:
            if isinstance(error, OutboundError):
                raise
            raise OutboundError(type(error).__name__, sent=True) from error
