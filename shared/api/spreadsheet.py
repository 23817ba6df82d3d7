"""Texts in CSV that a spreadsheet opens."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def harmless(text: str) -> str:
    """A spreadsheet would take such a text for a formula; an apostrophe in front makes it a text."""
    return f"'{text}" if text.startswith(_FORMULA) else text
