"""The guard of alertRules: `runs/alertRules`, which every commit of a run changes too."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Sequence
from datetime import datetime

from shared import log
from shared.store.protocol import Conflict, Data, Doc, Store, Unavailable, Write, new_rev, over

RUN = "runs/alertRules"


class Overtaken(Exception):
    """Another run knows newer facts, or decides by something else."""


class RunGuard:
    """`before`: the run's document as it was when the configuration was not yet read; None if there was none.

    `decision_hash`: of all that decides; `config_hash` and `config_version`: of the SLOs among it, for the report.
    """

    def __init__(
        self,
        store: Store,
        before: Doc | None,
        facts_at: datetime,
        decision_hash: str,
        config_hash: str,
        config_version: int | None = None,
    ) -> None:
        self.store = store
        self.run = before
        self.base_hash = _decided_by(before)
        self.facts_at = facts_at
        self.decision_hash = decision_hash
        self.config_hash = config_hash
        self.config_version = config_version
        self.run_id = secrets.token_hex(8)

    @property
    def open_alerts(self) -> list[str]:
        """Ids of the alerts that are open, by the document as it was last read."""
        return list(self.run.data["openAlerts"]) if self.run else []

    @property
    def judged(self) -> Data:
        """How far each alert was judged, by the document as it was last read; of older releases nothing is known."""
        found: Data = self.run.data.get("judged") or {} if self.run else {}
        return found

    @property
    def is_new_config(self) -> bool:
        """Whether the run before decided by something else."""
        return self.base_hash is not None and self.base_hash != self.decision_hash

    def check(self) -> None:
        """Raises `Overtaken` if another run has gone past this one."""
        if self.run is None:
            return
        newer = self.run.data["factsAt"] > self.facts_at
        if newer or _decided_by(self.run) not in (self.base_hash, self.decision_hash):
            raise Overtaken

    def check_anew(self) -> None:
        """The same by the document as it is now. Raises `Overtaken`, `StoreError`."""
        self.run = self.store.get(RUN)
        self.check()

    def commit(self, writes: Sequence[Write], open_alerts: Sequence[str], more: Data | None = None) -> bool:
        """Commit with the run's document. False if somebody else was faster: then read and decide again.

        The document is read again in any case, since its `rev` tells whether a commit whose reply was lost took effect.
        """
        before = self.run.data if self.run else {"slos": [], "finishedAt": None}
        data = {
            **before,
            "factsAt": self.facts_at,
            "runId": self.run_id,
            "decisionHash": self.decision_hash,
            "configHash": self.config_hash,
            "configVersion": self.config_version,
            "openAlerts": sorted(open_alerts),
            **(more or {}),
            "rev": new_rev(),
        }
        try:
            self.store.commit([*writes, over(self.run, RUN, data)])
        except Conflict:
            time.sleep(random.uniform(0, 0.02))
        except Unavailable as error:
            log.warning("a commit's reply is missing", detail=str(error))
        self.run = self.store.get(RUN)
        if self.run is not None and self.run.data["rev"] == data["rev"]:
            return True
        self.check()
        return False


def _decided_by(run: Doc | None) -> str | None:
    """None too for a document of a release that did not write it down."""
    return run.data.get("decisionHash") if run else None
