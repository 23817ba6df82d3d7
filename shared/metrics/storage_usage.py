"""Storage usage: what every user, and every bucket in all, has in Cloud Storage.

A run lists each bucket by name, page by page. A page's figures of users and the advance of `runs/storageUsage` are one
commit on the run's version, so that wherever a run is killed, and if two are at work, each object counts once. A
bucket's total becomes a metric in a batch whose id belongs to the run and the bucket.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Protocol

from shared import log
from shared.config_file import load_model
from shared.domain import storage
from shared.domain.aggregate import OLDEST_MS
from shared.domain.building import BLOCK_MS, BatchBuilder
from shared.domain.series import SeriesTable
from shared.domain.storage import GB, Bucket, Disordered, Object, StorageConfig
from shared.metrics.group_commit import GroupCommit
from shared.store.protocol import Conflict, Doc, Put, Store, Unavailable, Write, new_rev, over

RUN = "runs/storageUsage"
FILE = "storage.json"
METRIC = "storage_usage"
PAGE = 400  # objects, and so at most as many users: a commit holds 500 writes
_UNANSWERED_COMMITS = 3  # in a row


class ListingError(Exception):
    """A bucket cannot be listed. `reason` is a word or two without a name in it; `for_good`: it will not pass."""

    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.for_good = for_good


class Listing(Protocol):
    def pages(self, bucket: str, after: str) -> Iterator[Sequence[Object]]:
        """The bucket's objects whose names follow `after`, in the order of names. May begin with `after` itself.

        Raises `ListingError`.
        """
        ...


class Stopped(Exception):
    """The run ends here. `reason`: time, switched_off, overtaken."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def load_storage(config_dir: Path) -> StorageConfig:
    """Raises `ConfigError` with every fault."""
    return load_model(config_dir / FILE, StorageConfig)


