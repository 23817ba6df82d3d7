"""The probes of config/components.json: what ships is right, and each fault is told with its path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.components import ComponentsError, load_components, parse_components
from shared.domain.probe import HttpProbe
from tests.core import CONFIG

HTTP = {"id": "health", "kind": "http", "url": "https://example.com/health"}


def file_with(*probes: Any, **more: Any) -> str:
    return json.dumps({"page": {"name": "F0"}, "components": [{"id": "API", "name": "API", "probes": probes}], **more})


def faults_of(*probes: Any, **more: Any) -> list[str]:
    with pytest.raises(ComponentsError) as caught:
        parse_components(file_with(*probes, **more))
    return caught.value.faults


def test_each_of_the_six_components_has_a_probe() -> None:
    kinds = {c.id: [probe.kind for _, probe in c.all_probes()] for c in load_components(CONFIG).components}
    assert kinds == {
        "API": ["http"],
        "Auth": ["firebase_auth"],
        "Billing": ["stripe"],
        "AI_Providers": ["anthropic", "feed", "openai", "feed"],
        "Database": ["store"],
        "Storage": ["cloud_storage"],
    }


def test_a_probe_needs_no_more_than_an_id_a_kind_and_what_it_asks() -> None:
    (component,) = parse_components(file_with(HTTP)).components
    (probe,) = component.probes
    assert isinstance(probe, HttpProbe)
    assert (probe.timeout_seconds, probe.retries, probe.outage_after, probe.recover_after) == (5, 1, 4, 2)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://user:pass@example.com"}, "url"),
        ({"url": "${INGEST_KEYS}"}, "url"),
        ({"url": "https://example.com/grün"}, "url"),
        ({"url": "https://example.com/${SLACK_WEBHOOK_URL}"}, "url"),
        ({"timeoutSeconds": 0}, "timeoutSeconds"),
        ({"timeoutSeconds": 10, "retries": 1}, ""),
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"X-Key": "${STRIPE_API_KEY}"}}, "headers"),
        ({"headers": {"X-Key": "a\r\nb: c"}}, "headers"),
        ({"body": "${INGEST_KEYS}"}, "body"),
        ({"expect": {"status": ["20"]}}, "expect.status"),
        ({"expect": {"status": ["299-200"]}}, "expect.status"),
        ({"expect": {"matches": "("}}, "expect.matches"),
        ({"expect": {"json": [{"path": "a..b", "equals": 1}]}}, "expect.json[0].path"),
        ({"expect": {"json": [{"path": "a"}]}}, "expect.json[0]"),
        ({"expect": {"json": [{"path": "a", "equals": 1, "atLeast": 1}]}}, "expect.json[0]"),
        ({"url": "http://example.com", "expect": {"certificateDays": 3}}, ""),
        ({"colour": "green"}, "colour"),
        ({"redirects": 6}, "redirects"),
    ],
)
def test_a_fault_is_told_with_its_path(change: dict[str, Any], path: str) -> None:
    (fault,) = faults_of({**HTTP, **change})
    assert fault.startswith(f"components[0].probes[0]{'.' if path else ''}{path}:"), fault


def test_all_faults_are_told_at_once() -> None:
    found = faults_of({**HTTP, "retries": 9}, {"id": "x", "kind": "ping"}, uptime={"degraded": "half"})
    assert [fault.partition(":")[0] for fault in found] == [
        "uptime.degraded",
        "components[0].probes[0].retries",
        "components[0].probes[1]",
    ]


def test_a_fault_does_not_quote_what_a_header_holds() -> None:
    (fault,) = faults_of({**HTTP, "headers": {"Authorization": "Bearer canary\x00"}})
    assert "canary" not in fault


def test_two_probes_of_a_component_cannot_share_an_id() -> None:
    (fault,) = faults_of(HTTP, HTTP)
    assert "API has 2 probes health" in fault


def test_probes_are_bounded_in_number() -> None:
    (fault,) = faults_of(*[{**HTTP, "id": f"p{n}"} for n in range(61)])
    assert "61 probes: at most 60" in fault
