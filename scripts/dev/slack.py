"""Slack's side of an incoming webhook: what it accepts, by its documented limits."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

MAX_BODY = 512 * 1024
MAX_BLOCKS = 50


class InvalidPayload(Exception):
    """Slack would answer 400. The text says why, for the terminal; Slack itself says only `invalid_payload`."""


def parse(body: bytes, content_type: str) -> dict[str, Any]:
    """The message of a webhook call, as JSON or as a form's `payload`. Raises `InvalidPayload`."""
    try:
        text = body.decode()
        if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
            text = parse_qs(text, strict_parsing=True)["payload"][0]
        message = json.loads(text)
    except (ValueError, KeyError) as error:
        raise InvalidPayload("the body is not JSON") from error
    _require(isinstance(message, dict), "the body is not an object")
    blocks = message.get("blocks", [])
    _require(isinstance(message.get("text", ""), str), "text is not a string")
    _require(isinstance(blocks, list), "blocks is not a list")
    _require(bool(message.get("text", "").strip() or blocks or message.get("attachments")), "neither text nor blocks")
    _require(len(blocks) <= MAX_BLOCKS, f"{len(blocks)} blocks, of at most {MAX_BLOCKS}")
    for n, block in enumerate(blocks):
        _check_block(block, f"blocks[{n}]")
    return dict(message)


def _check_block(block: Any, at: str) -> None:
    _require(isinstance(block, dict), f"{at} is not an object")
    _require(isinstance(block.get("block_id", ""), str) and len(block.get("block_id", "")) <= 255, f"{at}.block_id")
    kind = block.get("type")
    if kind == "header":
        _check_text(block.get("text"), f"{at}.text", 150, "plain_text")
    elif kind == "section":
        _require("text" in block or "fields" in block, f"{at} has neither text nor fields")
        if "text" in block:
            _check_text(block["text"], f"{at}.text", 3000)
        if "fields" in block:
            for n, field in enumerate(_list(block, "fields", 10, at)):
                _check_text(field, f"{at}.fields[{n}]", 2000)
    elif kind == "context":
        for n, element in enumerate(_list(block, "elements", 10, at)):
            if not (isinstance(element, dict) and element.get("type") == "image"):
                _check_text(element, f"{at}.elements[{n}]", 3000)
    elif kind == "actions":
        for n, element in enumerate(_list(block, "elements", 25, at)):
            _check_button(element, f"{at}.elements[{n}]")
    elif kind == "image":
        _require(isinstance(block.get("alt_text"), str), f"{at}.alt_text is missing")
        _require(isinstance(block.get("image_url"), str), f"{at}.image_url is missing")
    else:
        _require(kind in ("divider", "rich_text"), f"{at}.type is {kind!r}")


def _check_button(element: Any, at: str) -> None:
    _require(isinstance(element, dict) and isinstance(element.get("type"), str), f"{at} is not an element")
    if element["type"] == "button":
        _check_text(element.get("text"), f"{at}.text", 75, "plain_text")
        url = element.get("url", "")
        _require(isinstance(url, str) and len(url) <= 3000, f"{at}.url is too long")


def _check_text(value: Any, at: str, limit: int, kind: str | None = None) -> None:
    _require(isinstance(value, dict) and isinstance(value.get("text"), str), f"{at} is not a text object")
    allowed = (kind,) if kind else ("plain_text", "mrkdwn")
    _require(value.get("type") in allowed, f"{at}.type is {value.get('type')!r}")
    _require(0 < len(value["text"]) <= limit, f"{at} has {len(value['text'])} characters, of 1 to {limit}")


def _list(block: dict[str, Any], name: str, limit: int, at: str) -> list[Any]:
    items = block.get(name)
    _require(isinstance(items, list) and 0 < len(items) <= limit, f"{at}.{name} is not a list of 1 to {limit}")
    return list(items or [])


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InvalidPayload(otherwise)
