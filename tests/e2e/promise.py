"""The promise, checked in the store and in what Slack got, once the story of `tests/e2e/reality.py` is over."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from shared.domain.notification import DEAD_LETTERS
from shared.domain.slots import SlotDay
from shared.metrics.rollup_codec import decode_rollup, decode_slots
from shared.store.protocol import Query, Store
from tests.e2e.kill_worker import POST
from tests.e2e.support import blocks, collection, everywhere
from tests.fake_servers import FakeSlack

ERRORS, LATENCY = "api-availability-threshold", "api-latency-p95-threshold"
STRICT = "api-errors-threshold"  # of the same errors, and in one message with them
SENT, FAILED = 200, 20  # requests of each batch; of the first one, how many failed
Kill = tuple[int, str]  # the number of a call from 1, and `before` or `after`


@dataclass
class Outcome:
    """`broken`: what was not as promised. `died_at`: where it was killed. `calls`: their names, if recorded, and
    `begins`: the numbers of those that are the first of a request.

    `copies`: how many messages people saw a second time. `taken`: of each message that reached Slack, did it take it?
    """

    broken: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    begins: set[int] = field(default_factory=set)
    died_at: str | None = None
    copies: int = 0
    taken: list[bool] = field(default_factory=list)

    def expect(self, what: str, found: Any, promised: Any) -> None:
        if found != promised:
            self.broken.append(f"{what}: {found!r}, promised {promised!r}")


def check(outcome: Outcome, store: Store, slack: FakeSlack) -> None:
    _check_metrics(outcome, store)
    _check_alerts(outcome, store)
    _check_outbox(outcome, store, slack)
    _check_status(outcome, store)


def _check_metrics(outcome: Outcome, store: Store) -> None:
    """Nothing acknowledged is lost; each metric counts once: in blocks, hours and slots, to the last one."""
    good, bad = (f'api_latency{{"endpoint":"/api/orders","status":"{status}"}}' for status in (200, 500))
    counted = {at: {key.replace(" ", ""): n for key, n in series.items()} for at, series in blocks(store).items()}
    outcome.expect("blocks", counted, {"12:00": {good: SENT - FAILED, bad: FAILED}, "12:05": {good: SENT}})
    hours: Counter[str] = Counter()
    for doc in everywhere(store, "h1"):
        hours[doc.id[:2]] += sum(stats.count for stats in decode_rollup(doc.data["payload"]).values())
    outcome.expect("hours", dict(hours), {"12": 2 * SENT})
    rows: SlotDay = {}
    for day in everywhere(store, "slo"):
        rows |= decode_slots(day.data["payload"])
    found = sorted((row.good, row.total) for row in rows.values() if row.total)
    fast = SENT  # the second batch alone is within 300 ms, and within 400 ms
    outcome.expect("slots", found, [(fast, 2 * SENT), (fast, 2 * SENT), (2 * SENT - FAILED, 2 * SENT)])
    outcome.expect("segments left", len(everywhere(store, "segments")), 0)


def _check_alerts(outcome: Outcome, store: Store) -> None:
    """Each transition exists once, with its incident."""
    alerts = {name: (alert["state"], alert["seq"]) for name, alert in collection(store, "alerts").items()}
    promised = dict.fromkeys((ERRORS, LATENCY, STRICT), ("resolved", 2))
    outcome.expect("alerts", alerts, promised | {DEAD_LETTERS: ("firing", 1)})
    incidents = {
        name: (incident["status"], [update["status"] for update in incident["updates"]])
        for name, incident in collection(store, "incidents").items()
    }
    shared = ("resolved", ["investigating"] * 3 + ["resolved"])  # the second alert joins; the first of them clears
    alone = ("resolved", ["investigating", "resolved"])
    outcome.expect("incidents", incidents, {f"{ERRORS}-1": shared, f"{LATENCY}-1": alone})
    logged = {
        name: [(doc.data["n"], doc.data["action"]) for doc in store.query(Query(f"incidents/{name}/audit"))]
        for name in incidents
    }
    both = [(1, "opened"), (2, "joined"), (3, "cleared"), (4, "cleared")]
    outcome.expect("audit entries", logged, {f"{ERRORS}-1": both, f"{LATENCY}-1": [(1, "opened"), (2, "cleared")]})


def _check_outbox(outcome: Outcome, store: Store, slack: FakeSlack) -> None:
    """Each notification document exists once, is closed, and what it says of itself is what Slack has seen."""
    outbox = collection(store, "notifications")
    delivered, withheld = ("delivered", None), ("withheld", "not_configured")
    promised = {
        f"{ERRORS}-1-slack": ("trigger", *delivered),
        f"{ERRORS}-2-slack": ("resolve", *delivered),
        f"{STRICT}-1-slack": ("trigger", *delivered),
        f"{STRICT}-2-slack": ("resolve", *delivered),
        f"{LATENCY}-1-slack": ("trigger", *delivered),
        f"{LATENCY}-2-slack": ("resolve", "dead", "channel_is_archived"),
        f"{DEAD_LETTERS}-1-email": ("trigger", *withheld),
        f"{DEAD_LETTERS}-1-inapp": ("trigger", "delivered", None),
        f"{DEAD_LETTERS}-1-pagerduty": ("trigger", "withheld", "channel_disabled"),
        f"{ERRORS}-1-email": ("trigger", *withheld),
        f"{ERRORS}-2-email": ("resolve", *withheld),
    }
    outcome.expect("notifications", {n: (d["kind"], d["state"], d["reason"]) for n, d in outbox.items()}, promised)
    outcome.expect("notifications still open", [n for n, d in outbox.items() if d["open"]], [])
    for seq in (1, 2):
        pair = [f"{ERRORS}-{seq}-slack", f"{STRICT}-{seq}-slack"]
        groups = [outbox[name].get("groupId") for name in pair if name in outbox]
        outcome.expect(f"the message of {pair}", groups, pair[:1] * 2)
    outcome.taken = [message in slack.shown for message in slack.received]
    arrived, shown = ({m.notification_id for m in messages} for messages in (slack.received, slack.shown))
    led = {name: was for name, was in promised.items() if name.endswith("slack") and not name.startswith(STRICT)}
    told = {name for name, was in led.items() if "delivered" in was}
    outcome.expect("messages that arrived", arrived, set(led))
    outcome.expect("messages shown", shown, told)
    lane = [name for name in dict.fromkeys(slack.shown_ids) if name.startswith(ERRORS)]
    outcome.expect("order", lane, [f"{ERRORS}-1-slack", f"{ERRORS}-2-slack"])
    outcome.copies = len(slack.shown) - len(shown)
    for name, count in Counter(slack.shown_ids).items():
        if count > 1 and name in outbox:  # its record says that it may have arrived before
            attempts = [attempt["outcome"] for attempt in outbox[name]["attempts"]]
            outcome.expect(f"attempts of {name}", attempts[-2:], ["unknown", "delivered"])


def _check_status(outcome: Outcome, store: Store) -> None:
    run = collection(store, "runs").get("alertRules", {})
    outcome.expect("open alerts", run.get("openAlerts"), [])
    snapshot = store.get("status/public")
    outcome.expect("status", snapshot and snapshot.data["overall"], "unknown")  # silent at the end


def every_point(unkilled: Outcome) -> list[Kill]:
    """After each call, and before the first one of each request.

    Before any other call is right after the last one: the same is stored, Slack has seen the same, and the same request
    has no answer.
    """
    return sorted({*_beginnings(unkilled), *((n, "after") for n in range(1, len(unkilled.calls) + 1))})


def every_state(unkilled: Outcome) -> list[Kill]:
    """The same without the calls that only read: each state that a kill can leave is left once.

    What is stored is changed by a commit, what Slack has seen by a message, and which request has no answer by its
    beginning. Whoever dies of a read leaves behind what whoever died right after the last of these did.
    """
    changes = {(n, "after") for n, name in enumerate(unkilled.calls, 1) if name.startswith("commit") or name == POST}
    return sorted(_beginnings(unkilled) | changes)


def _beginnings(unkilled: Outcome) -> set[Kill]:
    return {(n, "before") for n in unkilled.begins}


def second_copies(unkilled: Outcome) -> set[Kill]:
    """The points after the bytes of a message that Slack took have left, and before 'delivered' is committed."""
    calls = list(enumerate(unkilled.calls, 1))
    points: set[Kill] = set()
    posts = [number for number, name in calls if name == POST]
    for post, taken in zip(posts, unkilled.taken, strict=True):
        if taken:
            recorded = next(number for number, name in calls if number > post and name.startswith("commit"))
            between = range(post + 1, recorded)
            points |= {(post, "after"), (recorded, "before"), *product(between, ("before", "after"))}
    return points
