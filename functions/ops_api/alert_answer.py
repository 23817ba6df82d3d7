"""An alert as it is answered, whatever was asked of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Response

from shared.api.http import Problem, answer
from shared.store.protocol import Doc

ALERT_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_TIMES = ("since", "calmSince", "firedAt", "resolvedAt", "updatedAt")
_KEPT = (
    "alertId", "sloId", "sloName", "rule", "severity", "component", "state", "reason", "seq", "metric", "labels",
    "unit", "under", "aggregation", "value", "threshold", "comparison", "good", "total", "windowSeconds", "burn",
    "incidentId", "channels",
)  # fmt: skip


def id_of(path: Mapping[str, str]) -> str:
    if not ALERT_ID.fullmatch(path["id"]):
        raise unknown()
    return path["id"]


def alert_of(doc: Doc) -> dict[str, Any]:
    marked, taken = doc.data.get("markedFalse"), doc.data.get("acknowledged")
    return {
        **{name: doc.data.get(name) for name in _KEPT},
        **{name: iso(doc.data.get(name)) for name in _TIMES},
        "firingSeq": doc.data.get("firingSeq"),
        "markedFalse": marked and {**marked, "at": iso(marked["at"])},
        "acknowledged": taken and {**taken, "at": iso(taken["at"])},
        "rev": doc.data["rev"],
    }


def iso(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def tagged(doc: Doc, more: Mapping[str, Any] | None = None) -> Response:
    response = answer({**alert_of(doc), **(more or {})})
    response.headers["ETag"] = f'"{doc.data["rev"]}"'
    return response


def unknown() -> Problem:
    return Problem(404, "unknown_alert", "no alert of this id ever began; `GET /api/ops/alerts` lists those that did")
