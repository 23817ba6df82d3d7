"""The limits of Firestore hold on either store, and the splitting that keeps within them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.store.protocol import (
    MAX_COMMIT_BYTES,
    MAX_COMMIT_WRITES,
    MAX_DOCUMENT_BYTES,
    MAX_VALUE_BYTES,
    Delete,
    InvalidWrite,
    Merge,
    Put,
    Query,
    Store,
    Write,
    document_size,
    in_chunks,
    write_size,
)

A = "contract/a"
NOON = datetime(2024, 5, 1, 12, 0, 0, 999999, tzinfo=UTC)


def filled_to(path: str, size: int) -> Put:
    """A document of exactly `size` bytes, as Firestore counts them."""
    room = size - document_size(path, {"one": b"", "two": b""})
    write = Put(path, {"one": bytes(room // 2), "two": bytes(room - room // 2)})
    assert document_size(path, write.data) == size
    return write


def test_a_document_of_one_mebibyte_is_the_largest(store: Store) -> None:
    store.commit([filled_to(A, MAX_DOCUMENT_BYTES)])
    with pytest.raises(InvalidWrite):
        store.commit([filled_to("contract/b", MAX_DOCUMENT_BYTES + 1)])
    doc = store.get(A)
    assert doc is not None
    assert document_size(A, doc.data) == MAX_DOCUMENT_BYTES
    assert store.get("contract/b") is None


FULL = {"text": "x" * (MAX_VALUE_BYTES - 1), "accents": "é" * (MAX_VALUE_BYTES // 2), "bytes": bytes(MAX_VALUE_BYTES)}


@pytest.mark.parametrize("kind", FULL)
def test_one_value_has_a_limit_of_its_own(store: Store, kind: str) -> None:
    full: Any = FULL[kind]
    store.commit([Put("contract/a", {"v": full})])
    with pytest.raises(InvalidWrite):
        store.commit([Put("contract/b", {"v": full + full[:2]})])


def test_a_merge_may_not_grow_a_document_beyond_the_limit(store: Store) -> None:
    store.commit([Put(A, {"x": bytes(600_000)})])
    with pytest.raises(InvalidWrite):
        store.commit([Put("contract/b", {}), Merge(A, {"y": bytes(600_000)})])
    doc = store.get(A)
    assert doc is not None
    assert doc.data.keys() == {"x"}
    assert store.get("contract/b") is None


def test_five_hundred_writes_are_the_most(store: Store) -> None:
    writes = [Put(f"contract/{n}", {"n": n}) for n in range(MAX_COMMIT_WRITES + 1)]
    with pytest.raises(InvalidWrite):
        store.commit(writes)
    store.commit(writes[:-1])
    assert store.count(Query("contract")) == MAX_COMMIT_WRITES


def test_a_commit_of_the_greatest_size_is_taken_whole(store: Store) -> None:
    spare = write_size(filled_to("contract/0", 1000)) - 1000
    writes = [filled_to(f"contract/{n}", MAX_COMMIT_BYTES // 4 - spare) for n in range(4)]
    assert sum(map(write_size, writes)) == MAX_COMMIT_BYTES
    with pytest.raises(InvalidWrite):
        store.commit([*writes, Put(A, {})])
    store.commit(writes)
    assert store.count(Query("contract")) == 4


def test_a_split_keeps_all_writes_in_order() -> None:
    writes: list[Write] = [Put(f"contract/{n}", {"n": n}) for n in range(1201)]
    chunks = list(in_chunks(writes, write_size))
    assert [len(chunk) for chunk in chunks] == [500, 500, 201]
    assert [write for chunk in chunks for write in chunk] == writes
    assert list(in_chunks([], write_size)) == []


def test_a_split_goes_by_bytes(store: Store) -> None:
    writes = [filled_to(f"contract/{n}", 900_000) for n in range(8)]
    chunks = list(in_chunks([*writes, Delete(A)], write_size))
    assert [len(chunk) for chunk in chunks] == [3, 3, 3]
    for chunk in chunks:
        store.commit(chunk)
    assert store.count(Query("contract")) == 8


def test_many_small_fields_in_a_full_commit_are_taken(store: Store) -> None:
    """On the wire such a document is far larger than Firestore counts it: the split must leave room for that."""
    writes = [Put(f"contract/{n}", {"flags": [True] * 100_000}) for n in range(12)]
    for chunk in in_chunks(writes, write_size):
        store.commit(chunk)
    assert store.count(Query("contract")) == 12


@pytest.mark.parametrize("value", [True, None, 0, -1, 2**62, 0.5, "", "é" * 40, b"x", NOON, {}, {"k": {"k": None}}, []])
def test_a_write_is_never_sent_larger_than_it_was_reckoned(value: Any) -> None:
    from shared.store.firestore_values import PbWrite, encode_write

    for data in ({"v": value}, {"v": [value] * 300 if not isinstance(value, list) else value}, {"ä" * 9: {"x": value}}):
        write = Merge("contract/a", {**data, "w": value}, {"n": 1, "m": -(2**62), "l": 0.5})
        message = PbWrite()
        encode_write(message, write, "")
        assert message.ByteSize() <= write_size(write)
