"""opsApi: what admins read and change. One table says which path and method leads where, and who may call it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Request, Response

from functions.ops_api import (
    alert_changes,
    alerts,
    backtest,
    exclusions,
    flags,
    inbox,
    metrics,
    notifications,
    report,
    silences,
    slos,
    status,
)
from shared.api.routes import Route, dispatch

if TYPE_CHECKING:
    from shared.bootstrap import App

ROUTES = (
    Route("/api/ops/metrics/query", {"GET": metrics.query}),
    Route("/api/ops/metrics/catalog", {"GET": metrics.catalog}),
    Route("/api/ops/metrics/cardinality", {"GET": metrics.cardinality}),
    Route("/api/ops/slos", {"GET": slos.all_slos}),
    Route("/api/ops/slos/{id}", {"GET": slos.one_slo}),
    Route("/api/ops/slos/{id}/backtest", {"GET": backtest.one_slo}),
    Route("/api/ops/exclusions", {"GET": exclusions.all_exclusions, "POST": exclusions.exclude}),
    Route("/api/ops/exclusions/{id}", {"DELETE": exclusions.take_back}),
    Route("/api/ops/silences", {"GET": silences.all_silences, "POST": silences.silence}),
    Route("/api/ops/silences/preview", {"POST": silences.preview}),
    Route("/api/ops/silences/{id}", {"GET": silences.one, "DELETE": silences.end}),
    Route("/api/ops/flags", {"GET": flags.all_flags, "PATCH": flags.change}),
    Route("/api/ops/flags/audit", {"GET": flags.audit}),
    Route("/api/ops/report", {"GET": report.success}),
    Route("/api/ops/inbox", {"GET": inbox.arrived}),
    Route("/api/ops/inbox/read", {"POST": inbox.read_until}),
    Route("/api/ops/inbox/{id}/read", {"POST": inbox.read_one}),
    Route("/api/ops/notifications", {"GET": notifications.all_notifications}),
    Route("/api/ops/notifications/test", {"POST": notifications.test}),
    Route("/api/ops/notifications/{id}", {"GET": notifications.one_notification}),
    Route("/api/ops/notifications/{id}/resend", {"POST": notifications.resend}),
    Route("/api/ops/status", {"GET": status.components}),
    Route("/api/ops/alerts", {"GET": alerts.all_alerts}),
    Route("/api/ops/alerts/{id}", {"GET": alerts.one_alert}),
    Route(
        "/api/ops/alerts/{id}/acknowledge",
        {"POST": alert_changes.acknowledge, "DELETE": alert_changes.not_acknowledged},
    ),
    Route("/api/ops/alerts/{id}/false", {"POST": alert_changes.mark, "DELETE": alert_changes.take_back}),
)


def handle(request: Request, app: App) -> Response:
    return dispatch(ROUTES, request, app, app.clock())
