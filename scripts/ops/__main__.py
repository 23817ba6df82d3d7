"""`./ops COMMAND`: one module a command, which adds its own arguments and runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from scripts.ops import (
    alerts,
    costs,
    exclusions,
    flags,
    inbox,
    incidents,
    maintenances,
    metrics,
    notify,
    reconcile,
    report,
    runbook,
    silences,
    slos,
    status,
    usage,
)
from scripts.ops.client import FAILED, CannotAsk, Client, Failed
from scripts.ops.screen import Screen

OF_INCIDENTS = (status, incidents, alerts, inbox, silences, runbook, maintenances)
COMMANDS = (*OF_INCIDENTS, metrics, slos, exclusions, report, flags, notify, costs, usage, reconcile)

_EPILOG = """\
Without --url the server is that of OPS_URL, else http://127.0.0.1:8080. The local server gives its token by itself; in
the cloud put a Firebase ID token of an admin into OPS_TOKEN.

exit codes:
  0  answered
  1  the server failed, or its answer is not understood; of `notify test`, a channel did not accept
  2  the arguments cannot be right: the message names each fault
  3  no connection: is the server running?
  4  no token, or one that is not accepted (401), or no admin (403)
"""


def main(argv: Sequence[str], env: Mapping[str, str], screen: Screen) -> int:
    """The exit code. Wrong arguments end in SystemExit(2), as argparse has it."""
    options, beyond = parser().parse_known_args(argv)
    if beyond:  # told with the usage of the command, which argparse itself does not
        options.command_parser.error(f"unrecognized arguments: {' '.join(beyond)}")
    try:
        text: str = options.run(options, Client.of(options.url, options.token, env), screen)
    except Failed as answered:
        screen.write(str(answered))
        return FAILED
    except CannotAsk as reason:
        print(f"{reason}", file=sys.stderr)
        return reason.exit_code
    screen.write(text)
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./ops",
        description="Ask F0 Ops as an admin.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        command = module.add_to(commands)
        command.add_argument("--url", help="where F0 Ops answers, such as https://PROJECT-ID.web.app")
        command.add_argument("--token", help="a Firebase ID token; others can see it in the list of processes")
        command.set_defaults(command_parser=command)
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:], os.environ, Screen.of(sys.stdout, os.environ)))
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
