"""Loads `config/incidents.json`, what is policy about incidents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shared import log
from shared.config_file import load_model
from shared.domain.faults import ConfigError
from shared.domain.incident_policy import SHIPPED, IncidentPolicy

if TYPE_CHECKING:
    from shared.bootstrap import App

FILE = "incidents.json"


def load_incident_policy(config_dir: Path) -> IncidentPolicy:
    """Raises `ConfigError` with every fault. Without the file, the policy that is shipped."""
    return load_model(config_dir / FILE, IncidentPolicy, SHIPPED)


class IncidentPolicyLoader:
    """The policy of this instance, read once. One that cannot be used keeps no incident back: the shipped one holds."""

    def __init__(self, app: App) -> None:
        try:
            self.policy = load_incident_policy(app.settings.config_dir)
        except ConfigError as error:
            log.error("incidents.json is not usable: what is shipped holds", faults=error.faults)
            self.policy = SHIPPED


def incident_policy(app: App) -> IncidentPolicy:
    return app.part(IncidentPolicyLoader).policy
