"""`./ops costs`, `usage` and `reconcile` against the served API, and what a terminal shows."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from scripts.ops.__main__ import main
from scripts.ops.money import usd
from scripts.ops.screen import Screen
from tests.unit.usage.test_reconcile import CSV, HAIKU, SONNET, told
from tests.unit.usage.test_usage_api import ten
from tests.usage_api import UsageApi, event


def ask(api: UsageApi, *arguments: str) -> str:
    out = io.StringIO()
    screen = Screen(out, 100, colours=False, braille=True, whole=True)
    token = api.admins.token(api.clock.now)[0]
    code = main([*arguments, "--url", f"http://127.0.0.1:{api.port}", "--token", token], {}, screen)
    assert code == 0
    return out.getvalue()


def test_costs_are_shown_with_the_most_expensive_first_and_the_months_end(local: UsageApi) -> None:
    local.send(*ten())
    lines = ask(local, "costs").splitlines()
    assert [re.split(r"\s{2,}", line) for line in lines[:6]] == [
        ["model", "calls", "tokens", "cost"],
        ["gpt-4-turbo", "2", "105,596", "1.15 USD"],
        ["gpt-4", "3", "9,693", "0.31 USD"],
        ["claude-opus-4", "2", "3,834", "0.11 USD"],
        ["claude-sonnet-4-5", "3", "14,531", "0.058 USD"],
        ["total", "10", "133,654", "1.62 USD"],
    ]
    assert lines[-1] == "2026-11: 1.62 USD so far, 1.62 USD expected at its end."
    assert json.loads(ask(local, "costs", "--json"))["total"]["cost"] == "162.4661"
    assert ask(local, "costs", "--by", "day", "--csv").splitlines()[1].startswith("2026-11-20,10,133654,9000,162.4661")


def test_a_users_days_and_limits_are_shown_and_changed_and_erased(
    local: UsageApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.send(*ten())
    assert "2026-11-20     10  133,654  1.62 USD" in ask(local, "usage", "ada")
    changed = ask(local, "usage", "ada", "--set-quota", '{"day": {"calls": 20}}')
    assert "with limits of this user alone" in changed
    assert re.search(r"day-calls\s+10\s+0\s+10\s+20\s+2026-11-21T00:00", changed)
    assert re.search(r"day-tokens\s+133,654\s+0\s+9,866,346\s+10,000,000 ", changed)
    assert re.search(r"month-cost\s+1\.62 USD\s+0\.00 USD\s+198\.38 USD\s+200\.00 USD ", changed)
    key = local.get("/api/usage/ada")["user"]
    assert ask(local, "usage", key) == ask(local, "usage", "ada")
    assert '"uid": "ada"' in ask(local, "usage", "ada", "--export")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(AssertionError):  # nobody said yes
        ask(local, "usage", "ada", "--erase")
    assert "1.62 USD" in ask(local, "usage", "ada")
    assert "The totals stay." in ask(local, "usage", "ada", "--erase", "--yes")
    assert "Nothing was used" in ask(local, "usage", "ada")


def test_a_users_day_says_how_many_calls_have_no_price(local: UsageApi) -> None:
    local.send(event(), event("request-0002", model="claude-own"))
    assert re.search(r"2026-11-20 +2 +2,400 +0\.0060 USD \+ 1 unpriced", ask(local, "usage", "ada"))


def test_a_bill_is_explained_in_a_terminal(local: UsageApi, tmp_path: Path) -> None:
    local.send(told(1, 2, SONNET, 3000, 600), told(2, 1, SONNET, 4000, 800), told(3, 0, SONNET, 1000, 200))
    local.send(*[told(10 + n, n, HAIKU, 10000, 2000) for n in (0, 1, 2)])
    (tmp_path / "bill.csv").write_text(CSV)
    shown = ask(local, "reconcile", str(tmp_path / "bill.csv"))
    assert "1,200 tokens were billed that nobody told us of" in shown
    assert "Counted 0.11 USD, billed 0.11 USD: variance 0.0020 USD (1.82 % of the bill)." in shown
    assert "Of it late 0.00 USD, missing 0.0060 USD, repriced -0.0040 USD." in shown
    assert "Kept for the report as anthropic-2026-11-18-2026-11-20." in shown
    tried = ask(local, "reconcile", str(tmp_path / "bill.csv"), "--all", "--try")
    assert HAIKU in tried
    assert "Nothing is kept." in tried


def test_what_cannot_be_read_is_a_sentence(local: UsageApi, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(io.StringIO(), 80, colours=False, braille=True)
    token = local.admins.token(local.clock.now)[0]
    where = ["--url", f"http://127.0.0.1:{local.port}", "--token", token]
    assert main(["reconcile", "/nowhere.csv", *where], {}, screen) == 2
    assert main(["usage", "ada", "--set-quota", "{", *where], {}, screen) == 2
    assert main(["costs", "--from", "2026-13-01", *where], {}, screen) == 2
    assert "from: must be a day such as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("exact", "shown"),
    [
        ("0", "0.00 USD"), ("1234.567", "1,234.57 USD"), ("0.0000071", "0.0000071 USD"), ("0.00516", "0.0052 USD"),
        ("-0.004", "-0.0040 USD"), ("unpriced", "unpriced"),
    ],
)  # fmt: skip
def test_no_amount_is_rounded_to_nothing(exact: str, shown: str) -> None:
    assert usd(exact) == shown
