"""Functions as deployed: through functions-framework and gunicorn, in processes of their own, against hello worlds."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from bench.data import bodies
from bench.report import heading, median, row

ROOT = Path(__file__).parent.parent
KEY = "bench-key"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, threads: str = "80", **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV")}
    return {
        **own,
        "PYTHONPATH": str(ROOT),
        "F0_STORE": "sqlite",
        "SQLITE_PATH": str(folder / "store.db"),
        "INGEST_KEYS": hashlib.sha256(KEY.encode()).hexdigest(),
        "THREADS": threads,
        **more,
    }


@contextmanager
def serving(target: str, source: str, env: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """A function on a free port: (port, process id of the master)."""
    port = free_port()
    command = [sys.executable, "-m", "functions_framework", "--target", target, "--source", source, "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=dict(env), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def first_answer(port: int, request: bytes, deadline: float = 30.0) -> bytes:
    """The first answer of a server that is starting."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=deadline) as connection:
                connection.sendall(request)
                answer = connection.recv(65536)
                if answer:
                    return answer
        except OSError:
            time.sleep(0.002)
    raise TimeoutError(f"nothing answered on port {port}")


def http(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, host: str = "x") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def load(port: int, connections: int, requests: list[bytes], seconds: float = 3.0) -> dict[str, float]:
    file = Path(mkdtemp(prefix="f0-bench-")) / "requests.json"
    file.write_text(json.dumps([base64.b64encode(r).decode() for r in requests]))
    command = [sys.executable, "-m", "bench.load", str(port), str(connections), str(seconds), str(file)]
    result: dict[str, float] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return result


def compare(
    what: str,
    ours: tuple[str, list[bytes]],
    baseline: tuple[str, list[bytes]],
    least: float,
    connections: int,
    threads: str,
    prepare: Callable[[Path], None] = lambda folder: None,
) -> int:
    """Requests a second of ours ÷ baseline, in turn, five times. Returns the peak memory of ours in KiB.

    `prepare` fills the folder of the store before anything is served.
    """
    folder = Path(mkdtemp(prefix="f0-bench-"))
    prepare(folder)
    env = environment(folder, threads)
    with (
        serving(ours[0], "main.py", env) as (our_port, pid),
        serving(baseline[0], "bench/hello.py", env) as (base_port, _),
    ):
        first_answer(our_port, ours[1][0])
        first_answer(base_port, baseline[1][0])
        ratios, rates, p99s, base_rates, base_p99s = [], [], [], [], []
        for _ in range(5):
            base = load(base_port, connections, baseline[1])
            mine = load(our_port, connections, ours[1])
            if mine["failures"]:
                raise SystemExit(f"{what}: {mine['failures']:.0f} requests failed")
            rates.append(mine["requests"] / mine["seconds"])
            base_rates.append(base["requests"] / base["seconds"])
            ratios.append(rates[-1] / base_rates[-1])
            p99s.append(mine["p99_ms"])
            base_p99s.append(base["p99_ms"])
        ratio = median(ratios)
        told = f"{what}: {median(rates):.0f}/s, p99 {median(p99s):.0f} ms; "
        told += f"hello {median(base_rates):.0f}/s, {median(base_p99s):.0f} ms"
        row(told, f"{ratio:.2f} ×", f"≥ {least} × hello world", ratio >= least)
        return peak_kib(pid)


def peak_kib(pid: int) -> int:
    """The largest resident size so far of a master's workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    peaks = [
        int(line.split()[1])
        for child in [str(pid), *children]
        for line in Path(f"/proc/{child}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return max(peaks)


def ingest() -> None:
    heading("metricsIngest through functions-framework, one worker, 20 threads as deployed, 500 metrics a request")
    now_ms = int(time.time() * 1000)
    key = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    sample = bodies(400, 20, now_ms)
    requests = [http("POST", "/api/metrics", body, key) for body in sample]
    for connections in (8, 32):
        peak = compare(
            f"{connections} connections", ("metricsIngest", requests), ("reads_body", requests), 0.4, connections, "20"
        )
    row("peak memory of the worker", f"{peak / 1024:.0f} MiB", "≤ 512 MiB", peak <= 512 * 1024)
