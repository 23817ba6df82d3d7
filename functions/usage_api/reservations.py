"""/api/usage/reservations: the right to make one call, before it is made; then what it did use.

A reservation holds the most that the call can cost. Its id is the time at which it was made, a check of whose it is,
and the request's id: so a settle, however late, is booked to the day of the call, and to no other user's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from functions.usage_api.body import json_object, refuse
from functions.usage_api.events import being_erased, read_event
from shared import log
from shared.api.http import Problem, answer
from shared.domain.account_work import Release, Reserve, Settle
from shared.domain.cost import CACHINGS, most_cost, plain
from shared.domain.ledger import Amount
from shared.domain.price import Unpriced, rates_of
from shared.domain.quota import Standing
from shared.domain.usage import MOST_SEARCHES, MOST_TOKENS, STANDARD, Usage, count_of, is_uid, parse_words
from shared.flags import FlagsUnknown
from shared.store.protocol import StoreError
from shared.usage.accounts import Accounts, Erasing, accounts_for
from shared.usage.record import tell_metric
from shared.usage.unknown_plans import plan_warnings

if TYPE_CHECKING:
    from shared.bootstrap import App

ENABLED = "quotas.enabled"
_WORDS = ("requestId", "uid", "provider", "model", "plan", "tier")
_FIELDS = (*_WORDS, "maxInputTokens", "maxOutputTokens", "maxSearches", "caching", "audio")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
RETRY = {"Retry-After": "5"}


@dataclass(frozen=True, slots=True)
class ReservationId:
    """`made`: when, in milliseconds. `check` tells one user from another, and is no trace of either elsewhere."""

    made: int
    check: str
    request_id: str

    @staticmethod
    def of(made: datetime, request_id: str, uid: str) -> ReservationId:
        milliseconds = (made - _EPOCH) // timedelta(milliseconds=1)
        return ReservationId(milliseconds, _check(milliseconds, request_id, uid), request_id)

    @staticmethod
    def read(text: str) -> ReservationId:
        """Raises `Problem` 404."""
        made, _, rest = text.partition(".")
        check, _, request_id = rest.partition(".")
        if not (made.isascii() and made.isdecimal() and len(made) < 15 and check and request_id):
            raise Problem(404, "unknown_reservation", "this is no reservation's id")
        return ReservationId(int(made), check, request_id)

    @property
    def at(self) -> datetime:
        return _EPOCH + timedelta(milliseconds=self.made)

    def faults_of(self, uid: str) -> list[str]:
        """Whoever names another user would have the call booked to that one, and again to the right one later."""
        mine = _check(self.made, self.request_id, uid) == self.check
        return [] if mine else ["uid: is not the one that this reservation was made for"]

    def __str__(self) -> str:
        return f"{self.made}.{self.check}.{self.request_id}"


def _check(milliseconds: int, request_id: str, uid: str) -> str:
    return blake2b(f"{milliseconds}\n{request_id}\n{uid}".encode(), digest_size=4).hexdigest()


def reserve(app: App, request: Request, now: datetime, _: Mapping[str, str]) -> Response:
    """201 with the reservation; 429 `quota_exceeded` where the quota has no room for the most that it can cost."""
    body = json_object(request, app)
    accounts = app.part(accounts_for)
    words, amount, priced = _asked(body, accounts, now)
    lasts = timedelta(seconds=accounts.plans.reservation_seconds)
    step = Reserve(words["requestId"], amount, words["plan"] or None, lasts, priced)
    try:
        if not app.flags.on(ENABLED):
            return answer(_granted(step, words["uid"], now, now + lasts, "quotas_disabled", checked=False), 201)
        accounts.do(words["uid"], step, now)
    except Erasing:
        raise being_erased() from None
    except (StoreError, FlagsUnknown) as error:
        return _on_failure(accounts, step, words["uid"], now, error)
    if step.reason == "quota_exceeded":
        raise exceeded(step, now)
    if step.reason == "model_unpriced":
        detail = (
            "the model has no price, so the most that the call can cost is unknown, and this user's cost is limited"
        )
        raise Problem(422, "model_unpriced", detail)
    if step.reason == "reserved_for_less" and step.held is not None:
        detail = (
            f"this requestId holds {step.held.tokens} tokens and {plain(step.held.cost)} USD already, which is less "
            "than this call can use: release it first, or give the call a requestId of its own"
        )
        raise Problem(422, "reserved_for_less", detail)
    if step.reason == "already_settled":
        detail = (
            "the call of this requestId was made and settled: what another one used would be taken for the same call, "
            "and not be counted. Give each call a requestId of its own."
        )
        raise Problem(409, "already_settled", detail)
    if step.reason == "too_many_reservations":
        detail = "this user has too many reservations that are neither settled nor released; they expire by themselves"
        raise Problem(429, "too_many_reservations", detail, headers={"Retry-After": "60"})
    made, until = step.at or now, step.until or now + lasts
    granted = _granted(step, words["uid"], made, until, step.reason, checked=True)
    response = answer(granted | _warned(accounts, step.plan), 201)
    response.headers.update(rate_headers(step.standings, now))
    return response


def settle(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """What the call used: `tokens` or `response`, as in an event. Again it changes nothing more."""
    body = json_object(request, app)
    accounts = app.part(accounts_for)
    reserved = ReservationId.read(path["id"])
    faults = [f"{name}: is the reservation's" for name in ("time", "requestId") if name in body]
    if is_uid(body.get("uid")):
        faults += reserved.faults_of(body["uid"])
    found = read_event({**body, "requestId": reserved.request_id, "time": reserved.made}, now)
    if not isinstance(found, Usage):
        refuse([*faults, *found])
        raise AssertionError
    refuse(faults)
    step = Settle(reserved.request_id, found)
    try:
        accounts.do(found.uid, step, now)
    except Erasing:
        raise being_erased() from None
    tell_metric(app, [found], now)
    settled = {"reservationId": path["id"], "reason": step.reason, "day": found.day}
    response = answer(settled | _warned(accounts, found.plan))
    response.headers.update(rate_headers(step.standings, now))
    return response


def release(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """The call was not made, or failed without a cost. Again it changes nothing more."""
    body = json_object(request, app)
    reserved = ReservationId.read(path["id"])
    faults = reserved.faults_of(body["uid"]) if is_uid(body.get("uid")) else ["uid: must be the user's"]
    refuse([*faults, *(f"{name}: unknown; there is only `uid`" for name in list(body)[:10] if name != "uid")])
    step = Release(reserved.request_id, reserved.at)
    try:
        app.part(accounts_for).do(body["uid"], step, now)
    except Erasing:
        raise being_erased() from None
    return answer({"reservationId": path["id"], "reason": step.reason})


def exceeded(step: Reserve, now: datetime) -> Problem:
    """Worded so that no client takes it for a passing error and tries again and again.

    422 where the call alone is beyond a limit, so that no waiting helps. Else 429: until the reset, or, where only
    calls under way are in the way, until the first of them is over.
    """
    nothing = Decimal(0)
    never = [s for s in step.over if s.limit and not step.fits(s, nothing)]
    used_up = [s for s in step.over if not step.fits(s, s.used)]
    resets = max(standing.resets for standing in used_up or step.over)
    errors = [
        {
            "path": f"{standing.of}.{standing.name}",
            "message": f"{plain(standing.used)} used and {plain(standing.held)} held of {plain(standing.limit)}, "
            f"until {standing.resets:%Y-%m-%dT%H:%M:%SZ}"
            + ("" if standing.left == 0 else f"; the call may use {plain(getattr(step.amount, standing.name))}"),
        }
        for standing in never or step.over
    ]
    if never:
        detail = (
            "the call alone can use more than the whole limit, so that no waiting helps: ask for fewer tokens, or "
            "have the limit raised. Do not send the call to the provider."
        )
        headers = rate_headers(step.standings, now)
        return Problem(422, "call_exceeds_quota", detail, errors=errors, headers=headers)
    until, held = resets, any(standing.held for standing in step.over)
    what = f"the quota is used up until {resets:%Y-%m-%dT%H:%M:%SZ}"
    if not used_up:
        until = min(resets, step.first_back or resets)
        what = (
            "calls under way hold what is left of the quota, and what they do not use is given back once they are "
            f"settled, the first at the latest at {until:%Y-%m-%dT%H:%M:%SZ}"
        )
        held = False
    elif all(standing.left for standing in used_up):
        what = f"what is left of the quota until {resets:%Y-%m-%dT%H:%M:%SZ} is less than this call can use"
    detail = (
        f"{what}. This is not a passing error: do not retry before then, and do not send the call to the provider."
        + (" A part is held by calls under way; what they do not use is given back." if held else "")
    )
    headers = {"Retry-After": str(_seconds_to(until, now)), **rate_headers(step.standings, now)}
    return Problem(429, "quota_exceeded", detail, errors=errors, headers=headers)


def rate_headers(standings: Sequence[Standing], now: datetime) -> dict[str, str]:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers) of the limits that are whole numbers."""
    shown = [standing for standing in standings if standing.name != "cost"]
    if not shown:
        return {}
    unit = {"calls": "", "tokens": ';qu="tokens"'}
    policy = [f'"{s.id}";q={int(s.limit)};w={s.seconds}{unit[s.name]}' for s in shown]
    left = [f'"{s.id}";r={int(s.left)};t={_seconds_to(s.resets, now)}' for s in shown]
    return {"RateLimit-Policy": ", ".join(policy), "RateLimit": ", ".join(left)}


