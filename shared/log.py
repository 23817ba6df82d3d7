"""Structured logs, one JSON object a line as Cloud Logging reads them, with the trace of the request."""

from __future__ import annotations

import contextvars
import json
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

_trace: contextvars.ContextVar[str | None] = contextvars.ContextVar("trace", default=None)


def set_trace(headers: Any, project: str | None) -> None:
    """Take the trace id from `traceparent` or `X-Cloud-Trace-Context`, so that lines group under their request."""
    parts = headers.get("traceparent", "").split("-")
    trace = parts[1] if len(parts) == 4 else headers.get("X-Cloud-Trace-Context", "").partition("/")[0]
    valid = len(trace) == 32 and all(c in "0123456789abcdef" for c in trace.lower())
    _trace.set(f"projects/{project or 'local'}/traces/{trace}" if valid else None)


def line(severity: str, message: str, fields: dict[str, Any], now: datetime) -> str:
    entry: dict[str, Any] = {"severity": severity, "message": message, "time": now.isoformat()}
    trace = _trace.get()
    if trace:
        entry["logging.googleapis.com/trace"] = trace
    return json.dumps({**fields, **entry}, default=str, ensure_ascii=False)


def _write(severity: str, message: str, fields: dict[str, Any], stream: TextIO | None = None) -> None:
    print(line(severity, message, fields, datetime.now(UTC)), file=stream or sys.stdout, flush=True)


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
