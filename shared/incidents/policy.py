"""Loads `config/incidents.json`, what is policy about incidents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from shared import log
from shared.domain.faults import WHOLE, ConfigError, faults_of, unreadable
from shared.domain.incident_policy import SHIPPED, IncidentPolicy

if TYPE_CHECKING:
    from shared.bootstrap import App

FILE = "incidents.json"


def load_incident_policy(config_dir: Path) -> IncidentPolicy:
    """Raises `ConfigError` with every fault. Without the file, the policy that is shipped."""
    try:
        return IncidentPolicy.model_validate_json((config_dir / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return SHIPPED
    except ValidationError as error:
        raise ConfigError(FILE, faults_of(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(FILE, [f"{WHOLE}: {unreadable(error)}"]) from None


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
