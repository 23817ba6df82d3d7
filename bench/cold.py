"""Cold start to first answer: a new process of each function, against a hello world that imports the client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.data import bodies
from bench.report import heading, median, row
from bench.serving import KEY, environment, first_answer, http, serving
from tests import emulator

ACCOUNT = "scheduler@bench.invalid"


class Issuer:
    """Stands in for Google's token issuer: a key, and the address where its public half is served."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        body = json.dumps({"keys": [{**public, "kid": "bench", "alg": "RS256", "use": "sig"}]}).encode()

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, audience: str) -> str:
        now = datetime.now(UTC)
        claims = {
            "iss": self.url, "aud": audience, "email": ACCOUNT, "email_verified": True, "sub": "1",
            "iat": int(now.timestamp()), "exp": int((now + timedelta(hours=1)).timestamp()),
        }  # fmt: skip
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": "bench"})


def cold() -> None:
    try:
        with emulator.running() as address:
            heading("Cold start to first answer, on Firestore (the emulator), each function against the hello world")
            _measure(
                {"F0_STORE": "firestore", "FIRESTORE_EMULATOR_HOST": address, "GOOGLE_CLOUD_PROJECT": "demo-bench"}
            )
    except emulator.EmulatorMissing as missing:
        heading("Cold start to first answer, on SQLite: no Firestore emulator here")
        print(missing)
        _measure({})


def _measure(store: Mapping[str, str]) -> None:
    issuer = Issuer()
    more = {
        "SCHEDULER_SERVICE_ACCOUNT": ACCOUNT,
        "DEV_SCHEDULER_ISSUER": issuer.url,
        "DEV_SCHEDULER_JWKS_URL": issuer.url + "/keys",
        "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/none",
        **store,
    }
    host = "bench.invalid"
    scheduled = {"Authorization": f"Bearer {issuer.token(f'http://{host}')}"}
    body = bodies(1, 20, int(time.time() * 1000))[0]
    requests = {
        "metricsIngest": http("POST", "/api/metrics", body, {"Authorization": f"Bearer {KEY}"}, host),
        "alertRules": http("POST", "/", b"", scheduled, host),
        "notifier": http("POST", "/", b"", scheduled, host),
        "statusApi": http("GET", "/api/status/healthz", host=host),
    }
    for function, request in requests.items():
        ratios, ours, bases = [], [], []
        for _ in range(9):
            env = environment(Path(mkdtemp(prefix="f0-bench-")), **more)
            bases.append(_seconds("hello", "bench/hello_firestore.py", env, http("GET", "/")))
            ours.append(_seconds(function, "main.py", env, request))
            ratios.append(ours[-1] / bases[-1])
        ratio = median(ratios)
        told = f"{function}: {median(ours) * 1000:.0f} ms, hello world {median(bases) * 1000:.0f} ms"
        row(told, f"{ratio:.2f} ×", "≤ 1.25 ×", ratio <= 1.25)


def _seconds(target: str, source: str, env: Mapping[str, str], request: bytes) -> float:
    start = time.perf_counter()
    with serving(target, source, env) as (port, _):
        answer = first_answer(port, request)
        taken = time.perf_counter() - start
    if answer[9:10] not in (b"2", b"5") or (
        answer[9:12] != b"200" and answer[9:12] != b"202" and answer[9:12] != b"503"
    ):
        raise SystemExit(f"{target} answered {answer[:200]!r}")
    return taken
