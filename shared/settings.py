"""Every setting, from the environment: typed, checked together, all faults told at once.

A value of the form `sm://NAME` or `sm://NAME/VERSION` is read from Secret Manager at the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Literal

StoreKind = Literal["firestore", "sqlite"]
NAMES = (
    "F0_STORE",
    "GOOGLE_CLOUD_PROJECT",
    "GCLOUD_PROJECT",
    "FIRESTORE_DATABASE",
    "SQLITE_PATH",
    "CONFIG_DIR",
    "INGEST_KEYS",
    "STATUS_PAGE_URL",
    "SLACK_WEBHOOK_URL",
    "SLACK_OPS_CHANNEL",
    "OPS_EMAIL",
    "SCHEDULER_SERVICE_ACCOUNT",
    "SCHEDULER_AUDIENCES",
    "CORS_ORIGINS",
    "DEV_SCHEDULER_ISSUER",
    "DEV_SCHEDULER_JWKS_URL",
    "DEV_ADMIN_ISSUER",
    "DEV_ADMIN_JWKS_URL",
)
FIREBASE_ISSUER = "https://securetoken.google.com/"
FIREBASE_KEYS = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
DEV_AUDIENCE = "f0-ops-dev"
_SECRET_FIELDS = ("ingest_keys", "slack_webhook_url")
_URL = re.compile(r"https?://[^\s/?#@]+([/?#]\S*)?")  # no user:password@
_ORIGIN = re.compile(r"https?://[^\s/?#@]+")
_EMAIL = re.compile(r"[^\s@<>,]+@[^\s@<>,]+\.[^\s@<>,]+")
_PROJECT = re.compile(r"[a-z][a-z0-9.:-]{1,61}[a-z0-9]")
_HASH = re.compile(r"[0-9a-f]{64}")


class SettingsError(Exception):
    """The environment does not make a usable configuration. `faults` names every fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("settings are not usable:\n  " + "\n  ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Settings:
    """`ingest_keys` are SHA-256 hashes in hex. Texts that may be empty are None when not set.

    `admin_issuer` and `admin_audience` are None where no project is set: then nobody is an admin.
    """

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
    admin_issuer: str | None
    admin_audience: str | None
    admin_jwks_url: str
    cors_origins: tuple[str, ...]
    on_cloud_run: bool

    def __repr__(self) -> str:
        """Secrets are masked, so that a Settings may end up in a trace or an assertion."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        masked = {name: "***" if name in _SECRET_FIELDS and value else repr(value) for name, value in values.items()}
        return f"Settings({', '.join(f'{name}={value}' for name, value in masked.items())})"

    @staticmethod
    def load(env: Mapping[str, str], read_secret: Callable[[str], str] | None = None) -> Settings:
        """Raises `SettingsError` with every fault. `read_secret` takes `NAME/VERSION` and returns the secret's text."""
        return _Reader(env, read_secret).settings()


def unsafe(env: Mapping[str, str], store: str) -> list[str]:
    """What is fine on a laptop and must not run in the cloud."""
    faults = ["F0_STORE=sqlite on Cloud Run: its disk is memory, all data would be lost"] if store == "sqlite" else []
    development = [name for name in sorted(env) if name.startswith("DEV_") or "EMULATOR" in name]
    return faults + [f"{name} is set on Cloud Run: it is for development only" for name in development]


def refuse_unsafe(env: Mapping[str, str]) -> None:
    """Raises `SettingsError` on Cloud Run if a setting is unsafe there, so that the process does not start at all.

    The revision then never becomes ready, and the one before goes on serving.
    """
    faults = unsafe(env, env.get("F0_STORE", "").strip()) if env.get("K_SERVICE") else []
    if faults:
        raise SettingsError(faults)


class _Reader:
    def __init__(self, env: Mapping[str, str], read_secret: Callable[[str], str] | None) -> None:
        self.env = env
        self.read_secret = cache(read_secret) if read_secret else None  # one that fails is tried once a setting
        self.on_cloud_run = bool(env.get("K_SERVICE"))
        self.faults: list[str] = []

    def settings(self) -> Settings:
        """Functions are given only what they need, so a setting that is absent is a fault only where all need it."""
        project = self.matching("GOOGLE_CLOUD_PROJECT", _PROJECT, "a project's id") or self.matching(
            "GCLOUD_PROJECT", _PROJECT, "a project's id"
        )
        store = self.store(project)
        account = self.matching("SCHEDULER_SERVICE_ACCOUNT", _EMAIL, "an email address")
        if self.on_cloud_run:
            self.faults += unsafe(self.env, store)
            if account is None and not self.env.get("SCHEDULER_SERVICE_ACCOUNT", "").strip():
                self.faults.append("SCHEDULER_SERVICE_ACCOUNT is not set: scheduled functions accept its calls alone")
        dev_admin = self.text("DEV_ADMIN_ISSUER")
        page = f"https://{project}.web.app/status" if self.on_cloud_run else "http://127.0.0.1:8080/status"
        settings = Settings(
            store=store,
            project=project,
            database=self.text("FIRESTORE_DATABASE") or "(default)",
            sqlite_path=Path(self.text("SQLITE_PATH") or ".f0ops/store.db"),
            config_dir=self.config_dir(),
            ingest_keys=self.ingest_keys(),
            public_url=(self.url("STATUS_PAGE_URL") or page).rstrip("/"),
            slack_webhook_url=self.url("SLACK_WEBHOOK_URL"),
            slack_channel=self.text("SLACK_OPS_CHANNEL") or "#ops-alerts",
            ops_email=self.matching("OPS_EMAIL", _EMAIL, "an email address") or "ops@f0.com",
            scheduler_service_account=account,
            scheduler_audiences=self.words("SCHEDULER_AUDIENCES"),
            scheduler_issuer=self.text("DEV_SCHEDULER_ISSUER") or "https://accounts.google.com",
            scheduler_jwks_url=self.url("DEV_SCHEDULER_JWKS_URL") or "https://www.googleapis.com/oauth2/v3/certs",
            admin_issuer=dev_admin or (f"{FIREBASE_ISSUER}{project}" if project else None),
            admin_audience=project or (DEV_AUDIENCE if dev_admin else None),
            admin_jwks_url=self.url("DEV_ADMIN_JWKS_URL") or FIREBASE_KEYS,
            cors_origins=self.origins(),
            on_cloud_run=self.on_cloud_run,
        )
        if self.faults:
            raise SettingsError(self.faults)
        return settings

    def store(self, project: str | None) -> StoreKind:
        kind = self.text("F0_STORE") or ("firestore" if self.on_cloud_run or project else "sqlite")
        if kind not in ("firestore", "sqlite"):
            self.faults.append("F0_STORE is neither firestore nor sqlite")
        named = self.env.get("GOOGLE_CLOUD_PROJECT", "").strip() or self.env.get("GCLOUD_PROJECT", "").strip()
        if kind == "firestore" and not named:
            self.faults.append("GOOGLE_CLOUD_PROJECT is not set: Firestore needs the project's id")
        return "sqlite" if kind == "sqlite" else "firestore"

    def config_dir(self) -> Path:
        path = Path(self.text("CONFIG_DIR") or Path(__file__).parent.parent / "config")
        if not path.is_dir():
            self.faults.append("CONFIG_DIR is not a directory")
        return path

    def ingest_keys(self) -> tuple[str, ...]:
        keys = self.words("INGEST_KEYS")
        for n, key in enumerate(keys):
            if not _HASH.fullmatch(key):
                self.faults.append(
                    f"INGEST_KEYS[{n}] is not a SHA-256 hash in hex: make one with `python -m scripts.make_key`"
                )
        if len(keys) > 2:
            self.faults.append("INGEST_KEYS has more than two keys: one in use and the next one are enough")
        return keys

    def origins(self) -> tuple[str, ...]:
        origins = self.words("CORS_ORIGINS")
        for n, origin in enumerate(origins):
            if not _ORIGIN.fullmatch(origin):
                self.faults.append(f"CORS_ORIGINS[{n}] is not an origin such as https://app.example.com")
        return origins

    def text(self, name: str) -> str | None:
        """None where it is not set or empty."""
        value = self.env.get(name, "").strip()
        if value.startswith("sm://"):
            return self.secret(name, value.removeprefix("sm://"))
        return value or None

    def secret(self, name: str, reference: str) -> str | None:
        reference = reference if "/" in reference else reference + "/latest"
        if self.read_secret is None:
            self.faults.append(f"{name} names a secret, but no Secret Manager can be reached here")
            return None
        try:
            return self.read_secret(reference).strip() or None
        except Exception as error:  # noqa: BLE001 - whatever the client raises, it is told with the other faults
            self.faults.append(f"{name}: secret {reference!r} could not be read ({type(error).__name__})")
            return None

    def words(self, name: str) -> tuple[str, ...]:
        return tuple((self.text(name) or "").replace(",", " ").split())

    def matching(self, name: str, pattern: re.Pattern[str], what: str) -> str | None:
        """The values themselves are in no fault: any of them may be a secret, pasted in the wrong place."""
        value = self.text(name)
        if value is not None and not pattern.fullmatch(value):
            self.faults.append(f"{name} is not {what}")
            return None
        return value

    def url(self, name: str) -> str | None:
        value = self.matching(name, _URL, "an http(s) URL")
        if value is not None and self.on_cloud_run and not value.startswith("https://"):
            self.faults.append(f"{name} is not https: on Cloud Run nothing goes out unencrypted")
        return value
