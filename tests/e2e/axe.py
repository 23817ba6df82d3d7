"""What axe has to complain about a page that is shown in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import axe_playwright_python

SCRIPT = Path(axe_playwright_python.__file__).parent / "axe.min.js"


def faults_of(page: Any, name: str) -> dict[str, list[str]]:
    """By `name` and scheme, light and dark, with the elements; empty where nothing is found.

    A contrast that axe cannot decide counts as one. The page's context must let scripts in (`bypass_csp`).
    """
    page.evaluate(SCRIPT.read_text())
    found = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
        assert result["passes"], "axe has looked at nothing"
        bad = [*result["violations"], *(r for r in result["incomplete"] if r["id"] == "color-contrast")]
        if bad:
            found[f"{name} {scheme}"] = [f"{r['id']}: {[n['html'] for n in r['nodes']][:3]}" for r in bad]
    return found
