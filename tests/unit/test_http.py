"""The frame around a handler: which failures of the store are worth sending again."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from flask import Request, Response
from werkzeug.test import EnvironBuilder

from shared import bootstrap
from shared.api import http
from shared.bootstrap import App
from shared.store.protocol import Create, Put, Write
from shared.store.sqlite import SqliteStore
from tests.core import make_app


@pytest.mark.parametrize(
    ("writes", "status", "code", "retry_after"),
    [
        ([Put("no-document", {})], 500, "internal", None),  # a path that can never be accepted
        ([Create("a/there", {})], 503, "store_unavailable", "5"),  # a conflict
    ],
)
def test_only_a_store_error_that_may_pass_asks_to_send_again(
    sqlite_store: SqliteStore,
    capsys: pytest.CaptureFixture[str],
    writes: Sequence[Write],
    status: int,
    code: str,
    retry_after: str | None,
) -> None:
    def handler(request: Request, app: App) -> Response:
        app.store.commit(writes)
        return http.answer({})

    sqlite_store.commit([Put("a/there", {})])
    bootstrap.install(make_app(sqlite_store))
    try:
        answer = http.run(handler, Request(EnvironBuilder().get_environ()))
    finally:
        bootstrap.install(None)
    told = json.loads(answer.data)
    assert (answer.status_code, told["code"], answer.headers.get("Retry-After")) == (status, code, retry_after)
    assert json.loads(capsys.readouterr().out)["severity"] == "ERROR"
