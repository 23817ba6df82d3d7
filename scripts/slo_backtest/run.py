"""One backtest in a terminal, from the arguments to the exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from scripts.slo_backtest.table import Compared, table
from scripts.slo_config import source, versions
from scripts.slo_config.run import near, settings_of
from shared.bootstrap import build_store
from shared.components import load_components
from shared.domain.faults import ConfigError
from shared.domain.slo import SloConfig
from shared.settings import Settings, SettingsError
from shared.slo.backtest import Backtest, backtest
from shared.slo.backtest_json import iso, run_json
from shared.slo_loader import load_burn_windows, load_registry
from shared.store.protocol import Store, StoreError

MOST_DAYS = 400


def run(arguments: argparse.Namespace, env: Mapping[str, str], now: datetime) -> int:
    try:
        settings = settings_of(arguments, env)
    except SettingsError as error:
        return _told(2, f"{error}")
    if settings.store == "sqlite" and not settings.sqlite_path.is_file():
        return _told(2, f"There is no store at {settings.sqlite_path}. Name one: --sqlite PATH, or --project ID.")
    store = build_store(settings)
    try:
        return _replayed(arguments, now, store, settings)
    except ConfigError as error:
        return _told(1, "\n".join(f"{error.source}: {fault}" for fault in error.faults))
    except StoreError as error:
        again = " It may answer again: try once more." if error.retryable else ""
        return _told(4, f"The store did not take part: {error}.{again}")
    finally:
        store.close()


def _replayed(arguments: argparse.Namespace, now: datetime, store: Store, settings: Settings) -> int:
    registry = load_registry(settings.config_dir)
    components = load_components(settings.config_dir)
    burn = load_burn_windows(settings.config_dir)
    proposal = source.read(near(arguments.file or settings.config_dir / "slo.json"), registry)
    current = versions.in_force(store, registry, settings.config_dir)
    today = current.config or SloConfig((), "")
    ids = dict.fromkeys(slo.id for config in (today, proposal.config) for slo in config.slos)
    if arguments.slo and arguments.slo not in ids:
        return _told(2, f"There is no SLO {arguments.slo}; there are: {', '.join(ids) or 'none'}.")
    wanted = [arguments.slo] if arguments.slo else list(ids)
    configs = [
        replace(config, burn=burn, slos=tuple(slo for slo in config.slos if slo.id in wanted))
        for config in (today, proposal.config)
    ]
    found = backtest(store, registry, configs, components, arguments.days, now, _progress)
    before, after = ({run.slo.id: run for run in runs} for runs in found.runs)
    compared = [Compared(before.get(slo_id), after.get(slo_id)) for slo_id in wanted]
    if arguments.json:
        print(json.dumps(_json(found, compared), indent=2))
        return 0
    print(f"In force: {current.words}\nProposed: {proposal.source}")
    print(f"Replayed: {found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC\n")
    print(table(found, compared))
    return 0


def _json(found: Backtest, compared: list[Compared]) -> dict[str, object]:
    return {
        "from": iso(found.start),
        "to": iso(found.end),
        "slos": [
            {
                "id": one.slo.id,
                "name": one.slo.name,
                "today": one.today and run_json(one.today),
                "proposal": one.proposed and run_json(one.proposed),
            }
            for one in compared
        ],
    }


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _told(code: int, text: str) -> int:
    sys.stdout.flush()
    print(text, file=sys.stderr)
    return code
