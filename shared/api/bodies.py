"""What admins send: JSON bodies as typed objects with every fault at once, keys, and the version they have seen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from flask import Request, Response
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from shared import audited
from shared.api.http import Problem, answer
from shared.audited import Edited, Intent
from shared.domain.faults import path_of, words_of
from shared.domain.scrub import scrub_text

MOST_BODY = 65_536  # bytes
LONGEST_KEY = 255
_ETAG = re.compile(r'(?:W/)?"([0-9a-f]{16})"')  # what compresses an answer on its way marks its ETag as weak
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

Read = TypeVar("Read", bound="Body")
Faults = list[tuple[str, str]]  # path and message of each
Also = Callable[[Mapping[str, Any]], Faults]  # what is wrong between fields, of those that are sound by themselves


class Body(BaseModel):
    """What is sent. Fields that are unknown are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _moment(given: Any) -> datetime:
    if not isinstance(given, str):
        raise ValueError("must be a time such as 2026-03-01T12:00:00Z")
    try:
        found = datetime.fromisoformat(given)
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time such as 2026-03-01T12:00:00Z") from None
    if not _EARLIEST <= found < _LATEST:
        raise ValueError("must be a time of this century or the next")
    return found


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return scrub_text(text)


def _lines(text: str) -> str:
    if not text.strip():
        raise ValueError("must say something")
    return scrub_text(text)


Moment = Annotated[datetime, BeforeValidator(_moment)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)]
Text = Annotated[str, StringConstraints(max_length=4_000), AfterValidator(_lines)]
LongText = Annotated[str, StringConstraints(max_length=8_000), AfterValidator(_lines)]


def read_body(
    request: Request, kind: type[Read], most: int = MOST_BODY, *, known: Any = None, also: Also | None = None
) -> tuple[Read, bytes]:
    """The body and its bytes. Nothing at all stands for an empty object. Raises `Problem` with every fault.

    `known`: what the fields' own checks look names up in. `also`: faults of fields with one another; it is asked of a
    body whose fields have faults too, without those, so that no fault hides another.
    """
    raw = request.stream.read(most + 1)
    if len(raw) > most:
        raise Problem(413, "body_too_large", f"at most {most} bytes")
    try:
        body = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Problem(400, "invalid_body", "the body must be a JSON object")
    try:
        found = kind.model_validate(body, context=known)
    except ValidationError as error:
        errors = [{"path": path_of(e["loc"]), "message": words_of(e)} for e in error.errors()]
        raise invalid(errors + _named(also(_sound(kind, body, known))) if also else errors) from None
    if also and (faults := also(dict(found))):
        raise invalid(_named(faults))
    return found, raw


def _sound(kind: type[Body], body: Mapping[str, Any], known: Any) -> dict[str, Any]:
    """The fields that are right each by itself, those with a usual value that were not sent among them."""
    sound: dict[str, Any] = {}
    strict = ConfigDict(strict=True)
    for name, field in kind.model_fields.items():
        if name not in body:
            if not field.is_required():
                sound[name] = field.get_default(call_default_factory=True, validated_data={})
            continue
        with suppress(ValidationError):
            one: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation(), config=strict)
            sound[name] = one.validate_python(body[name], context=known)
    return sound


def _named(faults: Faults) -> list[dict[str, str]]:
    return [{"path": path, "message": message} for path, message in faults]


def invalid(errors: list[dict[str, str]]) -> Problem:
    return Problem(400, "invalid_body", "the body cannot be right; `errors` names each fault", errors=errors)


def intent_of(
    request: Request, path: Mapping[str, str], raw: bytes, action: str, now: datetime, *, needs_version: bool = False
) -> Intent:
    """Who wants what, under which key, and of which version. Raises `Problem`.

    `needs_version`: without If-Match it is refused; `If-Match: *` says that any version will do.
    """
    given = request.headers.get("Idempotency-Key")
    if given is not None and not 0 < len(given) <= LONGEST_KEY:
        raise Problem(400, "invalid_idempotency_key", f"an Idempotency-Key has 1 to {LONGEST_KEY} characters")
    caller = path["caller"]
    key = None if given is None else audited.key_of(caller, request.method, request.path.rstrip("/"), given, raw)
    match = request.headers.get("If-Match")
    if match is None and needs_version:
        detail = "send the ETag that you have seen as If-Match, so that nobody's change is lost; `*` overwrites any"
        raise Problem(428, "precondition_required", detail)
    rev = None if match is None or match.strip() == "*" else _rev(match)
    return Intent(action, caller, now, rev, key)


def _rev(match: str) -> str:
    """The version that is named; of what is no ETag of ours, one that no document has."""
    found = _ETAG.fullmatch(match.strip())
    return found[1] if found else "none"


@contextmanager
def refusals() -> Iterator[None]:
    """What `shared.audited` raises, as it is answered."""
    try:
        yield
    except audited.KeyReused:
        detail = "another request was made with this Idempotency-Key: a key stands for one request"
        raise Problem(422, "idempotency_key_reused", detail) from None
    except audited.Changed as changed:
        detail = "it was changed since you read it: read it again, and decide again"
        headers = {"ETag": f'"{changed.rev}"'} if changed.rev else {}
        raise Problem(412, "version_changed", detail, headers=headers, more={"version": changed.rev}) from None


def tagged(body: Any, edited: Edited, status: int = 200) -> Response:
    """The answer with the document's version as ETag."""
    response = answer(body, 200 if edited.repeated else status)
    response.headers["ETag"] = f'"{edited.data.get("rev") or audited.NO_REV}"'
    return marked(response, edited.repeated)


def marked(response: Response, repeated: bool) -> Response:
    """The answer, which says so if an earlier request with the same key did what is told."""
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def outward(value: Any) -> Any:
    """Stored values as JSON has them: times in ISO 8601, in UTC, with microseconds where they have some."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {name: outward(each) for name, each in value.items()}
    return [outward(each) for each in value] if isinstance(value, list | tuple) else value
