"""Prepared answers of statusApi: their headers are made once, and stay as they were made however they are sent."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from functions.status_api.answers import Ready, prepare, send

TEXT = b"<p>text</p>" * 200


def request(method: str = "GET", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(EnvironBuilder(method=method, headers=named).get_environ())


@pytest.fixture
def ready() -> Ready:
    return prepare(TEXT, "text/html; charset=utf-8", [("X-Own", "1")])


def sent(ready: Ready, asked: Request, status: int = 200) -> tuple[dict[str, str], bytes]:
    """Headers and bytes as they go out."""
    found: dict[str, str] = {}

    def start(line: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        assert len(headers) == len(dict(headers))
        found.update(headers, status=line[:3])

    return found, b"".join(send(asked, ready, status)(asked.environ, start))


def test_an_answer_says_how_long_it_is(ready: Ready) -> None:
    headers, body = sent(ready, request())
    assert body == TEXT
    assert headers == {
        "status": "200",
        "Cache-Control": "public, max-age=0, s-maxage=5, stale-while-revalidate=30",
        "X-Own": "1",
        "ETag": ready.etag,
        "Vary": "Accept-Encoding",
        "Content-Type": "text/html; charset=utf-8",
        "Content-Length": str(len(TEXT)),
    }


def test_packed_it_is_as_long_as_that(ready: Ready) -> None:
    headers, body = sent(ready, request(Accept_Encoding="br, gzip;q=0.5"))
    assert gzip.decompress(body) == TEXT
    assert (headers["Content-Encoding"], headers["Content-Length"]) == ("gzip", str(len(body)))


@pytest.mark.parametrize("accepted", ["", "br", "gzip;q=0", "gzip" + " " * 500])
def test_who_does_not_ask_for_it_gets_no_gzip(ready: Ready, accepted: str) -> None:
    headers, body = sent(ready, request(Accept_Encoding=accepted))
    assert body == TEXT
    assert "Content-Encoding" not in headers


def test_who_has_it_gets_the_headers_alone(ready: Ready) -> None:
    headers, body = sent(ready, request(If_None_Match=ready.etag))
    assert (headers["status"], body) == ("304", b"")
    assert (headers["X-Own"], headers["ETag"]) == ("1", ready.etag)
    assert "Content-Length" not in headers
    assert "Content-Type" not in headers


def test_to_head_it_says_the_same_without_the_bytes(ready: Ready) -> None:
    got, _ = sent(ready, request())
    headers, body = sent(ready, request("HEAD"))
    assert (headers, body) == (got, b"")


def test_another_status_is_not_kept_and_changes_nothing_of_what_comes_after(ready: Ready) -> None:
    before, _ = sent(ready, request())
    headers, body = sent(ready, request(If_None_Match=ready.etag), 503)
    assert (headers["status"], headers["Cache-Control"], headers["Retry-After"]) == ("503", "no-store", "5")
    assert "ETag" not in headers
    assert body == TEXT
    assert sent(ready, request())[0] == before
