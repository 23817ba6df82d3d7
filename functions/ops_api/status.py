"""The components as the team sees them: the public states, each with its reason, and what is not set up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from shared.api.http import answer
from shared.components import load_components
from shared.domain.probed import NotSetUp, ProviderStatus
from shared.domain.status import ComponentStatus
from shared.status.publish import SNAPSHOT, read_sources

if TYPE_CHECKING:
    from shared.bootstrap import App

Data = Mapping[str, Any]


def components(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """What holds now; `uptime` and `publishedAt` are those of the last publication, so it is the page's own figure."""
    sources = read_sources(app.store, load_components(app.settings.config_dir), now)
    snapshot = app.store.get(SNAPSHOT)
    public = {c["id"]: c for c in snapshot.data["components"]} if snapshot else {}
    return answer(
        {
            "overall": sources.view.overall,
            "publishedAt": _iso(snapshot.data["publishedAt"]) if snapshot else None,
            "components": [
                _component(
                    status, sources.records.get(status.component.id) or {}, public.get(status.component.id) or {}
                )
                for status in sources.view.components
            ],
        }
    )


def _component(status: ComponentStatus, record: Data, public: Data) -> dict[str, Any]:
    """`since`: when the state began that the history has of it, if it is still in that."""
    mine = [lack for lack in status.lacks if lack.provider is None]
    return {
        "id": status.component.id,
        "name": status.component.name,
        "state": status.state,
        "maintenance": status.maintenance,
        "since": _iso(record["since"]) if record.get("state") == status.recorded else None,
        "reason": status.reason,
        "why": list(status.why),
        "notSetUp": _lacks(mine),
        "uptime": public.get("uptime90"),
        "uptimeSince": _iso(public.get("uptimeSince")),
        "lastCheck": _iso(status.last_check),
        "providers": [
            _provider(provider, [lack for lack in status.lacks if lack.provider == provider.provider.name])
            for provider in status.providers
        ],
    }


def _provider(status: ProviderStatus, lacks: Iterable[NotSetUp]) -> dict[str, Any]:
    return {
        "name": status.provider.name,
        "state": status.state,
        "basis": status.basis,
        "why": list(status.why),
        "notSetUp": _lacks(lacks),
    }


def _lacks(lacks: Iterable[NotSetUp]) -> list[dict[str, str]]:
    return [{"probe": lack.probe.id, "setting": lack.setting, "why": lack.why} for lack in lacks]


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None
