"""A round: every probe that is due, at the same time, each in a thread of its own. None waits for another.

Threads and not a pool: one that hangs, in a name lookup or in a library, must neither hold a place that the others need
nor be waited for at the end. It is left behind, and its probe is not asked again while it is alive.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping

from shared import log
from shared.domain.probing import Finding

Key = tuple[str, str]  # component, probe
Ask = Callable[[], Finding]


class Rounds:
    """`monotonic` measures the deadline of a round."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._running: dict[Key, threading.Thread] = {}

    def all(self, questions: Mapping[Key, Ask], seconds: float) -> dict[Key, Finding]:
        """What came of each within `seconds`; one that did not come back has failed."""
        answers: queue.SimpleQueue[tuple[Key, Finding]] = queue.SimpleQueue()
        end = self._monotonic() + seconds
        found: dict[Key, Finding] = {}
        for key, ask in questions.items():
            before = self._running.get(key)
            if before is not None and before.is_alive():
                found[key] = Finding("failed", "hangs")
                continue
            thread = threading.Thread(target=_answer, args=(key, ask, answers), daemon=True, name=f"probe {key}")
            self._running[key] = thread
            thread.start()
        while len(found) < len(questions):
            try:
                key, finding = answers.get(timeout=max(0.0, end - self._monotonic()))
            except queue.Empty:
                break
            found[key] = finding
            del self._running[key]  # it has answered; its thread may take a moment more to end
        return {key: found.get(key) or Finding("failed", "timeout") for key in questions}


def _answer(key: Key, ask: Ask, answers: queue.SimpleQueue[tuple[Key, Finding]]) -> None:
    try:
        finding = ask()
    except Exception as error:  # noqa: BLE001 - a fault of ours in one probe must not fail the round
        log.error("a probe could not be made", error, component=key[0], probe=key[1])
        finding = Finding("unknown", "fault_of_ours")
    answers.put((key, finding))
