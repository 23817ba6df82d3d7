"""Request bodies: gzip, limits, what breaks off, and how much memory a hostile one can cost a real server."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from flask import Flask, request

from functions.metrics_ingest.body import Held, read_body
from shared.api.http import Problem
from tests.core import KEY, metric
from tests.otlp import Export, nanos, post
from tests.served import Served, served_function
from tests.unit.test_otlp_read import varint

MIB = 1024 * 1024
GZIP = {"Content-Encoding": "gzip"}


def read(
    body: bytes, encoding: str = "gzip", *, sent: int = MIB, decoded: int = 4 * MIB, held: Held | None = None
) -> bytes:
    given = {"Content-Encoding": encoding}
    context = Flask("test").test_request_context("/", method="POST", data=body, headers=given)
    with context, read_body(request, held or Held(), sent, decoded) as found:
        return found


def refused(body: bytes, encoding: str = "gzip", **limits: int) -> tuple[int, str]:
    held = Held()
    with pytest.raises(Problem) as told:
        read(body, encoding, held=held, **limits)
    assert held.now == 0
    return told.value.status, told.value.code


DATA = json.dumps(list(range(50_000))).encode()


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_gzip_is_unpacked(encoding: str) -> None:
    assert read(gzip.compress(DATA), encoding) == DATA


def test_gzip_of_several_members_is_one_body() -> None:
    assert read(b"".join(gzip.compress(DATA[n : n + 9999]) for n in range(0, len(DATA), 9999))) == DATA
    assert read(gzip.compress(b"a") * 20_000) == b"a" * 20_000


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_what_is_not_packed_is_given_as_it_is(encoding: str) -> None:
    assert read(DATA, encoding) == DATA
    assert read(b"", encoding) == b""


@pytest.mark.parametrize("cut", [1, 5, 10, 100, 1000])
def test_truncated_gzip_is_a_bad_request(cut: int) -> None:
    assert refused(gzip.compress(DATA)[:-cut]) == (400, "unreadable_gzip")


@pytest.mark.parametrize("at", [1, 9, 10, 2000])
def test_gzip_cut_off_after_its_first_bytes_is_a_bad_request(at: int) -> None:
    assert refused(gzip.compress(DATA)[:at]) == (400, "unreadable_gzip")


@pytest.mark.parametrize("tail", [b"x", b"\x00", b"\x1f\x8b", b"trailing garbage"])
def test_what_follows_the_end_of_gzip_is_a_bad_request(tail: bytes) -> None:
    assert refused(gzip.compress(DATA) + tail) == (400, "unreadable_gzip")


def test_what_is_no_gzip_or_has_a_wrong_checksum_is_a_bad_request() -> None:
    packed = bytearray(gzip.compress(DATA))
    packed[-6] ^= 1
    assert refused(bytes(packed)) == (400, "unreadable_gzip")
    assert refused(DATA) == (400, "unreadable_gzip")
    assert refused(zlib.compress(DATA)) == (400, "unreadable_gzip")


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_an_encoding_that_is_not_known_is_refused_with_those_that_are(encoding: str) -> None:
    with pytest.raises(Problem) as told:
        read(DATA, encoding)
    assert (told.value.status, told.value.headers) == (415, {"Accept-Encoding": "gzip"})


def test_the_limits_hold_to_the_byte() -> None:
    packed = gzip.compress(DATA)
    assert read(packed, sent=len(packed), decoded=len(DATA)) == DATA
    assert refused(packed, sent=len(packed) - 1) == (413, "body_too_large")
    assert refused(packed, decoded=len(DATA) - 1) == (413, "body_too_large")
    assert refused(DATA, "", sent=len(DATA) - 1) == (413, "body_too_large")


def test_bodies_beyond_what_an_instance_may_hold_wait_until_others_are_done() -> None:
    held = Held(most=len(DATA) + 100)
    packed = gzip.compress(DATA)
    context = Flask("test").test_request_context("/", method="POST", data=DATA)
    with context, read_body(request, held, MIB, MIB):
        assert held.now == len(DATA)
        with pytest.raises(Problem) as told:
            read(packed, held=held)
        assert (told.value.status, told.value.headers) == (503, {"Retry-After": "1"})
        assert held.now == len(DATA)
    assert held.now == 0
    assert read(packed, held=held) == DATA


def test_what_a_body_holds_is_given_back_when_its_use_fails() -> None:
    held = Held()
    context = Flask("test").test_request_context("/", method="POST", data=DATA)
    with context, pytest.raises(ZeroDivisionError), read_body(request, held, MIB, MIB):
        raise ZeroDivisionError
    assert held.now == 0


# Over sockets, against the function as it is deployed.


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_function(tmp_path_factory.mktemp("served") / "store.db") as server:
        yield server


def now_nanos(served: Served) -> int:
    """The server's own time, out of the Date of an answer."""
    from email.utils import parsedate_to_datetime

    return nanos(parsedate_to_datetime(post(served.port, b"").headers["date"]))


