"""What is in force, what was, and the one commit that puts a configuration in force as a new version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.domain.faults import ConfigError
from shared.domain.metric import Registry
from shared.domain.slo import SloConfig
from shared.run_guard import RUN
from shared.slo_loader import DOCUMENT, LAST_GOOD, VERSIONS, digest_of, load_file, parse_document, without_rev
from shared.store.protocol import Conflict, Create, Doc, Query, Store, Unavailable, new_rev, over

TRIES = 3  # of the one commit, where there is no answer


class TakenOver(Exception):
    """Somebody else changed `config/slo` after it was read."""

    def __init__(self, doc: Doc | None) -> None:
        super().__init__(described(doc))


@dataclass(frozen=True, slots=True)
class InForce:
    """`doc`: `config/slo` as it was read. `config` is None where the deployed file is not the one that is here.

    `content`: what the configuration was made from. `ids`: of each SLO, its name.
    """

    doc: Doc | None
    words: str
    config: SloConfig | None
    content: Mapping[str, Any] | None
    names: Mapping[str, str]


def in_force(store: Store, registry: Registry, config_dir: Path) -> InForce:
    """The document, or the last good one if it is broken, or the file. Raises `StoreError`, `ConfigError`."""
    doc, good, run = store.get_many([DOCUMENT, LAST_GOOD, RUN])
    broken = ""
    if doc is not None:
        for found in (doc, good):
            if found is None:
                continue
            try:
                config = parse_document(found, registry)
            except ConfigError as error:
                if found is doc:
                    broken = f"{described(doc)}, is not usable ({'; '.join(error.faults)}).\nIn its place: "
                continue
            words = described(doc) if found is doc else f"{broken}{LAST_GOOD}, the last good one"
            return InForce(doc, words, config, without_rev(found.data), {s.id: s.name for s in config.slos})
    file = config_dir / "slo.json"
    config = load_file(file, registry)
    if run is not None and not broken and run.data["configHash"] != config.hash:
        names = {slo["id"]: slo["name"] for slo in run.data["slos"]}
        words = f"the file that the functions were deployed with; {file.name} here is another one"
        return InForce(None, words, None, None, names)
    return InForce(doc, f"{broken}the file {file.name}", config, None, {s.id: s.name for s in config.slos})


def described(doc: Doc | None) -> str:
    """Which version a `config/slo` is, of when and by whom."""
    if doc is None:
        return f"no document {DOCUMENT}: the file is in force"
    version, when = doc.data.get("version"), doc.data.get("updatedAt")
    if not isinstance(version, int):
        return f"{DOCUMENT}, written by hand"
    if doc.data.get("hash") != digest_of(without_rev(doc.data)):
        return f"{DOCUMENT}, changed by hand since version {version}"
    at = f" of {when:%Y-%m-%d %H:%M} UTC" if isinstance(when, datetime) else ""
    return f"{DOCUMENT}, version {version}{at} by {doc.data.get('updatedBy', 'unknown')}"


def versions(store: Store, limit: int) -> list[Doc]:
    """The latest come first."""
    return store.query(Query(VERSIONS, order=(("version", "desc"),), limit=limit))


def upload(store: Store, before: Doc | None, content: dict[str, Any], by: str, note: str, now: datetime) -> int:
    """Put a configuration in force, if `config/slo` is still as in `before`; returns its version.

    One commit makes `config/slo` and `config/slo/versions/{n}`. Sent again after a lost reply it can take effect once
    only. Raises `TakenOver` if somebody else was faster, `Unavailable` if it is not known whether it was written.
    """
    latest = versions(store, limit=1)
    known = before.data.get("version") if before else None
    number = 1 + max(latest[0].data["version"] if latest else 0, known if isinstance(known, int) else 0)
    rev, digest = new_rev(), digest_of(content)
    record = {
        "version": number, "content": content, "hash": digest, "uploadedAt": now, "uploadedBy": by, "note": note,
        "rev": rev,
    }  # fmt: skip
    data = content | {"rev": rev, "version": number, "hash": digest, "updatedAt": now, "updatedBy": by}
    path = f"{VERSIONS}/{number}"
    writes = [over(before, DOCUMENT, data), Create(path, record)]
    for last in (False,) * (TRIES - 1) + (True,):
        lost: Unavailable | None = None
        try:
            store.commit(writes)
            return number
        except Unavailable as error:
            lost = error
        except Conflict:
            pass
        found = store.get(path)
        if found is not None and found.data.get("rev") == rev:
            return number
        if lost is None:
            raise TakenOver(store.get(DOCUMENT))
        if last:
            raise lost
    raise AssertionError
