"""incidentsApi: incidents, maintenances and runbooks, for admins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Request, Response

from functions.incidents_api import incidents, maintenances, postmortem, runbooks, stats
from shared.api.routes import Route, dispatch

if TYPE_CHECKING:
    from shared.bootstrap import App

ROUTES = (
    Route("/api/incidents", {"GET": incidents.all_incidents, "POST": incidents.open_one}),
    Route("/api/incidents/stats", {"GET": stats.months}),
    Route("/api/incidents/preview", {"POST": incidents.preview}),
    Route("/api/incidents/{id}", {"GET": incidents.one_incident, "PATCH": incidents.edit}),
    Route("/api/incidents/{id}/updates", {"GET": incidents.timeline, "POST": incidents.add_update}),
    Route("/api/incidents/{id}/resolve", {"POST": incidents.resolve}),
    Route("/api/incidents/{id}/reopen", {"POST": incidents.reopen}),
    Route("/api/incidents/{id}/actions", {"POST": incidents.add_item}),
    Route("/api/incidents/{id}/actions/{item}", {"PATCH": incidents.edit_item}),
    Route("/api/incidents/{id}/postmortem", {"GET": postmortem.read, "PUT": postmortem.write}),
    Route("/api/incidents/{id}/audit", {"GET": incidents.audit}),
    Route("/api/maintenances", {"GET": maintenances.all_maintenances, "POST": maintenances.plan}),
    Route("/api/maintenances/preview", {"POST": maintenances.preview}),
    Route("/api/maintenances/{id}", {"GET": maintenances.one_maintenance, "PATCH": maintenances.edit}),
    Route("/api/maintenances/{id}/updates", {"POST": maintenances.add_update}),
    Route("/api/maintenances/{id}/audit", {"GET": maintenances.audit}),
    Route("/api/runbooks", {"GET": runbooks.listed}),
    Route("/api/runbooks/{name}", {"GET": runbooks.one}),
)


def handle(request: Request, app: App) -> Response:
    return dispatch(ROUTES, request, app, app.clock())
