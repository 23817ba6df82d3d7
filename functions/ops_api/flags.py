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
from shared.flags import DOCUMENT, FRAME, flatten, load_defaults
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
    defaults = flatten(load_defaults(app.settings.config_dir))

    def faults(sound: Mapping[str, Any]) -> Faults:
        if sound.get("flags") == {}:
            return [("flags", "name a flag to change")]
        found = [(name, _fault(name, value, defaults)) for name, value in sound.get("flags", {}).items()]
        return [(f"flags.{name}", fault) for name, fault in found if fault is not None]

    body, raw = read_body(request, Changes, also=faults)
    intent = intent_of(request, path, raw, "flags_changed", now, needs_version=True)

    def decide(data: Data | None) -> Data:
        kept = flatten({name: value for name, value in (data or {}).items() if name not in FRAME})
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


def _fault(name: str, value: Any, defaults: Mapping[str, Any]) -> str | None:
    if name not in defaults:
        return f"there is no such flag; there are {', '.join(defaults)}"
    if value is None:
        return None
    if isinstance(defaults[name], bool):
        return None if isinstance(value, bool) else "must be true or false"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        return "must be a number from 0 to 100"
    return None


def _shown(app: App, data: Mapping[str, Any]) -> dict[str, Any]:
    defaults = flatten(load_defaults(app.settings.config_dir))
    in_force = app.flags.overriding(data)
    flags = {name: {"value": in_force[name], "default": default} for name, default in defaults.items()}
    return {"flags": flags, "changed": [name for name, one in flags.items() if one["value"] != one["default"]]}


def _nested(flat: Mapping[str, Any]) -> Data:
    """The document as people write it: `{"alerts": {"enabled": false}}`."""
    tree: Data = {}
    for name, value in flat.items():
        *above, last = name.split(".")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return tree
