"""Which index a query needs, and whether firestore.indexes.json declares it.

The emulator never asks for an index, and production refuses a query that lacks one: tests hold every query against the
file. One field is served by Firestore's automatic indexes, unless the file exempts it. More than one field needs a
composite index here, also where Firestore could merge automatic ones: that is slower, and its rules are subtle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "firestore.indexes.json"

Shape = tuple[str, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]
Fields = list[tuple[str, str]]
_DIRECTION = {"asc": "ASCENDING", "desc": "DESCENDING"}


def load(path: Path = FILE) -> dict[str, Any]:
    declared: dict[str, Any] = json.loads(path.read_text())
    return declared


def faults(shapes: Iterable[Shape], declared: dict[str, Any]) -> list[str]:
    """One sentence for each query shape (`Query.shape`) that production would refuse."""
    found = (_fault(shape, declared) for shape in sorted(set(shapes)))
    return [fault for fault in found if fault]


def _fault(shape: Shape, declared: dict[str, Any]) -> str | None:
    group, where, order = shape
    equal = {name for name, op in where if op in ("==", "in")}
    ordered = [(name, _DIRECTION[direction]) for name, direction in order if name not in equal]
    names = [*sorted(equal), *(name for name, _ in ordered)]
    if len(names) > 1:
        if any(_serves(index, group, equal, ordered) for index in declared["indexes"]):
            return None
        wanted = [(name, "ASCENDING") for name in sorted(equal)] + ordered
        fields = [{"fieldPath": name, "order": direction} for name, direction in wanted]
        index = {"collectionGroup": group, "queryScope": "COLLECTION", "fields": fields}
        return f"a query of {group} needs a composite index: {json.dumps(index)}"
    for name in names:
        if _exempt(declared, group, name):
            return f"a query of {group} uses the field {name}, which is exempt from indexes"
    return None


def _serves(index: dict[str, Any], group: str, equal: set[str], ordered: Fields) -> bool:
    """The fields that must be equal come first, in any order; then those of the order, as they are."""
    if index["collectionGroup"] != group or index.get("queryScope") != "COLLECTION":
        return False
    fields = [(field["fieldPath"], field.get("order")) for field in index["fields"]]
    return {name for name, _ in fields[: len(equal)]} == equal and fields[len(equal) :] == ordered


def _exempt(declared: dict[str, Any], group: str, name: str) -> bool:
    overrides = {
        field["fieldPath"]: field["indexes"]
        for field in declared["fieldOverrides"]
        if field["collectionGroup"] == group
    }
    return not overrides.get(name, overrides.get("*", ["automatic"]))
