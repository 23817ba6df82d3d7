"""The post-mortem of an incident: written from what is on record until somebody edits it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from flask import Request, Response
from pydantic import AfterValidator, StringConstraints

from functions.incidents_api.incidents import found
from shared.api.bodies import Body, intent_of, outward, read_body, refusals, tagged
from shared.api.http import no_store
from shared.audited import Edited, rev_of
from shared.domain.postmortem import unwritten, with_items
from shared.domain.scrub import scrub_text
from shared.incidents import postmortems

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST_BODY = 400_000  # bytes
MARKDOWN = "text/markdown"


class Written(Body):
    markdown: Annotated[str, StringConstraints(min_length=1, max_length=100_000), AfterValidator(scrub_text)]


def read(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """JSON, or the Markdown alone where that is accepted. An edited one has the action items as they are now."""
    doc = found(app, path)
    kept = postmortems.stored(app.store, doc)
    items = doc.data["actionItems"]
    markdown = with_items(kept.data["markdown"], items) if kept else postmortems.generated(app, doc, now)
    if request.accept_mimetypes.best_match(["application/json", MARKDOWN]) == MARKDOWN:
        return no_store(Response(markdown, content_type=f"{MARKDOWN}; charset=utf-8"))
    version = Edited(doc.path, {"rev": rev_of(kept)})
    return tagged(_shown(doc.data, markdown, now, edited=kept is not None), version)


def write(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """Replace it whole. Needs If-Match: of what is only written from the record, the ETag of that."""
    body, raw = read_body(request, Written, MOST_BODY)
    intent = intent_of(request, path, raw, "written", now, needs_version=True)
    doc = found(app, path)
    with refusals():
        kept = postmortems.keep(app.store, doc, body.markdown, intent)
    fresh = found(app, path)
    markdown = with_items(kept.data["markdown"], fresh.data["actionItems"])
    return tagged(_shown(fresh.data, markdown, now, edited=True), kept)


def _shown(data: Mapping[str, Any], markdown: str, now: datetime, *, edited: bool) -> dict[str, Any]:
    due = data.get("postmortemDueAt")
    return {
        "state": "edited" if edited else "generated",
        "markdown": markdown,
        "unwritten": unwritten(markdown),
        "dueAt": outward(due),
        "writtenAt": outward(data.get("postmortemAt")),
        "overdue": due is not None and data.get("postmortemAt") is None and now > due,
    }
