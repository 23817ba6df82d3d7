"""A server's public signing keys (JWKS), cached, fetched within a deadline and never more often than is useful."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shared import log

if TYPE_CHECKING:
    from jwt import PyJWK

DEADLINE = 4.0
FRESH_SECONDS = 3600.0  # after this the keys are fetched anew, so that a withdrawn key goes
UNKNOWN_KID_SECONDS = 60.0  # made-up key ids cause at most one fetch in this time
RETRY_SECONDS = 5.0  # after a failed fetch
MAX_BYTES = 256 * 1024


class KeysUnavailable(Exception):
    """No keys are known and none could be fetched; the same call may succeed later."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeySet:
    """`get(kid)` gives the RSA key of that id, or None. `monotonic` and `deadline` are in seconds."""

    def __init__(self, url: str, monotonic: Callable[[], float] = time.monotonic, deadline: float = DEADLINE) -> None:
        self._url = url
        self._monotonic = monotonic
        self._deadline = deadline
        self._keys: dict[str, PyJWK] | None = None
        self._fetched_at = self._failed_at = float("-inf")
        self._reason = ""
        self._lock = threading.Lock()

    def get(self, kid: str) -> PyJWK | None:
        """Raises `KeysUnavailable` if no keys were ever fetched, or if this may be a new key that cannot be."""
        if self._keys is not None and kid in self._keys and self._age() < FRESH_SECONDS:
            return self._keys[kid]
        with self._lock:
            known = self._keys is not None and kid in self._keys
            wait = UNKNOWN_KID_SECONDS if self._keys is not None and not known else FRESH_SECONDS
            due = self._age() >= wait
            if due and self._monotonic() - self._failed_at >= RETRY_SECONDS:
                self._fetch()
            if self._keys is None or (due and kid not in self._keys and self._failed_at > self._fetched_at):
                raise KeysUnavailable(self._reason)
            return self._keys.get(kid)

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    def _fetch(self) -> None:
        try:
            self._keys = _rsa_keys(_download(self._url, self._deadline))
            self._fetched_at = self._monotonic()
        except KeysUnavailable as error:
            self._failed_at, self._reason = self._monotonic(), error.reason
            log.warning("signing keys could not be fetched; known ones stay in use", reason=error.reason)


def _download(url: str, deadline: float) -> bytes:
    """The body of a 200 answer, read within `deadline` seconds in all."""
    import requests  # not every function fetches keys

    end = time.monotonic() + deadline
    content = bytearray()
    try:
        session = requests.Session()
        session.trust_env = False  # no proxy, no .netrc: the address is meant as it is
        timeout = (min(3.0, deadline), deadline)
        with session, session.get(url, timeout=timeout, allow_redirects=False, stream=True) as response:
            if response.status_code != 200:
                raise KeysUnavailable(f"status {response.status_code}")
            while part := response.raw.read1(16384, decode_content=True):  # what is there: a drip meets the deadline
                content += part
                if len(content) > MAX_BYTES:
                    raise KeysUnavailable("the answer is too long")
                if time.monotonic() > end:
                    raise KeysUnavailable("timeout")
    except KeysUnavailable:
        raise
    except Exception as error:
        raise KeysUnavailable(type(error).__name__) from error
    return bytes(content)


def _rsa_keys(body: bytes) -> dict[str, PyJWK]:
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    keys: dict[str, PyJWK] = {}
    try:
        document: Any = json.loads(body)
        for entry in document["keys"]:
            if entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig" and isinstance(entry.get("kid"), str):
                keys[entry["kid"]] = PyJWK(entry, algorithm="RS256")
    except (ValueError, TypeError, KeyError, AttributeError, PyJWTError) as error:
        raise KeysUnavailable("the answer is not a key set") from error
    if not keys:
        raise KeysUnavailable("the answer has no RSA key")
    return keys
