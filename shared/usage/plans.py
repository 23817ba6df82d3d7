"""Loads `config/plans.json`: what each plan allows."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from pydantic import ValidationError

from shared.domain.faults import WHOLE, ConfigError, faults_of, unreadable
from shared.domain.plans import Plans

FILE = "plans.json"


def load_plans(config_dir: Path) -> Plans:
    """Raises `ConfigError` with every fault."""
    try:
        data = json.loads((config_dir / FILE).read_text(encoding="utf-8"), parse_float=Decimal)
        return Plans.model_validate(data)
    except ValidationError as error:
        raise ConfigError(FILE, faults_of(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(FILE, [f"{WHOLE}: {unreadable(error)}"]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(FILE, [f"{WHOLE}: is not readable as JSON: {error}"]) from None
