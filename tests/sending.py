"""What the tests of the metrics client have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from shared.metrics_client import MetricsClient
from tests.capturing_ingest import CapturingIngest

LONG = 1000.0  # seconds: what should not be waited for, is not


def client_of(server: CapturingIngest, **options: Any) -> MetricsClient:
    """A client that sends when it is told to."""
    return MetricsClient(server.url, "a-key", **{"flush_seconds": LONG, **options})


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)
