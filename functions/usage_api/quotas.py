"""/api/usage/{uid}/quota: how a user's limits stand, and limits of this user alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from flask import Request, Response
from pydantic import ValidationError

from functions.usage_api.body import refuse
from functions.usage_api.events import being_erased
from shared.api.http import Problem, answer
from shared.domain.account_work import SetOverride
from shared.domain.cost import plain
from shared.domain.faults import faults_of
from shared.domain.plans import Override
from shared.domain.quota import Account, Standing
from shared.domain.usage import is_uid, user_key
from shared.usage.accounts import Erasing, account_path, accounts_for

if TYPE_CHECKING:
    from shared.bootstrap import App

MOST_BODY = 16_384


def one_quota(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """With an ETag, for If-Match."""
    uid = known_uid(path)
    doc = app.store.get(account_path(uid))
    account = Account(doc.data if doc else None, app.part(accounts_for).plans, now)
    response = answer({"user": user_key(uid), **shown(account, list(account.standings()))})
    response.headers["ETag"] = account.override_tag
    return response


def set_override(app: App, request: Request, now: datetime, path: Mapping[str, str]) -> Response:
    """Another plan, or single limits, until it is set anew; `{}` takes it back. The same again changes nothing."""
    uid = known_uid(path)
    accounts = app.part(accounts_for)
    override = _override(request, list(accounts.plans.plans))
    step = SetOverride(override, request.headers.get("If-Match"))
    try:
        accounts.do(uid, step, now)
    except Erasing:
        raise being_erased() from None
    if not step.matches:
        raise Problem(412, "precondition_failed", "the limits have been changed meanwhile: read them again")
    doc = app.store.get(account_path(uid))
    account = Account(doc.data if doc else None, accounts.plans, now)
    response = answer({"user": user_key(uid), **shown(account, step.standings)})
    response.headers["ETag"] = account.override_tag
    return response


def shown(account: Account, standings: Sequence[Standing]) -> dict[str, Any]:
    return {
        "plan": account.plan_name,
        "limits_of": account.plans.holding(account.told_plan, account.override),
        "override": account.override.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "quota_pct": account.percent_used(),
        "reservations": len(account.holds),
        "limits": [
            {
                "limit": s.id,
                "period": s.period,
                "most": plain(s.limit),
                "used": plain(s.used),
                "held": plain(s.held),
                "left": plain(s.left),
                "resetsAt": s.resets.isoformat(),
            }
            for s in standings
        ],
    }


def known_uid(path: Mapping[str, str]) -> str:
    """The uid of the address. Raises `Problem` 404."""
    uid = path["uid"]
    if not is_uid(uid):
        raise Problem(404, "unknown_user", "no user can have this uid")
    return uid


def _override(request: Request, plans: Sequence[str]) -> Override:
    raw = request.stream.read(MOST_BODY + 1)
    if len(raw) > MOST_BODY:
        raise Problem(413, "body_too_large", f"at most {MOST_BODY} bytes")
    try:
        body = json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise Problem(400, "invalid_body", "the body must be a JSON object with plan, day or month") from None
    plan = body.get("plan") if isinstance(body, dict) else None
    faults = [f"plan: there are {', '.join(plans)}"] if isinstance(plan, str) and plan not in plans else []
    try:
        override = Override.model_validate(body)
    except ValidationError as error:
        refuse([*faults_of(error), *faults])
        raise AssertionError from None
    refuse(faults)
    return override
