"""Runbooks as admins read them: what there are, and one as it is written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from shared.api.http import Problem, answer, no_store
from shared.incidents.runbooks import Runbook, all_runbooks, runbook

if TYPE_CHECKING:
    from shared.bootstrap import App


def listed(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    return answer({"runbooks": [_summary(found) for found in all_runbooks()]})


def one(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """As JSON with its `markdown`, or as it is where `Accept` asks for text/markdown."""
    found = runbook(path["name"])
    if found is None:
        raise Problem(404, "unknown_runbook", "there is no such runbook; `GET /api/runbooks` lists those there are")
    if request.accept_mimetypes.best_match(["application/json", "text/markdown"]) == "text/markdown":
        return no_store(Response(found.markdown, content_type="text/markdown; charset=utf-8"))
    return answer({**_summary(found), "markdown": found.markdown})


def _summary(found: Runbook) -> dict[str, Any]:
    return {"name": found.name, "title": found.title, "severity": found.severity, "summary": found.summary}
