"""Every setting, from the environment: typed, checked together, all faults told at once.

A value of the form `sm://NAME` or `sm://NAME/VERSION` is read from Secret Manager at the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Literal

StoreKind = Literal["firestore", "sqlite"]
SmtpSecurity = Literal["starttls", "tls", "none"]
NAMES = (
    "F0_STORE",
    "GOOGLE_CLOUD_PROJECT",
    "GCLOUD_PROJECT",
    "FIRESTORE_DATABASE",
    "SQLITE_PATH",
    "CONFIG_DIR",
    "INGEST_KEYS",
    "USAGE_KEYS",
    "STATUS_PAGE_URL",
    "CONSOLE_URL",
    "SLACK_WEBHOOK_URL",
    "SLACK_BOT_TOKEN",
    "SLACK_OPS_CHANNEL",
    "SLACK_API_URL",
    "OPS_EMAIL",
    "EMAIL_FROM",
    "SMTP_HOST",
    "SMTP_PORT",
    "SMTP_SECURITY",
    "SMTP_USER",
    "SMTP_PASSWORD",
    "PAGERDUTY_ROUTING_KEY",
    "PAGERDUTY_URL",
    "WEBHOOK_URL",
    "HEARTBEAT_URL",
    "WEBHOOK_SECRET",
    "SCHEDULER_SERVICE_ACCOUNT",
    "SCHEDULER_AUDIENCES",
    "CORS_ORIGINS",
    "APP_BASE_URL",
    "FIREBASE_API_KEY",
    "STRIPE_API_KEY",
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "PROBE_BUCKET",
    "PROBE_FEEDS",
    "DEV_SCHEDULER_ISSUER",
    "DEV_SCHEDULER_JWKS_URL",
    "DEV_ADMIN_ISSUER",
    "DEV_ADMIN_JWKS_URL",
)
PROBE_KEYS = ("FIREBASE_API_KEY", "STRIPE_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY")
PROBING = "healthprobe"  # as Cloud Run names the function's service
FIREBASE_ISSUER = "https://securetoken.google.com/"
FIREBASE_KEYS = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
DEV_AUDIENCE = "f0-ops-dev"
SLACK_API = "https://slack.com/api"
PAGERDUTY_EVENTS = "https://events.pagerduty.com/v2/enqueue"
_SECRET_FIELDS = (
    "ingest_keys", "usage_keys", "slack_webhook_url", "slack_bot_token", "smtp_password", "pagerduty_key",
    "webhook_url", "heartbeat_url", "webhook_secret", "probe_values",
)  # fmt: skip
_SMTP_PORTS: Mapping[SmtpSecurity, int] = {"starttls": 587, "tls": 465, "none": 25}
_URL = re.compile(r"https?://[^\s/?#@]+([/?#]\S*)?")  # no user:password@
_ORIGIN = re.compile(r"https?://[^\s/?#@]+")
_EMAIL = re.compile(r"(?=[!-~]+$)[^\s@<>,]+@[^\s@<>,]+\.[^\s@<>,]+")
_PROJECT = re.compile(r"[a-z][a-z0-9.:-]{1,61}[a-z0-9]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_SENDABLE = re.compile(r"[ -~]{1,2000}")
_PROBE_NAME = re.compile(r"PROBE_[A-Z0-9_]{1,60}")
_HASH = re.compile(r"[0-9a-f]{64}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[?[0-9a-fA-F:]+\]?")
_PORT = re.compile(r"[1-9]\d{0,4}")
_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}")
_BOT_TOKEN = re.compile(r"xox[a-z]-[A-Za-z0-9-]+")
_LONG_SECRET = re.compile(r"\S{16,}")


def is_name(name: str) -> bool:
    """Whether there is such a setting: one of `NAMES`, or one of the probes' own."""
    return name in NAMES or bool(_PROBE_NAME.fullmatch(name))


