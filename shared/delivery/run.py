"""One run of delivery: how long it may go on, what it has done, and what may not go out as of now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared import log
from shared.alerts.quiet import quiet_reader
from shared.delivery.policy import PolicyLoader
from shared.delivery.records import DeliveryRecords
from shared.domain import notification as outbox
from shared.domain.notification import Data
from shared.notify.registry import configured
from shared.store.protocol import Doc

if TYPE_CHECKING:
    from shared.bootstrap import App


@dataclass(slots=True)
class Delivered:
    """What one run did, in items. `stopped`: why it ended before all that was due, or None."""

    delivered: int = 0
    retried: int = 0
    dead: int = 0
    withheld: int = 0
    cancelled: int = 0
    stopped: str | None = None

    @property
    def handled(self) -> int:
        return self.delivered + self.retried + self.dead + self.withheld + self.cancelled


class Run:
    def __init__(self, app: App, now: datetime, budget_seconds: float, limit: int) -> None:
        self.app = app
        self.store = app.store
        self.now = now
        self.end = app.monotonic() + budget_seconds
        self.limit = limit
        self.policy = app.part(PolicyLoader).policy
        self.quiet = quiet_reader(app)
        self.configured = configured(app)
        self.throttled: dict[str, float] = {}  # channel → when it takes more, by app.monotonic
        self.done = Delivered()
        self.records = DeliveryRecords(app.store, self.tell)

    def moment(self) -> datetime:
        return max(self.now, self.app.clock())

    def over(self) -> bool:
        if self.app.monotonic() >= self.end:
            self.done.stopped = "budget"
        elif self.done.handled >= self.limit:
            self.done.stopped = "limit"
        return self.done.stopped is not None

    def throttle(self, channel: str, seconds: float) -> None:
        self.throttled[channel] = self.app.monotonic() + seconds

    def is_throttled(self, channel: str) -> bool:
        return self.throttled.get(channel, 0.0) > self.app.monotonic()

    def seconds_to_wait(self) -> float | None:
        """Until a throttled channel takes more, if that is within the budget."""
        if self.done.stopped is not None:
            return None
        now = self.app.monotonic()
        waits = [until - now for until in self.throttled.values() if now < until < self.end]
        return min(waits, default=None)

    def reason_to_withhold(self, channel: str) -> str | None:
        return outbox.withhold_reason(channel, self.app.flags.all(), self.configured)

    def held(self, doc: Doc, moment: datetime) -> Data | None:
        """The item withheld, where a silence or the like holds its alert back now."""
        hold = self.quiet.hold_of(doc.data, moment)
        if hold is None:
            return None
        return {**outbox.withhold(doc.data, hold.reason), "heldBy": {"id": hold.by, "until": hold.until}}

    def tell(self, data: Data) -> None:
        """Count an item by what became of it, and log what did not simply work."""
        state = "retried" if data["open"] else data["state"]
        setattr(self.done, state, getattr(self.done, state) + 1)
        fields: dict[str, Any] = {"notification": data["notificationId"], "reason": data["reason"]}
        if state == "dead":
            log.error("dead letter: a notification could not be delivered", **fields)
        elif state in ("withheld", "cancelled"):
            log.info(f"notification {state}", **fields)
        elif state == "retried":
            log.warning("a notification will be tried again", **{**fields, "reason": data["attempts"][-1]["detail"]})
