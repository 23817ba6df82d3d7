"""opsApi over real sockets: who may call, what is found, and the answers of the metric routes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from functions.ops_api.handler import ROUTES
from functions.ops_api.query_csv import _cells
from scripts.dev.issuer import AdminIssuer, new_key
from shared.alerts.alerting import run_alert_rules
from shared.store.protocol import Store
from shared.store.sqlite import SqliteStore
from tests.core import NOW, batch_of, make_app, metric
from tests.ops_api import ISSUER, PROJECT, Ops, ops_api

QUERY = "/api/ops/metrics/query"
GOOD = {"metric": "api_latency"}


def feed(store: Store, *metrics: dict[str, Any]) -> None:
    app = make_app(store)
    app.group_commit.append(batch_of(metrics), NOW)
    run_alert_rules(app, NOW, lambda: True)


def request_of(endpoint: str, value: float, minutes_ago: int, status: str = "200") -> dict[str, Any]:
    return metric(
        value, at=NOW - timedelta(minutes=minutes_ago), labels={"endpoint": endpoint, "method": "GET", "status": status}
    )


@pytest.fixture
def ops(sqlite_store: SqliteStore) -> Iterator[Ops]:
    feed(
        sqlite_store,
        *(request_of("/api/orders", 100 + n, 20) for n in range(100)),
        *(request_of("/api/carts", 50, 20, "500") for _ in range(4)),
        request_of("/api/orders", 900, 80),
    )
    with ops_api(sqlite_store, NOW) as ops:
        yield ops


# --- who may call, and what there is


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_route_is_for_admins_alone(ops: Ops, route: Any) -> None:
    stranger = AdminIssuer(new_key(), ISSUER, PROJECT).token(NOW)[0]
    for token in (None, "garbage", stranger):
        reply = ops.get(route.path, method=next(iter(route.methods)), token=token)
        assert (reply.status, reply.json["code"]) == (401, "unauthorized")
        assert reply.headers["Cache-Control"] == "private, no-store"
        assert "api_latency" not in reply.text


def test_who_is_no_admin_is_forbidden(ops: Ops) -> None:
    ops.admins.sign, signed = lambda claims: signed({**claims, "admin": "true"}), ops.admins.sign  # type: ignore[method-assign]
    reply = ops.get(QUERY, GOOD)
    assert (reply.status, reply.json["code"]) == (403, "not_admin")


@pytest.mark.parametrize(
    "path", ["/", "/api/ops", "/api/ops/metrics", "/api/ops/metrics/query/x", "/api/opsx/metrics/query"]
)
def test_an_unknown_path_is_not_found(ops: Ops, path: str) -> None:
    reply = ops.get(path)
    assert (reply.status, reply.json["code"]) == (404, "not_found")
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_wrong_method_is_told_which_are_right(ops: Ops, method: str) -> None:
    reply = ops.get(QUERY, method=method)
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_the_body(ops: Ops) -> None:
    reply = ops.get(QUERY, GOOD, method="HEAD")
    assert (reply.status, reply.text) == (200, "")


def test_a_pattern_gives_the_values_of_its_segments() -> None:
    route = type(ROUTES[0])("/api/ops/alerts/{id}/notes", {})
    assert route.match("/api/ops/alerts/a-1/notes") == {"id": "a-1"}
    assert route.match("/api/ops/alerts/a/b/notes") is None
    assert route.match("/api/ops/alerts//notes") is None


# --- a query


def test_the_answer_of_a_query(ops: Ops) -> None:
    reply = ops.get(QUERY, {**GOOD, "from": "2026-03-10T11:35:00Z", "step": "5m"})
    assert reply.headers["Cache-Control"] == "private, no-store"
    assert reply.headers["Vary"] == "Accept"
    body = reply.json
    points = body["series"][0].pop("points")
    assert body == {
        "metric": "api_latency",
        "agg": "p95",
        "unit": "ms",
        "from": "2026-03-10T11:35:00Z",
        "to": "2026-03-10T12:05:00Z",
        "step": "5m",
        "level": ["m5"],
        "complete_until": "2026-03-10T12:00:00Z",
        "reads": 8,
        "series": [{"labels": {}}],
    }
    assert [p["count"] for p in points] == [0, 104, 0, 0, 0, 0]
    assert points[0] == {"t": 1773142500000, "value": None, "low": None, "high": None, "count": 0, "estimated": False}
    true = 194  # rank ceil(0.95 · 104) = 99: four of 50, then the 95th of 100 …
    assert points[1]["low"] <= true <= points[1]["high"]
    assert points[1]["value"] == pytest.approx(true, rel=0.01)


def test_a_derived_metric_is_counted_from_the_requests(ops: Ops) -> None:
    body = ops.query(metric="error_rate", from_="-2h", step="1h", group_by="endpoint")
    assert body["unit"] == "%"
    found = {s["labels"]["endpoint"]: [(p["value"], p["count"]) for p in s["points"]] for s in body["series"]}
    assert found == {
        "/api/carts": [(None, 0), (100.0, 4), (None, 0)],
        "/api/orders": [(0.0, 1), (0.0, 100), (None, 0)],
    }
    assert "low" not in body["series"][0]["points"][0]


def test_every_fault_of_a_query_is_in_the_answer(ops: Ops) -> None:
    reply = ops.get(QUERY, {"metric": "nope", "agg": "p42", "step": "7m", "from": "?"})
    assert (reply.status, reply.json["code"]) == (400, "invalid_query")
    assert [e["path"] for e in reply.json["errors"]] == ["metric", "agg", "from", "step"]


def test_a_query_that_meets_too_many_documents_is_told_so(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.metrics.query.MAX_DOCUMENTS", 5)
    reply = ops.get(QUERY, {**GOOD, "step": "5m"})
    assert (reply.status, reply.json["code"]) == (422, "query_too_large")


# --- CSV


def rows(ops: Ops, accept: str = "text/csv", **args: str) -> list[list[str]]:
    reply = ops.get(QUERY, {**GOOD, "step": "1h", "from": "-2h", **args}, headers={"Accept": accept})
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/csv")
    assert reply.headers["Vary"] == "Accept"
    assert reply.text.count("\n") == reply.text.count("\r\n")
    return list(csv.reader(io.StringIO(reply.text, newline="")))


def test_csv_has_the_same_figures_as_json(ops: Ops) -> None:
    header, *lines = rows(ops, group_by="endpoint,status")
    assert header == ["time", "endpoint", "status", "value", "low", "high", "count", "estimated"]
    body = ops.query(metric="api_latency", step="1h", from_="-2h", group_by="endpoint,status")
    flat = [[p["value"], p["low"], p["high"], p["count"], p["estimated"]] for s in body["series"] for p in s["points"]]
    told = [[*(float(v) if v else None for v in line[3:6]), int(line[6]), line[7] == "true"] for line in lines]
    assert told == flat
    assert lines[0][:3] == ["2026-03-10T10:00:00Z", "/api/carts", "500"]
    assert lines[0][3:] == ["", "", "", "0", "false"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv"),
        ("text/csv;q=0.5, application/json;q=0.9", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "application/json"),
    ],
)
def test_accept_chooses_between_json_and_csv(ops: Ops, accept: str, kind: str) -> None:
    assert ops.get(QUERY, GOOD, headers={"Accept": accept}).headers["Content-Type"].startswith(kind)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_label_that_a_spreadsheet_would_take_for_a_formula_is_made_a_text(
    sqlite_store: SqliteStore, text: str
) -> None:
    feed(sqlite_store, request_of(text, 100, 20))
    with ops_api(sqlite_store, NOW) as ops:
        assert {line[1] for line in rows(ops, group_by="endpoint")[1:]} == {f"'{text}"}


@pytest.mark.parametrize("text", ["\tx", "\rx", "=x"])
def test_so_is_one_that_was_stored_before_control_characters_were_taken_out(text: str) -> None:
    assert _cells((text, "plain"), ["endpoint", "method"]) == [f"'{text}", "plain"]


def test_labels_with_commas_and_quotes_come_through(sqlite_store: SqliteStore) -> None:
    hard = 'a, "b"; c ü'
    feed(sqlite_store, request_of(hard, 100, 20))
    with ops_api(sqlite_store, NOW) as ops:
        reply = ops.get(QUERY, {**GOOD, "group_by": "endpoint"}, headers={"Accept": "text/csv"})
        assert {line[1] for line in list(csv.reader(io.StringIO(reply.text, newline="")))[1:]} == {hard}


# --- catalog and cardinality


def test_the_catalog_has_every_metric(ops: Ops) -> None:
    reply = ops.get("/api/ops/metrics/catalog")
    metrics = {m["name"]: m for m in reply.json["metrics"]}
    assert metrics.keys() == ops.app.slos.registry.metrics.keys()
    latency = metrics["api_latency"]
    assert (latency["unit"], latency["kind"], latency["aggregation"]) == ("ms", "distribution", "p95")
    assert latency["aliases"] == ["req_latency_ms"]
    assert {"endpoint", "method", "status"} <= set(latency["labels"])
    assert latency["series"] == 2
    assert metrics["error_rate"]["derived_from"] == "api_latency"
    assert "status" in metrics["error_rate"]["labels"]
    assert (metrics["token_cost"]["series"], reply.json["reads"]) == (0, 50)


def test_cardinality_says_which_label_costs_most(sqlite_store: SqliteStore) -> None:
    words = ["one", "two", "three", "four", "five"]
    feed(
        sqlite_store,
        *(request_of(f"/api/{word}", 100, 20, status) for word in words for status in ("200", "500")),
        request_of("/api/one", 100, 20),
        metric(1.0, "token_cost", NOW - timedelta(minutes=20), {"model": "x", "colour": "red"}),
    )
    with ops_api(sqlite_store, NOW) as ops:
        body = ops.get("/api/ops/metrics/cardinality").json
    latency = body["metrics"][0]
    assert (latency["metric"], latency["series"], latency["events"]) == ("api_latency", 10, 11)
    assert latency["limit"] == ops.app.slos.registry.metrics["api_latency"].max_series
    assert latency["other_percent"] == 0
    assert latency["labels"] == [
        {"label": "endpoint", "values": 5, "without": 2},
        {"label": "status", "values": 2, "without": 5},
        {"label": "method", "values": 1, "without": 10},
    ]
    assert body["dropped_labels"] == [{"metric": "token_cost", "label": "colour", "samples": 1}]
    assert (body["day"], body["reads"]) == ("2026-03-10", 26)
