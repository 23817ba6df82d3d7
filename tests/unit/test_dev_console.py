"""The terminal of the local server: whole lines, readable, and nothing foreign steers it."""

from __future__ import annotations

import io
import json
import threading
from datetime import UTC, datetime

from scripts.dev.console import Console, FunctionOutput

NOW = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)


def output() -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(stream, lambda: NOW), stream


def test_a_log_line_is_shown_with_its_function_severity_and_fields() -> None:
    console, stream = output()
    entry = {"severity": "WARNING", "message": "flags unreadable", "time": "…", "kind": "Unavailable", "n": 3}
    with console.inside("alertRules"):
        print(json.dumps(entry), file=FunctionOutput(console))
    assert stream.getvalue() == "12:00:05  warning   alertRules     flags unreadable kind=Unavailable n=3\n"


def test_an_exception_is_shown_with_its_name_and_last_frames() -> None:
    console, stream = output()
    frames = [f"main.py:{n} f" for n in range(10)]
    console.log_line(json.dumps({"severity": "ERROR", "message": "failed", "exception": "KeyError", "stack": frames}))
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("failed (KeyError)")
    assert [line.strip() for line in lines[1:]] == frames[-6:]


def test_what_is_not_json_is_shown_as_it_is_without_control_characters() -> None:
    console, stream = output()
    console.log_line("hello \x1b[31mred\x07")
    console.log_line(json.dumps({"message": "a\nb\x1b[2J"}))
    assert "\x1b" not in stream.getvalue()
    assert "\x07" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 2


def test_lines_of_many_threads_stay_whole() -> None:
    console, stream = output()
    out = FunctionOutput(console)

    def talk(n: int) -> None:
        for _ in range(50):
            print(f"thread {n}", "says", "something", file=out)

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 400
    assert all(line.endswith("says something") for line in lines)


def test_there_are_no_colours_off_a_terminal() -> None:
    console, stream = output()
    console.tell("schedule", "notifier", "200 in 3 ms", "red")
    assert "\x1b" not in stream.getvalue()
