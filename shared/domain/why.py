"""Why a component is in its state and what is to be done about it, in plain words: for the team and nobody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_OF_PROBES = {
    "answered": "is answered as it should be",
    "slow": "is answered, but slowly",
    "recovering": "is answered again, and has to be a few times more",
    "certificate_expires": "is answered, but the certificate is about to expire",
    "status_unexpected": "was answered with a status that is not expected",
    "text_missing": "did not find the text that the answer must have",
    "pattern_missing": "did not find in the answer what must match",
    "not_json": "was answered with something that is not JSON",
    "json_condition": "was answered, but not with what the JSON must hold",
    "timeout": "was not answered in time",
    "hangs": "still hangs since an earlier round",
    "bad_url": "has an address that cannot be used",
    "connect_timeout": "could not connect in time",
    "connect_failed": "could not connect: is the name of the host right?",
    "connection_refused": "could not connect: nobody listens there",
    "connection_lost": "lost its connection",
    "connection_failed": "lost its connection",
    "incomplete_answer": "got a part of an answer",
    "unreadable_answer": "got an answer that is not HTTP",
    "tls_failed": "could not agree on TLS",
    "certificate_refused": "does not trust the certificate",
    "address_refused": "was sent to an address that is not allowed",
    "too_many_redirects": "was redirected too often",
    "bad_redirect": "was redirected to something that is no address",
    "insecure_redirect": "was redirected from https to http",
    "rate_limited": "was told to ask less often",
    "key_refused": "has a key that is refused, so it says nothing: put a valid one in its place",
    "store_failed": "could not write its document and read it back",
    "lost_write": "did not read what it had written",
    "no_such_bucket": "does not find its bucket",
    "not_allowed": "may not use its bucket: give the function's account the right to write and read there",
    "storage_failed": "was answered with an error by Cloud Storage",
    "storage_unreachable": "did not reach Cloud Storage",
    "feed_operational": "reads that all is well",
    "feed_degraded": "reads of a problem",
    "feed_outage": "reads of an outage",
    "feed_unreadable": "could not read the provider's status page",
    "feed_lacks_component": "does not find its components on the provider's status page",
    "probe_stale": "was not answered lately: does healthProbe run?",
    "fault_of_ours": "could not be made: the log of healthProbe says why",
}


def probe(name: str, reason: str, detail: str | None = None) -> str:
    """`The probe health was answered with a status that is not expected (500).`"""
    words = _OF_PROBES.get(reason, reason.replace("_", " "))
    told = f"The probe {name} {words}"
    if detail:
        told += f" ({detail})"
    return told if told.endswith("?") else told + "."


def alert(data: Mapping[str, Any]) -> str:
    reason = str(data.get("reason") or "").replace("_", " ")
    return f"The alert {data.get('alertId')} fires, {data.get('severity')}: {reason}."


def incident(data: Mapping[str, Any]) -> str:
    return f"The incident {data.get('id')} is open, public, and of {data.get('impact')} impact."


def maintenance(data: Mapping[str, Any]) -> str:
    return f"The maintenance {data.get('id')} is in force: what probes and alerts find meanwhile is expected."


MEASURED = "Its metrics come in, and none of its alerts fires."
ANSWERED = "Its probes are answered."
NEVER_JUDGED = "alertRules has not run yet. It does every five minutes."
NOT_JUDGED_LATELY = "alertRules has not counted everything for over 20 minutes: its log says why."
EXCLUDED = "All that measures it is left out at the moment, by an exclusion."
NEVER_ASKED = "Its probes were not asked yet. healthProbe asks them every minute."
NO_SOURCE = "No probe and no SLO speaks for it: give it one in config/components.json or config/slo.json."


def silent(metrics: Sequence[str]) -> str:
    return f"Nothing came in lately of {', '.join(metrics)}."


def not_set_up(name: str, setting: str) -> str:
    """What a probe lacks, and so what to do."""
    if setting == "PROBE_FEEDS":
        return f"The probe {name} reads the provider's status page: PROBE_FEEDS=on sets it up."
    return f"The probe {name} is not set up: it needs {setting}."
