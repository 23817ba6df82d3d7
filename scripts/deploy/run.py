"""Running what was planned: one step after the other, each with a deadline, each safe to run again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.deploy.plan import Command, Step

TICK = 30.0  # seconds between two signs of life
_QUICK = 60.0  # seconds for a command that only asks


class StepFailed(Exception):
    """`number` is the step's place in the plan, from 1."""

    def __init__(self, number: int, step: Step, reason: str) -> None:
        super().__init__(f"step {number} ({step.title}) failed: {reason}")
        self.number = number


def run(
    plan: Sequence[Step],
    first: int,
    root: Path,
    upsert: Callable[[dict[str, Any]], str],
    say: Callable[[str], None],
) -> None:
    """Do the steps from number `first` on. Raises `StepFailed`."""
    for number, step in enumerate(plan, 1):
        if number < first:
            continue
        say(f"{number}/{len(plan)}  {step.title}")
        try:
            if isinstance(step, Command):
                _write(step, root)
                code = wait_for(step.argv, root, step.deadline, say)
                if code != 0:
                    raise StepFailed(number, step, f"{step.argv[0]} ended with exit code {code}")
            else:
                say(f"    {upsert(step.job)}")
        except StepFailed:
            raise
        except Exception as error:
            raise StepFailed(number, step, str(error) or type(error).__name__) from error


def _write(step: Command, root: Path) -> None:
    for path, text in step.files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def wait_for(argv: Sequence[str], root: Path, deadline: float, say: Callable[[str], None], tick: float = TICK) -> int:
    """The exit code. Raises `TimeoutError` after `deadline` seconds, when the command and its children are ended."""
    process = subprocess.Popen(argv, cwd=root, stdin=subprocess.DEVNULL, start_new_session=True)
    start = time.monotonic()
    try:
        while (passed := time.monotonic() - start) < deadline:
            try:
                return process.wait(min(tick, deadline - passed))
            except subprocess.TimeoutExpired:
                say(f"    … {time.monotonic() - start:.0f} s of at most {deadline:.0f} s")
        raise TimeoutError(f"{argv[0]} was not done after {deadline:g} s")
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """gcloud is a shell script around Python: ending the script alone would leave the other running."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(argv: Sequence[str], root: Path) -> tuple[int, str]:
    """Exit code and output of a short command; 127 where there is no such command, 124 where it takes too long."""
    try:
        done = subprocess.run(
            argv, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_QUICK, check=False
        )
    except FileNotFoundError:
        return 127, ""
    except subprocess.TimeoutExpired:
        return 124, ""
    return done.returncode, done.stdout.strip()
