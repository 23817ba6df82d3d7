"""A provider's bill: so much for a model and a day, with the tokens that it is for. From CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, Inexact, InvalidOperation
from typing import Any

from shared.domain.price import EXACT
from shared.domain.usage import Tokens

# Our field → what exports call it.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "day": ("day", "date", "usage_date_utc", "starting_at"),
    "model": ("model", "model_version", "snapshot_id"),
    "usd": ("cost_usd", "usd", "cost", "amount_usd", "list_price_usd"),
    "input": ("input_tokens", "uncached_input_tokens", "usage_input_tokens_no_cache", "n_context_tokens_total"),
    "output": ("output_tokens", "usage_output_tokens", "n_generated_tokens_total"),
    "cache_read": ("cache_read_tokens", "cache_read_input_tokens", "usage_input_tokens_cache_read"),
    "cache_write_5m": ("cache_write_5m_tokens", "ephemeral_5m_input_tokens", "usage_input_tokens_cache_write_5m"),
    "cache_write_1h": ("cache_write_1h_tokens", "ephemeral_1h_input_tokens", "usage_input_tokens_cache_write_1h"),
}
REQUIRED = ("day", "model", "usd")
MOST_LINES = 50_000
MOST_USD = Decimal(10) ** 12  # of a line
FINEST = 36  # decimals of an amount: so that no sum of a bill's lines is ever rounded
MOST_MODEL = 200  # characters


class BadBill(ValueError):
    """`faults`: each with its line."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Billed:
    """Of one model on one day. `tokens` None: the bill does not say."""

    usd: Decimal
    tokens: Tokens | None


Bill = dict[tuple[str, str], Billed]  # by day and model


def read_bill(text: str) -> Bill:
    """Lines of the same day and model are added up. Raises `BadBill` with every fault, of the first hundred."""
    lines = list(_lines(text))
    if not lines:
        raise BadBill(["(the whole): has no line"])
    if len(lines) > MOST_LINES:
        raise BadBill([f"(the whole): has {len(lines)} lines; at most {MOST_LINES} can be read"])
    names = {name for line in lines for name in line}
    missing = [name for name in REQUIRED if not names & set(COLUMNS[name])]
    if missing:
        raise BadBill([f"(the whole): has no column {' or '.join(COLUMNS[name])}" for name in missing])
    bill: Bill = {}
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        found = _read(line, number, faults)
        if found is not None:
            key, billed = found
            bill[key] = _sum(bill[key], billed) if key in bill else billed
    if faults:
        raise BadBill(faults[:100])
    return bill


def _lines(text: str) -> Iterable[Mapping[str, Any]]:
    if text.lstrip()[:1] not in ("[", "{"):
        try:
            return [
                {str(name).strip().lower(): value for name, value in row.items() if name is not None}
                for row in csv.DictReader(text.lstrip("\ufeff").splitlines(keepends=True))
            ]
        except csv.Error:
            raise BadBill(["(the whole): is no CSV"]) from None
    try:
        data = json.loads(text, parse_float=Decimal, parse_int=str)
    except (ValueError, RecursionError):
        raise BadBill(["(the whole): is no JSON"]) from None
    listed = data.get("data", data.get("lines")) if isinstance(data, dict) else data
    if not isinstance(listed, list) or not all(isinstance(line, dict) for line in listed):
        raise BadBill(["(the whole): must be a list of objects, or an object with such a list as `data`"])
    return [{name.lower(): value for name, value in line.items()} for line in listed]


def _read(line: Mapping[str, Any], number: int, faults: list[str]) -> tuple[tuple[str, str], Billed] | None:
    before = len(faults)
    day = str(_of(line, "day") or "")[:10]
    try:
        day = date.fromisoformat(day).isoformat()  # 20261129 is a day too, and the same one
    except ValueError:
        faults.append(f"line {number}: day: must begin with a day such as 2026-11-29")
    model = str(_of(line, "model") or "").strip()
    if not 0 < len(model) <= MOST_MODEL:
        faults.append(f"line {number}: model: must have 1 to {MOST_MODEL} characters")
    usd = _amount(_of(line, "usd"))
    if usd is None:
        faults.append(f"line {number}: cost: must be an amount in USD, of at most {FINEST} decimals")
    counts: dict[str, int] = {}
    for name in COLUMNS:
        given = _of(line, name)
        if name in REQUIRED or given in (None, ""):
            continue
        text = str(given).replace(",", "")
        if not (text.isascii() and text.isdecimal() and len(text) <= 18):
            faults.append(f"line {number}: {name} tokens: must be a whole number")
        else:
            counts[name] = int(text)
    if len(faults) > before or usd is None:
        return None
    return (day, model), Billed(usd, Tokens(**counts) if counts else None)


def _amount(given: Any) -> Decimal | None:
    """USD, as bills write it: $1,234.50. None for what is no such amount, or is beyond all bills."""
    try:
        usd = Decimal(str(given).strip().replace("$", "", 1).replace(",", ""))
        if abs(usd) > MOST_USD:  # also what is no number raises here
            return None
        return usd if usd == EXACT.quantize(usd, Decimal(1).scaleb(-FINEST)) else None
    except (InvalidOperation, Inexact):
        return None


def _of(line: Mapping[str, Any], name: str) -> Any:
    return next((line[alias] for alias in COLUMNS[name] if line.get(alias) not in (None, "")), None)


def _sum(one: Billed, other: Billed) -> Billed:
    tokens = one.tokens + other.tokens if one.tokens is not None and other.tokens is not None else None
    return Billed(EXACT.add(one.usd, other.usd), tokens)
