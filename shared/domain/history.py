"""How long each component was in which state, to the second: 90 UTC days, from transitions with their times.

A record of a component is `{state, reason, since, days, knownSince}`: the state that has held since then, why, the
seconds in each state of the days before, up to `since`, and when something was first known of it. It changes only when
the state does, so a publication that comes twice, or is made again after a lost reply, counts nothing twice: the time
between is none. Time that nobody vouched for is unknown, never up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from shared.domain.component import UptimePolicy

STATES = ("operational", "degraded", "outage", "maintenance", "unknown")
DAYS = 90
HELD = timedelta(minutes=10)  # how long a state is taken to hold after it was last published
_DAY = 86_400

Record = dict[str, Any]
Seconds = dict[str, int]


def advanced(
    records: Mapping[str, Record], states: Mapping[str, tuple[str, str]], published: datetime | None, now: datetime
) -> dict[str, Record]:
    """The records once the components are in `states` (of STATES, with the reason; by component id) at `now`.

    `published`: when the view before was published. Equal to `records` where nothing changed and nothing is missing.
    Components that are not in `states` are dropped.
    """
    return {name: _advanced(records.get(name), *found, published, now) for name, found in states.items()}


def _advanced(record: Record | None, state: str, reason: str, published: datetime | None, now: datetime) -> Record:
    if record is None:
        return {"state": state, "reason": reason, "since": now, "days": {}, **_begin(None, state, now)}
    heard = max(published or record["since"], record["since"])  # without a snapshot nobody vouched for anything
    silent = now - heard > HELD
    if record["state"] == state and not silent:
        return record
    until = min(now, heard + HELD)
    days = {day: dict(seconds) for day, seconds in record["days"].items() if day >= _first(now).isoformat()}
    _add(days, record["state"], record["since"], until)
    if silent:
        _add(days, "unknown", until, now)
    begin = _begin(record, state, max(now, record["since"]))
    return {"state": state, "reason": reason, "since": max(now, record["since"]), "days": days, **begin}


def _begin(record: Record | None, state: str, now: datetime) -> Record:
    """`knownSince`, once there is something to know."""
    known = _known_since(record) if record else None
    if known is None and state != "unknown":
        known = now
    return {"knownSince": known} if known else {}


def _known_since(record: Record) -> datetime | None:
    """Of a record that was written before `knownSince` was kept, it is the first day with anything known."""
    if "knownSince" in record:
        since: datetime = record["knownSince"]
        return since
    known = [day for day, seconds in record["days"].items() if set(seconds) - {"unknown"}]
    if known:
        return datetime.fromisoformat(min(known)).replace(tzinfo=UTC)
    return record["since"] if record["state"] != "unknown" else None


def known_since(record: Record, now: datetime) -> datetime | None:
    """When something was first known of the component; None where that is before the days that are shown, or never."""
    since = _known_since(record)
    return since if since and since > datetime.combine(_first(now), datetime.min.time(), UTC) else None


def shown(record: Record, now: datetime) -> tuple[str, list[Seconds]] | None:
    """The first day and the seconds in each state of 90 days, oldest first, today up to `now`. No state: 0 seconds.

    What no record is of is unknown. None where nothing at all is known.
    """
    days = {day: dict(seconds) for day, seconds in record["days"].items()}
    _add(days, record["state"], record["since"], now)
    first = _first(now)
    found = []
    for n in range(DAYS):
        day = first + timedelta(days=n)
        seconds = days.get(day.isoformat(), {})
        whole = min(_DAY, _epoch(now) - _midnight(day))
        unknown = seconds.get("unknown", 0) + whole - sum(seconds.values())
        found.append({s: k for s, k in {**seconds, "unknown": unknown}.items() if k > 0})
    if all(set(seconds) <= {"unknown"} for seconds in found):
        return None
    return first.isoformat(), found


def five(seconds: Mapping[str, int]) -> tuple[int, int, int, int, int]:
    """A day of a snapshot's history: seconds operational, degraded, in outage, in maintenance, unknown."""
    operational, degraded, outage, maintenance, unknown = (seconds.get(state, 0) for state in STATES)
    return operational, degraded, outage, maintenance, unknown


def up_and_known(days: list[Seconds], policy: UptimePolicy) -> tuple[int, int]:
    """Seconds up, and seconds that count at all. Unknown time is in neither."""
    operational, degraded, outage, maintenance, _ = (sum(column) for column in zip(*map(five, days), strict=True))
    up, down = operational, outage
    if policy.degraded == "up":
        up += degraded
    else:
        down += degraded
    if policy.maintenance == "up":
        up += maintenance
    elif policy.maintenance == "down":
        down += maintenance
    return up, up + down


def percent_down(up: int, known: int) -> float:
    """The exact share in percent, rounded down to two decimals: anything short of everything stays below 100."""
    return up * 10_000 // known / 100


def _first(now: datetime) -> date:
    return now.astimezone(UTC).date() - timedelta(days=DAYS - 1)


def _add(days: dict[str, Seconds], state: str, start: datetime, end: datetime) -> None:
    """Add the whole seconds between the two, each to its day. Both ends are cut to seconds, so that sums are exact."""
    for day, seconds in _split(_epoch(start), _epoch(end)):
        of_day = days.setdefault(day, {})
        of_day[state] = of_day.get(state, 0) + seconds


def _split(start: int, end: int) -> Iterator[tuple[str, int]]:
    """Days outside of the last 90 of `end` are left out."""
    start = max(start, (end // _DAY - DAYS + 1) * _DAY)
    while start < end:
        next_day = (start // _DAY + 1) * _DAY
        yield datetime.fromtimestamp(start, UTC).date().isoformat(), min(end, next_day) - start
        start = next_day


def _epoch(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1))


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * _DAY
