"""What Firebase Hosting does with a path: it redirects, sends a file of `public`, or asks the rewrite that fits."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from werkzeug.security import safe_join

_PIECES = re.compile(r"(/\*\*/)|(/\*\*$)|(\*+)|((?:(?!/\*\*(?:/|$))[^*?\[\]{}()!@+])+)|(.)")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Leads to a function, or to a file (`destination`) of the public folder."""

    pattern: re.Pattern[str]
    function_id: str | None
    destination: str | None


@dataclass(frozen=True, slots=True)
class Redirect:
    pattern: re.Pattern[str]
    destination: str
    status: int


@dataclass(frozen=True, slots=True)
class Hosting:
    public: Path
    rewrites: tuple[Rewrite, ...]
    redirects: tuple[Redirect, ...] = ()

    def file(self, path: str) -> Path | None:
        """The file that answers `path`; for a folder its index.html."""
        joined = safe_join(str(self.public), path.lstrip("/"))
        if joined is None:
            return None
        found = Path(joined)
        if found.is_dir():
            found /= "index.html"
        return found if found.is_file() else None

    def redirect(self, path: str) -> Redirect | None:
        return next((r for r in self.redirects if r.pattern.fullmatch(path)), None)

    def rewrite(self, path: str) -> Rewrite | None:
        return next((r for r in self.rewrites if r.pattern.fullmatch(path)), None)


def load(path: Path) -> Hosting:
    """Read firebase.json. Raises ValueError for a glob that is not understood here."""
    hosting = json.loads(path.read_text())["hosting"]
    rewrites = []
    for entry in hosting.get("rewrites", []):
        pattern = re.compile(entry["regex"]) if "regex" in entry else glob(entry["source"])
        function = entry.get("function")
        function_id = function["functionId"] if isinstance(function, dict) else function
        rewrites.append(Rewrite(pattern, function_id, entry.get("destination")))
    redirects = tuple(
        Redirect(glob(entry["source"]), entry["destination"], entry["type"]) for entry in hosting.get("redirects", [])
    )
    return Hosting(path.parent / hosting.get("public", "public"), tuple(rewrites), redirects)


def glob(source: str) -> re.Pattern[str]:
    """`*` is any part of one segment, `**` any number of segments; everything else is meant literally."""
    regex = ""
    for between, last, stars, literal, other in _PIECES.findall(source):
        if other:
            raise ValueError(f"firebase.json: rewrite {source!r}: {other!r} is not understood by the local server")
        if between:
            regex += "/(?:.*/)?"
        elif last:
            regex += "/.*"
        elif stars:
            regex += ".*" if source == "**" else "[^/]*"
        else:
            regex += re.escape(literal)
    return re.compile(regex)
