"""What a commit promises, on either store."""

from __future__ import annotations

import pytest

from shared.store.protocol import (
    Conflict,
    Create,
    Delete,
    Doc,
    InvalidWrite,
    Merge,
    Put,
    Store,
    Write,
    compare_and_set,
    over,
)

A = "contract/a"
B = "contract/b"


def read(store: Store, path: str = A) -> Doc:
    doc = store.get(path)
    assert doc is not None, f"{path} is missing"
    return doc


def test_an_absent_document_is_none(store: Store) -> None:
    assert store.get(A) is None


def test_create_writes_what_is_absent(store: Store) -> None:
    store.commit([Create(A, {"n": 1})])
    assert read(store).data == {"n": 1}
    assert read(store).id == "a"


def test_create_refuses_what_exists(store: Store) -> None:
    store.commit([Create(A, {"n": 1})])
    with pytest.raises(Conflict):
        store.commit([Create(A, {"n": 2})])
    assert read(store).data == {"n": 1}


def test_create_after_delete_succeeds(store: Store) -> None:
    store.commit([Create(A, {"n": 1})])
    store.commit([Delete(A)])
    store.commit([Create(A, {"n": 2})])
    assert read(store).data == {"n": 2}


def test_put_replaces_the_whole_document(store: Store) -> None:
    store.commit([Put(A, {"n": 1, "old": True})])
    store.commit([Put(A, {"n": 2})])
    assert read(store).data == {"n": 2}


def test_put_at_the_version_that_was_read_succeeds(store: Store) -> None:
    store.commit([Put(A, {"n": 1})])
    store.commit([Put(A, {"n": 2}, read(store).version)])
    assert read(store).data == {"n": 2}


def test_put_at_an_old_version_conflicts(store: Store) -> None:
    store.commit([Put(A, {"n": 1})])
    old = read(store).version
    store.commit([Put(A, {"n": 2})])
    with pytest.raises(Conflict):
        store.commit([Put(A, {"n": 3}, old)])
    assert read(store).data == {"n": 2}


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made anew"])
@pytest.mark.parametrize("kind", [Put, Delete])
def test_a_version_does_not_survive_deletion(store: Store, kind: type, again: bool) -> None:
    store.commit([Put(A, {"n": 1})])
    old = read(store).version
    store.commit([Delete(A)])
    if again:
        store.commit([Create(A, {"n": 1})])
    write = Put(A, {"n": 2}, old) if kind is Put else Delete(A, old)
    with pytest.raises(Conflict):
        store.commit([write])
    assert (store.get(A) is not None) == again


def test_delete_removes(store: Store) -> None:
    store.commit([Put(A, {})])
    store.commit([Delete(A)])
    assert store.get(A) is None


def test_delete_of_nothing_is_no_error(store: Store) -> None:
    store.commit([Delete(A)])


def test_delete_at_the_version_that_was_read_succeeds(store: Store) -> None:
    store.commit([Put(A, {"n": 1})])
    store.commit([Delete(A, read(store).version)])
    assert store.get(A) is None


def test_delete_at_an_old_version_conflicts(store: Store) -> None:
    store.commit([Put(A, {"n": 1})])
    old = read(store).version
    store.commit([Put(A, {"n": 2})])
    with pytest.raises(Conflict):
        store.commit([Delete(A, old)])
    assert read(store).data == {"n": 2}


def test_merge_leaves_other_fields(store: Store) -> None:
    store.commit([Put(A, {"kept": 1, "changed": {"x": 1, "y": 2}})])
    store.commit([Merge(A, {"changed": {"x": 3}, "new": None})])
    assert read(store).data == {"kept": 1, "changed": {"x": 3}, "new": None}


def test_merge_makes_an_absent_document(store: Store) -> None:
    store.commit([Merge(A, {"n": 1}, {"hits": 2})])
    assert read(store).data == {"n": 1, "hits": 2}


def test_merge_of_nothing_makes_an_empty_document_and_changes_no_other(store: Store) -> None:
    store.commit([Put(B, {"n": 1})])
    store.commit([Merge(A), Merge(B)])
    assert read(store).data == {}
    assert read(store, B).data == {"n": 1}


def test_increments_add(store: Store) -> None:
    store.commit([Put(A, {"whole": 1, "part": 0.5, "mixed": 1, "text": "x", "nothing": None})])
    store.commit(
        [Merge(A, {}, {"whole": 2, "part": 0.25, "mixed": 0.5, "text": 3, "nothing": 4, "absent": -5})],
    )
    data = read(store).data
    assert data == {"whole": 3, "part": 0.75, "mixed": 1.5, "text": 3, "nothing": 4, "absent": -5}
    assert type(data["whole"]) is int


def test_an_increment_stops_at_64_bits(store: Store) -> None:
    top, bottom = 2**63 - 1, -(2**63)
    store.commit([Put(A, {"up": top - 1, "down": bottom + 1})])
    store.commit([Merge(A, {}, {"up": 5, "down": -5})])
    assert read(store).data == {"up": top, "down": bottom}


