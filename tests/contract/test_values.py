"""Every value comes back as it was written, of the same type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from shared.store.protocol import InvalidWrite, Put, Query, Store

A = "contract/a"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        1,
        1.0,
        0.1,
        -0.0,
        2**62,
        float(2**62),
        2**53 + 1,
        2**63 - 1,
        -(2**63),
        1e-300,
        float("inf"),
        "",
        "plain",
        "Žluťoučký 🐎",
        "line\nand\x00nul",
        b"",
        bytes(range(256)),
        datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        [],
        {},
        [1, 1.0, "x", None, b"y", {"deep": [True]}],
        {"a": {"b": {"c": [{"d": None}]}}, "dotted.name": 1, "with space": 2},
    ],
    ids=repr,
)
def test_a_value_comes_back_as_it_was(store: Store, value: Any) -> None:
    store.commit([Put(A, {"value": value, "list": [value] if not isinstance(value, list) else value})])
    doc = store.get(A)
    assert doc is not None
    assert doc.data["value"] == value
    assert _types(doc.data["value"]) == _types(value)


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    return [_types(item) for item in value] if isinstance(value, list) else type(value)


def test_a_whole_number_and_a_float_are_different_documents(store: Store) -> None:
    store.commit([Put(A, {"n": 1})])
    first = store.get(A)
    store.commit([Put(A, {"n": 1.0})])
    second = store.get(A)
    assert first is not None
    assert second is not None
    assert first.version != second.version
    assert type(second.data["n"]) is float


def test_a_tuple_comes_back_as_a_list(store: Store) -> None:
    store.commit([Put(A, {"t": (1, 2)})])
    doc = store.get(A)
    assert doc is not None
    assert doc.data == {"t": [1, 2]}


def test_a_document_that_a_query_finds_equals_the_one_read(store: Store) -> None:
    store.commit(
        [Put(A, {"n": 2**62, "at": datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "b": b"\x00", "m": {"x": []}})]
    )
    assert store.query(Query("contract")) == [store.get(A)]


class Odd:
    pass


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        datetime(2024, 1, 1),  # noqa: DTZ001 - a time without a zone is what must be refused
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        [[1]],
        [{"x": [(1,)]}],
        {1: "x"},
        {"": 1},
        pytest.param({"deep": Odd()}, id="odd"),
        {1, 2},
        "\ud800",
    ],
    ids=repr,
)
def test_a_value_that_firestore_cannot_hold_is_refused(store: Store, value: Any) -> None:
    with pytest.raises(InvalidWrite):
        store.commit([Put(A, {"value": value})])
    assert store.get(A) is None


def test_twenty_levels_are_the_deepest(store: Store) -> None:
    store.commit([Put(A, nested(20))])
    with pytest.raises(InvalidWrite):
        store.commit([Put(A, nested(21))])
    doc = store.get(A)
    assert doc is not None
    assert doc.data == nested(20)


def nested(levels: int) -> dict[str, Any]:
    data: dict[str, Any] = {"leaf": 1}
    for _ in range(levels - 1):
        data = {"in": data}
    return data
