"""What probes say of a component and of the providers behind it, as far as it is still true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from shared.domain import why
from shared.domain.component import Component, Provider
from shared.domain.probe import AnyProbe

State = Literal["operational", "degraded", "outage", "not_monitored", "no_data"]
Data = Mapping[str, Any]

PROBE_STALE = timedelta(minutes=3)  # beyond the pause that the probe takes by itself
BAD = ("outage", "degraded")
_MESSAGES = {
    "slow": "Increased latency detected",
    "certificate_expires": "Its certificate is about to expire",
    "rate_limited": "Takes fewer requests than usual",
    "feed_degraded": "Reports a problem on its own status page",
    "feed_outage": "Reports an outage on its own status page",
}
_NOT_ANSWERING = "Not responding as it should"
SILENT = "There are no recent measurements"


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """`basis`: feed where only the provider's own status page speaks for it, None where nothing does. Latency in ms.

    Without a basis it is `no_data` where its probes say nothing, and `not_monitored` where none is set up. `why` is
    internal.
    """

    provider: Provider
    state: State
    message: str | None = None
    latency: int | float | None = None
    basis: Literal["probe", "feed"] | None = None
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cause:
    """`message` is public; `reason`, which is named, and `why`, in plain words, are internal."""

    state: State
    reason: str
    message: str
    why: str


@dataclass(frozen=True, slots=True)
class NotSetUp:
    """A probe that cannot ask, since this setting is missing."""

    probe: AnyProbe
    provider: str | None
    setting: str

    @property
    def why(self) -> str:
        return why.not_set_up(self.probe.id, self.setting)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe last said. `state` is operational, degraded, outage or no_data."""

    probe: AnyProbe
    provider: str | None
    state: State
    reason: str
    at: datetime | None
    latency: int | float | None
    figures: Data
    detail: str | None = None

    @property
    def why(self) -> str:
        return why.probe(self.probe.id, self.reason, self.detail)


def said(component: Component, run: Data | None, now: datetime) -> list[Probed]:
    """What the component's probes say; one that is not set up, or was not asked yet, says nothing."""
    found = []
    entries = (run or {}).get("probes") or {}
    for provider, probe in component.all_probes():
        entry = entries.get(component.id, {}).get(probe.id)
        if entry is None or entry["state"] == "not_monitored":
            continue
        state, reason, at, detail = entry["state"], entry["reason"], entry.get("checkedAt"), entry.get("detail")
        patience = PROBE_STALE + timedelta(seconds=probe.every_seconds)
        if at is None or now - at > patience:
            state, asked = "no_data", entry.get("roundAt")
            if asked is None or now - asked > patience:  # else the last round says why nothing can be said
                reason, detail = "probe_stale", None
        fresh = state != "no_data"
        latency = entry.get("latency") if fresh else None
        figures = (entry.get("figures") or {}) if fresh else {}
        found.append(Probed(probe, provider, state, reason, at if fresh else None, latency, figures, detail))
    return found


def not_set_up(component: Component, run: Data | None) -> list[NotSetUp]:
    """The component's probes that lack a setting, as healthProbe has found."""
    entries = ((run or {}).get("probes") or {}).get(component.id, {})
    return [
        NotSetUp(probe, provider, str(entry.get("detail")))
        for provider, probe in component.all_probes()
        if (entry := entries.get(probe.id)) is not None and entry["state"] == "not_monitored"
    ]


def by_probe(probed: Probed, component: Component) -> Cause:
    reason = f"probe {component.id}.{probed.probe.id}: {probed.reason}"
    return Cause(probed.state, reason, _words(probed), probed.why)


def _words(probed: Probed) -> str:
    if probed.reason in _MESSAGES:
        return _MESSAGES[probed.reason]
    return probed.probe.message or _NOT_ANSWERING


def provider_status(provider: Provider, probed: Sequence[Probed]) -> ProviderStatus:
    """Our own probes decide; the provider's status page can make it degraded besides, and speaks alone without them."""
    set_up = [p for p in probed if p.provider == provider.name]
    mine = [p for p in set_up if p.state != "no_data"]
    asked = [p for p in mine if p.probe.kind != "feed"]
    if not mine:
        silent = tuple(p.why for p in set_up)
        return (
            ProviderStatus(provider, "no_data", SILENT, why=silent)
            if set_up
            else ProviderStatus(provider, "not_monitored")
        )
    worst = _worst([(p.state, p) for p in asked or mine])
    state, cause = worst
    if asked and state == "operational":
        feed_state, feed = _worst([(p.state, p) for p in mine])
        state, cause = ("degraded" if feed_state in BAD else "operational"), feed
    message, told = (_words(cause), (cause.why,)) if state in BAD else (None, ())
    latencies = [p.latency for p in asked if p.latency is not None]
    latency = max(latencies, default=None)
    return ProviderStatus(provider, state, message, latency, "probe" if asked else "feed", told)


def _worst(states: Sequence[tuple[State, Probed]]) -> tuple[State, Probed]:
    return min(states, key=lambda found: BAD.index(found[0]) if found[0] in BAD else len(BAD))


def by_providers(component: Component, providers: Sequence[ProviderStatus]) -> list[Cause]:
    """An outage only if every provider that is known is out: else the component still works with another one."""
    known = [p for p in providers if p.basis is not None]
    all_out = bool(known) and all(p.state == "outage" for p in known)
    return [
        Cause(
            "outage" if all_out else "degraded",
            f"provider {component.id}.{p.provider.name}: {p.state} by {p.basis}",
            f"{p.provider.name}: {p.message}",
            f"{p.provider.name}: {' '.join(p.why)}",
        )
        for p in known
        if p.state in BAD
    ]


def with_component(
    status: ProviderStatus, state: State, message: str | None, shared: tuple[State, str | None] | None
) -> ProviderStatus:
    """A provider that no probe speaks for has the state of its component, if it has no probes at all.

    With probes that are silent, or not set up, it shares what is said of the whole component (`shared`: the state and
    the message without what providers say, or None): its trouble, and where none is set up its health too.
    """
    if status.basis is not None:
        return status
    if not status.provider.probes:
        return ProviderStatus(status.provider, state, message)
    if shared is not None and (shared[0] in BAD or status.state == "not_monitored"):
        return ProviderStatus(status.provider, *shared)
    return status
