"""A function's route table: which path and method leads where, and who may call it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from flask import Request, Response

from shared.api.admin import require_admin
from shared.api.http import Problem, require_method
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.bootstrap import App

Action = Callable[["App", Request, datetime, Mapping[str, str]], Response]
Check = Callable[[Request, Settings, datetime], str]


@dataclass(frozen=True, slots=True)
class Route:
    """`path`: segments, where `{name}` stands for any one of them. `check` decides who may call, before the action.

    An action is given the values of these segments by name, and as `caller` the uid of who calls.
    """

    path: str
    methods: Mapping[str, Action]
    check: Check = require_admin

    def match(self, path: str) -> Mapping[str, str] | None:
        """The values of the `{name}` segments if the path is this route's."""
        pattern = "".join(
            f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") else re.escape(part)
            for part in re.split(r"(\{\w+\})", self.path)
        )
        found = re.fullmatch(pattern, path)
        return found.groupdict() if found else None


def dispatch(routes: Sequence[Route], request: Request, app: App, now: datetime) -> Response:
    """The answer of the first route that has the path. Raises `Problem`: 404 if there is none, 405, and who may not."""
    path = request.path.rstrip("/")
    for route in routes:
        found = route.match(path)
        if found is not None:
            reads = ("HEAD",) if "GET" in route.methods else ()
            require_method(request, *route.methods, *reads)
            caller = route.check(request, app.settings, now)
            action = route.methods["GET" if request.method == "HEAD" else request.method]
            return action(app, request, now, {**found, "caller": caller})
    raise Problem(404, "not_found", "there is nothing at this address")
