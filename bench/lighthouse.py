"""What Lighthouse says of the status page. Needs Node 18 or later with npm, and a Chromium; not part of `make bench`.

.venv/bin/python -m bench.lighthouse    a phone, as Lighthouse takes it, and a desktop; both should have 100 four times

The performance is that of this machine too, which Lighthouse slows down fourfold for a phone: let nothing else run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.report import heading, median, row
from bench.serving import environment, first_answer, http, serving
from bench.status import publish

LIGHTHOUSE = "lighthouse@12.2.3"
RUNS = 5
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")


def main() -> int:
    npm, chrome = shutil.which("npm"), shutil.which("chromium") or shutil.which("google-chrome")
    if npm is None or chrome is None:
        raise SystemExit("npm and a Chromium are needed")
    folder = Path(mkdtemp(prefix="f0-bench-"))
    publish(folder)
    heading(f"{LIGHTHOUSE} on /status, the median of {RUNS} runs")
    worst = 100.0
    with serving("statusApi", "main.py", environment(folder)) as (port, _):
        first_answer(port, http("GET", "/status"))
        for form in ("mobile", "desktop"):
            reports = [_report(npm, chrome, f"http://127.0.0.1:{port}/status", form, folder) for _ in range(RUNS)]
            for name in CATEGORIES:
                scores = [report["categories"][name]["score"] * 100 for report in reports]
                told = f"{form}: {name} ({min(scores):.0f} to {max(scores):.0f})"
                row(told, f"{median(scores):.0f}", "100", median(scores) == 100)
                worst = min(worst, median(scores))
            speed = median([report["environment"]["benchmarkIndex"] for report in reports])
            row(f"{form}: how fast this machine was meanwhile, as Lighthouse measures it", f"{speed:.0f}")
    return 0 if worst == 100 else 1


def _report(npm: str, chrome: str, url: str, form: str, folder: Path) -> dict[str, Any]:
    file = folder / f"{form}.json"
    command = [npm, "exec", "--yes", f"--package={LIGHTHOUSE}", "--", "lighthouse", url, "--output=json"]
    command += [f"--output-path={file}", "--quiet", "--chrome-flags=--headless=new --no-sandbox --disable-gpu"]
    command += [f"--only-categories={','.join(CATEGORIES)}", *(["--preset=desktop"] if form == "desktop" else [])]
    for _ in range(3):  # now and then it does not get its own trace
        ran = subprocess.run(command, cwd=folder, env={**os.environ, "CHROME_PATH": chrome}, check=False, timeout=300)
        if ran.returncode == 0:
            report: dict[str, Any] = json.loads(file.read_text())
            return report
    raise SystemExit("Lighthouse failed three times in a row")


if __name__ == "__main__":
    sys.exit(main())
