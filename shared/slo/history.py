"""Counts of good and total events over any window, from one document a day for all SLOs.

Days that can no longer change are kept in the instance, so that an evaluation reads 3 documents warm and 31 cold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from shared.domain.definition import Counts, Definition
from shared.domain.durations import SLOT_SECONDS
from shared.domain.exclusion import Span, remaining
from shared.domain.slots import SLOTS_A_DAY, SlotDay, SlotRow, add_up
from shared.metrics.layout import KEEP, month_path, slots_path
from shared.metrics.rollup_codec import decode_slots
from shared.metrics.rollups import decode_month
from shared.store.protocol import Store

SETTLED_AFTER = timedelta(hours=49)  # data is refused after 48 h, and a fold may be late
KEPT_DAYS = 401  # the longest window


class SloHistory:
    """One an instance."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._settled: OrderedDict[str, SlotDay] = OrderedDict()

    def forget(self, days: Iterable[str] | None = None) -> None:
        """Drop what is kept of these days, or all of it: after a backfill, or a fold that came very late."""
        for day in list(self._settled) if days is None else days:
            self._settled.pop(day, None)

    def load(self, start: datetime, end: datetime, now: datetime) -> Window:
        """All that is needed to count between `start` and `end`, both on 5-minute marks."""
        days: dict[str, SlotDay] = {}
        day = start.replace(hour=0, minute=0, second=0, microsecond=0)
        wanted = []
        while day < end:
            wanted.append(day)
            day += timedelta(days=1)
        names = [d.strftime("%Y-%m-%d") for d in wanted]
        missing = [name for name in names if name not in self._settled]
        docs = self._store.get_many([slots_path(name) for name in missing]) if missing else []
        fresh = {n: decode_slots(doc.data["payload"]) if doc else {} for n, doc in zip(missing, docs, strict=True)}
        gone = [name for name, doc in zip(missing, docs, strict=True) if doc is None and _is_gone(name, now)]
        fresh.update(self._from_months(gone))
        for name, at in zip(names, wanted, strict=True):
            days[name] = self._settled[name] if name in self._settled else fresh[name]
            if now - (at + timedelta(days=1)) >= SETTLED_AFTER:
                self._settled[name] = days[name]
        while len(self._settled) > KEPT_DAYS:
            self._settled.popitem(last=False)
        return Window(wanted, [days[name] for name in names])

    def _from_months(self, names: Sequence[str]) -> dict[str, SlotDay]:
        """Days whose slots are kept no longer, from the sums of their month: whole days only."""
        months = sorted({month_path(name) for name in names})
        docs = self._store.get_many(months) if months else []
        sums = {day: rows for doc in docs if doc for day, rows in decode_month(doc.data["payload"]).items()}
        return {
            name: {digest: SlotRow.of_a_day(counts) for digest, counts in sums[name].items()}
            for name in names
            if name in sums
        }


def _is_gone(day: str, now: datetime) -> bool:
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1) + KEEP["day"] < now


class Window:
    """Days of slots in memory, one after the other."""

    def __init__(self, starts: Sequence[datetime], days: Sequence[SlotDay]) -> None:
        self._days = list(zip(starts, days, strict=True))

    def count(self, definition: Definition, start: datetime, end: datetime, excluded: Sequence[Span] = ()) -> Counts:
        """Good and total events from `start` up to, not including, `end`; both on 5-minute marks.

        What lies in `excluded`, which is merged, does not count. Nor does any of a day whose slots are kept no longer,
        if a part of it is excluded.
        """
        digest = definition.hash
        if not excluded:
            return add_up(self._parts(digest, start, end))
        spans = remaining(start, end, excluded)
        return add_up(part for span in spans for part in self._parts(digest, span.start, span.end))

    def rows(self, definition: Definition) -> list[tuple[datetime, SlotRow | None]]:
        """Each day's beginning and its slots; None where nothing of the definition is known."""
        return [(at, rows.get(definition.hash)) for at, rows in self._days]

    def _parts(self, digest: str, start: datetime, end: datetime) -> Iterator[Counts]:
        if not self._days:
            return
        origin = self._days[0][0]  # the days follow one another without a gap
        for at, rows in self._days[max(0, (start - origin).days) : max(0, (end - origin).days + 1)]:
            row = rows.get(digest)
            if row is not None:
                first = max(0, _slots(at, start))
                last = min(SLOTS_A_DAY, _slots(at, end))
                if first < last:
                    yield row.between(first, last)


def _slots(origin: datetime, moment: datetime) -> int:
    return int((moment - origin).total_seconds()) // SLOT_SECONDS
