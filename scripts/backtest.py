"""What would have alerted: replays history through proposed SLOs, beside today's (docs/SLO.md)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

if not __package__:  # run by its path: what it imports lies beside its folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.slo_backtest import run

_EPILOG = """\
Nothing is written. Without --project or --sqlite the store is that of the environment: Firestore of
GOOGLE_CLOUD_PROJECT, or SQLite at .f0ops/store.db where F0_STORE=sqlite or no project is set.

exit codes:
  0  replayed
  1  the configuration is not usable: every fault is told
  2  the arguments or the settings cannot be right
  4  the store did not answer, or refused
"""


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.backtest",
        description="When the alerts of proposed SLOs would have fired, beside those in force.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--file", type=Path, help="our JSON, or OpenSLO v1 as .yaml (default: slo.json of CONFIG_DIR)")
    parser.add_argument("--slo", metavar="ID", help="only this SLO")
    parser.add_argument("--days", type=_days, default=30, metavar="N", help="how far back (default: 30)")
    parser.add_argument("--json", action="store_true", help="as JSON, with every rule's latest 100 firings")
    store = parser.add_mutually_exclusive_group()
    store.add_argument("--project", help="id of the Google Cloud project")
    store.add_argument("--sqlite", type=Path, metavar="PATH", help="the file of a local store")
    return parser.parse_args(argv)


def _days(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:4]) <= run.MOST_DAYS:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {run.MOST_DAYS}")
    return int(text)


def main(argv: Sequence[str], env: Mapping[str, str], now: datetime) -> int:
    """The exit code. Wrong arguments end in SystemExit(2), as argparse has it."""
    return run.run(_arguments(argv), env, now)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ, datetime.now(UTC)))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
