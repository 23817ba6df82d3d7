"""What the metrics client sends is what the real server takes."""

from __future__ import annotations

from pathlib import Path

from shared.metrics_client import MetricsClient
from tests.dev_server import DevServer
from tests.sending import LONG


def test_the_real_server_takes_every_sample_and_says_what_is_wrong_with_one(tmp_path: Path) -> None:
    with DevServer(tmp_path / "data", "--no-schedules") as server:
        client = MetricsClient(server.url, server.key, flush_seconds=LONG, sample_one_in={"api_latency": 10})
        for n in range(1000):
            status = 500 if n % 10 == 0 else 200
            client.record("api_latency", n / 7, endpoint=f"/api/orders/{n % 3}", method="GET", status=status)
        client.record("agent_success_rate", 1, agent="support")
        client.record("no_such_metric", 1)
        assert client.flush(30)
        stats = client.stats
        client.close()
    assert stats.accepted + stats.sampled_out == 1001
    assert 100 < stats.accepted < 400
    assert (stats.rejected, stats.reasons) == (1, ("name: unknown metric; declare it in config/metrics.json",))
