"""The runbooks of `runbooks/`, one Markdown file each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / "runbooks"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_SEVERITY = re.compile(r"^## Severity: (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Runbook:
    """`name` is the file's without its ending. `summary`: its first sentence. `severity` as it is written, or None."""

    name: str
    title: str
    summary: str
    severity: str | None
    markdown: str


def all_runbooks(folder: Path = FOLDER) -> list[Runbook]:
    """Those of the folder by name; its index, README.md, is none."""
    return [_read(path) for path in sorted(folder.glob("*.md")) if _NAME.fullmatch(path.stem)]


def runbook(name: str, folder: Path = FOLDER) -> Runbook | None:
    """The one of this name, or None. A name that could lead elsewhere is no name."""
    path = folder / f"{name}.md"
    return _read(path) if _NAME.fullmatch(name) and path.is_file() else None


def _read(path: Path) -> Runbook:
    text = path.read_text(encoding="utf-8")
    title, severity = _TITLE.search(text), _SEVERITY.search(text)
    paragraphs = [part for part in text.split("\n\n") if not part.startswith("#")]
    summary = " ".join(paragraphs[0].split()) if paragraphs else ""
    return Runbook(path.stem, title[1] if title else path.stem, summary, severity[1] if severity else None, text)