class Totals:
    """Appends totals to the metrics, as if they were sent."""

    def __init__(self, commits: GroupCommit, table: SeriesTable) -> None:
        self._commits = commits
        self._table = table

    def append(self, batch_id: str, labels: Mapping[str, str], size: int, at: datetime, now: datetime) -> None:
        """`size` in bytes, as it was `at`. The same id, labels, size and time count once, however often they come.

        Raises `StoreError`.
        """
        series = self._table.own(METRIC, labels)  # a bucket's name is the operator's own word, and stays as it is
        if series is None:
            log.warning("config/metrics.json has no storage_usage: the total becomes no metric")
            return
        builder = BatchBuilder(self._table)
        builder.values(series, int(at.timestamp() * 1000) // BLOCK_MS, [size / GB])
        batch = builder.batch(blake2b(batch_id.encode(), digest_size=8).digest(), 1)
        self._commits.write([batch], now.strftime("%Y-%m-%d"))


@dataclass(frozen=True, slots=True)
class Measured:
    """How far the run has come. `stopped`: why it is not finished, None if it is or if only buckets failed."""

    run: dict[str, Any]
    stopped: str | None

    @property
    def finished(self) -> bool:
        return self.run["finishedAt"] is not None

    @property
    def day(self) -> str:
        """The day that the figures are of."""
        return storage.day_of(self.run)

    @property
    def faults(self) -> list[tuple[str, str]]:
        """Buckets that failed, each with its reason."""
        return [(b["name"], b["fault"]) for b in self.run["buckets"] if b["fault"] is not None]


def measure(
    store: Store,
    totals: Totals,
    config: StorageConfig,
    listing: Listing,
    now: datetime,
    may_go_on: Callable[[], str | None],
) -> Measured:
    """Go on with the run that is under way, else begin one; today's is begun when an earlier day's is finished.

    `may_go_on` is asked before each page: None, or the word why not. Raises `StoreError`; what was counted stays.
    """
    work = _Work(store, totals, config, listing, now, may_go_on)
    try:
        work.open()
        while work.to_the_end() and storage.day_of(work.run) < now.strftime("%Y-%m-%d"):
            work.open()
    except Stopped as stopped:
        return Measured(work.run, stopped.reason)
    return Measured(work.run, None)


class _Work:
    """One call's work. `run` is the run's document as last read."""

    def __init__(
        self,
        store: Store,
        totals: Totals,
        config: StorageConfig,
        listing: Listing,
        now: datetime,
        may_go_on: Callable[[], str | None],
    ) -> None:
        self._store, self._totals, self._listing = store, totals, listing
        self._buckets = config.buckets
        self._hash = sha256(config.model_dump_json().encode()).hexdigest()[:16]
        self._now = now
        self._may_go_on = may_go_on
        self._doc: Doc | None = None
        self._unanswered = 0
        self.run: dict[str, Any] = {}

    def open(self) -> None:
        """Take up the run under way, or begin one; of two that begin at once, both take up that of the first."""
        self._read()
        while not (self.run and storage.goes_on(self.run, self._hash, self._now)):
            if self.run and self.run["finishedAt"] is None:
                log.warning("a run over the buckets was given up: it is too old, or of another configuration")
            self._commit(storage.new_run(secrets.token_hex(8), self._hash, self._buckets, self._now), ())

    def to_the_end(self) -> bool:
        """Whether every bucket is counted or given up; else some may be tried again."""
        for n, bucket in enumerate(self._buckets):
            try:
                while self.run["buckets"][n]["state"] in ("listing", "listed"):
                    self._check()
                    if self.run["buckets"][n]["state"] == "listing":
                        self._list(n, bucket)
                    else:
                        self._count(n, bucket)
            except ListingError as error:
                self._fault(n, bucket, error)
        while storage.is_done(self.run) and self.run["finishedAt"] is None:
            self._advance(storage.finished(self.run, self._now))
        return storage.is_done(self.run)

    def _list(self, n: int, bucket: Bucket) -> None:
        """Add page after page. Returns at the end of the bucket, or where somebody else has moved the run."""
        for page in self._listing.pages(bucket.name, self.run["buckets"][n]["afterName"]):
            try:
                fresh = storage.in_order(page, self.run["buckets"][n]["afterName"])
            except Disordered:
                raise ListingError("out of order") from None
            for start in range(0, len(fresh), PAGE):
                self._check()
                if not self._add(n, bucket, fresh[start : start + PAGE]):
                    return
        self._advance(storage.listed(self.run, n, self._now))

    def _add(self, n: int, bucket: Bucket, objects: Sequence[Object]) -> bool:
        """The users' documents are read after the run's, so at its version they are still what was read."""
        page = storage.tally(bucket, objects)
        day = storage.day_of(self.run)
        paths = {uid: f"usage_summary/{uid}/storage/{day}" for uid in page.users}
        before = self._store.get_many(list(paths.values())) if paths else []
        writes = [
            Put(paths[uid], storage.usage_of(self.run, doc.data if doc else None, usage, self._now))
            for (uid, usage), doc in zip(page.users.items(), before, strict=True)
        ]
        return self._advance(storage.advanced(self.run, n, page), writes)

    def _count(self, n: int, bucket: Bucket) -> None:
        """The metric first: if its reply is lost, the same batch comes again and meets its receipt."""
        found = self.run["buckets"][n]
        if (self._now - found["countedAt"]).total_seconds() * 1000 < OLDEST_MS:
            batch_id = f"storageUsage {self.run['runId']} {bucket.name}"
            self._totals.append(batch_id, {"bucket": bucket.name}, found["bytes"], found["countedAt"], self._now)
        else:
            log.warning("a bucket's total is too old to become a metric", bucket=bucket.name)
        self._advance(storage.counted(self.run, n))

    def _fault(self, n: int, bucket: Bucket, error: ListingError) -> None:
        """What may pass is tried again by the next call, until the day is over."""
        for_good = error.for_good or storage.day_of(self.run) < self._now.strftime("%Y-%m-%d")
        log.error("a bucket could not be listed", bucket=bucket.name, reason=error.reason, given_up=for_good)
        while self.run["buckets"][n]["state"] == "listing":
            if self._advance(storage.faulted(self.run, n, error.reason, for_good=for_good)):
                return

    def _check(self) -> None:
        reason = self._may_go_on()
        if reason is not None:
            raise Stopped(reason)

    def _advance(self, run: dict[str, Any], writes: Sequence[Write] = ()) -> bool:
        """Whether this step was taken; if not, `run` is where somebody else has come. Raises `Stopped`."""
        run_id = self.run["runId"]
        taken = self._commit(run, writes)
        if not self.run or self.run["runId"] != run_id:
            raise Stopped("overtaken")
        return taken

    def _commit(self, run: dict[str, Any], writes: Sequence[Write]) -> bool:
        """The document is read again in any case: its `rev` tells whether a commit without a reply took effect."""
        run = {**run, "rev": new_rev()}
        try:
            self._store.commit([*writes, over(self._doc, RUN, run)])
            self._unanswered = 0
        except Conflict:
            self._unanswered = 0
        except Unavailable as error:
            self._unanswered += 1
            if self._unanswered == _UNANSWERED_COMMITS:
                raise
            log.warning("a commit's reply is missing", detail=str(error))
        self._read()
        return bool(self.run) and self.run["rev"] == run["rev"]

    def _read(self) -> None:
        self._doc = self._store.get(RUN)
        self.run = self._doc.data if self._doc else {}
