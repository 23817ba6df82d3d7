"""`.venv/bin/python -m demo`: a shop under load, slowed and broken, and what F0 Ops makes of it, in a minute or two.

It runs a local server of its own with a throw-away folder, so a `make dev` beside it is left alone. Exit code 0 only if
the whole story was seen, 1 if something did not come, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from demo.clock import read_clock
from demo.load import Load
from demo.processes import PortInUse, Process, require_free, start_ops, start_shop, wait_for_file
from demo.story import DidNotCome, Shop, Story
from demo.terminal import Terminal
from demo.watch import Ops

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_SECONDS = 30.0


class Interrupts:
    """Ctrl-C, SIGTERM and SIGHUP end the demo as `KeyboardInterrupt`, but never while it starts or ends a process."""

    def __init__(self) -> None:
        self._held = False
        self._pending = False
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._pending = True
        else:
            raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._pending:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """From here on nothing interrupts."""
        self._held = True


def main() -> int:
    options = _options()
    terminal = Terminal()
    interrupts = Interrupts()
    folder = Path(tempfile.mkdtemp(prefix="f0ops-demo-"))
    children = ExitStack()
    keep, code = False, 1
    try:
        try:
            _run(options.port, options.speed, folder, terminal, interrupts, children)
        finally:
            interrupts.hold()
        code = 0
    except PortInUse as reason:
        terminal.plain(f"\n{reason}")
    except DidNotCome as reason:
        keep = True
        terminal.plain()
        terminal.say("The story stops here.", "✗", "red")
        terminal.plain(f"\n{reason}")
    except KeyboardInterrupt:
        code = 130
    finally:
        terminal.plain()
        children.close()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _run(
    port: int, speed: float, folder: Path, terminal: Terminal, interrupts: Interrupts, children: ExitStack
) -> None:
    require_free(port, "the demo's own F0 Ops server")
    require_free(port + 1, "the demo's shop")
    _introduce(terminal, port, speed)

    with interrupts.held():
        server = children.enter_context(start_ops(port, folder, speed))
    ops = Ops(port, folder / "data")
    children.callback(ops.close)
    key = wait_for_file(folder / "data" / "ingest.key", server, START_SECONDS)
    _wait_until_up(server, lambda: ops.health() is not None)
    terminal.clock = read_clock(ops.url)

    with interrupts.held():
        process, token = start_shop(port + 1, ops.url, key, folder)
        children.enter_context(process)
    shop = Shop(port + 1, token)
    _wait_until_up(process, shop.answers)

    load = Load(port + 1)
    children.callback(load.stop)
    load.start()
    Story(ops, shop, load, terminal, (server, process), slot=300 / speed).tell()
    if terminal.is_tty and sys.stdin.isatty():
        terminal.plain()
        terminal.say(f"Everything still runs: look around at {ops.url}/status. Enter or Ctrl-C ends it.")
        try:
            sys.stdin.readline()
        except KeyboardInterrupt:
            return  # the story was seen


def _introduce(terminal: Terminal, port: int, speed: float) -> None:
    terminal.title("F0 Ops, the whole story in a minute or two")
    for line in (
        "A shop runs on this machine, real visitors use it, and F0 Ops watches over it.",
        f"Its clock runs {speed:g} times as fast as yours: five minutes pass in {300 / speed:g} seconds.",
        "The times below are by that clock, in UTC.",
        "",
        "Open these beside it; where to look when is told at each step:",
        "",
        f"Status page   http://127.0.0.1:{port}/status      renews itself every 10 seconds",
        f"Slack inbox   http://127.0.0.1:{port}/dev/inbox   reload it",
        f"On call       http://127.0.0.1:{port}/on-call/alerts",
        f"The shop      http://127.0.0.1:{port + 1}/api/orders",
    ):
        terminal.plain(f"  {line}".rstrip())


def _wait_until_up(process: Process, is_up: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not is_up():
        if process.ended or time.monotonic() > end:
            what = "has ended" if process.ended else f"does not answer after {START_SECONDS:.0f} s"
            raise DidNotCome(f"{process.name} {what}. Its last words, from {process.log}:\n{process.last_words()}")
        time.sleep(0.1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8090, help="for F0 Ops; the shop takes the next one (default 8090)")
    parser.add_argument("--fast", action="store_const", dest="speed", const=60.0, default=40.0, help="faster still")
    options = parser.parse_args()
    if not 1 <= options.port <= 65534:
        parser.error("the port is a number from 1 to 65534")
    return options


if __name__ == "__main__":
    sys.exit(main())
