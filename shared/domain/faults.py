"""Every fault of a configuration at once, each with its path."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError  # whoever only catches a ConfigError starts faster without it


class ConfigError(Exception):
    """A configuration that cannot be used. `faults` are lines such as `slos[0].metric: unknown metric 'x'`."""

    def __init__(self, source: str, faults: list[str]) -> None:
        super().__init__(f"{source} is not usable:\n  " + "\n  ".join(faults))
        self.source = source
        self.faults = faults


def faults_of(error: ValidationError) -> list[str]:
    return [f"{path_of(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]


def path_of(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "(the whole)"
