"""Who uploads, as far as it is known without asking anybody: the account that Google's tools are signed in with."""

from __future__ import annotations

import configparser
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

UNKNOWN = "unknown"
_EMAIL = re.compile(r"[^\s@/:]+@[^\s@/:]+\.[^\s@/:]+")


def account(env: Mapping[str, str]) -> str:
    """An email address, or `unknown`. Files are read only; the name of this machine's user is never used.

    A service account's key says who writes. The credentials of a person do not, so it is the account of gcloud.
    """
    named = env.get("GOOGLE_APPLICATION_CREDENTIALS")
    folder = Path(env.get("CLOUDSDK_CONFIG") or Path(env.get("HOME") or os.devnull) / ".config" / "gcloud")
    found = _of_credentials(Path(named) if named else folder / "application_default_credentials.json")
    if found or named:
        return found or UNKNOWN
    return _email(env.get("CLOUDSDK_CORE_ACCOUNT")) or _of_gcloud(folder, env) or UNKNOWN


def _of_credentials(path: Path) -> str | None:
    try:
        data: Any = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict):
        return None
    url = data.get("service_account_impersonation_url")
    impersonated = url.rpartition("/")[2].partition(":")[0] if isinstance(url, str) else None
    return _email(impersonated) or _email(data.get("client_email")) or _email(data.get("account"))


def _of_gcloud(folder: Path, env: Mapping[str, str]) -> str | None:
    try:
        name = env.get("CLOUDSDK_ACTIVE_CONFIG_NAME") or (folder / "active_config").read_text().strip()
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string((folder / "configurations" / f"config_{name}").read_text())
        return _email(parser.get("core", "account", fallback=None))
    except (OSError, ValueError, configparser.Error):
        return None


def _email(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= 254 and _EMAIL.fullmatch(value) else None