def _asked(body: Mapping[str, Any], accounts: Accounts, now: datetime) -> tuple[dict[str, str], Amount, bool]:
    """The words, the most that the call can be, and whether its cost is known."""
    faults = [f"{name}: unknown" for name in body if name not in _FIELDS][:10]
    words = parse_words(body, _WORDS, faults)
    most_input = count_of(body, "maxInputTokens", MOST_TOKENS, faults, optional=False)
    most_output = count_of(body, "maxOutputTokens", MOST_TOKENS, faults, optional=False)
    searches = count_of(body, "maxSearches", MOST_SEARCHES, faults, optional=True)
    caching, audio = body.get("caching", "1h"), body.get("audio", True)
    if not isinstance(audio, bool):
        faults.append("audio: must be true or false")
    if caching not in CACHINGS:
        faults.append(f"caching: must be one of {', '.join(CACHINGS)}")
    refuse(faults)
    priced = rates_of(accounts.prices, words["provider"], words["model"], now.date(), words["tier"] or STANDARD)
    most = (most_input, most_output, str(caching))
    cost = None if isinstance(priced, Unpriced) else most_cost(priced.rates, *most, audio=audio, searches=searches)
    return words, Amount(1, most_input + most_output, cost or Decimal(0)), cost is not None


def _granted(step: Reserve, uid: str, made: datetime, until: datetime, reason: str, *, checked: bool) -> dict[str, Any]:
    held = step.held or step.amount
    return {
        "reservationId": str(ReservationId.of(made, step.id, uid)),
        "reason": reason,
        "checked": checked,
        "expiresAt": until.isoformat(),
        "held": {"calls": 1, "tokens": held.tokens, "costUsd": plain(held.cost)} if checked else None,
    }


def _warned(accounts: Accounts, plan: str | None) -> dict[str, Any]:
    warnings = plan_warnings(accounts.plans, plan)
    return {"warnings": warnings} if warnings else {}


def _on_failure(accounts: Accounts, step: Reserve, uid: str, now: datetime, error: Exception) -> Response:
    """The quota cannot be checked. The configuration says whether the call may be made, and the answer which it is."""
    log.error("a quota could not be checked", error, on_failure=accounts.plans.on_store_failure)
    if accounts.plans.on_store_failure == "open":
        granted = _granted(step, uid, now, now + step.lasts, "not_checked", checked=False)
        return answer({**granted, "onStoreFailure": "open"}, 201)
    detail = (
        "the quota cannot be checked now, and onStoreFailure is closed: do not make the call, but ask again. "
        "Nothing is wrong with the quota itself."
    )
    raise Problem(503, "quota_unknown", detail, headers={**RETRY, "F0-On-Store-Failure": "closed"}) from error


def _seconds_to(moment: datetime, now: datetime) -> int:
    return max(1, -((now - moment) // timedelta(seconds=1)))
