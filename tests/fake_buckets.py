"""Cloud Storage for tests: Google's API as the emulator has it, in a process of its own, and a front that pages.

The emulator answers a listing whole, whatever was asked. The front asks it, and then does what the API promises: order
by name, `startOffset`, `maxResults`, `pageToken`, `fields`. As a `FakeSlack` it can also misbehave in every way.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.emulator import free_port
from tests.fake_servers import Exchange, FakeSlack

# The emulator ends as soon as its own input closes: also when the test run is killed and can tidy up nothing.
_LEASH = '"$@" & child=$!; cat >/dev/null; kill -9 $child 2>/dev/null; wait $child'
_START_SECONDS = 30.0
_JSON = {"Content-Type": "application/json; charset=UTF-8"}


@contextmanager
def emulator() -> Iterator[str]:
    """The address, `host:port`, of an empty emulator that ends with the block."""
    port = free_port()
    argv = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}", "--in-memory"]
    shell = subprocess.Popen(
        ["sh", "-c", _LEASH, "sh", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(port)
        yield f"127.0.0.1:{port}"
    finally:
        assert shell.stdin is not None
        shell.stdin.close()
        shell.wait()


def _wait_for(port: int) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        try:
            if _get(f"127.0.0.1:{port}", "/storage/v1/b?project=test")[0] == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
    raise RuntimeError("the storage emulator did not start")


def _get(address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def fill(address: str, bucket: str, objects: Mapping[str, int]) -> None:
    """Make a bucket with objects of these sizes, with Google's client."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    client = Client(
        project="test",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://{address}"},
    )
    made = client.create_bucket(bucket)

    def upload(item: tuple[str, int]) -> None:
        made.blob(item[0]).upload_from_string(b"x" * item[1])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(upload, objects.items()))
    client.close()


def delete(address: str, bucket: str, names: Iterable[str]) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    client = Client(
        project="test",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": f"http://{address}"},
    )
    for name in names:
        client.bucket(bucket).blob(name).delete()
    client.close()


def paging(address: str) -> Any:
    """How a front to the emulator behaves."""

    def behave(exchange: Exchange) -> None:
        parts = urlsplit(exchange.received.path)
        status, body = _get(address, parts.path)
        if status != 200:
            exchange.reply(status, json.dumps({"error": {"code": status, "message": parts.path}}), _JSON)
            return
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        exchange.reply(200, json.dumps(_page(json.loads(body)["items"], asked)), _JSON)

    return behave


def _page(items: list[dict[str, Any]], asked: Mapping[str, str]) -> dict[str, Any]:
    after = urlsafe_b64decode(asked["pageToken"]).decode() if "pageToken" in asked else ""
    left = sorted(
        (item for item in items if item["name"] >= asked.get("startOffset", "") and item["name"] > after),
        key=lambda item: item["name"],
    )
    size = int(asked.get("maxResults", 1000))
    page: dict[str, Any] = {}
    if left:
        page["items"] = [{"name": item["name"], "size": item["size"]} for item in left[:size]]
    if len(left) > size:
        page["nextPageToken"] = urlsafe_b64encode(left[size - 1]["name"].encode()).decode()
    return page


def asked_of(front: FakeSlack) -> list[dict[str, str]]:
    """The parameters of every listing that the front was asked for."""
    return [
        {name: values[0] for name, values in parse_qs(urlsplit(received.path).query).items()}
        for received in front.received
    ]


def address_of(front: FakeSlack) -> str:
    return f"http://127.0.0.1:{front.port}"
