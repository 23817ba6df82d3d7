"""The document store as the product sees it: get, query, and one atomic commit of writes with preconditions.

Values are None, bool, int (64-bit), float, str, bytes, datetime (UTC, microseconds), list and dict with str keys. A
path alternates collection and document names: `alerts/api-availability-threshold`.

There are no general transactions. Claim a document with `Create`, change it with `compare_and_set`.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

MAX_DOCUMENT_BYTES = 1_048_576
MAX_COMMIT_WRITES = 500
MAX_VALUE_BYTES = 1_048_487  # of one text or byte string
MAX_COMMIT_BYTES = 3_500_000  # as sent; the emulator refuses a request of 4 MiB, production one of 10 MiB
MAX_IN_VALUES = 30

Data = dict[str, Any]
Operator = Literal["==", "<", "<=", ">", ">=", "in"]
Direction = Literal["asc", "desc"]


class StoreError(Exception):
    """Base of all store errors. `retryable` says whether the same call may succeed later."""

    retryable = False


class Conflict(StoreError):
    """A precondition did not hold; nothing was written. Re-read, decide again."""

    retryable = True


class Unavailable(StoreError):
    """No answer within the deadline, or the server failed. Whether a commit took effect is not known: re-read."""

    retryable = True


class InvalidWrite(StoreError):
    """The document or the query can never be accepted: too large, a bad path, a value of no storable type."""


@dataclass(frozen=True, slots=True)
class Doc:
    """A document as read. `version` is opaque and changes with each write that changes the document, and no other."""

    path: str
    data: Data
    version: str

    @property
    def id(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Create:
    """Write a document that must not exist."""

    path: str
    data: Data


@dataclass(frozen=True, slots=True)
class Put:
    """Replace a document whole, existing or not; with `version`, only if it is still at that version."""

    path: str
    data: Data
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Merge:
    """Set top-level fields and add to numbers, leaving other fields; makes the document where there is none."""

    path: str
    data: Data = field(default_factory=dict)
    increments: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a document, existing or not; with `version`, only if it is still at that version."""

    path: str
    version: str | None = None


Write = Create | Put | Merge | Delete


@dataclass(frozen=True, slots=True)
class Query:
    """Documents of one collection (a path), or with `group` of every collection of that name.

    `where` filters top-level fields on non-null values; `order` sorts by top-level fields and then by path, so that the
    order is total; the path goes the way of the last field. Ordered fields are scalars (no bytes) of one type or null,
    and null comes first. A document without an ordered field is not in the result. `after` is the cursor of the last
    document of the page before (`cursor_of`). With `group`, `where` and `order` are empty: results come by path.
    """

    collection: str
    where: tuple[tuple[str, Operator, Any], ...] = ()
    order: tuple[tuple[str, Direction], ...] = ()
    limit: int = 100
    after: tuple[Any, ...] | None = None
    group: bool = False

    @property
    def shape(self) -> tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
        """What an index must serve: collection name, filtered fields with operators, ordered fields with directions."""
        name = self.collection.rpartition("/")[2]
        return name, tuple((f, op) for f, op, _ in self.where), self.order


def cursor_of(doc: Doc, query: Query) -> tuple[Any, ...]:
    """The place of `doc` in the order of `query`, for `Query.after`."""
    return (*(doc.data[name] for name, _ in query.order), doc.path)


@dataclass(slots=True)
class Meter:
    """Billed operations since the start, counted as Firestore bills them: a query that finds nothing costs one read."""

    reads: int = 0
    writes: int = 0
    deletes: int = 0

    def snapshot(self) -> Meter:
        return Meter(self.reads, self.writes, self.deletes)

    def since(self, earlier: Meter) -> Meter:
        return Meter(self.reads - earlier.reads, self.writes - earlier.writes, self.deletes - earlier.deletes)


class Store(Protocol):
    """What both adapters do. Every method raises `Unavailable` once its deadline has passed.

    A commit is sent once. A read that meets a broken connection is asked again within its deadline, because the
    read after a lost reply is what tells whether the commit took effect.
    """

    meter: Meter

    def get(self, path: str) -> Doc | None: ...

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        """The documents in the order asked for, None where there is none; not of one moment."""
        ...

    def commit(self, writes: Sequence[Write]) -> None:
        """All writes or none. Raises `Conflict`, `Unavailable` or `InvalidWrite`; a path may appear once only."""
        ...

    def query(self, query: Query) -> list[Doc]: ...

    def count(self, query: Query) -> int:
        """How many documents the query matches, whatever its `limit`."""
        ...

    def purge(self, now_us: int, limit: int = 1000) -> int:
        """Delete up to `limit` documents whose `expireAt` has passed. On Firestore TTL policies do it: returns 0."""
        ...

    def close(self) -> None: ...


