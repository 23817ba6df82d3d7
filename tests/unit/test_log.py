"""Log lines, as Cloud Logging reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from shared import log

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    yield
    log.set_trace({}, None)


def written(**fields: Any) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(log.line("INFO", "hello", fields, NOW))
    return entry


def trace_of(headers: dict[str, str]) -> str | None:
    log.set_trace(headers, "ops-prod")
    return written().get("logging.googleapis.com/trace")


def test_an_entry_bears_severity_message_time_and_fields() -> None:
    assert written(points=3) == {
        "severity": "INFO",
        "message": "hello",
        "time": "2026-03-01T12:00:00+00:00",
        "points": 3,
    }


def test_a_field_cannot_forge_the_severity_or_the_trace() -> None:
    assert trace_of({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    entry = written(**{"severity": "DEBUG", "message": "other", "logging.googleapis.com/trace": "forged"})
    assert entry["severity"] == "INFO"
    assert entry["message"] == "hello"
    assert entry["logging.googleapis.com/trace"] == f"projects/ops-prod/traces/{TRACE}"


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{TRACE.upper()}-00f067aa0ba902b7-01"},
        {"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01-what-comes-later"},
        {"X-Cloud-Trace-Context": f"{TRACE}/2450465917091935019;o=1"},
        {"X-Cloud-Trace-Context": TRACE},
        {"traceparent": "garbage", "X-Cloud-Trace-Context": TRACE},
    ],
)
def test_the_trace_comes_from_either_header(headers: dict[str, str]) -> None:
    assert trace_of(headers) == f"projects/ops-prod/traces/{TRACE}"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": ""},
        {"traceparent": "---"},
        {"traceparent": f"ff-{TRACE}-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{TRACE}\n-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{'é' * 32}-00f067aa0ba902b7-01"},
        {"X-Cloud-Trace-Context": "../../etc/passwd"},
        {"X-Cloud-Trace-Context": "x" * 10_000},
    ],
)
def test_garbage_headers_give_no_trace(headers: dict[str, str]) -> None:
    assert trace_of(headers) is None


def test_a_request_without_a_trace_does_not_keep_the_trace_of_the_one_before() -> None:
    assert trace_of({"X-Cloud-Trace-Context": TRACE})
    assert trace_of({}) is None


def test_without_a_project_the_trace_is_local() -> None:
    log.set_trace({"X-Cloud-Trace-Context": TRACE}, None)
    assert written()["logging.googleapis.com/trace"] == f"projects/local/traces/{TRACE}"


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\u2028b", "a\x85b", "a\x0cb", "\ud800", "\x00"])
def test_an_entry_is_one_line_whatever_a_field_holds(text: str) -> None:
    line = log.line("INFO", text, {"value": text, text: 1, "deep": [{"x": text}]}, NOW)
    assert len(line.splitlines()) == 1
    assert json.loads(line.encode())["value"] == text


def test_numbers_that_json_does_not_know_become_text() -> None:
    assert written(a=float("nan"), b=[float("inf")]) == {**written(), "a": "nan", "b": ["inf"]}


def test_any_value_can_be_logged() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    entry = written(at=NOW, raw=b"abc", keys={1: "one"}, words={"only"}, loop=loop)
    assert entry["at"] == "2026-03-01 12:00:00+00:00"
    assert entry["raw"] == "<3 bytes>"
    assert entry["keys"] == {"1": "one"}
    assert entry["words"] == ["only"]


def test_a_long_value_is_cut() -> None:
    assert len(written(body="x" * 1_000_000)["body"]) == log.MAX_TEXT + 1


@pytest.mark.parametrize(
    "secret",
    [
        "T0000/B0000/abcdefghijklmnop",
        "f0_abcdefghijklmnopqrstuvwxyz",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "xoxb-123456789012-abcdefghijkl",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "sk-proj-abcdefghijklmnopqrstuvwx",
        "user:pa55word",
        "MIIEvQIBADANBg",
    ],
)
@pytest.mark.parametrize("where", ["field", "list", "message", "key"])
def test_what_looks_like_a_credential_is_masked(secret: str, where: str) -> None:
    around = {
        "T0000": f"POST https://hooks.slack.com/services/{secret} failed",
        "user:": f"GET https://{secret}@example.com/ failed",
        "MIIEv": f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----",
    }
    text = around.get(secret[:5], f"the value {secret} was sent")
    fields: dict[str, Any] = {"field": {"a": text}, "list": {"a": [{"b": text}]}, "key": {text: 1}}.get(where, {})
    line = log.line("INFO", text if where == "message" else "hello", fields, NOW)
    assert secret not in line
    assert log.MASK in line


def test_a_header_of_authorization_is_masked_and_its_scheme_is_kept() -> None:
    assert written(header="Authorization: Bearer abc123")["header"] == "Authorization: Bearer ***"


@pytest.mark.parametrize("name", ["password", "Authorization", "slack_webhook_url", "api-key", "X-Api-Key", "id_token"])
def test_a_field_with_a_name_of_a_secret_is_masked(name: str) -> None:
    assert written(**{name: "plain words"})[name] == log.MASK


def test_ordinary_words_and_counts_stay_as_they_are() -> None:
    fields = {"tokens": 1200, "token_cost": "0.31", "alert": "api-availability-threshold", "url": "https://f0.com/a:b"}
    assert written(**fields) == {**written(), **fields}


def test_an_exception_is_named_with_its_stack_and_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("user@example.com sent nonsense")
    except ValueError as error:
        log.error("it failed", error, cause=error)
    out = capsys.readouterr().out
    entry = json.loads(out)
    assert entry["severity"] == "ERROR"
    assert entry["exception"] == entry["cause"] == "ValueError"
    assert "test_an_exception_is_named" in entry["stack"][0]
    assert "user@example.com" not in out


def test_severities(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("a")
    log.warning("b")
    log.error("c")
    assert [json.loads(line)["severity"] for line in capsys.readouterr().out.splitlines()] == [
        "INFO",
        "WARNING",
        "ERROR",
    ]
