"""Storage usage: which user an object belongs to, and how far a run over the buckets has come.

A run's document is plain data, see `new_run`; each step gives the next one. A bucket goes from `listing` to `listed`
(all its objects are counted) to `counted` (its total is a metric), or to `failed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

KEEP = timedelta(days=90)
LONGEST_RUN = timedelta(days=7)  # what was listed longer ago is no figure of one moment any more
MAX_USER_ID = 128  # characters, as in Firebase Authentication
GB = 10**9
_BUCKET = re.compile(r"(?=.{3,222}$)[a-z0-9][a-z0-9._-]*[a-z0-9]")
_RESERVED = re.compile(r"__.*__", re.DOTALL)

Object = tuple[str, int]  # name, bytes
Run = dict[str, Any]


def _pattern(text: str) -> str:
    segments = text.split("/")
    faults = [
        f"{s!r} is not a whole segment" for s in segments if s not in ("{uid}", "*", "**") and set(s) & set("{}*")
    ]
    if segments.count("{uid}") != 1:
        faults.append("needs {uid} once, as a segment of its own, such as users/{uid}/**")
    if "**" in segments[:-1]:
        faults.append("** can only come last")
    if "" in segments:
        faults.append("has an empty segment: names of objects do not begin with /")
    if faults:
        raise ValueError("; ".join(faults))
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class Bucket(BaseModel):
    """`patterns`: the first that an object's name matches says whose it is. In the file: one or a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    patterns: Annotated[tuple[Pattern, ...], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)] = Field(
        default=(), alias="userPattern"
    )

    @field_validator("name")
    @classmethod
    def _is_a_buckets_name(cls, name: str) -> str:
        if not _BUCKET.fullmatch(name):
            raise ValueError("is not the name of a bucket, such as my-app.appspot.com (without gs://)")
        return name

    def owner_of(self, name: str) -> str | None:
        """The user whose object it is; None if no pattern says so, or what it says cannot be a user's id."""
        for pattern in self.patterns:
            found = _compiled(pattern).fullmatch(name)
            if found:
                return found["uid"] if _is_user_id(found["uid"]) else None
        return None


class StorageConfig(BaseModel):
    """`config/storage.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    buckets: tuple[Bucket, ...]

    @field_validator("buckets")
    @classmethod
    def _names_are_one_each(cls, buckets: tuple[Bucket, ...]) -> tuple[Bucket, ...]:
        names = [bucket.name for bucket in buckets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return buckets


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"{uid}": "(?P<uid>[^/]+)", "*": "[^/]+", "**": ".*"}
    return re.compile("/".join(parts.get(s, re.escape(s)) for s in pattern.split("/")), re.DOTALL)


def _is_user_id(text: str) -> bool:
    """Whether it can be the id of a document."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return len(text) <= MAX_USER_ID and text not in (".", "..") and not _RESERVED.fullmatch(text)


@dataclass(slots=True)
class Usage:
    bytes: int = 0
    objects: int = 0

    def add(self, size: int) -> None:
        self.bytes += size
        self.objects += 1


@dataclass(slots=True)
class Tally:
    """What some objects in a row come to. `last`: the name of the last one."""

    last: str
    total: Usage = field(default_factory=Usage)
    no_user: Usage = field(default_factory=Usage)
    users: dict[str, Usage] = field(default_factory=dict)


def tally(bucket: Bucket, objects: Sequence[Object]) -> Tally:
    found = Tally(objects[-1][0])
    for name, size in objects:
        owner = bucket.owner_of(name)
        found.total.add(size)
        (found.no_user if owner is None else found.users.setdefault(owner, Usage())).add(size)
    return found


class Disordered(Exception):
    """A listing that is not in the order of names: whoever goes on after the last name would miss some."""


def in_order(objects: Iterable[Object], after: str) -> list[Object]:
    """A page by name, without the object `after`, which is counted already. Raises `Disordered`."""
    fresh = sorted(o for o in objects if o[0] != after)
    last = after
    for name, _ in fresh:
        if name <= last:
            raise Disordered
        last = name
    return fresh


# The run's document


def new_run(run_id: str, config_hash: str, buckets: Sequence[Bucket], now: datetime) -> Run:
    return {
        "runId": run_id,
        "configHash": config_hash,
        "startedAt": now,
        "finishedAt": None,
        "buckets": [
            {
                "name": bucket.name,
                "state": "listing",
                "afterName": "",
                "bytes": 0,
                "objects": 0,
                "noUserBytes": 0,
                "noUserObjects": 0,
                "countedAt": None,
                "fault": None,
            }
            for bucket in buckets
        ],
    }


def goes_on(run: Run, config_hash: str, now: datetime) -> bool:
    """Whether a run that stopped is taken up where it was."""
    young = now - run["startedAt"] < LONGEST_RUN
    return run["finishedAt"] is None and run["configHash"] == config_hash and young


def day_of(run: Run) -> str:
    """The day that the run's figures are of."""
    day: str = run["startedAt"].strftime("%Y-%m-%d")
    return day


def advanced(run: Run, n: int, page: Tally) -> Run:
    """The run with a page of bucket `n` counted."""
    bucket = run["buckets"][n]
    return _with(
        run,
        n,
        afterName=page.last,
        bytes=bucket["bytes"] + page.total.bytes,
        objects=bucket["objects"] + page.total.objects,
        noUserBytes=bucket["noUserBytes"] + page.no_user.bytes,
        noUserObjects=bucket["noUserObjects"] + page.no_user.objects,
        fault=None,
    )


def listed(run: Run, n: int, now: datetime) -> Run:
    """Bucket `n` has no more objects. `countedAt` stays the time of its total, however often that is stored."""
    return _with(run, n, state="listed", afterName="", countedAt=now, fault=None)


def counted(run: Run, n: int) -> Run:
    return _with(run, n, state="counted")


def faulted(run: Run, n: int, reason: str, *, for_good: bool) -> Run:
    """Bucket `n` could not be listed to its end. Unless it is `for_good`, the next call tries to go on."""
    return _with(run, n, fault=reason, **({"state": "failed", "afterName": ""} if for_good else {}))


def finished(run: Run, now: datetime) -> Run:
    return {**run, "finishedAt": now}


def is_done(run: Run) -> bool:
    return all(bucket["state"] in ("counted", "failed") for bucket in run["buckets"])


def _with(run: Run, n: int, **changes: Any) -> Run:
    buckets = list(run["buckets"])
    buckets[n] = {**buckets[n], **changes}
    return {**run, "buckets": buckets}


def usage_of(run: Run, before: dict[str, Any] | None, more: Usage, now: datetime) -> dict[str, Any]:
    """A user's document of the run's day. What another run of that day counted does not add up with this one."""
    mine = before if before is not None and before["runId"] == run["runId"] else {"bytes": 0, "objects": 0}
    bytes_ = mine["bytes"] + more.bytes
    start = datetime.fromisoformat(day_of(run)).replace(tzinfo=UTC)
    return {
        "bytes": bytes_,
        "objects": mine["objects"] + more.objects,
        "gb": bytes_ / GB,
        "runId": run["runId"],
        "updatedAt": now,
        "expireAt": start + timedelta(days=1) + KEEP,
    }
