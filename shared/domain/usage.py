"""One call of a language model: whose it was, which model, and what it used by the kinds that have their own prices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

MOST_TOKENS = 10_000_000_000  # of one kind in one call
MOST_SEARCHES = 10_000  # of one kind in one call
MOST_DURATION_MS = 7 * 86_400_000
OLDEST = timedelta(days=35)
AHEAD = timedelta(minutes=5)
STANDARD = "standard"
# Input sizes at which some model's price changes. A call counts in the class of the bounds that its input exceeds, so
# that a day's sums can still be priced exactly, with any of these tiers.
INPUT_BOUNDS = (32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000, 512_000, 524_288)
_UID = re.compile(r"(?!\.{1,2}$)(?!__.*__$)[^/\x00-\x1f\x7f]{1,128}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,99}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~@+=-]{7,199}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Faults = list[str]


@dataclass(frozen=True, slots=True)
class Tokens:
    """`input` without what was read from or written to a cache; `output` with `reasoning`, which is a part of it.

    Neither contains audio. Searches are those that the provider makes for a call: they are no tokens, and cost besides.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0
    web_searches: int = 0
    file_searches: int = 0

    @property
    def all_input(self) -> int:
        """What a tier is chosen by: the whole prompt, cached or not."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.input_audio

    @property
    def total(self) -> int:
        return self.all_input + self.output + self.output_audio

    @property
    def searches(self) -> int:
        return self.web_searches + self.file_searches

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Tokens)))

    def values(self) -> list[int]:
        """In the order of the fields, as they are stored."""
        return [getattr(self, f.name) for f in fields(Tokens)]


@dataclass(frozen=True, slots=True)
class Usage:
    """One call. `request_id` names it for ever: sent again, it is the same call and counts once."""

    request_id: str
    uid: str
    provider: str
    model: str
    at: datetime
    tokens: Tokens
    plan: str | None = None
    tier: str = STANDARD
    duration_ms: int = 0

    @property
    def day(self) -> str:
        return day_of(self.at)

    @property
    def receipt(self) -> bytes:
        return receipt_of(self.request_id)


def day_of(moment: datetime) -> str:
    """The day in UTC, such as 2026-11-29."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def receipt_of(request_id: str) -> bytes:
    """The 8 bytes that a day remembers a call by."""
    return blake2b(request_id.encode(), digest_size=8).digest()


def user_key(uid: str) -> str:
    """What stands for a user where the uid itself must not: in alerts, messages and logs."""
    return "user-" + blake2b(uid.encode(), digest_size=6).hexdigest()


def input_class(tokens: Tokens) -> int:
    """How many of INPUT_BOUNDS the call's input exceeds."""
    return sum(tokens.all_input > bound for bound in INPUT_BOUNDS)


def is_uid(text: Any) -> bool:
    """Whether it can name a user's documents."""
    return isinstance(text, str) and bool(_UID.fullmatch(text))


_TOKEN_NAMES = {
    "input": "input",
    "output": "output",
    "cacheRead": "cache_read",
    "cacheWrite5m": "cache_write_5m",
    "cacheWrite1h": "cache_write_1h",
    "reasoning": "reasoning",
    "inputAudio": "input_audio",
    "outputAudio": "output_audio",
}
_SEARCH_NAMES = {"web": "web_searches", "file": "file_searches"}
_WORDS = {
    "requestId": (_REQUEST_ID, "8 to 200 letters, digits and ._:~@+=-"),
    "uid": (_UID, "1 to 128 characters without / that can name a document"),
    "provider": (_WORD, "a provider's name, such as anthropic"),
    "model": (_MODEL, "a model's id, such as claude-sonnet-4-5"),
    "plan": (_WORD, "a plan's name"),
    "tier": (_WORD, "standard, batch, flex or priority"),
}
FIELDS = ("requestId", "uid", "plan", "provider", "model", "time", "durationMs", "tier", "tokens", "searches")


