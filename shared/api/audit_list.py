"""An audit log as it is answered: a page of entries, from the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Request, Response

from shared import audited
from shared.api import lists
from shared.api.bodies import outward
from shared.api.http import answer

if TYPE_CHECKING:
    from shared.bootstrap import App

FIELDS = ("n", "action", "by", "at", "before", "after")


def audit_of(app: App, request: Request, document: str) -> Response:
    """Every change of a document: who, when, before and after. There is no way to change an entry."""
    asked = lists.Asked(request, ("limit", "cursor"))
    limit, place = asked.limit(), asked.place(lists.by_number)
    asked.done()
    found, after = audited.entries(app.store, document, limit, f"{place[0]:08d}" if place else None)
    shown = [{name: outward(entry[name]) for name in FIELDS} for entry in found]
    return answer({"audit": shown, "cursor": lists.cursor((int(after),)) if after else None})
