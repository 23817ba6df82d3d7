"""Buckets listed with Google's client: pages, deadlines, retries, and every way in which a server can misbehave."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from functions.storage_usage.listing import CloudListing
from shared.metrics.storage_usage import PAGE, ListingError
from tests import fake_buckets
from tests.fake_servers import (
    Behaviour,
    Exchange,
    FakeSlack,
    closing,
    dripping,
    failing,
    garbage,
    half_an_answer,
    hanging,
    throttled,
)

BUCKET = "my-app.appspot.com"
SIZES = {f"users/u{n // 7:03}/file {n:04}+ä.png": n for n in range(410)}


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    with fake_buckets.emulator() as address:
        fake_buckets.fill(address, BUCKET, SIZES)
        yield address


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code sets for Google's client is taken back."""
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "")
    monkeypatch.delenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA")


@contextmanager
def front_to(behave: Behaviour, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlack]:
    with FakeSlack(behave) as front:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_buckets.address_of(front))
        yield front


def hasty(answer_seconds: float = 0.3, retry_seconds: float = 0.6) -> CloudListing:
    """The real thing with shorter deadlines, so that a server that hangs costs a test no minute."""
    return CloudListing("test", time.monotonic, answer_seconds=answer_seconds, retry_seconds=retry_seconds)


def calm(retry_seconds: float = 10) -> CloudListing:
    """For servers that answer: however busy the machine is, their answer is not taken for late."""
    return hasty(answer_seconds=10, retry_seconds=retry_seconds)


def listed(listing: CloudListing, after: str = "", bucket: str = BUCKET) -> list[list[tuple[str, int]]]:
    return [list(page) for page in listing.pages(bucket, after)]


def error_of(listing: CloudListing, after: str = "", bucket: str = BUCKET) -> ListingError:
    with pytest.raises(ListingError) as caught:
        listed(listing, after, bucket)
    return caught.value


def page_of(*objects: Any, **more: Any) -> Behaviour:
    return answering(json.dumps({"items": [{"name": n, "size": s} for n, s in objects], **more}))


