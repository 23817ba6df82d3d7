"""usageApi: usage comes in, calls are reserved against quotas, and admins read what was used and what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Request, Response

from functions.usage_api import costs, events, quotas, reconcile, reservations, users
from shared.api.auth import require_usage_key
from shared.api.routes import Route, dispatch

if TYPE_CHECKING:
    from shared.bootstrap import App

ROUTES = (
    Route("/api/usage/events", {"POST": events.take}, require_usage_key),
    Route("/api/usage/reservations", {"POST": reservations.reserve}, require_usage_key),
    Route("/api/usage/reservations/{id}/settle", {"POST": reservations.settle}, require_usage_key),
    Route("/api/usage/reservations/{id}/release", {"POST": reservations.release}, require_usage_key),
    Route("/api/usage", {"GET": users.by_key}),
    Route("/api/usage/{uid}", {"GET": users.one_user, "DELETE": users.erase}),
    Route("/api/usage/{uid}/export", {"GET": users.export}),
    Route("/api/usage/{uid}/quota", {"GET": quotas.one_quota, "PUT": quotas.set_override}),
    Route("/api/costs", {"GET": costs.grouped_costs}),
    Route("/api/costs/overview", {"GET": costs.overview}),
    Route("/api/costs/reconcile", {"GET": reconcile.kept_ones, "POST": reconcile.against_bill}),
    Route("/api/costs/reconcile/{id}", {"DELETE": reconcile.forget}),
)


def handle(request: Request, app: App) -> Response:
    return dispatch(ROUTES, request, app, app.clock())
