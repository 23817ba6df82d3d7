"""Checks the files of `config/` before anything runs on them: for the local server and the deploy script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shared.api.rate_limit import load_limits
from shared.components import load_components
from shared.delivery.policy import load_policy
from shared.domain.faults import ConfigError, unreadable
from shared.flags import load_defaults
from shared.incidents.policy import load_incident_policy
from shared.incidents.runbooks import all_runbooks
from shared.metrics.agents import load_agents
from shared.metrics.storage_usage import load_storage
from shared.slo_loader import load_burn_windows, load_file, load_registry
from shared.usage.plans import load_plans
from shared.usage.prices import load_pricing
from shared.usage.spending import load_spending


def faults(folder: Path) -> list[str]:
    """Every fault of every file, such as `slo.json: slos[0].metric: unknown metric 'x'`; empty if all is well."""
    checks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("metrics.json", lambda: load_registry(folder)),
        ("slo.json", lambda: _check_slos(folder)),
        ("burn_windows.json", lambda: load_burn_windows(folder)),
        ("components.json", lambda: load_components(folder)),
        ("agents.json", lambda: load_agents(folder)),
        ("flags.json", lambda: load_defaults(folder)),
        ("notifications.json", lambda: load_policy(folder)),
        ("incidents.json", lambda: load_incident_policy(folder)),
        ("storage.json", lambda: load_storage(folder)),
        ("limits.json", lambda: load_limits(folder)),
        ("pricing.json", lambda: load_pricing(folder)),
        ("spending.json", lambda: load_spending(folder)),
        ("plans.json", lambda: load_plans(folder)),
    )
    found: list[str] = []
    for name, check in checks:
        try:
            check()
        except ConfigError as error:  # of another file: told with that file
            found += [f"{name}: {fault}" for fault in error.faults if error.source == name]
        except (OSError, UnicodeDecodeError) as error:
            found.append(f"{name}: {unreadable(error)}")
        except ValueError as error:
            found.append(f"{name}: cannot be read: {error}")
    return list(dict.fromkeys(found))


def _check_slos(folder: Path) -> None:
    """The file by itself, and whether the runbooks that it names are there."""
    config = load_file(folder / "slo.json", load_registry(folder))
    there = [found.name for found in all_runbooks()]
    missing = [
        f"slos[{n}].alert.runbook: there is no {slo.alert.runbook!r}; there are {', '.join(there)}"
        for n, slo in enumerate(config.slos)
        if slo.alert.runbook not in (None, *there)
    ]
    if missing:
        raise ConfigError("slo.json", missing)