def answering(text: str) -> Behaviour:
    return lambda exchange: exchange.reply(200, text, {"Content-Type": "application/json"})


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The last one stays."""
    return lambda exchange: behaviours[min(exchange.received.number, len(behaviours) - 1)](exchange)


def test_every_object_comes_once_with_its_size(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with front_to(fake_buckets.paging(emulator), monkeypatch) as front:
        pages = listed(CloudListing("test", time.monotonic))
    assert [len(page) for page in pages] == [PAGE, 10]
    assert [o for page in pages for o in page] == sorted(SIZES.items())
    first, second = fake_buckets.asked_of(front)
    assert first == {
        "projection": "noAcl",
        "prettyPrint": "false",
        "fields": "items(name,size),nextPageToken",
        "maxResults": str(PAGE),
    }
    assert set(second) == {*first, "pageToken"}


def test_the_emulator_itself_is_listed_without_the_front(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{emulator}")
    assert sorted(listed(CloudListing("test", time.monotonic))[0]) == sorted(SIZES.items())


def test_it_goes_on_from_any_name(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted(SIZES)
    with front_to(fake_buckets.paging(emulator), monkeypatch) as front:
        (page,) = listed(CloudListing("test", time.monotonic), names[100])
    assert page == sorted(SIZES.items())[100:]
    assert fake_buckets.asked_of(front)[0]["startOffset"] == names[100]


def test_a_bucket_that_is_not_there_is_given_up_at_once(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with front_to(fake_buckets.paging(emulator), monkeypatch) as front:
        error = error_of(calm(), bucket="nobodys")
    assert (error.reason, error.for_good, len(front.received)) == ("no such bucket (404)", True, 1)


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "not allowed (403)"), (400, "refused (400)"), (412, "refused (412)")]
)
def test_a_refusal_is_given_up_at_once(status: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with front_to(failing(status), monkeypatch) as front:
        error = error_of(calm())
    assert (error.reason, error.for_good, len(front.received)) == (reason, True, 1)


FAULTS = {
    "throttled (429)": throttled(),
    "refused (503)": failing(503),
    "no answer in time": hanging,
    "connection failed": closing,
    "unreadable answer": answering("{"),
    "no credentials": failing(401),  # the client then wants a new token, and there is none to be had
}


@pytest.mark.parametrize("reason", FAULTS)
def test_what_may_pass_is_tried_again_and_then_told(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with front_to(FAULTS[reason], monkeypatch) as front:
        error = error_of(hasty(retry_seconds=1.5) if FAULTS[reason] is hanging else calm(retry_seconds=1.5))
    assert (error.reason, error.for_good) == (reason, False)
    assert len(front.received) >= 2


@pytest.mark.parametrize("fault", [*list(FAULTS.values())[:-1], garbage, half_an_answer])
def test_a_fault_that_passes_costs_no_object(fault: Behaviour, emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with front_to(in_turn(fault, fake_buckets.paging(emulator)), monkeypatch):
        pages = listed(hasty(answer_seconds=2, retry_seconds=20) if fault is hanging else calm(retry_seconds=20))
    assert [o for page in pages for o in page] == sorted(SIZES.items())


def half_of_it(exchange: Exchange) -> None:
    """A body that ends before the length that was announced."""
    exchange.reply(200, '{"items": []}', {"Content-Type": "application/json", "Content-Length": "5000"})


def endless(exchange: Exchange) -> None:
    exchange.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while not exchange.server.stopping.is_set():
        exchange.write(b" " * 65536)


def bomb(exchange: Exchange) -> None:
    """60 kB that unpack to 60 MB."""
    packed = gzip.compress(b" " * 60_000_000, 1)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    exchange.write(head.encode() + packed)


def drop_by_drop(exchange: Exchange) -> None:
    exchange.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    dripping(b" ", 0.02)(exchange)


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (half_of_it, "connection failed"),
        (endless, "unreadable answer"),
        (bomb, "unreadable answer"),
        (drop_by_drop, "no answer in time"),
        (garbage, "connection failed"),
        (answering("[]"), "unreadable answer"),
        (answering("7"), "unreadable answer"),
        (answering(""), "unreadable answer"),
        (answering("\x00\x01"), "unreadable answer"),
        (answering('{"items": 7}'), "unreadable answer"),
        (answering('{"items": [7]}'), "unreadable answer"),
        (answering('{"items": [{"name": "a"}]}'), "unreadable answer"),
        (page_of(("a", 5)), "unreadable answer"),
        (page_of(("a", "-5")), "unreadable answer"),
        (page_of(("a", "five")), "unreadable answer"),
        (page_of(("a", "9" * 30)), "unreadable answer"),
        (page_of(("", "5")), "unreadable answer"),
        (page_of(("\ud800", "5")), "unreadable answer"),
        (page_of(("a" * 1025, "5")), "unreadable answer"),
        (page_of((None, "5")), "unreadable answer"),
        (page_of(("a", "5"), nextPageToken="again"), "unreadable answer"),
        (page_of(("a", "5"), nextPageToken=7), "unreadable answer"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_an_answer_that_cannot_be_right_is_told(
    behave: Behaviour, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with front_to(behave, monkeypatch):
        error = error_of(hasty(answer_seconds=0.5) if behave is drop_by_drop else calm(retry_seconds=0.6))
    assert (error.reason, error.for_good) == (reason, False)


def test_an_empty_bucket_and_an_empty_page_between_others_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    with front_to(answering("{}"), monkeypatch):
        assert listed(calm()) == [[]]
    pages = [page_of(("a", "1"), nextPageToken="2"), page_of(nextPageToken="3"), page_of(("b", "2"))]
    with front_to(in_turn(*pages), monkeypatch):
        assert listed(calm()) == [[("a", 1)], [], [("b", 2)]]


def test_no_error_tells_the_name_of_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    with front_to(failing(403, '{"error": {"message": "users/ada/secret"}}'), monkeypatch):
        error = error_of(calm(), "users/ada/secret")
    assert "ada" not in str(error)


def test_without_credentials_it_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    error = error_of(hasty())
    assert (error.reason, error.for_good) == ("no credentials", False)