def test_names_that_are_no_identifiers_merge(store: Store) -> None:
    store.commit([Put(A, {"gpt-4.1": 1, "a`b\\c": 1, "naïve": 1})])
    store.commit([Merge(A, {"gpt-4.1": 2, "a`b\\c": 2}, {"naïve": 1})])
    assert read(store).data == {"gpt-4.1": 2, "a`b\\c": 2, "naïve": 2}


@pytest.mark.parametrize(
    "last",
    [Create(B, {"n": 9}), Put(B, {"n": 9}, "1.000000001"), Delete(B, "1.000000001")],
    ids=["create", "put", "delete"],
)
def test_one_failed_precondition_undoes_the_whole_commit(store: Store, last: Write) -> None:
    store.commit([Put(B, {"n": 1}), Put("contract/c", {"n": 1})])
    if not isinstance(last, Create):
        old = read(store, B).version
        store.commit([Put(B, {"n": 2})])
        last = Put(B, {"n": 9}, old) if isinstance(last, Put) else Delete(B, old)
    before = read(store, B)
    with pytest.raises(Conflict):
        store.commit([Create(A, {"n": 9}), Merge("contract/c", {}, {"n": 1}), last])
    assert store.get(A) is None
    assert read(store, "contract/c").data == {"n": 1}
    assert read(store, B) == before


def test_a_commit_holds_all_kinds_of_writes(store: Store) -> None:
    store.commit([Put(A, {"n": 1}), Put(B, {"n": 1})])
    store.commit(
        [
            Put(A, {"n": 2}, read(store, A).version),
            Delete(B, read(store, B).version),
            Create("contract/c", {"n": 3}),
            Merge("contract/d", {}, {"n": 4}),
        ]
    )
    found = store.get_many([A, B, "contract/c", "contract/d"])
    assert [doc and doc.data for doc in found] == [{"n": 2}, None, {"n": 3}, {"n": 4}]


def test_a_write_that_changes_nothing_keeps_the_version(store: Store) -> None:
    """The trap for which `rev` exists: after such a write, a second one at the same version passes as well."""
    store.commit([Put(A, {"n": 1, "deep": {"x": [1, 2]}})])
    version = read(store).version
    store.commit([Put(A, {"deep": {"x": [1, 2]}, "n": 1}, version)])
    assert read(store).version == version
    store.commit([Put(A, {"n": 1, "deep": {"x": [1, 2]}}, version)])


def test_with_rev_a_second_write_at_the_same_version_conflicts(store: Store) -> None:
    store.commit([over(None, A, {"n": 1})])
    doc = read(store)
    store.commit([over(doc, A, doc.data)])  # the same content, and yet a new rev
    assert read(store).version != doc.version
    with pytest.raises(Conflict):
        store.commit([over(doc, A, doc.data)])


def test_over_creates_only_what_was_absent(store: Store) -> None:
    store.commit([over(store.get(A), A, {"n": 1})])
    with pytest.raises(Conflict):
        store.commit([over(None, A, {"n": 2})])


def test_over_keeps_a_rev_that_the_caller_chose(store: Store) -> None:
    store.commit([over(None, A, {"rev": "mine"})])
    assert read(store).data == {"rev": "mine"}


def test_compare_and_set_writes_what_was_decided(store: Store) -> None:
    written = compare_and_set(store, A, lambda doc: {"n": 1})
    assert written == read(store).data
    compare_and_set(store, A, lambda doc: {**(doc.data if doc else {}), "m": 2})
    assert {k: v for k, v in read(store).data.items() if k != "rev"} == {"n": 1, "m": 2}


def test_compare_and_set_of_none_writes_nothing(store: Store) -> None:
    assert compare_and_set(store, A, lambda doc: None) is None
    assert store.get(A) is None


def test_compare_and_set_gives_up_with_a_conflict(store: Store) -> None:
    tries = []

    def always_late(doc: Doc | None) -> dict[str, int]:
        tries.append(doc)
        store.commit([Put(A, {"n": len(tries)})])
        return {"n": -1}

    with pytest.raises(Conflict):
        compare_and_set(store, A, always_late, attempts=3, pause=lambda seconds: None)
    assert read(store).data == {"n": 3}


def test_get_many_keeps_the_order_asked_for(store: Store) -> None:
    store.commit([Put(A, {"n": 1}), Put(B, {"n": 2})])
    found = store.get_many([B, "contract/none", A, B])
    assert [doc and doc.data["n"] for doc in found] == [2, None, 1, 2]
    assert store.get_many([]) == []


@pytest.mark.parametrize(
    "writes",
    [
        [],
        [Put(A, {}), Delete(A)],
        [Put("contract", {})],
        [Put("contract//x/y", {})],
        [Put("contract/..", {})],
        [Put("contract/__id__", {})],
        [Delete("contract/" + "x" * 1501)],
        [Put(A, {"": 1})],
        [Put(A, {"__name__": 1})],
        [Merge(A, {}, {"n": True})],
    ],
    ids=[
        "none",
        "twice",
        "a collection",
        "an empty part",
        "dots",
        "reserved",
        "long",
        "no name",
        "reserved name",
        "bool",
    ],
)
def test_a_commit_that_can_never_succeed_is_refused(store: Store, writes: list[Write]) -> None:
    with pytest.raises(InvalidWrite):
        store.commit(writes)
    assert store.meter.writes == 0
