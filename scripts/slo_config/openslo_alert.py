"""OpenSLO's AlertPolicy: its one condition, a burn rate, and its targets, as the `alert` of an SLO."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from scripts.slo_config.openslo_annotations import NUMBERS, OWN, SWITCHES, THRESHOLD
from scripts.slo_config.openslo_objects import Objects, name_of
from scripts.slo_config.yaml_parts import Part
from shared.domain.alert_policy import Channel, Severity

SEVERITIES = {**{own: own for own in get_args(Severity)}, "page": "critical", "ticket": "warning"}


@dataclass(frozen=True, slots=True)
class Alert:
    """`data`: as in our form. `places`: of each field of it. `condition`: the part with the burn rate.

    `threshold`: said as such, in place of the burn rate.
    """

    data: dict[str, Any]
    burn_rate: Decimal
    condition: Part
    place: str
    places: dict[str, str]
    threshold: Decimal | None = None


def policy(spec: Part, objects: Objects) -> Alert | None:
    """Of an SLO's `spec`; None where a fault keeps it from being made."""
    policies = list(spec.parts("alertPolicies"))
    if len(policies) != 1:
        spec.fault("alertPolicies", "name one: it says when to alert, how severe it is, and on which channels")
        return None
    found = _object(policies[0], "alertPolicyRef", "AlertPolicy", objects)
    body = found.part("spec") if found else None
    if found is None or body is None:
        return None
    flags = {"alertWhenResolved": True, "alertWhenBreaching": True}
    body.only("description", "alertWhenNoData", *flags, "conditions", "notificationTargets")
    body.note("description")
    if not isinstance(body.value.get("alertWhenNoData", False), bool):
        body.fault("alertWhenNoData", "must be true or false")
    for name, ours in flags.items():
        if body.value.get(name, ours) is not ours:
            body.fault(name, f"only {str(ours).lower()}: this cannot be chosen here")
    condition = _condition(body, objects)
    annotations = _annotations(found)
    said = annotations.get("f0ops.channels")
    if said is not None:
        body.note("notificationTargets")
        channels, place = str(said).replace(",", " ").split(), found.place("metadata.annotations.f0ops.channels")
    else:
        channels, place = _channels(body, objects), body.place("notificationTargets")
    if condition is None:
        return None
    part, severity, burn_rate, lookback = condition
    data: dict[str, Any] = {"severity": severity, "channels": channels, "window": lookback}
    places = {"alert.channels": place, "alert.window": part.place("lookbackWindow")}
    after = part.text("alertAfter", required=False)
    if after not in (None, "0m"):
        data["for"], places["alert.for"] = after, part.place("alertAfter")
    if body.value.get("alertWhenNoData") is True:
        data["no_data"], places["alert.no_data"] = "alert", body.place("alertWhenNoData")
    for name, field in OWN.items():
        if name in annotations:
            if field in data:
                found.fault(f"metadata.annotations.{name}", "alertWhenNoData says something else")
            data[field] = _said(name, str(annotations[name]))
            places[f"alert.{field}"] = found.place(f"metadata.annotations.{name}")
    threshold = _threshold(found, annotations)
    where = part.place("threshold") if threshold is None else found.place(f"metadata.annotations.{THRESHOLD}")
    return Alert(data, burn_rate, part, where, places, threshold)


def _said(name: str, text: str) -> Any:
    """An annotation is a text; what is wrong with its value is told where our form is checked."""
    if name in NUMBERS and text.isascii() and text.isdecimal():
        return int(text)
    return {"true": True, "false": False}.get(text.lower(), text) if name in SWITCHES else text


def _threshold(found: Part, annotations: dict[str, Any]) -> Decimal | None:
    if THRESHOLD not in annotations:
        return None
    try:
        number = Decimal(str(annotations[THRESHOLD]))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0 or (number and not -30 <= number.adjusted() <= 12):
        found.fault(f"metadata.annotations.{THRESHOLD}", "must be a number, as the threshold in our form")
        return None
    return number


def _annotations(found: Part) -> dict[str, Any]:
    """What is wrong with them is told where `metadata` is checked."""
    metadata = found.value.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}


def _object(part: Part, reference: str, kind: str, objects: Objects) -> Part | None:
    """Inline, or what is referred to."""
    if reference in part.value:
        part.only(reference)
        return objects.refer(part, reference, kind)
    part.only("apiVersion", "kind", "metadata", "spec")
    if part.value.get("kind") != kind:
        part.fault("kind", f"must be {kind}; or give {reference}")
        return None
    name_of(part)
    return part


def _condition(body: Part, objects: Objects) -> tuple[Part, str, Decimal, str] | None:
    """The part with the burn rate, severity, burn rate and lookback window."""
    conditions = list(body.parts("conditions"))
    if len(conditions) != 1:
        body.fault("conditions", "name one")
        return None
    found = _object(conditions[0], "conditionRef", "AlertCondition", objects)
    spec = found.part("spec") if found else None
    if spec is None:
        return None
    spec.only("description", "severity", "condition")
    spec.note("description")
    severity, condition = spec.text("severity"), spec.part("condition")
    if severity is not None and severity not in SEVERITIES:
        spec.fault("severity", f"one of {', '.join(SEVERITIES)}")
    if condition is None:
        return None
    condition.only("kind", "op", "threshold", "lookbackWindow", "alertAfter")
    if condition.value.get("kind", "burnrate") != "burnrate":
        condition.fault("kind", "only burnrate")
    if condition.value.get("op", "gt") != "gt":
        condition.fault("op", "only gt: an alert begins strictly beyond its threshold")
    burn_rate, lookback = condition.number("threshold"), condition.text("lookbackWindow")
    if burn_rate is not None and burn_rate <= 0:
        condition.fault("threshold", "must be above 0")
    if severity not in SEVERITIES or burn_rate is None or lookback is None:
        return None
    return condition, SEVERITIES[severity], burn_rate, lookback


def _channels(body: Part, objects: Objects) -> list[str]:
    """Of the targets: what an AlertNotificationTarget says, or a name that is itself one of our channels."""
    channels = []
    ours = get_args(Channel)
    for target in body.parts("notificationTargets"):
        name = target.value.get("targetRef")
        if name in ours and ("AlertNotificationTarget", name) not in objects.found:
            target.only("targetRef")
            channels.append(str(name))
            continue
        found = _object(target, "targetRef", "AlertNotificationTarget", objects)
        spec = found.part("spec") if found else None
        if spec is None:
            continue
        spec.only("target", "description")
        spec.note("description")
        channel = (spec.text("target") or "").lower()
        if channel not in ours:
            spec.fault("target", f"one of {', '.join(ours)}; or name the channels in the annotation f0ops.channels")
        channels.append(channel)
    return channels
