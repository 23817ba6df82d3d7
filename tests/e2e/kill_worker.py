"""A process that forks instances of the deployment on command; an instance can kill itself at a chosen call.

Orders are lines of JSON on its input, see `Order`; one instance runs at a time. Its output says, as lines of JSON:
`{"pid", "port"}` when an instance listens, `{"request": path}` and `{"call": name}` for each one that comes in and each
one that is made, where they are recorded, `{"dying": name}` from one that kills itself now, `{"signal": number}` when
it is gone (0: it left by itself).

Everything is imported once, before the forks; nothing is opened before them, as with gunicorn in production. The
wrappers that kill come in through the App alone. One network call is not the App's: the fetch of the scheduler's
public keys, so that one is wrapped where it is made.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from werkzeug.serving import make_server

from shared import bootstrap
from shared.api import jwks
from shared.bootstrap import App
from shared.outbound import HttpOutbound, Reply
from shared.settings import Settings
from shared.store.protocol import Delete, Doc, Query, Store, Write
from tests.e2e.faults import FAULTS
from tests.e2e.support import Functions, QuietHandler

Result = TypeVar("Result")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
POST = "post to Slack"
# What functions import when they first need it. Each instance would do so anew, and there are a thousand of them.
IMPORTED_LATE = (
    "genai_prices.data",
    "jwt.algorithms",
    "requests",
    "shared.api.rate_limit_storage",
    "shared.slo_loader",
)
KNOWN = ("runs", "config", "status")  # collections whose documents have names of their own


class Order(TypedDict):
    """`store`: `{"sqlite": path}` or `{"project": id, "emulator": address}`.

    `kill`: the number of a call from 1, and before or after it. `threaded`: requests are served at the same time, so
    that the one which makes that call dies among others that are anywhere.
    """

    store: dict[str, str]
    env: dict[str, str]
    clock: str
    kill: tuple[int, str] | None
    record: bool
    fault: str | None
    threaded: bool


class SharedClock:
    """A time in a file, in microseconds, that one process sets and others read."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def set(self, now: datetime) -> None:
        os.pwrite(self._file, struct.pack("<q", (now - EPOCH) // timedelta(microseconds=1)), 0)

    def __call__(self) -> datetime:
        return EPOCH + timedelta(microseconds=struct.unpack("<q", os.pread(self._file, 8, 0))[0])

    def seconds(self) -> float:
        """What is remembered for a while grows old with this clock, so that every run makes the same calls."""
        return (self() - EPOCH).total_seconds()

    def close(self) -> None:
        os.close(self._file)


class Killer:
    """Counts calls, and kills the process before or after the one that was ordered."""

    def __init__(self, order: Order, tell: Callable[[dict[str, Any]], None]) -> None:
        self._at, self._when = order["kill"] or (0, "")
        self._record = order["record"]
        self._tell = tell
        self._numbers = count(1)  # also where calls are made at the same time, each has its own

    def around(self, name: str, call: Callable[[], Result]) -> Result:
        number = next(self._numbers)
        if self._record:
            self._tell({"call": name})
        self._die_if(number, "before", name)
        result = call()
        self._die_if(number, "after", name)
        return result

    def _die_if(self, number: int, when: str, name: str) -> None:
        if (number, when) == (self._at, self._when):
            self._tell({"dying": name})
            os.kill(os.getpid(), signal.SIGKILL)


class KillingStore:
    """A store whose every call is one that the process can be killed at."""

    def __init__(self, inner: Store, killer: Killer) -> None:
        self._inner = inner
        self._around = killer.around
        self.meter = inner.meter

    def get(self, path: str) -> Doc | None:
        return self._around(f"get {kind(path)}", lambda: self._inner.get(path))

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        kinds = ", ".join(sorted({kind(path) for path in paths}))
        return self._around(f"get {kinds}", lambda: self._inner.get_many(paths))

    def commit(self, writes: Sequence[Write]) -> None:
        kinds = ", ".join(sorted({f"{'-' if isinstance(w, Delete) else '+'}{kind(w.path)}" for w in writes}))
        self._around(f"commit {kinds}", lambda: self._inner.commit(writes))

    def query(self, query: Query) -> list[Doc]:
        fields = ", ".join(field for field, _, _ in query.where)
        return self._around(f"query {query.collection} by {fields or 'path'}", lambda: self._inner.query(query))

    def count(self, query: Query) -> int:
        return self._around(f"count {query.collection}", lambda: self._inner.count(query))

    def purge(self, now_us: int, limit: int = 1000) -> int:
        return self._around("purge", lambda: self._inner.purge(now_us, limit))

    def close(self) -> None:
        self._inner.close()


class KillingOutbound:
    """Real HTTP; the process can be killed before the bytes leave, and once the answer is in."""

    def __init__(self, killer: Killer) -> None:
        self._inner = HttpOutbound()
        self._around = killer.around

    def post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Reply:
        return self._around(POST, lambda: self._inner.post(url, body, headers, deadline))


def kind(path: str) -> str:
    """The path with `*` for what differs from document to document."""
    parts = path.split("/")
    if parts[0] in KNOWN:
        return "/".join(parts[:3])
    return "/".join(part if n % 2 == 0 else "*" for n, part in enumerate(parts))


def instance(order: Order, functions: Functions, tell: Callable[[dict[str, Any]], None]) -> None:
    """Serve one deployment until killed."""
    killer = Killer(order, tell)
    if "emulator" in order["store"]:
        os.environ["FIRESTORE_EMULATOR_HOST"] = order["store"]["emulator"]
    store = open_store(order["store"])
    if order["fault"]:
        store = FAULTS[order["fault"]].wrap(store)
    clock = SharedClock(Path(order["clock"]))
    settings = Settings.load(order["env"])
    killing = KillingStore(store, killer)
    bootstrap.install(App(settings, killing, KillingOutbound(killer), clock, clock.seconds))
    download = jwks._download
    jwks._download = lambda url, deadline: killer.around("fetch the scheduler's keys", lambda: download(url, deadline))

    def serve(environ: dict[str, Any], start_response: Any) -> Any:
        if order["record"]:
            tell({"request": environ["PATH_INFO"]})
        return functions(environ, start_response)

    server = make_server("127.0.0.1", 0, serve, threaded=order["threaded"], request_handler=QuietHandler)
    tell({"pid": os.getpid(), "port": server.server_port})
    server.serve_forever()


def open_store(place: Mapping[str, str]) -> Store:
    if "sqlite" in place:
        from shared.store.sqlite import SqliteStore

        return SqliteStore(Path(place["sqlite"]))
    from shared.store.firestore import FirestoreStore

    return FirestoreStore(place["project"])


def import_everything() -> None:
    for name in ("alert_rules", "cost_rollup", "metrics_ingest", "notifier", "status_api", "usage_api"):
        import_module(f"functions.{name}.handler")
    for name in ("firestore", "sqlite"):
        import_module(f"shared.store.{name}")
    for name in IMPORTED_LATE:
        import_module(name)


def end_with_the_test() -> None:
    """Leave when the other end of the input is closed: also when the test was killed and can tidy up nothing."""
    hung_up = select.poll()
    hung_up.register(0, 0)
    hung_up.poll()
    os._exit(1)


def main() -> None:
    output = os.dup(1)
    os.dup2(2, 1)  # logs are not for whoever reads the protocol

    def tell(what: dict[str, Any]) -> None:
        os.write(output, json.dumps(what).encode() + b"\n")

    import_everything()
    functions = Functions()
    gc.collect()
    gc.freeze()  # or each instance's own collections would write to, and so copy, all of what it shares with the others
    for line in sys.stdin:
        order: Order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            threading.Thread(target=end_with_the_test, daemon=True).start()
            try:
                instance(order, functions, tell)
            finally:
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        tell({"signal": os.WTERMSIG(status)})


if __name__ == "__main__":
    main()
