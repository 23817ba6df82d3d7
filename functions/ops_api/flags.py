"""Kill switches and limits as admins read and change them, each change on an audit log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from shared import audited
from shared.api.audit_list import audit_of
from shared.api.bodies import Body, Faults, intent_of, read_body, refusals, tagged
from shared.audited import Edited
from shared.domain.flags import fault_of, flatten
from shared.flags import DOCUMENT, FRAME
from shared.status.published import published
from shared.store.protocol import Data

if TYPE_CHECKING:
    from shared.bootstrap import App


class Changes(Body):
    """Values by dotted name; null takes the value of the file again."""

    flags: dict[str, Any]


def all_flags(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """What is in force: read now, not from the cache of an instance."""
    doc = app.store.get(DOCUMENT)
    return tagged(_shown(app, doc.data if doc else {}), Edited(DOCUMENT, {"rev": audited.rev_of(doc)}))


def change(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """Every instance obeys within 8 seconds. Needs If-Match; `*` is for whoever is in a hurry."""

    def faults(sound: Mapping[str, Any]) -> Faults:
        if sound.get("flags") == {}:
            return [("flags", "name a flag to change")]
        defaults = app.flags.defaults
        found = [
            (name, fault_of(name, defaults.get(name) if value is None else value))
            for name, value in sound.get("flags", {}).items()
        ]
        return [(f"flags.{name}", fault) for name, fault in found if fault is not None]

    body, raw = read_body(request, Changes, also=faults)
    intent = intent_of(request, path, raw, "flags_changed", now, needs_version=True)

    def decide(data: Data | None) -> Data:
        kept = _entries(data or {})
        for name, value in body.flags.items():
            kept.pop(name, None)
            if value is not None:
                kept[name] = value
        return _nested(kept)

    with refusals():
        edited = audited.put(app.store, DOCUMENT, decide, intent)
    return tagged({**_shown(app, edited.data), "published": published(app, now)}, edited)


def audit(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    return audit_of(app, request, DOCUMENT)


def _entries(data: Mapping[str, Any]) -> dict[str, Any]:
    return flatten({name: value for name, value in data.items() if name not in FRAME})


def _shown(app: App, data: Mapping[str, Any]) -> dict[str, Any]:
    """`set`: the document says something of it, be it the default, or nothing that can be used."""
    in_force, there = app.flags.overriding(data), _entries(data)
    flags = {
        name: {"value": in_force[name], "default": default, "set": name in there}
        for name, default in app.flags.defaults.items()
    }
    return {"flags": flags, "changed": [name for name, one in flags.items() if one["value"] != one["default"]]}


def _nested(flat: Mapping[str, Any]) -> Data:
    """The document as people write it: `{"alerts": {"enabled": false}}`. What is no flag gives way to one."""
    tree: Data = {}
    for name, value in sorted(flat.items()):  # `alerts` before `alerts.enabled`
        *above, last = name.split(".")
        place = tree
        for part in above:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        place[last] = value
    return tree
