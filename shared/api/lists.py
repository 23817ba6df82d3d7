"""Lists by cursor: parameters with every fault at once, and cursors that say where a page ended."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Request

from shared.api.http import Problem
from shared.domain.query_range import moment

USUAL, MOST = 50, 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Asked:
    """The parameters of a request. Each reading notes its fault; `done` raises `Problem` with all of them."""

    def __init__(self, request: Request, names: Sequence[str]) -> None:
        given = request.args.to_dict(flat=False)
        self._one = {name: values[0] for name, values in given.items()}
        self._faults = [(n, f"unknown parameter; there are {', '.join(names)}") for n in given if n not in names]
        self._faults += [(name, "given more than once") for name, values in given.items() if len(values) > 1]

    def text(self, name: str, most: int = 200) -> str | None:
        given = self._one.get(name)
        if given is not None and not 0 < len(given) <= most:
            self._faults.append((name, f"must have 1 to {most} characters"))
        return given

    def choice(self, name: str, known: Sequence[str]) -> str | None:
        given = self._one.get(name)
        if given is not None and given not in known:
            self._faults.append((name, f"must be one of {', '.join(known)}"))
        return given

    def time(self, name: str, now: datetime) -> datetime | None:
        given = self._one.get(name)
        if given is None:
            return None
        try:
            return _EPOCH + timedelta(milliseconds=moment(given, now))
        except (ValueError, OverflowError) as error:
            self._faults.append((name, str(error)))
            return None

    def limit(self) -> int:
        given = self._one.get("limit", str(USUAL))
        if not (given.isascii() and given.isdecimal() and len(given) <= 3 and 1 <= int(given) <= MOST):
            self._faults.append(("limit", f"must be a whole number from 1 to {MOST}"))
            return USUAL
        return int(given)

    def place(self, read: Callable[[Any], tuple[Any, ...]]) -> tuple[Any, ...] | None:
        """Where to go on, as `read` has it from what `cursor` wrote; it raises what it likes for anything else."""
        given = self._one.get("cursor")
        if given is None:
            return None
        try:
            return read(json.loads(base64.urlsafe_b64decode(given.encode() + b"==")))
        except (ValueError, TypeError, AttributeError, OverflowError, KeyError, RecursionError):
            self._faults.append(("cursor", "must be the `cursor` of an earlier answer"))
            return None

    def done(self) -> None:
        if self._faults:
            errors = [{"path": name, "message": message} for name, message in self._faults]
            raise Problem(400, "invalid_query", "the parameters cannot be right; `errors` names each", errors=errors)


def cursor(place: Sequence[Any] | None) -> str | None:
    """A place as text: times and texts."""
    if place is None:
        return None
    plain = [part.isoformat() if isinstance(part, datetime) else part for part in place]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def by_time(collection: str) -> Callable[[Any], tuple[Any, ...]]:
    """Reads a place in a list that is ordered by a time, and then by path in `collection`."""

    def read(parts: Any) -> tuple[Any, ...]:
        at, path = parts
        parent, slash, name = path.rpartition("/")
        if parent != collection or not slash or not name or name.strip(".") == "":
            raise ValueError("no path of this list")
        return datetime.fromisoformat(at).astimezone(UTC), path

    return read


def by_number(parts: Any) -> tuple[Any, ...]:
    """Reads a place in a list that goes by number."""
    (number,) = parts
    if type(number) is not int or not 0 <= number < 10**8:
        raise ValueError("no number of this list")
    return (number,)
