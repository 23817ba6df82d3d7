"""The local stand-in for Slack takes what Slack takes, and the inbox shows it safely."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from scripts.dev import inbox_page, mrkdwn, slack
from scripts.dev.folder import Folder
from scripts.dev.inbox import KEPT, Inbox

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JSON = "application/json"


def text(length: int, kind: str = "mrkdwn") -> dict[str, Any]:
    return {"type": kind, "text": "x" * length}


def section(**parts: Any) -> dict[str, Any]:
    return {"type": "section", **parts}


def parse(*blocks: Any) -> dict[str, Any]:
    return slack.parse(json.dumps({"text": "t", "blocks": blocks}).encode(), JSON)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "header", "text": text(150, "plain_text")},
        section(text=text(3000)),
        section(fields=[text(2000)] * 10),
        {"type": "context", "elements": [text(10), {"type": "image", "image_url": "u", "alt_text": "a"}]},
        {
            "type": "actions",
            "elements": [{"type": "button", "text": text(75, "plain_text"), "url": "https://a.example"}],
        },
        {"type": "divider", "block_id": "b" * 255},
    ],
)
def test_a_block_at_its_limits_is_taken(block: dict[str, Any]) -> None:
    assert parse(block)["blocks"] == [block]


@pytest.mark.parametrize(
    "block",
    [
        "text",
        {"type": "unheard_of"},
        {"type": "header", "text": text(151, "plain_text")},
        {"type": "header", "text": text(10, "mrkdwn")},
        {"type": "header"},
        section(),
        section(text=text(3001)),
        section(text=text(0)),
        section(text="bare"),
        section(fields=[text(1)] * 11),
        section(fields=[]),
        section(fields=[text(2001)]),
        {"type": "context", "elements": [text(1)] * 11},
        {"type": "actions", "elements": [{"type": "button", "text": text(76, "plain_text")}]},
        {"type": "actions", "elements": []},
        {"type": "divider", "block_id": "b" * 256},
        {"type": "image"},
    ],
)
def test_a_block_beyond_its_limits_is_refused_with_its_place(block: Any) -> None:
    with pytest.raises(slack.InvalidPayload, match=r"blocks\[1\]"):
        parse({"type": "divider"}, block)


def test_a_message_may_come_as_a_form() -> None:
    body = urlencode({"payload": json.dumps({"text": "hello"})}).encode()
    assert slack.parse(body, "application/x-www-form-urlencoded") == {"text": "hello"}


def test_fifty_blocks_are_taken_and_one_more_is_not() -> None:
    assert parse(*[{"type": "divider"}] * 50)
    with pytest.raises(slack.InvalidPayload, match="51 blocks"):
        parse(*[{"type": "divider"}] * 51)


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("a *b* _c_ ~d~ `e`", "a <strong>b</strong> <em>c</em> <s>d</s> <code>e</code>"),
        ("1 * 2 * 3, snake_case_name", "1 * 2 * 3, snake_case_name"),
        ("&lt;b&gt; &amp;amp;", "&lt;b&gt; &amp;amp;"),
        (
            "<https://a.example/?x=1&amp;y=2|the *page*>",
            '<a href="https://a.example/?x=1&amp;y=2" rel="noreferrer">the *page*</a>',
        ),
        ("<javascript:alert(1)|press>", "press"),
        (
            '<https://a.example/"onmouseover="x|go>',
            '<a href="https://a.example/&quot;onmouseover=&quot;x" rel="noreferrer">go</a>',
        ),
        ("<!date^1700000000^{date}|1 May>", "1 May"),
        ("<!here> <@U1>", "here @U1"),
        ("<script>alert(1)</script>", "scriptalert(1)/script"),
        ("`<b>`", "<code>&lt;b&gt;</code>"),
        ("one\ntwo", "one<br>two"),
    ],
)
def test_mrkdwn_becomes_html_in_which_nothing_foreign_acts(source: str, html: str) -> None:
    assert mrkdwn.html(source) == html


def test_the_inbox_keeps_the_last_messages_over_a_restart_newest_first(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    inbox = Inbox(folder)
    for n in range(KEPT + 5):
        inbox.add("slack", {"text": f"message {n}"}, NOW)
    kept = Inbox(folder).newest_first()
    assert len(kept) == KEPT
    assert kept[0]["payload"]["text"] == f"message {KEPT + 4}"
    assert kept[0]["receivedAt"] == int(NOW.timestamp() * 1000)


def test_the_page_shows_blocks_attachments_and_plain_texts(tmp_path: Path) -> None:
    inbox = Inbox(Folder(tmp_path))
    inbox.add("slack", {"text": "only <https://a.example|text>"}, NOW)
    inbox.add("slack", {"attachments": [{"color": "#f00", "blocks": [section(text=text(5))]}]}, NOW)
    inbox.add("slack", {"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "<i>head</i>"}}]}, NOW)
    page = inbox_page.page(inbox.newest_first())
    assert page.index("&lt;i&gt;head&lt;/i&gt;") < page.index("xxxxx") < page.index(">text</a>")
    assert "3 messages" in page
    assert "Nothing was sent yet" in inbox_page.page([])
