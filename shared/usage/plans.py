"""Loads `config/plans.json`: what each plan allows."""

from __future__ import annotations

from pathlib import Path

from shared.config_file import load_exact
from shared.domain.plans import Plans

FILE = "plans.json"


def load_plans(config_dir: Path) -> Plans:
    """Raises `ConfigError` with every fault."""
    return load_exact(config_dir / FILE, Plans)
