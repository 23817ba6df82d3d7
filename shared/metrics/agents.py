"""Loads `config/agents.json`: how often agents beat."""

from __future__ import annotations

from pathlib import Path

from shared.bootstrap import App
from shared.config_file import load_model
from shared.domain.heartbeat import Agents

FILE = "agents.json"


def load_agents(config_dir: Path) -> Agents:
    """Raises `ConfigError` with every fault."""
    return load_model(config_dir / FILE, Agents)


class AgentsLoader:
    """The configuration of this instance, read once."""

    def __init__(self, app: App) -> None:
        self.agents = load_agents(app.settings.config_dir)
