"""A configuration as a person wrote it, read from a file: JSON in our own form, or OpenSLO in YAML."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from shared.domain.faults import WHOLE, ConfigError, unreadable
from shared.domain.metric import Registry
from shared.domain.slo import SloConfig
from shared.domain.slo_file import parse_slos
from shared.slo_loader import digest_of

MAX_BYTES = 500_000  # a document holds 1 MiB, and thousands of SLOs are some mistake


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be in force. `content`: as it will be stored; `notes`: what the file says and nothing goes by."""

    source: str
    content: dict[str, Any]
    config: SloConfig
    notes: tuple[str, ...] = ()


def read(path: Path, registry: Registry) -> Proposal:
    """Raises `ConfigError` with every fault, each with its place."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ConfigError(str(path), [f"{WHOLE}: {len(raw):,} bytes, at most {MAX_BYTES:,}"])
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"{WHOLE}: {unreadable(error)}"]) from None
    if path.suffix.lower() in (".yaml", ".yml"):
        from scripts.slo_config.openslo import convert

        converted = convert(text, str(path), registry)
        return checked(str(path), converted.content, registry, converted.placed, converted.notes)
    return checked(str(path), _json(text, str(path)), registry)


def checked(
    source: str,
    data: Any,
    registry: Registry,
    placed: Callable[[str], str] = lambda fault: fault,
    notes: tuple[str, ...] = (),
) -> Proposal:
    """A configuration that the product takes. `placed` says of a fault where it stands in what a person wrote."""
    faults: list[str] = []
    content = _storable(data, "", faults)
    try:
        config = parse_slos(content, registry, source=source, digest=digest_of(content))
    except ConfigError as error:
        faults = [*error.faults, *faults]
    if faults:
        raise ConfigError(source, [placed(fault) for fault in faults])
    return Proposal(source, content, config, notes)


def _json(text: str, source: str) -> Any:
    """Raises `ConfigError`. Of two equal keys JSON would silently let the second win."""
    faults: list[str] = []

    def once_only(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        faults.extend(f"{name!r} is there twice, in an object of {', '.join(names)}" for name in twice)
        return dict(pairs)

    def no_number(name: str) -> Any:
        raise ValueError(f"{name} is no number in JSON")

    try:
        data = json.loads(text, parse_float=Decimal, parse_constant=no_number, object_pairs_hook=once_only)
    except (ValueError, RecursionError) as error:
        raise ConfigError(source, [f"(the whole): is not readable as JSON: {error}"]) from None
    if faults:
        raise ConfigError(source, faults)
    return data


def _storable(value: Any, path: str, faults: list[str]) -> Any:
    """The same with floats for Decimals: exact, or it is a fault, since a store keeps floats."""
    if isinstance(value, dict):
        return {key: _storable(item, f"{path}.{key}" if path else key, faults) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item, f"{path}[{n}]", faults) for n, item in enumerate(value)]
    if isinstance(value, Decimal):
        number = float(value)
        if Decimal(repr(number)) != value:
            faults.append(
                f"{path}: {value} has more digits than a number in the store keeps; the nearest is {number!r}"
            )
        return number
    return value
