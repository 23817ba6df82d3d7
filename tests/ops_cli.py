"""`./ops` within this process, against a function over a real socket: what it says, its exit code."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any
from unittest import mock

from scripts.ops.__main__ import main
from scripts.ops.screen import Screen
from tests.ops_api import Ops


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def cli(ops: Ops, *arguments: str, typed: str = "", width: int = 120) -> Ran:
    """As an admin has it on a screen so wide, without colours."""
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(out, width, colours=False, braille=True)
    given = [*arguments, "--url", f"http://127.0.0.1:{ops.port}", "--token", ops.token()]
    with contextlib.redirect_stderr(err), mock.patch("sys.stdin", io.StringIO(typed)):
        try:
            code = main(given, {}, screen)
        except SystemExit as wrong:  # argparse's
            code = int(wrong.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())
