"""Structured logs, one JSON object a line as Cloud Logging reads them, with the trace of the request."""

from __future__ import annotations

import contextvars
import json
import math
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

MAX_TEXT = 4096  # characters of one value: Cloud Logging drops an entry above 256 KiB
MAX_DEPTH = 8
MASK = "***"

# What looks like a credential, wherever it stands in a text. A net below the rule that no caller logs secrets.
_SECRET = re.compile(
    r"""(?x)
    (?<=hooks\.slack\.com/)\S+            # the path of an incoming webhook is its password
    | (?i:(?<=bearer\ )|(?<=basic\ ))\S+  # an Authorization header
    | \bf0_[\w-]{16,}                     # an ingest key
    | \beyJ[\w-]{8,}\.[\w-]+\.[\w-]*      # a signed token
    | \b(?:xox[a-z]|sk|pk|rk|ghp|AIza)[-_]?[\w-]{20,}  # keys of well-known vendors
    | (?<=://)[^\s/@:]*:[^\s/@]+(?=@)     # user:password in a URL
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----[\s\S]*
    """
)
_SECRET_NAME = re.compile(r"(?i)(.*[_-])?(authorization|cookie|password|secret|token|api[_-]?key|webhook[_-]?url)")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.IGNORECASE)
_CLOUD_TRACE = re.compile(r"([0-9a-f]{32})(/.*)?", re.IGNORECASE)

_trace: contextvars.ContextVar[str | None] = contextvars.ContextVar("trace", default=None)


def set_trace(headers: Any, project: str | None) -> None:
    """Take the trace id from `traceparent` or `X-Cloud-Trace-Context`, so that lines group under their request."""
    for name, pattern in (("traceparent", _TRACEPARENT), ("X-Cloud-Trace-Context", _CLOUD_TRACE)):
        text = headers.get(name)
        found = pattern.fullmatch(text.strip()) if text else None
        if found and found[1].strip("0"):
            _trace.set(f"projects/{project or 'local'}/traces/{found[1].lower()}")
            return
    _trace.set(None)


def scrub(text: str) -> str:
    """The text with whatever looks like a credential masked."""
    return _SECRET.sub(MASK, text)


def line(severity: str, message: str, fields: Mapping[str, Any], now: datetime) -> str:
    """One entry: a JSON object without a line break, whatever the fields hold."""
    entry: dict[str, Any] = {"severity": severity, "message": _plain(message), "time": now.isoformat()}
    trace = _trace.get()
    if trace:
        entry["logging.googleapis.com/trace"] = trace
    # ASCII only: a lone surrogate cannot be encoded, and U+2028 is a line break to some readers
    return json.dumps({**_plain(fields), **entry}, ensure_ascii=True, allow_nan=False)


def _plain(value: Any, name: str = "", depth: int = 0) -> Any:
    """The value as JSON can hold it, shortened and scrubbed. An exception is named, never quoted."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {scrub(str(k)): _plain(v, str(k), depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v, name, depth + 1) for v in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    text = value if isinstance(value, str) else str(value)
    if text and _SECRET_NAME.fullmatch(name):
        return MASK
    text = scrub(text)  # before it is cut: half a token is still a token
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


def _write(severity: str, message: str, fields: dict[str, Any], stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    stream.write(line(severity, message, fields, datetime.now(UTC)) + "\n")  # one write: threads do not interleave
    stream.flush()


def info(message: str, **fields: Any) -> None:
    _write("INFO", message, fields)


def warning(message: str, **fields: Any) -> None:
    _write("WARNING", message, fields)


def error(message: str, exception: BaseException | None = None, **fields: Any) -> None:
    """With `exception`, its stack trace is added; the exception's own text is not, since it may quote input."""
    if exception is not None:
        frames = traceback.extract_tb(exception.__traceback__)
        fields["exception"] = type(exception).__name__
        fields["stack"] = [f"{f.filename}:{f.lineno} {f.name}" for f in frames]
    _write("ERROR", message, fields)
