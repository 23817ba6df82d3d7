"""Delivery of the outbox: what is due is sent, lane by lane in order of `seq`, until accepted, dead or pointless.

What broke together goes out as one message (`shared/domain/grouping.py`). A message goes through these steps, each safe
to be killed after: (1) claim by compare-and-set of all its notifications, with an owner of its own and a lease longer
than the slowest answer, the leader's document and the channel's log last; (2) flags and lease, checked just before
(3) sending; (4) the outcome, by compare-and-set on the claim, the leader's first. A second copy of a message can exist
only where (4) never came after (3), and it has the same leader and the same members.

Which item of each lane is to be sent is found in `heads.py`, the steps of a message are in `messages.py`, their commits
in `records.py`. Last comes what may fail without harm: first messages are brought up to date (`first_messages.py`).

A lease is honest only against the clock that all deliverers share, so this use case, unlike the others, asks
`app.clock` again for each item: time goes on from the handler's `now` as that clock tells. Budgets are real seconds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from shared import log
from shared.delivery.first_messages import bring_up_to_date
from shared.delivery.heads import Heads
from shared.delivery.messages import Messages
from shared.delivery.records import COLLECTION
from shared.delivery.run import Delivered, Run
from shared.flags import FlagsUnknown
from shared.notify.registry import revisers
from shared.store.protocol import Doc, Query, Store, cursor_of

if TYPE_CHECKING:
    from shared.bootstrap import App

__all__ = ["COLLECTION", "Delivered", "dead_letters", "deliver_due"]

PAGE = 1000  # open items a query: the most that there may be
MOST_OPEN = 20_000  # that are looked at in one pass

Lanes = dict[str, deque[Doc]]  # the open items of each lane, the first in its order first


def deliver_due(
    app: App,
    now: datetime,
    *,
    budget_seconds: float,
    limit: int = 1000,
    patient: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> Delivered:
    """Send what is due. Raises `StoreError` when the store fails; a claimed item is due again when its lease ends.

    No message is begun once `budget_seconds` have passed or `limit` items were handled; the last one may take the HTTP
    timeout and its commits longer. `patient`: wait, within the budget, until a channel that throttles takes more.
    """
    run = Run(app, now, budget_seconds, limit)
    messages = Messages(run)
    try:
        _one_pass(run, messages)
        while patient and (wait := run.seconds_to_wait()) is not None:
            pause(wait)
            _one_pass(run, messages)
        bring_up_to_date(run, revisers(messages.senders))
    except FlagsUnknown:
        run.done.stopped = "flags_unknown"
        log.warning("flags could never be read: nothing is sent")
    return run.done


def dead_letters(store: Store, limit: int = 100) -> list[Doc]:
    """Notifications that could not be delivered, the latest first."""
    return store.query(Query(COLLECTION, (("state", "==", "dead"),), (("createdAt", "desc"),), limit))


def _one_pass(run: Run, messages: Messages) -> None:
    """Each channel that has something due, its lanes side by side. A lane that waits holds up nobody else."""
    due = Query(COLLECTION, (("open", "==", True), ("dueAt", "<=", run.moment())), (("dueAt", "asc"),), 1)
    if not run.store.query(due):
        return
    found: dict[str, Doc] = {}
    channels: dict[str, Lanes] = {}
    for doc in _open_items(run.store):
        found[doc.id] = doc
        channels.setdefault(doc.data["channel"], {}).setdefault(doc.data["lane"], deque()).appendleft(doc)
    heads = Heads(run, found)
    for channel, lanes in sorted(channels.items()):
        _serve(run, channel, lanes, heads, messages)


def _open_items(store: Store) -> list[Doc]:
    """Everything open, the later ones of a lane first.

    In this order a lane is never seen without an item that must go before those that were seen, whatever is written
    meanwhile: it existed before them, its place does not change, and it is read after them.
    """
    query = Query(COLLECTION, (("open", "==", True),), (("lane", "desc"), ("seq", "desc")), PAGE)
    found: list[Doc] = []
    while len(found) < MOST_OPEN:
        page = store.query(query)
        found += page
        if len(page) < PAGE:
            return found
        query = replace(query, after=cursor_of(page[-1], query))
    last = found[-1].data["lane"]  # it may go on: what comes first in it is not known
    return [doc for doc in found if doc.data["lane"] != last]


def _serve(run: Run, channel: str, lanes: Lanes, heads: Heads, messages: Messages) -> None:
    """Send what leads its lane, as few messages; then what comes after it, until nothing moves any more."""
    while lanes and not run.is_throttled(channel) and not run.over():
        leading = heads.of(channel, lanes)
        if not leading:
            return
        sent = messages.send_all(channel, list(leading.values()), heads.found)
        moved = [lane for lane, head in leading.items() if head.id in sent]
        for lane in moved:
            lanes[lane].popleft()
        lanes = {lane: lanes[lane] for lane in moved if lanes[lane]}  # the others wait
