"""Secrets that a setting names as `sm://NAME/VERSION`, read from Secret Manager at the start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.cloud.secretmanager_v1 import SecretManagerServiceClient

DEADLINE = 5.0  # seconds in all, retries included
ATTEMPT = 2.0  # seconds for one call
ATTEMPTS = 3
_PAUSE = 0.1  # seconds before the second call, doubled before the third


class SecretError(Exception):
    """The secret cannot be read. The text names the secret and the reason, never the value."""


class SecretMissing(SecretError):
    """There is no such secret or version, or it is disabled."""


class SecretForbidden(SecretError):
    """This function's service account may not read it."""


class SecretUnavailable(SecretError):
    """No answer within the deadline, or the server failed."""


class SecretCorrupt(SecretError):
    """What arrived is not what was stored: its checksum differs."""


def reader_for(
    env: Mapping[str, str], client: Callable[[], SecretManagerServiceClient] | None = None, deadline: float = DEADLINE
) -> Callable[[str], str]:
    """A function that takes `NAME/VERSION` and returns the secret's text, or raises `SecretError`.

    `deadline` is in seconds, for one secret with its retries. `client` makes the client at the first use.
    """
    project = env.get("GOOGLE_CLOUD_PROJECT", "").strip() or env.get("GCLOUD_PROJECT", "").strip()
    made: list[SecretManagerServiceClient] = []

    def read(reference: str) -> str:
        name, _, version = reference.partition("/")
        if not project or not name or not version or "/" in version:
            raise SecretError(f"secret {reference!r}: needs a project and the form NAME/VERSION")
        if not made:
            made.append(client() if client else _connect())
        return _read(made[0], f"projects/{project}/secrets/{name}/versions/{version}", deadline)

    return read


def _connect() -> SecretManagerServiceClient:
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.secretmanager_v1 import SecretManagerServiceClient  # 0.3 s that most starts do not need

    try:
        return SecretManagerServiceClient()
    except GoogleAuthError as error:
        raise SecretForbidden(f"no credentials for Secret Manager: {type(error).__name__}") from None


def _read(client: SecretManagerServiceClient, resource: str, deadline: float) -> str:
    from google.api_core import exceptions

    end = time.monotonic() + deadline
    for attempt in range(ATTEMPTS):
        left = end - time.monotonic()
        if left <= 0:
            break
        try:
            answer = client.access_secret_version(
                name=resource, retry=None, timeout=min(left, ATTEMPT * deadline / DEADLINE)
            )
            return _checked(answer.payload, resource)
        except (exceptions.NotFound, exceptions.FailedPrecondition) as error:
            raise SecretMissing(f"{resource}: {type(error).__name__}") from None
        except (exceptions.PermissionDenied, exceptions.Unauthenticated) as error:
            raise SecretForbidden(f"{resource}: {type(error).__name__}") from None
        except (exceptions.ServerError, exceptions.TooManyRequests, exceptions.Aborted):
            pause = _PAUSE * 2**attempt
            if attempt + 1 == ATTEMPTS or time.monotonic() + pause >= end:
                break
            time.sleep(pause)
        except exceptions.GoogleAPICallError as error:
            raise SecretError(f"{resource}: {type(error).__name__}") from None
    raise SecretUnavailable(f"{resource}: no answer within {deadline:g} s")


def _checked(payload: Any, resource: str) -> str:
    if "data_crc32c" in payload and payload.data_crc32c != crc32c(payload.data):
        raise SecretCorrupt(f"{resource}: the checksum differs")
    try:
        return str(payload.data.decode())
    except UnicodeDecodeError:
        raise SecretCorrupt(f"{resource}: it is not text") from None


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum that Secret Manager stores beside a secret. Bit by bit: secrets are short."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
