"""`./ops notify` against the real function: exit codes, and what the terminal shows."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from scripts.ops.__main__ import main
from scripts.ops.screen import Screen
from shared.notify.registry import NEEDS
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW
from tests.e2e.test_delivery_first_message import Threaded, grown, only_updates
from tests.fake_servers import FakeSlack, FakeSlackApi, failing
from tests.ops_api import Ops, ops_api
from tests.ops_cli import cli
from tests.unit.test_ops_notifications import add


def notify(ops: Ops, *argv: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    import sys

    env = {"OPS_URL": f"http://127.0.0.1:{ops.port}", "OPS_TOKEN": ops.token()}
    code = main(["notify", *argv], env, Screen.of(sys.stdout, {}))
    told = capsys.readouterr()
    return code, told.out + told.err


def test_a_channel_is_tested_and_a_refusal_is_a_failure(
    sqlite_store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeSlack() as slack, ops_api(sqlite_store, NOW, SLACK_WEBHOOK_URL=slack.url) as ops:
        code, text = notify(ops, "test", "slack", capsys=capsys)
        assert (code, "slack: delivered: ok, status 200, after " in text) == (0, True)
        slack.behave = failing(404, "no_service")
        code, text = notify(ops, "test", "slack", capsys=capsys)
        assert (code, "slack: dead: no_service, status 404" in text) == (1, True)
        code, text = notify(ops, "test", "email", capsys=capsys)
        assert (code, "withheld: not_configured" in text, "Nothing was sent." in text) == (1, True, True)


def test_dead_letters_are_listed_shown_and_sent_again(
    sqlite_store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    name = add(sqlite_store, 1, "dead")
    with ops_api(sqlite_store, NOW) as ops:
        code, text = notify(ops, "list", "--state", "dead", capsys=capsys)
        assert (code, name in text, "no_service" in text) == (0, True, True)
        code, text = notify(ops, "show", name, capsys=capsys)
        assert (code, f"{name}: trigger, dead (no_service)" in text, "404" in text) == (0, True, True)
        code, text = notify(ops, "resend", name, capsys=capsys)
        assert (code, text.endswith(f"{name} is due again.\n")) == (0, True)
        code, text = notify(ops, "list", "--json", capsys=capsys)
        assert (code, json.loads(text[text.index("{\n") :])["notifications"][0]["state"]) == (0, "pending")
        code, text = notify(ops, "resend", name, capsys=capsys)
        assert (code, "only a dead letter is sent again" in text) == (2, True)


@pytest.mark.parametrize(
    "argv",
    [
        ["test"],
        ["test", "fax"],
        ["test", "slack", "--all"],
        ["list", "x"],
        ["list", "--all"],
        ["show"],
        ["show", "a", "b"],
        ["show", "no-such"],
    ],
    ids=str,
)
def test_what_cannot_be_right_ends_in_2(
    sqlite_store: SqliteStore, capsys: pytest.CaptureFixture[str], argv: Sequence[str]
) -> None:
    with ops_api(sqlite_store, NOW) as ops:
        assert notify(ops, *argv, capsys=capsys)[0] == 2


def test_all_that_were_asked_must_accept_and_what_is_not_set_up_says_what_it_needs(sqlite_store: SqliteStore) -> None:
    with FakeSlack() as slack, ops_api(sqlite_store, NOW, SLACK_WEBHOOK_URL=slack.url) as ops:
        both = cli(ops, "notify", "test", "slack", "inapp", "slack")
        assert (both.code, both.err, [line.split(": ")[:2] for line in both.lines]) == (
            0, "", [["slack", "delivered"], ["inapp", "delivered"]],
        )  # fmt: skip
        every = cli(ops, "notify", "test", "--all", "--json")
        assert (every.code, every.err) == (1, "")
        assert {one["channel"]: one["outcome"] for one in every.json} == {
            "slack": "delivered", "email": "withheld", "pagerduty": "withheld", "inapp": "delivered",
            "webhook": "withheld",
        }  # fmt: skip
        one = cli(ops, "notify", "test", "webhook", "--json")
        assert (one.code, one.json["needs"]) == (1, "WEBHOOK_URL and WEBHOOK_SECRET")
        told = cli(ops, "notify", "test", "email", "pagerduty").lines
        assert [line.partition("Nothing was sent. ")[2] for line in told] == [
            "It needs SMTP_HOST and EMAIL_FROM.", "It needs the switch alerts.pagerduty to be on.",
        ]  # fmt: skip


def test_the_page_names_what_each_channel_needs() -> None:
    page = (CONFIG.parent / "docs" / "alerts.md").read_text().replace("`", "")
    assert [channel for channel, needs in NEEDS.items() if f"| {channel} | {needs} |" not in page] == []


def test_of_a_thread_it_shows_what_was_made_of_its_first_message(
    sqlite_store: SqliteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeSlackApi() as slack:
        bench = Threaded(sqlite_store, slack)
        grown(bench)
        slack.behave = only_updates(failing(503))
        bench.deliver()
        with ops_api(sqlite_store, NOW) as ops:
            code, text = notify(ops, "show", "agents-1-slack", capsys=capsys)
            assert (code, "first message (errors-1-slack) is kept up to date. Tried again at 20" in text) == (0, True)
            assert "http_503     503" in text
            told = ops.get("/api/ops/notifications/errors-1-slack").json["firstMessage"]
            assert [each["status"] for each in told["attempts"]] == [503]
