"""Where a message leads: the status page, and, where there is a console, its alert, incident and runbook. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from shared.notify.wording import runbook_name


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Links:
    """`status`: the page's address. `console`: what the pages for people who are signed in begin with, or None."""

    status: str
    console: str | None = None

    @property
    def status_page(self) -> Link:
        return Link("Status page", self.status)

    def of(self, notification: Mapping[str, Any]) -> tuple[Link, ...]:
        """The one that helps most comes first."""
        facts, found = notification["facts"], []
        if self.console:
            if notification["kind"] in ("trigger", "repeat"):
                found.append(self._link("Acknowledge", "alerts", notification["alertId"], "acknowledge"))
            if facts.get("runbook") and notification["kind"] != "resolve":
                found.append(self._link("Runbook", "runbooks", runbook_name(str(facts["runbook"]))))
            found.append(self._link("Alert", "alerts", notification["alertId"]))
            if facts.get("incidentId"):
                found.append(self._link("Incident", "incidents", facts["incidentId"]))
        return (*found, self.status_page)

    def of_many(self) -> tuple[Link, ...]:
        alerts = [Link("All alerts", f"{self.console}/alerts")] if self.console else []
        return (*alerts, self.status_page)

    def alert(self, notification: Mapping[str, Any]) -> str:
        """Where the alert is: its own page, or the status page where there is no console."""
        if self.console is None:
            return self.status
        return self._link("Alert", "alerts", notification["alertId"]).url

    def _link(self, label: str, *path: Any) -> Link:
        return Link(label, f"{self.console}/" + "/".join(quote(str(part), safe="") for part in path))
