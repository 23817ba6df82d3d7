"""Loads `config/agents.json`: how often agents beat."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from shared.bootstrap import App
from shared.domain.faults import WHOLE, ConfigError, faults_of, unreadable
from shared.domain.heartbeat import Agents

FILE = "agents.json"


def load_agents(config_dir: Path) -> Agents:
    """Raises `ConfigError` with every fault."""
    try:
        return Agents.model_validate_json((config_dir / FILE).read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ConfigError(FILE, faults_of(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(FILE, [f"{WHOLE}: {unreadable(error)}"]) from None


class AgentsLoader:
    """The configuration of this instance, read once."""

    def __init__(self, app: App) -> None:
        self.agents = load_agents(app.settings.config_dir)