class SettingsError(Exception):
    """The environment does not make a usable configuration. `faults` names every fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("settings are not usable:\n  " + "\n  ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Settings:
    """`ingest_keys` and `usage_keys` are SHA-256 hashes in hex. Texts that may be empty are None when not set.

    `admin_issuer` and `admin_audience` are None where no project is set: then nobody is an admin.
    """

    store: StoreKind
    project: str | None
    database: str
    sqlite_path: Path
    config_dir: Path
    ingest_keys: tuple[str, ...]
    usage_keys: tuple[str, ...]
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
    console_url: str | None = None
    slack_bot_token: str | None = None
    slack_api_url: str = SLACK_API
    email_from: str | None = None
    smtp_host: str | None = None
    smtp_port: int = 587
    smtp_security: SmtpSecurity = "starttls"
    smtp_user: str | None = None
    smtp_password: str | None = None
    pagerduty_key: str | None = None
    pagerduty_url: str = PAGERDUTY_EVENTS
    webhook_url: str | None = None
    heartbeat_url: str | None = None
    webhook_secret: str | None = None
    probe_values: Mapping[str, str] = field(default_factory=dict)  # what probes may use, by the setting's name

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
        security = self.smtp_security()
        page = f"https://{project}.web.app/status" if self.on_cloud_run else "http://127.0.0.1:8080/status"
        settings = Settings(
            store=store,
            project=project,
            database=self.text("FIRESTORE_DATABASE") or "(default)",
            sqlite_path=Path(self.text("SQLITE_PATH") or ".f0ops/store.db"),
            config_dir=self.config_dir(),
            ingest_keys=self.keys("INGEST_KEYS"),
            usage_keys=self.keys("USAGE_KEYS"),
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
            console_url=(self.url("CONSOLE_URL") or "").rstrip("/") or None,
            slack_bot_token=self.matching("SLACK_BOT_TOKEN", _BOT_TOKEN, "a bot token such as xoxb-…"),
            slack_api_url=(self.url("SLACK_API_URL") or SLACK_API).rstrip("/"),
            email_from=self.matching("EMAIL_FROM", _EMAIL, "an email address"),
            smtp_host=self.matching("SMTP_HOST", _HOST, "the name of a host"),
            smtp_port=self.port("SMTP_PORT") or _SMTP_PORTS[security],
            smtp_security=security,
            smtp_user=self.text("SMTP_USER"),
            smtp_password=self.text("SMTP_PASSWORD"),
            pagerduty_key=self.matching("PAGERDUTY_ROUTING_KEY", _ROUTING_KEY, "a key of 32 letters and digits"),
            pagerduty_url=self.url("PAGERDUTY_URL") or PAGERDUTY_EVENTS,
            webhook_url=self.url("WEBHOOK_URL"),
            heartbeat_url=self.url("HEARTBEAT_URL"),
            webhook_secret=self.matching("WEBHOOK_SECRET", _LONG_SECRET, "16 characters or more, without spaces"),
            probe_values=self.probe_values(),
        )
        self.halves(settings)
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

    def halves(self, settings: Settings) -> None:
        """What is of no use, or unsafe, without its other half."""
        if settings.smtp_host and not settings.email_from and not self.env.get("EMAIL_FROM", "").strip():
            self.faults.append("EMAIL_FROM is not set: mail that SMTP_HOST is to take needs a sender")
        if settings.smtp_user and settings.smtp_host and settings.smtp_security == "none":
            self.faults.append("SMTP_SECURITY is none: the password of SMTP_USER would go out unencrypted")

    def smtp_security(self) -> SmtpSecurity:
        given = self.text("SMTP_SECURITY") or "starttls"
        if given not in _SMTP_PORTS:
            self.faults.append("SMTP_SECURITY is neither starttls, tls nor none")
        if given == "none" and self.on_cloud_run:
            self.faults.append("SMTP_SECURITY is none: on Cloud Run nothing goes out unencrypted")
        return "tls" if given == "tls" else "none" if given == "none" else "starttls"

    def port(self, name: str) -> int | None:
        given = self.matching(name, _PORT, "a port, 1 to 65535")
        if given is not None and int(given) > 65_535:
            self.faults.append(f"{name} is not a port, 1 to 65535")
            return None
        return int(given) if given else None

    def config_dir(self) -> Path:
        path = Path(self.text("CONFIG_DIR") or Path(__file__).parent.parent / "config")
        if not path.is_dir():
            self.faults.append("CONFIG_DIR is not a directory")
        return path

    def keys(self, name: str) -> tuple[str, ...]:
        """SHA-256 hashes of keys: the one in use, and while keys rotate the next one."""
        keys = self.words(name)
        for n, key in enumerate(keys):
            if not _HASH.fullmatch(key):
                how = "make one with `.venv/bin/python -m scripts.make_key`"
                fault = f"{name}[{n}] is not a SHA-256 hash in hex: {how}"
                self.faults.append(fault)
        if len(keys) > 2:
            self.faults.append(f"{name} has more than two keys: one in use and the next one are enough")
        return keys

    def origins(self) -> tuple[str, ...]:
        origins = self.words("CORS_ORIGINS")
        for n, origin in enumerate(origins):
            if not _ORIGIN.fullmatch(origin):
                self.faults.append(f"CORS_ORIGINS[{n}] is not an origin such as https://app.example.com")
        return origins

    def probe_values(self) -> dict[str, str]:
        """Those that are set. Of all functions only healthProbe reads them, since some are secrets of others."""
        service = self.env.get("K_SERVICE", "")
        if self.on_cloud_run and service.lower() != PROBING:
            return {}
        values = {"APP_BASE_URL": (self.url("APP_BASE_URL") or "").rstrip("/")}
        values["STATUS_PAGE_URL"] = self.text("STATUS_PAGE_URL") or ""  # checked as `public_url`
        values["PROBE_BUCKET"] = self.matching("PROBE_BUCKET", _BUCKET, "the name of a bucket") or ""
        values["PROBE_FEEDS"] = self.switch("PROBE_FEEDS", default=self.on_cloud_run)
        own = ("PROBE_BUCKET", "PROBE_FEEDS")
        named = [name for name in sorted(self.env) if _PROBE_NAME.fullmatch(name) and name not in own]
        for name in (*PROBE_KEYS, *named):
            values[name] = self.matching(name, _SENDABLE, "a text of printable ASCII, as a header takes it") or ""
        return {name: value for name, value in values.items() if value}

    def switch(self, name: str, *, default: bool) -> str:
        """`on`, or nothing where it is off."""
        given = self.text(name) or ("on" if default else "off")
        if given not in ("on", "off"):
            self.faults.append(f"{name} is neither on nor off")
        return given if given == "on" else ""

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