def zeros(size: int) -> Iterator[bytes]:
    """So many zero bytes, packed, never all in memory."""
    packer = zlib.compressobj(9, wbits=31)
    for _ in range(size // MIB):
        if packed := packer.compress(bytes(MIB)):
            yield packed
    yield packer.flush()


def test_a_body_is_taken_in_chunks_and_packed(served: Served) -> None:
    sound = gzip.compress(Export().gauge(1, time_unix_nano=now_nanos(served)).request.SerializeToString())
    chunks = iter([sound[n : n + 7] for n in range(0, len(sound), 7)])
    assert post(served.port, chunks, headers=GZIP).accepted == (0, "")


def test_json_of_our_own_may_be_packed_too(served: Served) -> None:
    sample = {"name": "api_latency", "value": 1, "timestamp": now_nanos(served) // 1_000_000}
    packed = gzip.compress(json.dumps({"batchId": "batch-0001", "metrics": [sample]}).encode())
    headers = {**GZIP, "Content-Type": "application/json"}
    answer = post(served.port, packed, headers=headers, path="/api/metrics")
    assert (answer.status, json.loads(answer.body)["accepted"]) == (202, 1)
    broken = post(served.port, packed[:-3], headers=headers, path="/api/metrics")
    assert (broken.status, json.loads(broken.body)["code"]) == (400, "unreadable_gzip")


BAD = {
    "truncated gzip": (gzip.compress(DATA)[:-9], GZIP, 400, "unreadable_gzip"),
    "trailing garbage": (gzip.compress(b"") + b"x", GZIP, 400, "unreadable_gzip"),
    "no gzip": (b"x", GZIP, 400, "unreadable_gzip"),
    "unknown encoding": (b"", {"Content-Encoding": "br"}, 415, "unknown_encoding"),
    "too large when unpacked": (gzip.compress(bytes(5 * MIB)), GZIP, 413, "body_too_large"),
    "no protobuf": (b"\xff" * 100, {}, 400, "unreadable_body"),
}


@pytest.mark.parametrize("fault", BAD)
def test_each_bad_body_is_refused_with_a_status(served: Served, fault: str) -> None:
    body, headers, status, code = BAD[fault]
    answer = post(served.port, body, headers=headers)
    assert answer.status == status
    assert answer.error.message.startswith(f"{code}: ")


@pytest.mark.parametrize("given", ["", "text/plain", "application/xml", "application/octet-stream"])
def test_a_wrong_content_type_is_refused_in_json(served: Served, given: str) -> None:
    answer = post(served.port, b"", headers={"Content-Type": given})
    assert (answer.status, answer.headers["content-type"]) == (415, "application/json")
    assert answer.headers["accept"] == "application/x-protobuf, application/json"


def test_a_body_that_breaks_off_harms_nobody(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        head = f"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        connection.sendall(f"{head}Content-Type: application/x-protobuf\r\nContent-Length: 1000\r\n\r\nabc".encode())
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(4096).partition(b"\r\n")[0]
    assert post(served.port, b"").accepted == (0, "")


def test_a_chunk_of_no_size_harms_nobody(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        head = f"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        chunked = "Content-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(f"{head}{chunked}zz\r\nabc\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(4096).partition(b"\r\n")[0]
    assert post(served.port, b"").accepted == (0, "")


@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_client_with_too_large_a_body_can_still_read_why(served: Served, in_chunks: bool) -> None:
    body = iter([bytes(MIB)] * 20) if in_chunks else bytes(20 * MIB)
    assert post(served.port, body).error.message.startswith("body_too_large: ")


Body = tuple[bytes, dict[str, str], str]  # as sent, headers, path
AS_JSON = {"Content-Type": "application/json", **GZIP}
MOST_ANSWERED = 10 * MIB  # 10,000 metrics of ten labels each, each of them refused with every reason
LEFT = 400 * MIB  # of the 512 that an instance has; far above what is needed, far below what it costs without limits


def filled(head: bytes, item: bytes, tail: bytes, size: int = MIB) -> bytes:
    """As many items, with commas between, as make a body of that size."""
    return head + b",".join([item] * ((size - len(head) - len(tail)) // (len(item) + 1))) + tail


def hostile_otlp() -> dict[str, Body]:
    """Small bodies that would need much memory: packed zeros, and empty messages, each two or three bytes."""
    empty = b"\x0a\x00" * (2 * MIB - 20)  # field 1, without content; the depths below it are told by their own length
    attributes = b"\x0a" + varint(len(empty)) + empty
    resource = b"\x0a" + varint(len(attributes)) + attributes
    pairs = filled(b'{"resourceMetrics":[{"resource":{"attributes":[', b"{}", b"]}}]}", 4 * MIB)
    bodies = {
        "zip bomb": (b"".join(zeros(900 * MIB)), GZIP),
        "empty messages": (gzip.compress(empty, 1), GZIP),
        "empty attributes": (gzip.compress(resource, 1), GZIP),
        "empty objects": (gzip.compress(filled(b'{"resourceMetrics":[', b"{}", b"]}", 4 * MIB), 1), AS_JSON),
        "empty attributes in JSON": (gzip.compress(pairs, 1), AS_JSON),
        "deep": (gzip.compress(b'{"resourceMetrics":' + b"[" * (3 * MIB), 1), AS_JSON),
        "many members": (gzip.compress(b"", 1) * (MIB // 20 - 1), GZIP),
    }
    return {name: (*body, "/v1/metrics") for name, body in bodies.items()}


def hostile_json(now_ms: int) -> dict[str, Body]:
    """Bodies of a mebibyte, most of them packed to a thousandth, whose parts are two bytes each."""
    series, metrics = (b'{"batchId":"aaaaaaaa","%s":[' % form for form in (b"series", b"metrics"))
    one, sample = b'{"name":"api_latency",', b'{"name":"api_latency","value":1,"timestamp":%d,"labels":' % now_ms
    half = b",".join([b"0"] * (MIB // 4 - 100))
    names = b",".join(b'"%d":0' % n for n in range(MIB // 11 - 200))
    odd_labels = [
        b'{"labels":{"%d-":0,%s}}' % (n, b",".join(b'"%c-":0' % c for c in b"abcdefghi")) for n in range(9500)
    ]
    deep = b"[" * 900 + b"]" * 900
    bodies = {
        "series of zeros": filled(series, b"0", b"]}"),
        "series of empty objects": filled(series, b"{}", b"]}"),
        "as many bad series as are looked at": series + b",".join([b"0"] * 10_000) + b"]}",
        "series without points": filled(series, b'{"name":"","times":[],"values":[]}', b"]}"),
        "long times": filled(series + one + b'"values":[],"times":[', b"%d" % now_ms, b"]}]}"),
        "long values": filled(series + one + b'"times":[],"values":[', b"0", b"]}]}"),
        "many points": series + one + b'"times":[' + half + b'],"values":[' + half + b"]}]}",
        "metrics of zeros": filled(metrics, b"0", b"]}"),
        "metrics of empty objects": filled(metrics, b"{}", b"]}"),
        "texts, and no JSON": filled(metrics, b'""', b"x]}"),
        "many labels": metrics + sample + b"{" + names + b"}}]}",
        "a long label": filled(metrics + sample + b'{"a":[', b"{}", b"]}}]}"),
        "deep labels": filled(metrics, sample + b'{"a":' + deep + b"}}", b"]}"),
        "a long name": metrics + b'{"name":"' + b"x" * (MIB - 100) + b'"}]}',
        "a long batchId": filled(b'{"series":[],"batchId":[', b"{}", b"]}"),
        "every metric with every fault": metrics + b",".join(odd_labels) + b"]}",
    }
    assert all(MIB // 64 < len(body) <= MIB for body in bodies.values())
    return {name: (gzip.compress(body, 1), AS_JSON, "/api/metrics") for name, body in bodies.items()}


def cost(served: Served, bodies: dict[str, Body]) -> int:
    """By how many bytes the server's peak has grown once each body was sent eight times at once."""
    start = served.peak_memory()
    with ThreadPoolExecutor(8) as pool:
        for name, (body, headers, path) in bodies.items():
            before = served.peak_memory()
            sent = [pool.submit(post, served.port, body, headers=headers, path=path) for _ in range(8)]
            answers = [future.result() for future in sent]
            largest = max(len(answer.body) for answer in answers)
            for answer in answers:
                assert answer.status in (200, 202, 400, 413, 503), (name, answer)
            assert largest < (MOST_ANSWERED if answers[0].status == 202 else 4096), name
            print(f"{name}: +{(served.peak_memory() - before) / MIB:.1f} MiB, answers of {largest} bytes at most")
    return served.peak_memory() - start


def test_hostile_bodies_cost_bounded_memory(tmp_path: Path) -> None:
    hundred = bytes(MIB)

    def send_100_mb(served: Served, in_chunks: bool) -> None:
        with suppress(OSError):  # refused before all of it was read
            if in_chunks:
                assert post(served.port, (hundred for _ in range(100))).status == 413
            else:
                assert post(served.port, hundred * 100).status == 413

    with served_function(tmp_path / "store.db") as served:
        packed = gzip.compress(Export().gauge(1).request.SerializeToString())
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: post(served.port, packed, headers=GZIP).status, range(16))) == [200] * 16
            before = served.peak_memory()
            list(pool.map(lambda n: send_100_mb(served, n % 2 == 0), range(4)))
        assert served.peak_memory() - before < 64 * MIB
        assert cost(served, hostile_otlp()) < LEFT
        assert post(served.port, b"").accepted == (0, "")


def test_hostile_bodies_of_our_own_form_cost_bounded_memory_and_have_bounded_answers(tmp_path: Path) -> None:
    with served_function(tmp_path / "store.db") as served:
        now_ms = now_nanos(served) // 1_000_000
        sound = json.dumps({"batchId": "batch-0001", "metrics": [metric(at=now_ms)]}).encode()
        as_json = {"Content-Type": "application/json"}
        assert post(served.port, sound, headers=as_json, path="/api/metrics").status == 202
        assert cost(served, hostile_json(now_ms)) < LEFT
        assert post(served.port, sound, headers=as_json, path="/api/metrics").status == 202
