"""Entry points, one a function, named as deployed. Each imports its own handler when first called."""

import gc
import os

import functions_framework
from flask import Request, Response

from shared.api.http import run
from shared.settings import refuse_unsafe

refuse_unsafe(os.environ)
gc.disable()  # imports make many objects and no garbage; `run` enables it again with the first answer


@functions_framework.http
def metricsIngest(request: Request) -> Response:
    """POST /api/metrics: takes metrics in."""
    from functions.metrics_ingest.handler import handle

    return run(handle, request)


@functions_framework.http
def alertRules(request: Request) -> Response:
    """Every 5 minutes: folds, evaluates the SLOs, alerts."""
    from functions.alert_rules.handler import handle

    return run(handle, request)


@functions_framework.http
def notifier(request: Request) -> Response:
    """Every minute: delivers what is due."""
    from functions.notifier.handler import handle

    return run(handle, request)


@functions_framework.http
def healthProbe(request: Request) -> Response:
    """Every minute: asks the components whether they answer, twice, 30 s apart."""
    from functions.health_probe.handler import handle

    return run(handle, request)


@functions_framework.http
def statusApi(request: Request) -> Response:
    """The public status page and its health answer."""
    from functions.status_api.handler import handle

    return run(handle, request)


@functions_framework.http
def storageUsage(request: Request) -> Response:
    """Once a day: counts what users have in Cloud Storage."""
    from functions.storage_usage.handler import handle

    return run(handle, request)


@functions_framework.http
def opsApi(request: Request) -> Response:
    """/api/ops/…: what admins read and change."""
    from functions.ops_api.handler import handle

    return run(handle, request)


@functions_framework.http
def incidentsApi(request: Request) -> Response:
    """/api/incidents…, /api/maintenances…: what admins write about what is broken, or will be."""
    from functions.incidents_api.handler import handle

    return run(handle, request)


@functions_framework.http
def usageApi(request: Request) -> Response:
    """/api/usage/… and /api/costs…: usage in, quotas, and what it cost."""
    from functions.usage_api.handler import handle

    return run(handle, request)


@functions_framework.http
def costRollup(request: Request) -> Response:
    """Every 15 minutes: books what waits, sums up costs, and alerts on spending."""
    from functions.cost_rollup.handler import handle

    return run(handle, request)
