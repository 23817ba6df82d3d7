"""statusApi behind a real socket, and a real browser to look at it with."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from werkzeug.serving import make_server

from shared import bootstrap
from shared.bootstrap import App
from shared.store.protocol import Unavailable
from tests.core import flask_app

ROOT = Path(__file__).parents[2]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
HEALTHZ = "/api/status/healthz"
V2_NAMES = (
    "status", "summary", "components", "incidents", "incidents/unresolved", "scheduled-maintenances",
    "scheduled-maintenances/upcoming", "scheduled-maintenances/active",
)  # fmt: skip
V2 = [f"/api/v2/{name}.json" for name in V2_NAMES]
PAGES = ["/", "/status", "/status/history"]
FEEDS = ["/history.atom", "/history.rss"]
BADGES = ["/api/status/badge.svg", "/status-badge.js"]
ROUTES = [*PAGES, HEALTHZ, *V2, *FEEDS, *BADGES]


@contextmanager
def served(app: App) -> Iterator[str]:
    """The base URL of statusApi as deployed, over `app`."""
    bootstrap.install(app)
    server = make_server("127.0.0.1", 0, flask_app("statusApi"), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        bootstrap.install(None)
        app.store.close()


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers={k.replace("_", "-"): v for k, v in headers.items()}, timeout=20)


def cut_off(app: App) -> None:
    """From now on the store does not answer, and the next request asks it."""

    def fail(paths: Any) -> Any:
        raise Unavailable("down")

    app.store.get_many = fail  # type: ignore[method-assign]
    start = app.monotonic()
    if "snapshot_cache" in app.__dict__:
        app.snapshot_cache._monotonic = lambda: start + 60
