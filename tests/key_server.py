"""A real JWKS endpoint on a local port, for the tests of tokens."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt.algorithms import RSAAlgorithm


class KeyServer:
    """A JWKS endpoint that counts its requests and can be told to fail, to answer garbage or never to end."""

    def __init__(self) -> None:
        self.requests = 0
        self.status = 200
        self.body = b""
        self.hang = False
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                if outer.hang:
                    outer.release.wait(30)
                    return
                self.wfile.write(outer.body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/certs"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def publish(self, **keys: RSAPrivateKey) -> None:
        entries = [
            {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": "RS256"}
            for kid, key in keys.items()
        ]
        self.body = json.dumps({"keys": entries}).encode()

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
