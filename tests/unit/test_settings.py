"""Settings from an environment: what is taken, what is refused, and that no secret is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from flask import Request, Response
from werkzeug.test import EnvironBuilder

from shared import bootstrap, settings
from shared.api.http import run
from shared.settings import Settings, SettingsError

HASH = "0123456789abcdef" * 4
CLOUD = {
    "K_SERVICE": "statusapi",
    "GOOGLE_CLOUD_PROJECT": "ops-prod",
    "SCHEDULER_SERVICE_ACCOUNT": "f0-ops@ops-prod.iam.gserviceaccount.com",
}
WEBHOOK = "https://hooks.slack.com/services/T1/B1/verysecret"


ROUTING_KEY = "R0verysecret0123456789abcdef0123"


def faults(env: Mapping[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        Settings.load(env)
    return raised.value.faults


def fault(env: Mapping[str, str]) -> str:
    found = faults(env)
    assert len(found) == 1, found
    return found[0]


def test_an_empty_environment_is_a_laptop_with_sqlite() -> None:
    loaded = Settings.load({})
    assert loaded.store == "sqlite"
    assert loaded.sqlite_path == Path(".f0ops/store.db")
    assert (loaded.slack_channel, loaded.ops_email) == ("#ops-alerts", "ops@f0.com")
    assert loaded.ingest_keys == ()
    assert not loaded.on_cloud_run


def test_empty_values_count_as_not_set() -> None:
    assert Settings.load(dict.fromkeys(settings.NAMES, " ")) == Settings.load({})


def test_in_the_cloud_three_settings_are_enough_so_a_function_needs_no_secret_of_another() -> None:
    loaded = Settings.load(CLOUD)
    assert loaded.store == "firestore"
    assert loaded.ingest_keys == ()
    assert loaded.slack_webhook_url is None
    assert loaded.public_url == "https://ops-prod.web.app/status"


@pytest.mark.parametrize("name", ["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"])
def test_a_project_means_firestore(name: str) -> None:
    assert Settings.load({name: "ops-prod"}).store == "firestore"


def test_all_values_are_taken(tmp_path: Path) -> None:
    loaded = Settings.load(
        {
            "F0_STORE": "sqlite",
            "GOOGLE_CLOUD_PROJECT": "ops-prod",
            "FIRESTORE_DATABASE": "ops",
            "SQLITE_PATH": "/data/x.db",
            "CONFIG_DIR": str(tmp_path),
            "INGEST_KEYS": f"{HASH}, {HASH[::-1]}",
            "USAGE_KEYS": HASH[::-1],
            "STATUS_PAGE_URL": "https://status.example.com/",
            "SLACK_WEBHOOK_URL": WEBHOOK,
            "SLACK_OPS_CHANNEL": "#war-room",
            "OPS_EMAIL": "oncall@example.com",
            "SCHEDULER_SERVICE_ACCOUNT": "runner@ops-prod.iam.gserviceaccount.com",
            "SCHEDULER_AUDIENCES": "https://a.example.com https://b.example.com",
            "DEV_SCHEDULER_ISSUER": "http://127.0.0.1:8080",
            "DEV_SCHEDULER_JWKS_URL": "http://127.0.0.1:8080/keys",
            "DEV_ADMIN_ISSUER": "http://127.0.0.1:8080/dev/admins",
            "DEV_ADMIN_JWKS_URL": "http://127.0.0.1:8080/admin-keys",
            "CORS_ORIGINS": "https://app.example.com,http://localhost:3000",
            "CONSOLE_URL": "https://console.example.com/ops/",
            "SLACK_BOT_TOKEN": "xoxb-1-verysecret",
            "SLACK_API_URL": "https://slack-gov.com/api",
            "EMAIL_FROM": "f0-ops@example.com",
            "SMTP_HOST": "smtp.example.com",
            "SMTP_PORT": "2465",
            "SMTP_SECURITY": "tls",
            "SMTP_USER": "f0",
            "SMTP_PASSWORD": "a verysecret password",
            "PAGERDUTY_ROUTING_KEY": ROUTING_KEY,
            "PAGERDUTY_URL": "https://events.eu.pagerduty.com/v2/enqueue",
            "WEBHOOK_URL": "https://hooks.example.com/ops",
            "WEBHOOK_SECRET": "verysecretverysecret",
        }
    )
    assert loaded == Settings(
        store="sqlite",
        project="ops-prod",
        database="ops",
        sqlite_path=Path("/data/x.db"),
        config_dir=tmp_path,
        ingest_keys=(HASH, HASH[::-1]),
        usage_keys=(HASH[::-1],),
        public_url="https://status.example.com",
        slack_webhook_url=WEBHOOK,
        slack_channel="#war-room",
        ops_email="oncall@example.com",
        scheduler_service_account="runner@ops-prod.iam.gserviceaccount.com",
        scheduler_audiences=("https://a.example.com", "https://b.example.com"),
        scheduler_issuer="http://127.0.0.1:8080",
        scheduler_jwks_url="http://127.0.0.1:8080/keys",
        admin_issuer="http://127.0.0.1:8080/dev/admins",
        admin_audience="ops-prod",
        admin_jwks_url="http://127.0.0.1:8080/admin-keys",
        cors_origins=("https://app.example.com", "http://localhost:3000"),
        on_cloud_run=False,
        console_url="https://console.example.com/ops",
        slack_bot_token="xoxb-1-verysecret",
        slack_api_url="https://slack-gov.com/api",
        email_from="f0-ops@example.com",
        smtp_host="smtp.example.com",
        smtp_port=2465,
        smtp_security="tls",
        smtp_user="f0",
        probe_values={"STATUS_PAGE_URL": "https://status.example.com/"},
        smtp_password="a verysecret password",
        pagerduty_key=ROUTING_KEY,
        pagerduty_url="https://events.eu.pagerduty.com/v2/enqueue",
        webhook_url="https://hooks.example.com/ops",
        webhook_secret="verysecretverysecret",
    )


@pytest.mark.parametrize(("security", "port"), [("", 587), ("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_of_mail_is_the_usual_one_of_its_security(security: str, port: int) -> None:
    assert Settings.load({"SMTP_SECURITY": security}).smtp_port == port


def test_mail_without_a_sender_or_with_a_password_in_the_clear_is_a_fault() -> None:
    assert fault({"SMTP_HOST": "smtp.example.com"}).startswith("EMAIL_FROM is not set")
    mail = {"SMTP_HOST": "smtp.example.com", "EMAIL_FROM": "a@b.example", "SMTP_SECURITY": "none"}
    assert fault({**mail, "SMTP_USER": "f0", "SMTP_PASSWORD": "x"}).startswith("SMTP_SECURITY is none")
    assert fault({**CLOUD, **mail}).startswith("SMTP_SECURITY is none: on Cloud Run")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("F0_STORE", "mongodb"),
        ("GOOGLE_CLOUD_PROJECT", "Not A Project"),
        ("GCLOUD_PROJECT", "../x"),
        ("CONFIG_DIR", "/nonexistent/config"),
        ("INGEST_KEYS", "not-a-hash"),
        ("INGEST_KEYS", HASH.upper()),
        ("INGEST_KEYS", " ".join([HASH] * 3)),
        ("USAGE_KEYS", "not-a-hash"),
        ("STATUS_PAGE_URL", "status.example.com"),
        ("STATUS_PAGE_URL", "ftp://status.example.com"),
        ("SLACK_WEBHOOK_URL", "https://"),
        ("SLACK_WEBHOOK_URL", "https://user:password@hooks.example.com/x"),
        ("OPS_EMAIL", "ops"),
        ("SCHEDULER_SERVICE_ACCOUNT", "f0-ops"),
        ("DEV_SCHEDULER_JWKS_URL", "keys.json"),
        ("CORS_ORIGINS", "*"),
        ("CONSOLE_URL", "console.example.com"),
        ("SLACK_BOT_TOKEN", "https://hooks.slack.com/services/x"),
        ("SLACK_API_URL", "slack.com"),
        ("EMAIL_FROM", "F0 Ops"),
        ("SMTP_HOST", "smtp.example.com:587"),
        ("SMTP_PORT", "0"),
        ("SMTP_PORT", "70000"),
        ("SMTP_SECURITY", "ssl"),
        ("PAGERDUTY_ROUTING_KEY", "too-short"),
        ("PAGERDUTY_URL", "events.pagerduty.com"),
        ("WEBHOOK_URL", "https://user:password@example.com/"),
        ("WEBHOOK_SECRET", "short"),
        ("CORS_ORIGINS", "https://app.example.com/path"),
    ],
)
def test_a_value_that_cannot_be_right_is_a_fault_that_names_the_setting_and_not_the_value(
    name: str, value: str
) -> None:
    found = fault({name: value})
    assert found.startswith(name)
    assert value not in found


def test_all_faults_are_told_at_once() -> None:
    env = {"F0_STORE": "x", "INGEST_KEYS": "a b", "SLACK_WEBHOOK_URL": "nope", "OPS_EMAIL": "nope", "CORS_ORIGINS": "*"}
    assert len(faults(env)) == 6
    with pytest.raises(SettingsError, match=r"(?s)F0_STORE.*INGEST_KEYS\[0\].*INGEST_KEYS\[1\].*SLACK_WEBHOOK_URL"):
        Settings.load(env)


def test_firestore_needs_a_project() -> None:
    assert fault({"F0_STORE": "firestore"}).startswith("GOOGLE_CLOUD_PROJECT")


def test_on_cloud_run_the_scheduler_account_must_be_set() -> None:
    env = {k: v for k, v in CLOUD.items() if k != "SCHEDULER_SERVICE_ACCOUNT"}
    assert fault(env).startswith("SCHEDULER_SERVICE_ACCOUNT is not set")


@pytest.mark.parametrize(
    "name",
    [
        "DEV_SCHEDULER_ISSUER",
        "DEV_ANYTHING",
        "FIRESTORE_EMULATOR_HOST",
        "FIREBASE_AUTH_EMULATOR_HOST",
        "FIREBASE_STORAGE_EMULATOR_HOST",
        "FUNCTIONS_EMULATOR",
    ],
)
def test_what_is_for_development_refuses_to_start_on_cloud_run_and_not_elsewhere(name: str) -> None:
    assert fault({**CLOUD, name: "127.0.0.1:8080"}).startswith(f"{name} is set on Cloud Run")
    assert Settings.load({name: "127.0.0.1:8080"})


def test_sqlite_refuses_to_start_on_cloud_run() -> None:
    assert fault({**CLOUD, "F0_STORE": "sqlite"}).startswith("F0_STORE=sqlite")


@pytest.mark.parametrize("name", ["SLACK_WEBHOOK_URL", "STATUS_PAGE_URL"])
def test_plain_http_is_refused_on_cloud_run_and_not_elsewhere(name: str) -> None:
    assert fault({**CLOUD, name: "http://hooks.example.com/x"}).startswith(f"{name} is not https")
    assert Settings.load({name: "http://127.0.0.1:8080/x"})


def test_a_secret_reference_is_read_with_its_version_or_the_latest() -> None:
    asked = []

    def read(reference: str) -> str:
        asked.append(reference)
        return WEBHOOK + "\n" if "slack" in reference else HASH

    loaded = Settings.load({"SLACK_WEBHOOK_URL": "sm://slack-webhook-url", "INGEST_KEYS": "sm://ingest-keys/4"}, read)
    assert (loaded.slack_webhook_url, loaded.ingest_keys) == (WEBHOOK, (HASH,))
    assert sorted(asked) == ["ingest-keys/4", "slack-webhook-url/latest"]


def test_a_secret_that_cannot_be_read_is_a_fault_among_the_others() -> None:
    def read(reference: str) -> str:
        raise PermissionError("verysecret")

    with pytest.raises(SettingsError) as raised:
        Settings.load({"SLACK_WEBHOOK_URL": "sm://slack-webhook-url", "OPS_EMAIL": "x"}, read)
    assert raised.value.faults == [
        "SLACK_WEBHOOK_URL: secret 'slack-webhook-url/latest' could not be read (PermissionError)",
        "OPS_EMAIL is not an email address",
    ]


def test_a_secret_reference_without_a_reader_is_a_fault() -> None:
    assert fault({"INGEST_KEYS": "sm://ingest-keys"}).startswith("INGEST_KEYS names a secret")


def test_a_secret_of_the_wrong_form_is_a_fault_that_does_not_tell_it() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.load({"SLACK_WEBHOOK_URL": "sm://a", "INGEST_KEYS": "sm://b"}, lambda _: "verysecret")
    assert len(raised.value.faults) == 2
    assert "verysecret" not in str(raised.value)


def test_the_repr_masks_secrets_and_tells_whether_they_are_set() -> None:
    shown = repr(Settings.load({"SLACK_WEBHOOK_URL": WEBHOOK, "INGEST_KEYS": HASH, "OPS_EMAIL": "a@b.example"}))
    assert "verysecret" not in shown
    assert HASH not in shown
    assert "slack_webhook_url=***, slack_channel='#ops-alerts', ops_email='a@b.example'" in shown
    assert "slack_webhook_url=None" in repr(Settings.load({}))


class Recording(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_the_list_of_names_is_what_the_loader_asks_for() -> None:
    env = Recording()
    Settings.load(env)
    assert env.asked - {"K_SERVICE"} == set(settings.NAMES)


def test_a_function_whose_settings_are_not_usable_serves_nothing_and_logs_every_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(request: Request, app: bootstrap.App) -> Response:
        raise AssertionError("the handler was called")

    for name in (*settings.NAMES, "K_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**CLOUD, "F0_STORE": "sqlite", "DEV_SCHEDULER_ISSUER": "http://127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    bootstrap.install(None)
    answer = run(handler, Request(EnvironBuilder().get_environ()))
    assert answer.status_code == 500
    assert json.loads(answer.data)["code"] == "settings_not_usable"
    (line,) = capsys.readouterr().out.splitlines()
    assert [fault.split()[0] for fault in json.loads(line)["faults"]] == ["F0_STORE=sqlite", "DEV_SCHEDULER_ISSUER"]


@pytest.mark.parametrize(
    "unsafe", [{"F0_STORE": "sqlite"}, {"DEV_CLOCK_SPEED": "30"}, {"FIRESTORE_EMULATOR_HOST": "x:1"}]
)
def test_a_function_with_an_unsafe_setting_does_not_start_on_cloud_run(unsafe: dict[str, str]) -> None:
    root = Path(__file__).parent.parent.parent
    command = [
        sys.executable,
        "-m",
        "functions_framework",
        "--target",
        "statusApi",
        "--source",
        "main.py",
        "--port",
        "0",
    ]
    env = {"PATH": os.environ["PATH"], "K_SERVICE": "status-api", "GOOGLE_CLOUD_PROJECT": "p", **unsafe}
    ended = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert f"{next(iter(unsafe))}" in ended.stderr
    assert "on Cloud Run" in ended.stderr


class TestProbes:
    KEYS: ClassVar = {
        "APP_BASE_URL": "https://app.example.com/",
        "STRIPE_API_KEY": "rk_canary",
        "PROBE_TOKEN": "canary",
        "PROBE_BUCKET": "my-bucket",
    }

    def test_what_probes_use_is_read_by_name(self) -> None:
        values = Settings.load(self.KEYS).probe_values
        assert values == {**self.KEYS, "APP_BASE_URL": "https://app.example.com"}

    def test_they_are_in_no_trace(self) -> None:
        assert "canary" not in repr(Settings.load(self.KEYS))

    @pytest.mark.parametrize(("service", "reads"), [("healthprobe", True), ("alertrules", False), ("statusapi", False)])
    def test_deployed_only_health_probe_reads_them_and_asks_for_their_secrets(self, service: str, reads: bool) -> None:
        asked: list[str] = []

        def read(reference: str) -> str:
            asked.append(reference)
            return "rk_live"

        env = {**CLOUD, "K_SERVICE": service, "STRIPE_API_KEY": "sm://stripe-api-key"}
        values = Settings.load(env, read).probe_values
        assert values.get("STRIPE_API_KEY") == ("rk_live" if reads else None)
        assert asked == (["stripe-api-key/latest"] if reads else [])
        assert values.get("PROBE_FEEDS") == ("on" if reads else None)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("APP_BASE_URL", "app.example.com"),
            ("PROBE_TOKEN", "a\r\nb"),
            ("PROBE_TOKEN", "grün"),
            ("PROBE_BUCKET", "gs://x"),
            ("PROBE_FEEDS", "yes"),
        ],
    )
    def test_a_fault_names_the_setting_and_not_its_value(self, name: str, value: str) -> None:
        told = fault({name: value})
        assert told.startswith(name)
        assert value not in told
