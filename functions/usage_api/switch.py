"""`costs.dashboard`: while it is off, the cost pages and reads are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.api.http import Problem

if TYPE_CHECKING:
    from shared.bootstrap import App

DASHBOARD = "costs.dashboard"


def require_dashboard(app: App) -> None:
    """Raises `Problem` 404 while the switch is off."""
    if not app.flags.on(DASHBOARD):
        raise Problem(404, "not_found", "there is nothing at this address")
