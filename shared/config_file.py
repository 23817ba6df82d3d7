"""A file of `config/` as the model that it must fit. Whatever is wrong with it is a `ConfigError` with every fault.

Pydantic is imported only where there is a model: who reads plain JSON starts without it.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shared.domain.faults import WHOLE, ConfigError, faults_of, unreadable

if TYPE_CHECKING:
    from pydantic import BaseModel

Model = TypeVar("Model", bound="BaseModel")


def read_json(path: Path) -> Any:
    """What the file says, its numbers exact: a fraction is a Decimal."""
    try:
        return json.loads(_text(path), parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise ConfigError(path.name, [f"{WHOLE}: is not readable as JSON: {error}"]) from None


def load_exact(path: Path, model: type[Model]) -> Model:
    """For models with Decimals: 0.1 in the file is 0.1 in the model."""
    from pydantic import ValidationError

    try:
        return model.model_validate(read_json(path))
    except ValidationError as error:
        raise ConfigError(path.name, faults_of(error)) from None


def load_model(path: Path, model: type[Model], missing: Model | None = None) -> Model:
    """`missing` is what holds where there is no such file; without it, that is a fault."""
    from pydantic import ValidationError

    if missing is not None and not path.exists():
        return missing
    try:
        return model.model_validate_json(_text(path))
    except ValidationError as error:
        raise ConfigError(path.name, faults_of(error)) from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path.name, [f"{WHOLE}: {unreadable(error)}"]) from None
