"""Put SLOs in force: checks, shows what would change, asks, writes a version (docs/SLO.md)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

if not __package__:  # run by its path: what it imports lies beside its folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.slo_config import run
from scripts.slo_config.run import Terminal

_EPILOG = """\
Without --project or --sqlite the store is that of the environment: Firestore of GOOGLE_CLOUD_PROJECT, or SQLite at
.f0ops/store.db where F0_STORE=sqlite or no project is set. `make dev` may go on running meanwhile.

exit codes:
  0  in force; or nothing changes; or --dry-run, --history, --show
  1  the configuration is not usable: every fault is told, and nothing was written
  2  the arguments or the settings cannot be right
  3  somebody else changed the configuration after the difference was shown: nothing was written
  4  the store did not answer, or refused
  5  not confirmed: nothing was written
"""


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m scripts.upload_slo_config",
        description="Put SLOs in force, as a new version.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--file", type=Path, help="our JSON, or OpenSLO v1 as .yaml (default: slo.json of CONFIG_DIR)")
    what.add_argument("--history", action="store_true", help="list the versions, the latest first")
    what.add_argument("--show", type=_number, metavar="N", help="print version N as JSON")
    what.add_argument("--restore", type=_number, metavar="N", help="put version N in force again, as a new version")
    parser.add_argument("--openslo", action="store_true", help="print the file, or --show N, as OpenSLO v1")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--note", type=_line, metavar="TEXT", help="why, for those who read the history")
    parser.add_argument("--by", type=_line, metavar="WHO", help="who, instead of the account that gcloud names")
    store = parser.add_mutually_exclusive_group()
    store.add_argument("--project", help="id of the Google Cloud project")
    store.add_argument("--sqlite", type=Path, metavar="PATH", help="the file of a local store")
    return parser.parse_args(argv)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:10]) < 10**9:
        raise argparse.ArgumentTypeError("a version is a number from 1 on; --history lists them")
    return int(text)


def _line(text: str) -> str:
    if len(text) > 500 or not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("one line of at most 500 characters")
    return text.strip()


def main(argv: Sequence[str], env: Mapping[str, str], now: datetime) -> int:
    """The exit code. Wrong arguments end in SystemExit(2), as argparse has it."""
    return run.run(_arguments(argv), env, now, Terminal.of(env))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ, datetime.now(UTC)))
    except KeyboardInterrupt:
        print("\nNothing more is done.", file=sys.stderr)
        sys.exit(130)