_UNANSWERED_COMMITS = 3  # each may take the whole deadline


def new_rev() -> str:
    """The mark of one write of a compare-and-set document: after a lost reply, meeting it again means success."""
    return secrets.token_hex(8)


def over(doc: Doc | None, path: str, data: Data) -> Create | Put:
    """The write that puts `data` in the place of `doc` as it was read. A `rev` that is missing or old is renewed."""
    if "rev" not in data or (doc is not None and data["rev"] == doc.data.get("rev")):
        data = {**data, "rev": new_rev()}
    return Create(path, data) if doc is None else Put(path, data, doc.version)


def compare_and_set(
    store: Store,
    path: str,
    decide: Callable[[Doc | None], Data | None],
    *,
    attempts: int = 60,
    pause: Callable[[float], None] = time.sleep,
) -> Data | None:
    """Replace the document at `path` by `decide(document)`, re-reading and deciding again on conflict.

    `decide` may be called several times and must find its own earlier effect harmless, because a commit whose reply was
    lost may still land. It returns the new data, or None to leave the document. Returns what was written, or None.
    Raises `Conflict` when `attempts` are used up, `Unavailable` when the document cannot be read or when three commits
    in a row had no answer and left no trace: as with any commit, the last of them may still land.
    """
    sent: dict[str, Data] = {}
    unanswered = 0  # in a row
    for attempt in range(attempts):
        doc = store.get(path)
        if doc is not None and doc.data.get("rev") in sent:
            return sent[doc.data["rev"]]
        data = decide(doc)
        if data is None:
            return None
        data = {**data, "rev": new_rev()}
        try:
            store.commit([over(doc, path, data)])
            return data
        except Conflict:
            unanswered = 0
        except Unavailable:
            sent[data["rev"]] = data  # it may have taken effect, or may yet
            found = store.get(path)
            if found is not None and found.data.get("rev") in sent:
                return sent[found.data["rev"]]
            unanswered += 1
            if unanswered == _UNANSWERED_COMMITS:
                raise
        pause(random.uniform(0, min(0.25, 0.005 * 2 ** min(attempt, 6))))
    raise Conflict(f"{path} kept changing: {attempts} attempts")


_MAX_CHUNK_BYTES = MAX_COMMIT_BYTES - 100_000  # a caller may add a small write to each chunk, such as a guard


def in_chunks(writes: Sequence[Write], size_of: Callable[[Write], int]) -> Iterator[list[Write]]:
    """Split writes that need not be atomic together into commits within the limits of count and bytes."""
    chunk: list[Write] = []
    size = 0
    for write in writes:
        bytes_ = size_of(write)
        if chunk and (len(chunk) == MAX_COMMIT_WRITES or size + bytes_ > _MAX_CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(write)
        size += bytes_
    if chunk:
        yield chunk


def size_of(value: Any) -> int:
    """Bytes Firestore counts for a value (https://firebase.google.com/docs/firestore/storage-size)."""
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int | float):
        return 8
    if isinstance(value, str):
        return len(value.encode()) + 1
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(size_of(k) + size_of(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return sum(map(size_of, value))
    return 8  # datetime


def document_size(path: str, data: Data) -> int:
    """Bytes Firestore counts for a document: its name, its fields and 32 of its own."""
    return sum(len(part.encode()) + 1 for part in path.split("/")) + 16 + size_of(data) + 32


def write_size(write: Write) -> int:
    """About the bytes of a write as it is sent, never fewer: small values take up to four times what they count."""
    if isinstance(write, Delete):
        return len(write.path.encode()) + _NAME
    increments = write.increments if isinstance(write, Merge) else {}
    return len(write.path.encode()) + _NAME + _sent(write.data) + _sent(increments)


_NAME = 150  # what stands around a path: the names of project and database
_FRAME = 12  # what stands around a value: tags and lengths


def _sent(value: Any) -> int:
    if value is None or isinstance(value, bool):
        return 4
    if isinstance(value, Mapping):
        return _FRAME + sum(size_of(k) + _sent(v) + _FRAME for k, v in value.items())
    if isinstance(value, list | tuple):
        return _FRAME + sum(map(_sent, value))
    return size_of(value) + _FRAME
