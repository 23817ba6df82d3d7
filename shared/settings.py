"""Every setting, from the environment: typed, checked together, all faults told at once.

A value of the form `sm://NAME` or `sm://NAME/VERSION` is read from Secret Manager at the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

StoreKind = Literal["firestore", "sqlite"]
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")
_HASH = re.compile(r"[0-9a-f]{64}")
_UNSAFE_ON_CLOUD_RUN = ("FIRESTORE_EMULATOR_HOST", "FIREBASE_AUTH_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")


class SettingsError(Exception):
    """The environment does not make a usable configuration. `faults` names every fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("settings are not usable:\n  " + "\n  ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Settings:
    """`ingest_keys` are SHA-256 hashes in hex. Texts that may be empty are None when not set."""

    store: StoreKind
    project: str | None
    database: str
    sqlite_path: Path
    config_dir: Path
    ingest_keys: tuple[str, ...]
    public_url: str
    slack_webhook_url: str | None
    slack_channel: str
    ops_email: str
    scheduler_service_account: str | None
    scheduler_audiences: tuple[str, ...]
    scheduler_issuer: str
    scheduler_jwks_url: str
    cors_origins: tuple[str, ...]
    on_cloud_run: bool

    @staticmethod
    def load(env: Mapping[str, str], read_secret: Callable[[str], str] | None = None) -> Settings:
        """Raises `SettingsError` with every fault. `read_secret` takes `NAME/VERSION` and returns the secret's text."""
        return _Reader(env, read_secret).settings()


class _Reader:
    def __init__(self, env: Mapping[str, str], read_secret: Callable[[str], str] | None) -> None:
        self.env = env
        self.read_secret = read_secret
        self.faults: list[str] = []

    def settings(self) -> Settings:
        on_cloud_run = bool(self.env.get("K_SERVICE"))
        store = self.text("F0_STORE", "firestore" if on_cloud_run or self.env.get("GOOGLE_CLOUD_PROJECT") else "sqlite")
        if store not in ("firestore", "sqlite"):
            self.faults.append(f"F0_STORE is {store!r}: it is firestore or sqlite")
        project = self.text("GOOGLE_CLOUD_PROJECT") or self.text("GCLOUD_PROJECT")
        if store == "firestore" and not project:
            self.faults.append("GOOGLE_CLOUD_PROJECT is not set: Firestore needs the project's id")
        if on_cloud_run:
            self.refuse_unsafe(store)
        keys = self.words("INGEST_KEYS")
        for n, key in enumerate(keys):
            if not _HASH.fullmatch(key):
                self.faults.append(
                    f"INGEST_KEYS[{n}] is not a SHA-256 hash in hex: make one with `python -m scripts.make_key`"
                )
        if len(keys) > 2:
            self.faults.append("INGEST_KEYS has more than two keys: one in use and the next one are enough")
        if on_cloud_run and not self.text("SCHEDULER_SERVICE_ACCOUNT"):
            self.faults.append("SCHEDULER_SERVICE_ACCOUNT is not set: scheduled functions accept its calls alone")
        settings = Settings(
            store="sqlite" if store == "sqlite" else "firestore",
            project=project,
            database=self.text("FIRESTORE_DATABASE", "(default)") or "(default)",
            sqlite_path=Path(self.text("SQLITE_PATH", ".f0ops/store.db") or ""),
            config_dir=Path(self.text("CONFIG_DIR", str(Path(__file__).parent.parent / "config")) or ""),
            ingest_keys=keys,
            public_url=(self.url("STATUS_PAGE_URL", "http://127.0.0.1:8080/status") or "").rstrip("/"),
            slack_webhook_url=self.url("SLACK_WEBHOOK_URL"),
            slack_channel=self.text("SLACK_OPS_CHANNEL", "#ops-alerts") or "",
            ops_email=self.text("OPS_EMAIL", "ops@f0.com") or "",
            scheduler_service_account=self.text("SCHEDULER_SERVICE_ACCOUNT"),
            scheduler_audiences=self.words("SCHEDULER_AUDIENCES"),
            scheduler_issuer=self.text("DEV_SCHEDULER_ISSUER", "https://accounts.google.com") or "",
            scheduler_jwks_url=self.url("DEV_SCHEDULER_JWKS_URL", "https://www.googleapis.com/oauth2/v3/certs") or "",
            cors_origins=self.words("CORS_ORIGINS"),
            on_cloud_run=on_cloud_run,
        )
        if self.faults:
            raise SettingsError(self.faults)
        return settings

    def refuse_unsafe(self, store: str | None) -> None:
        """What is fine on a laptop must not run in the cloud."""
        if store == "sqlite":
            self.faults.append("F0_STORE=sqlite on Cloud Run: its disk is memory, all data would be lost")
        for name in sorted(self.env):
            if name.startswith("DEV_") or name in _UNSAFE_ON_CLOUD_RUN:
                self.faults.append(f"{name} is set on Cloud Run: it is for development only")

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self.env.get(name, "").strip()
        if value.startswith("sm://"):
            return self.secret(name, value.removeprefix("sm://"))
        return value or default

    def secret(self, name: str, reference: str) -> str | None:
        if self.read_secret is None:
            self.faults.append(f"{name} names a secret, but no Secret Manager can be reached here")
            return None
        try:
            return self.read_secret(reference if "/" in reference else reference + "/latest").strip()
        except Exception as error:  # noqa: BLE001 - whatever the client raises, it is told with the other faults
            self.faults.append(f"{name}: secret {reference!r} could not be read ({type(error).__name__})")
            return None

    def words(self, name: str) -> tuple[str, ...]:
        return tuple((self.text(name) or "").replace(",", " ").split())

    def url(self, name: str, default: str | None = None) -> str | None:
        value = self.text(name, default)
        if value is not None and not _URL.fullmatch(value):
            self.faults.append(f"{name} is not an http(s) URL")  # the value may be a secret: not shown
            return None
        return value
