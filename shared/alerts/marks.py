"""Marks an alert's last firing false, or takes the mark back: the alert and the record of the firing in one commit."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from shared.alerts.firings import firing_path
from shared.domain.scrub import scrub_value
from shared.store.protocol import Conflict, Data, Doc, Store, over

MAX_NOTE = 500  # characters
_TRIES = 20


class UnknownAlert(Exception):
    """No alert of this id ever began."""


class NeverFired(Exception):
    """The alert has no firing on record: it never fired, or did so too long ago."""


@dataclass
class Changed(Exception):
    """The alert is not as the caller has seen it; `rev` is what it is now."""

    rev: str


def scrubbed(note: str) -> str:
    """The note without what tells a person. A question in it is not taken for the query of an address."""
    return " ".join(scrub_value(part) for part in re.split(r"(?<=\?)\s+", note)).strip()


def mark_false(store: Store, alert_id: str, by: str, note: str | None, now: datetime, rev: str | None = None) -> Doc:
    """Mark the last firing; one that is marked already stays as it is. Returns the alert.

    `rev`: of the alert as the caller has seen it. The same mark by the same person is no change of it.
    Raises `UnknownAlert`, `NeverFired`, `Changed`, `StoreError`.
    """
    mark = {"by": by, "at": now, "note": note}

    def decide(before: Data | None) -> Data | None:
        return before if before else mark

    def is_repeated(before: Data | None) -> bool:
        return before is not None and (before["by"], before["note"]) == (by, note)

    return _change(store, alert_id, decide, is_repeated, rev)


def unmark(store: Store, alert_id: str, rev: str | None = None) -> Doc:
    """Take the mark back. Returns and raises what `mark_false` does."""
    return _change(store, alert_id, lambda _: None, lambda before: before is None, rev)


def _change(
    store: Store,
    alert_id: str,
    decide: Callable[[Data | None], Data | None],
    is_repeated: Callable[[Data | None], bool],
    rev: str | None,
) -> Doc:
    """`is_repeated`: whether it looks as if the same request had come before, and its answer was lost."""
    path = f"alerts/{alert_id}"
    for _ in range(_TRIES):
        alert = store.get(path)
        if alert is None:
            raise UnknownAlert(alert_id)
        seq = alert.data.get("firingSeq")
        firing = store.get(firing_path(alert_id, seq)) if seq is not None else None
        if firing is None:
            raise NeverFired(alert_id)
        before: Data | None = alert.data["markedFalse"]  # the record was read later, and may be newer
        if is_repeated(before):
            return alert
        if rev is not None and rev != alert.data["rev"]:
            raise Changed(alert.data["rev"])
        after = decide(before)
        if after == before:
            return alert
        try:
            store.commit([over(doc, doc.path, {**doc.data, "markedFalse": after}) for doc in (alert, firing)])
        except Conflict:  # it fired or cleared meanwhile, or somebody else marked it
            time.sleep(random.uniform(0, 0.02))
            continue
        return store.get(path) or alert
    raise Conflict(f"{path} kept changing")
