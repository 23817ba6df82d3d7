"""Loads `config/components.json`, the components of the public page."""

from __future__ import annotations

import base64
from pathlib import Path

from pydantic import ValidationError

from shared.domain.component import Components
from shared.domain.faults import ConfigError, unreadable, words_of
from shared.domain.probe import KINDS

FILE = "components.json"
MOST_LOGO_BYTES = 6 * 1024  # it is in the page, whose first view is one request of at most 40 KiB
_KINDS = {".svg": "svg+xml", ".png": "png"}


class ComponentsError(ConfigError):
    """The file does not make usable components. `faults` names every fault with its path."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(FILE, faults)


def load_components(config_dir: Path) -> Components:
    """With the logo as a data URL. Raises `ComponentsError` with every fault."""
    try:
        text = (config_dir / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ComponentsError([f"{config_dir / FILE} {unreadable(error)}"]) from error
    return _with_logo(parse_components(text), config_dir)


def parse_components(text: str) -> Components:
    """Components from JSON text. Raises `ComponentsError` with every fault."""
    try:
        return Components.model_validate_json(text)
    except ValidationError as error:
        raise ComponentsError([_told(e["loc"], words_of(e)) for e in error.errors()]) from error


def _told(place: tuple[int | str, ...], message: str) -> str:
    parts = [p for n, p in enumerate(place) if not (p in KINDS and place[max(0, n - 2) : n - 1] == ("probes",))]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    return f"{path or '(the file)'}: {message}"


def _with_logo(components: Components, config_dir: Path) -> Components:
    name = components.page.logo
    if name is None or name.startswith("data:"):
        return components
    file = config_dir / name
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ComponentsError([f"page.logo: {name} {unreadable(error)}"]) from error
    if len(content) > MOST_LOGO_BYTES:
        raise ComponentsError([f"page.logo: {name} has {len(content)} bytes: it takes up to {MOST_LOGO_BYTES}"])
    picture = f"data:image/{_KINDS[file.suffix]};base64,{base64.b64encode(content).decode()}"
    page = components.page.model_copy(update={"logo": picture})
    return components.model_copy(update={"page": page})
