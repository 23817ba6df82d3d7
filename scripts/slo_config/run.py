"""One run of the upload, from the arguments to the exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from scripts.slo_config import author, difference, source, versions
from shared.bootstrap import build_store
from shared.domain.alert import warnings_of
from shared.domain.faults import ConfigError
from shared.domain.metric import Registry
from shared.settings import Settings, SettingsError
from shared.slo_loader import DOCUMENT, VERSIONS, load_burn_windows, load_registry
from shared.store.protocol import Store, StoreError, Unavailable

SETTINGS = ("F0_STORE", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "FIRESTORE_DATABASE", "SQLITE_PATH", "CONFIG_DIR")
LISTED = 100
_COLOURS = {"+": 32, "-": 31, "~": 33}


@dataclass(frozen=True, slots=True)
class Terminal:
    """`colours`: on a terminal alone, and not where NO_COLOR is set (https://no-color.org)."""

    colours: bool

    @staticmethod
    def of(env: Mapping[str, str]) -> Terminal:
        return Terminal(sys.stdout.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb")

    def paint(self, text: str, sign: str) -> str:
        return f"\x1b[{_COLOURS[sign]}m{text}\x1b[0m" if self.colours else text

    def confirmed(self, question: str) -> bool:
        """Only a clear yes is one; the end of the input is none."""
        print(f"{question} [y/N] ", end="", flush=True)
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            print()
        return answer.strip().lower() in ("y", "yes")


def run(arguments: argparse.Namespace, env: Mapping[str, str], now: datetime, terminal: Terminal) -> int:
    try:
        settings = settings_of(arguments, env)
    except SettingsError as error:
        return _told(2, f"{error}")
    if arguments.openslo and arguments.show is None:
        try:
            return _file_as_openslo(arguments, settings)
        except ConfigError as error:
            return _told(1, "\n".join(f"{error.source}: {fault}" for fault in error.faults))
    if settings.store == "sqlite" and not settings.sqlite_path.is_file():
        return _told(
            2,
            f"There is no store at {settings.sqlite_path}. Start `make dev` once, or name a store: --sqlite PATH for a "
            "local one, --project ID for Firestore.",
        )
    store = build_store(settings)
    where = f"{settings.sqlite_path}" if settings.store == "sqlite" else f"Firestore of {settings.project}"
    try:
        if arguments.history:
            return _history(store)
        if arguments.show is not None:
            return (_show_as_openslo if arguments.openslo else _show)(store, arguments.show, settings)
        return _upload(arguments, env, now, terminal, store, settings)
    except ConfigError as error:
        faults = "\n".join(f"{error.source}: {fault}" for fault in error.faults)
        return _told(1, f"{faults}\nNothing was written.")
    except versions.TakenOver as other:
        return _told(
            3,
            f"Somebody else changed the SLOs meanwhile. Now in force: {other}.\n"
            "Nothing was written. Run this again to see the difference to that.",
        )
    except StoreError as error:
        again = " It may answer again: try once more." if error.retryable else ""
        return _told(4, f"The store ({where}) did not take part: {error}.{again}")
    finally:
        store.close()


def settings_of(arguments: argparse.Namespace, env: Mapping[str, str]) -> Settings:
    """From the environment, and from the arguments before it. Raises `SettingsError`."""
    known = {name: env[name] for name in SETTINGS if name in env}
    if arguments.project:
        known |= {"F0_STORE": "firestore", "GOOGLE_CLOUD_PROJECT": arguments.project}
    if arguments.sqlite:
        known |= {"F0_STORE": "sqlite", "SQLITE_PATH": str(arguments.sqlite)}
    return Settings.load(known)


def _upload(
    arguments: argparse.Namespace,
    env: Mapping[str, str],
    now: datetime,
    terminal: Terminal,
    store: Store,
    settings: Settings,
) -> int:
    registry = load_registry(settings.config_dir)
    note = arguments.note or ""
    if arguments.restore is None:
        proposal = source.read(near(arguments.file or settings.config_dir / "slo.json"), registry)
    else:
        found = store.get(f"{VERSIONS}/{arguments.restore}")
        if found is None:
            return _told(2, f"There is no version {arguments.restore}; --history lists them.")
        proposal = source.checked(f"version {arguments.restore}", found.data["content"], registry)
        note = note or f"restored version {arguments.restore}"
    current = versions.in_force(store, registry, settings.config_dir)
    shown = difference.difference(current.config, current.names, proposal.config, terminal.paint)
    print(f"In force: {current.words}\nProposed: {proposal.source}")
    for warning in warnings_of(replace(proposal.config, burn=load_burn_windows(settings.config_dir))):
        print(f"Warning: {warning}")
    if proposal.notes:
        print("\nNot kept, since nothing here goes by it:\n" + "\n".join(f"    {note}" for note in proposal.notes))
    if not shown.changes:
        print("\nNo change.")
        return 0
    print(f"\n{shown.text}\n")
    if arguments.dry_run:
        print("Nothing was written (--dry-run).")
        return 0
    if not arguments.yes and not terminal.confirmed("Put this in force?"):
        return _told(5, "Not confirmed: nothing was written.")
    by = arguments.by or (author.account(env) if settings.store == "firestore" else author.UNKNOWN)
    try:
        number = versions.upload(store, current.doc, proposal.content, by, note, now)
    except Unavailable as error:
        return _told(
            4,
            f"The store gave no answer to the upload: {error}.\n"
            "Whether it was written is not known; --history tells. To run this again does no harm.",
        )
    print(f"In force is now version {number}, by {by}. The next run of alertRules goes by it.")
    return 0


def _file_as_openslo(arguments: argparse.Namespace, settings: Settings) -> int:
    """YAML on the standard output. Raises `ConfigError`."""
    registry = load_registry(settings.config_dir)
    return _printed(source.read(near(arguments.file or settings.config_dir / "slo.json"), registry), registry)


def _show_as_openslo(store: Store, number: int, settings: Settings) -> int:
    found = store.get(f"{VERSIONS}/{number}")
    if found is None:
        return _told(2, f"There is no version {number}; --history lists them.")
    registry = load_registry(settings.config_dir)
    return _printed(source.checked(f"version {number}", found.data["content"], registry), registry)


def _printed(proposal: source.Proposal, registry: Registry) -> int:
    from scripts.slo_config.openslo_export import exported

    print(exported(proposal.content, proposal.config, registry, proposal.source), end="")
    return 0


def near(path: Path) -> Path:
    """As one would name it from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _history(store: Store) -> int:
    found = versions.versions(store, LISTED)
    doc = store.get(DOCUMENT)
    rows = [
        (
            str(v.data["version"]),
            f"{v.data['uploadedAt']:%Y-%m-%d %H:%M}",
            v.data["hash"],
            v.data["uploadedBy"],
            v.data["note"],
        )
        for v in found
    ]
    if rows:
        table = [("version", "uploaded (UTC)", "hash", "by", "note"), *rows]
        widths = [max(len(row[n]) for row in table) for n in range(5)]
        for row in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    else:
        print("No version was uploaded yet.")
    if len(found) == LISTED and found[-1].data["version"] > 1:
        print("Older ones are there too: --show N")
    print(f"\nIn force: {versions.described(doc)}")
    return 0


def _show(store: Store, number: int, _: Settings) -> int:
    """The JSON alone goes to the standard output, so that it can be put into a file."""
    found = store.get(f"{VERSIONS}/{number}")
    if found is None:
        return _told(2, f"There is no version {number}; --history lists them.")
    data = found.data
    note = f": {data['note']}" if data["note"] else ""
    print(f"Version {number} of {data['uploadedAt']:%Y-%m-%d %H:%M} UTC by {data['uploadedBy']}{note}", file=sys.stderr)
    print(json.dumps(data["content"], indent=2, ensure_ascii=False))
    return 0


def _told(code: int, text: str) -> int:
    sys.stdout.flush()
    print(text, file=sys.stderr)
    return code
