"""What gcloud knows: its commands and their flags, by the table it ships for completion in a shell.

Asking each command for its `--help` would take seconds a command. It needs no account and no network.
"""

from __future__ import annotations

import functools
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

_TABLE = Path("data", "cli", "gcloud_completions.py")


@functools.cache
def _tree() -> dict[str, Any] | None:
    gcloud = shutil.which("gcloud")
    table = Path(gcloud).resolve().parent.parent / _TABLE if gcloud else None
    if table is None or not table.is_file():
        return None
    tree: dict[str, Any] = runpy.run_path(str(table))["STATIC_COMPLETION_CLI_TREE"]
    return tree


def require_gcloud() -> None:
    if _tree() is None:
        pytest.skip("gcloud is not installed: the commands are not tested")


def faults_of(argv: list[str]) -> list[str]:
    """What gcloud does not know of a command: of its words, its flags, and whether a flag takes a value."""
    node = _tree()
    assert node is not None
    flags = dict(node["flags"])
    path = ["gcloud"]
    for word in argv[1:]:
        if word not in node["commands"]:
            break
        node = node["commands"][word]
        flags |= node["flags"]
        path.append(word)
    if node["commands"]:
        return [f"{' '.join(path)} needs one of {', '.join(sorted(node['commands']))}"]
    faults = []
    for word in argv:
        flag, equals, _ = word.partition("=")
        if not flag.startswith("--"):
            continue
        kind = flags.get(flag) or flags.get(flag.replace("--no-", "--", 1))
        if kind is None:
            faults.append(f"{' '.join(path)} has no flag {flag}")
        elif kind == "bool" and equals:
            faults.append(f"{' '.join(path)}: {flag} takes no value")
    return faults
