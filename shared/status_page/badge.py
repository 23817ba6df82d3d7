"""The badge as a picture: the state in one word, for a README or a wiki."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from shared.status.cache import Served
from shared.status_page import view

_TONES = {"operational": "#1a7f37", "degraded": "#8a5a00", "outage": "#b3202c"}
_LABEL = 48  # pixels of the word 'status' with its margins
_LETTER = 6.6


def word(served: Served, now: datetime) -> str:
    """operational, degraded, outage, unknown or disabled. Maintenance alone is no disturbance."""
    snapshot = served.snapshot
    if not served.enabled:
        return "disabled"
    if snapshot is None or view.outdated(snapshot, now):
        return "unknown"
    return str(snapshot["overall"])


def picture(state: str) -> bytes:
    """With a name for screen readers, and white text that can be read on each of its colours."""
    width = _LABEL + round(len(state) * _LETTER) + 14
    middle = (_LABEL + width) / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="Status: {state}">'
        f"<title>Status: {state}</title>"
        f'<rect width="{width}" height="20" rx="4" fill="#3b434d"/>'
        f'<path d="M{_LABEL} 0h{width - _LABEL - 4}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4H{_LABEL}z" '
        f'fill="{_TONES.get(state, "#57606a")}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{_LABEL / 2:g}" y="14" textLength="36">status</text>'
        f'<text x="{middle:g}" y="14" textLength="{len(state) * _LETTER:g}">{state}</text></g></svg>'
    ).encode()


def script(served: Served) -> bytes:
    """The custom element `<status-badge>`; a comment that says so while the page is switched off."""
    if not served.enabled:
        return b"// The status page is switched off.\n"
    return (Path(__file__).parent / "badge.js").read_bytes()