def parse_words(data: Mapping[str, Any], names: Sequence[str], faults: Faults) -> dict[str, str]:
    """Those of requestId, uid, provider, model, plan, tier that are asked for; the last two are empty where absent."""
    found = {
        name: _matching(data, name, pattern, what, faults, optional=name in ("plan", "tier"))
        for name, (pattern, what) in _WORDS.items()
        if name in names
    }
    return {name: text.lower() if name in ("provider", "tier") else text for name, text in found.items()}


def parse_usage(data: Mapping[str, Any], now: datetime) -> Usage | Faults:
    """An event as it was sent, or every fault of it with its path. No fault quotes what was sent."""
    faults: Faults = [f"{name}: unknown" for name in data if name not in FIELDS and isinstance(name, str)][:10]
    words = parse_words(data, tuple(_WORDS), faults)
    at = time_of(data.get("time"), now, faults)
    duration = count_of(data, "durationMs", MOST_DURATION_MS, faults, optional=True)
    tokens = _tokens(data.get("tokens"), data.get("searches"), faults)
    if faults or at is None or tokens is None:
        return faults
    return Usage(
        words["requestId"],
        words["uid"],
        words["provider"],
        words["model"],
        at,
        tokens,
        words["plan"] or None,
        words["tier"] or STANDARD,
        duration,
    )


def time_of(given: Any, now: datetime, faults: Faults, path: str = "time") -> datetime | None:
    """ISO 8601, or milliseconds since 1970. It is required: the server's clock would move a retry to another day."""
    found: datetime | None = None
    if isinstance(given, bool) or not isinstance(given, str | int):
        faults.append(f"{path}: must be ISO 8601 or milliseconds since 1970")
        return None
    try:
        if isinstance(given, int):
            if given < 100_000_000_000:
                faults.append(f"{path}: milliseconds since 1970, and this looks like seconds")
                return None
            found = _EPOCH + timedelta(milliseconds=given)
        else:
            found = datetime.fromisoformat(given)
            found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        faults.append(f"{path}: must be ISO 8601 or milliseconds since 1970")
        return None
    if not now - OLDEST <= found <= now + AHEAD:
        minutes = int(AHEAD.total_seconds() // 60)
        faults.append(f"{path}: must lie within the last {OLDEST.days} days, and at most {minutes} minutes ahead")
        return None
    return found


def _tokens(given: Any, searches: Any, faults: Faults) -> Tokens | None:
    if not isinstance(given, Mapping):
        faults.append("tokens: must be an object with input and output")
        return None
    before = len(faults)
    faults += [f"tokens.{name}: unknown" for name in given if name not in _TOKEN_NAMES and isinstance(name, str)][:10]
    counts = {
        own: count_of(given, name, MOST_TOKENS, faults, optional=name not in ("input", "output"), path="tokens.")
        for name, own in _TOKEN_NAMES.items()
    }
    if searches is not None and not isinstance(searches, Mapping):
        faults.append("searches: must be an object with web or file")
    elif searches is not None:
        faults += [f"searches.{n}: unknown" for n in searches if n not in _SEARCH_NAMES and isinstance(n, str)][:10]
        counts |= {
            own: count_of(searches, name, MOST_SEARCHES, faults, optional=True, path="searches.")
            for name, own in _SEARCH_NAMES.items()
        }
    if len(faults) > before:
        return None
    tokens = Tokens(**counts)
    if tokens.reasoning > tokens.output:
        faults.append("tokens.reasoning: is a part of tokens.output, so it cannot be more")
        return None
    return tokens


def _matching(
    data: Mapping[str, Any], name: str, pattern: re.Pattern[str], what: str, faults: Faults, *, optional: bool = False
) -> str:
    given = data.get(name)
    if given is None and optional:
        return ""
    if not isinstance(given, str) or not pattern.fullmatch(given):
        faults.append(f"{name}: must be {what}")
        return ""
    return given


def count_of(data: Mapping[str, Any], name: str, most: int, faults: Faults, *, optional: bool, path: str = "") -> int:
    given = data.get(name)
    if given is None and optional:
        return 0
    if type(given) is not int or not 0 <= given <= most:
        faults.append(f"{path}{name}: must be a whole number from 0 to {most}")
        return 0
    return given
