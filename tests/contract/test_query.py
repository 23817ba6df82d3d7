"""Filters, orders, cursors and counts give the same on either store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.store.protocol import Direction, InvalidWrite, Operator, Put, Query, Store, cursor_of

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def fill(store: Store, rows: dict[str, dict[str, Any]]) -> None:
    store.commit([Put(f"contract/{name}", data) for name, data in rows.items()])


def ids(store: Store, query: Query) -> str:
    return "".join(doc.id for doc in store.query(query))


def pages(store: Store, query: Query) -> list[str]:
    """The ids of each page, until one is not full."""
    found: list[str] = []
    while True:
        docs = store.query(query)
        found.append("".join(doc.id for doc in docs))
        if len(docs) < query.limit:
            return found
        query = Query(query.collection, query.where, query.order, query.limit, cursor_of(docs[-1], query), query.group)


def test_a_collection_comes_by_path_without_its_subcollections(store: Store) -> None:
    fill(store, {"b": {}, "a": {}, "a/contract/z": {}})
    store.commit([Put("contract_other/x", {})])
    assert ids(store, Query("contract")) == "ab"
    assert ids(store, Query("contract/a/contract")) == "z"
    assert ids(store, Query("contract/b/contract")) == ""


def test_names_are_ordered_by_their_bytes(store: Store) -> None:
    names = ["a", "A", "a-b", "a b", "é", "10", "9", "~"]
    fill(store, {name: {} for name in names})
    assert [doc.id for doc in store.query(Query("contract"))] == sorted(names, key=str.encode)


def test_a_limit_cuts(store: Store) -> None:
    fill(store, {name: {} for name in "abc"})
    assert ids(store, Query("contract", limit=2)) == "ab"


VALUES: dict[str, Sequence[Any]] = {
    "whole": [1, 2, 3],
    "mixed": [1, 1.5, 2],
    "large": [2**62, 2**62 + 1, 2**62 + 2],
    "text": ["B", "a", "é"],
    "time": [NOON, NOON + timedelta(microseconds=1), NOON + timedelta(days=1)],
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize(
    ("op", "expected"), [("==", "b"), ("<", "a"), ("<=", "ab"), (">", "c"), (">=", "bc"), ("in", "ab")]
)
def test_a_filter_compares(store: Store, kind: str, op: Operator, expected: str) -> None:
    low, middle, high = VALUES[kind]
    fill(store, {"a": {"v": low}, "b": {"v": middle}, "c": {"v": high}, "d": {"v": None}, "e": {}})
    order: tuple[tuple[str, Direction], ...] = () if op in ("==", "in") else (("v", "asc"),)
    value = (low, middle) if op == "in" else middle
    assert ids(store, Query("contract", (("v", op, value),), order)) == expected
    assert store.count(Query("contract", (("v", op, value),), order)) == len(expected)


def test_a_boolean_filter_compares(store: Store) -> None:
    fill(store, {"a": {"v": True}, "b": {"v": False}, "c": {}})
    assert ids(store, Query("contract", (("v", "==", True),))) == "a"
    assert ids(store, Query("contract", (("v", "==", False),))) == "b"


def test_a_whole_float_equals_the_whole_number(store: Store) -> None:
    fill(store, {"a": {"v": 1}, "b": {"v": 1.0}})
    assert ids(store, Query("contract", (("v", "==", 1),))) == "ab"


def test_an_infinity_is_beyond_every_number(store: Store) -> None:
    fill(store, {"a": {"v": float("inf")}, "b": {"v": 1e308}, "c": {"v": float("-inf")}})
    assert ids(store, Query("contract", order=(("v", "asc"),))) == "cba"
    assert ids(store, Query("contract", (("v", ">", 1e308),), (("v", "asc"),))) == "a"


def test_filters_are_joined_by_and(store: Store) -> None:
    fill(store, {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 2, "y": 2}})
    assert ids(store, Query("contract", (("x", "==", 1), ("y", "==", 2)))) == "b"
    assert ids(store, Query("contract", (("x", "==", 1), ("y", ">=", 1), ("y", "<", 2)), (("y", "asc"),))) == "a"


@pytest.mark.parametrize(("direction", "expected"), [("asc", "dbca"), ("desc", "acbd")])
def test_equal_values_are_ordered_by_path_in_the_same_direction(
    store: Store, direction: Direction, expected: str
) -> None:
    fill(store, {"a": {"v": 2}, "b": {"v": 1}, "c": {"v": 1}, "d": {"v": 0}})
    assert ids(store, Query("contract", order=(("v", direction),))) == expected


@pytest.mark.parametrize(("second", "expected"), [("asc", "cdab"), ("desc", "dcba")])
def test_the_tie_break_goes_the_way_of_the_last_field(store: Store, second: Direction, expected: str) -> None:
    fill(store, {name: {"v": value, "w": 0} for name, value in zip("abcd", (1, 1, 2, 2), strict=True)})
    assert ids(store, Query("contract", order=(("v", "desc"), ("w", second)))) == expected


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_a_document_without_the_ordered_field_is_left_out(store: Store, direction: Direction) -> None:
    fill(store, {"a": {"v": 1}, "b": {"w": 1}})
    query = Query("contract", order=(("v", direction),))
    assert ids(store, query) == "a"
    assert store.count(query) == 1


@pytest.mark.parametrize(("direction", "expected"), [("asc", "bdca"), ("desc", "acdb")])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_null_comes_before_every_value(store: Store, direction: Direction, expected: str, limit: int) -> None:
    fill(store, {"a": {"v": 2}, "b": {"v": None}, "c": {"v": 1}, "d": {"v": None}})
    query = Query("contract", order=(("v", direction),), limit=limit)
    assert "".join(pages(store, query)) == expected


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_hold_each_document_once_in_order(store: Store, direction: Direction, limit: int) -> None:
    names = "abcdefg"
    fill(store, {name: {"at": NOON + timedelta(microseconds=n // 3), "on": True} for n, name in enumerate(names)})
    query = Query("contract", (("on", "==", True),), (("at", direction),), limit)
    found = pages(store, query)
    assert "".join(found) == (names if direction == "asc" else names[::-1])
    assert {len(page) for page in found[:-1]} == {limit}


def test_pages_without_an_order_go_by_path(store: Store) -> None:
    fill(store, {name: {} for name in "cab"})
    assert pages(store, Query("contract", limit=2)) == ["ab", "c"]


def test_pages_over_two_fields(store: Store) -> None:
    rows = {name: {"x": x, "y": y} for name, x, y in [("a", 1, 1), ("b", 1, 2), ("c", 2, 1), ("d", 2, 2), ("e", 2, 2)]}
    fill(store, rows)
    assert "".join(pages(store, Query("contract", order=(("x", "asc"), ("y", "desc")), limit=2))) == "baedc"


def test_a_cursor_holds_when_its_document_is_gone(store: Store) -> None:
    fill(store, {"a": {"v": 1}, "c": {"v": 3}})
    assert ids(store, Query("contract", order=(("v", "asc"),), after=(2, "contract/b"))) == "c"


def test_a_collection_group_spans_all_collections_of_the_name(store: Store) -> None:
    paths = [
        "contract/1/contract_group/b",
        "contract/1-x/contract_group/a",
        "contract_group/c",
        "other/1/contract_group/d",
    ]
    store.commit([Put(path, {}) for path in [*paths, "contract/1/contract_groups/e", "contract/contract_group"]])
    found = store.query(Query("contract_group", group=True))
    assert [doc.path for doc in found] == paths
    assert store.count(Query("contract_group", group=True)) == 4
    assert "".join(pages(store, Query("contract_group", group=True, limit=1))) == "bacd"


def test_count_heeds_filters_and_no_limit(store: Store) -> None:
    fill(store, {f"{n:02}": {"even": n % 2 == 0} for n in range(12)})
    assert store.count(Query("contract", limit=1)) == 12
    assert store.count(Query("contract", (("even", "==", True),))) == 6
    assert store.count(Query("contract_none")) == 0


@pytest.mark.parametrize(
    "query",
    [
        Query("contract/a"),
        Query("contract/a/b", group=True),
        Query("contract", (("v", "==", None),)),
        Query("contract", (("v", "in", ()),)),
        Query("contract", (("v", "in", tuple(range(31))),)),
        Query("contract", (("v", "<", 1),)),
        Query("contract", (("v", "<", 1), ("w", ">", 1)), (("v", "asc"),)),
        Query("contract", (("v", "<", 1),), (("w", "asc"),)),
        Query("contract", (("a.b", "==", 1),)),
        Query("contract", order=(("x'", "asc"),)),
        Query("contract", order=(("v", "asc"),), after=("contract/a",)),
        Query("contract", limit=0),
        Query("contract", limit=1001),
        Query("contract", order=(("v", "asc"),), group=True),
    ],
    ids=str,
)
def test_a_query_that_one_store_could_not_answer_is_refused_by_both(store: Store, query: Query) -> None:
    with pytest.raises(InvalidWrite):
        store.query(query)
    with pytest.raises(InvalidWrite):
        store.count(query)


def test_thirty_values_are_the_most_for_in(store: Store) -> None:
    fill(store, {"a": {"v": 29}, "b": {"v": 30}})
    assert ids(store, Query("contract", (("v", "in", tuple(range(30))),))) == "a"
