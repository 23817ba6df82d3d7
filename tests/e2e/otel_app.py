"""A user's app, instrumented by OpenTelemetry alone: it knows nothing of F0 Ops. Set up by OTEL_… variables.

Its telemetry leaves every second, and what is left when it ends by SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable

from flask import Flask, Response
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.metrics import CallbackOptions, Observation, set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing."""


def disk(options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(3_000_000_000, {"bucket": "gauge"})]


def main() -> None:
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=1000)
    provider = MeterProvider([reader])
    set_meter_provider(provider)
    app = Flask("shop")
    FlaskInstrumentor().instrument_app(app)
    app.logger.disabled = True
    spent = provider.get_meter("money").create_counter("token_cost", "USD")
    provider.get_meter("disk").create_observable_gauge("storage_usage", [disk], "By")
    queue = provider.get_meter("queue").create_up_down_counter("storage_usage", "GBy")

    @app.get("/orders/<int:number>")
    def order(number: int) -> Response:
        spent.add(0.25, {"model": "small"})
        return Response("", 500 if number % 5 == 0 else 200)

    @app.post("/orders")
    def new_order() -> Response:
        queue.add(2, {"bucket": "up and down"})
        queue.add(-1, {"bucket": "up and down"})
        return Response("", 201)

    @app.get("/broken")
    def broken() -> Response:
        raise RuntimeError("on purpose")

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(server.server_port, flush=True)
    server.serve_forever(0.05)
    provider.shutdown()


if __name__ == "__main__":
    sys.exit(main())
