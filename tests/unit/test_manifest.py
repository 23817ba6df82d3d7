"""The manifest: its faults have paths, and it agrees with main.py, the settings and Hosting's rewrites."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
import yaml

from scripts.manifest import ROOT, ManifestError, load, parse
from shared.settings import NAMES

REAL = load()
HTTP = {
    "platform": "gcfv2",
    "region": ["us-central1"],
    "entryPoint": "one",
    "serviceAccountEmail": "a@{{ params.PROJECT_ID }}.iam.gserviceaccount.com",
    "httpsTrigger": {"invoker": ["public"]},
    "availableMemoryMb": 256,
    "cpu": 1,
    "timeoutSeconds": 30,
    "minInstances": 0,
    "maxInstances": 1,
    "concurrency": 80,
}
SCHEDULED = {
    **{k: v for k, v in HTTP.items() if k != "httpsTrigger"},
    "scheduleTrigger": {"schedule": "*/5 * * * *"},
}


def manifest(endpoint: dict[str, Any], id_: str = "one", **top: Any) -> str:
    return yaml.safe_dump({"specVersion": "v1alpha1", "endpoints": {id_: endpoint}, **top})


def faults(text: str) -> list[str]:
    with pytest.raises(ManifestError) as raised:
        parse(text)
    return raised.value.faults


def entry_points() -> dict[str, list[str]]:
    """Every function of main.py with its decorators."""
    tree = ast.parse((ROOT / "main.py").read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name: [ast.unparse(d) for d in node.decorator_list] for node in functions}


def rewrites() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads((ROOT / "firebase.json").read_text())["hosting"]["rewrites"]
    return [rewrite for rewrite in listed if "destination" not in rewrite]  # a page leads to no function


def test_every_entry_point_is_a_function_of_main_and_the_reverse() -> None:
    assert {e.entry_point for e in REAL.endpoints.values()} == set(entry_points())


def test_every_function_of_main_is_one_that_answers_http() -> None:
    assert {name for name, by in entry_points().items() if by != ["functions_framework.http"]} == set()


def test_every_function_of_main_has_its_name_as_id() -> None:
    assert all(id_ == e.entry_point for id_, e in REAL.endpoints.items())


def test_every_secret_is_a_setting() -> None:
    assert set(NAMES) >= REAL.secret_keys


def test_every_rewrite_leads_to_a_public_function_in_its_region() -> None:
    assert rewrites()
    for rewrite in rewrites():
        function = rewrite["function"]
        endpoint = REAL.endpoints[function["functionId"]]
        assert endpoint.public, rewrite
        assert function["region"] in endpoint.region, rewrite


def test_every_public_function_can_be_reached_through_hosting() -> None:
    reached = {rewrite["function"]["functionId"] for rewrite in rewrites()}
    assert {id_ for id_, e in REAL.endpoints.items() if e.public} == reached


def test_functions_that_share_a_cpu_take_one_request_at_a_time() -> None:
    assert all(e.cpu >= 1 or e.concurrency == 1 for e in REAL.endpoints.values())


def test_scheduled_functions_run_once_at_a_time_and_are_private() -> None:
    """healthProbe has a second instance for its schedule while a run by hand, which takes a minute, has the first."""
    most = {name: e.max_instances for name, e in REAL.scheduled.items()}
    assert most == {**dict.fromkeys(REAL.scheduled, 1), "healthProbe": 2}
    assert all(e.concurrency == 1 and not e.public for e in REAL.scheduled.values())


def test_the_project_takes_its_place_in_the_service_account() -> None:
    assert parse(manifest(HTTP)).endpoints["one"].service_account("p-1") == "a@p-1.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"platform": "gcfv1"}, "endpoints.one.platform: "),
        ({"region": "us-central1"}, "endpoints.one.region: "),
        ({"region": []}, "endpoints.one.region: "),
        ({"entryPoint": "not a name"}, "endpoints.one.entryPoint: "),
        ({"availableMemoryMb": 300}, "endpoints.one.availableMemoryMb: is one of 128, 256"),
        ({"availableMemoryMb": "256"}, "endpoints.one.availableMemoryMb: "),
        ({"cpu": 0}, "endpoints.one.cpu: "),
        ({"cpu": 0.5}, "endpoints.one: cpu must be at least 1 where concurrency is above 1"),
        ({"concurrency": 0}, "endpoints.one.concurrency: "),
        ({"concurrency": 1001}, "endpoints.one.concurrency: "),
        ({"timeoutSeconds": 3601}, "endpoints.one.timeoutSeconds: "),
        ({"minInstances": 2}, "endpoints.one: minInstances is above maxInstances"),
        ({"ingressSettings": "ALL"}, "endpoints.one.ingressSettings: "),
        ({"httpsTrigger": {"invoker": []}}, "endpoints.one.httpsTrigger.invoker: "),
        ({"httpsTrigger": {"invoker": ["everyone"]}}, "endpoints.one.httpsTrigger.invoker: is [public], [private]"),
        ({"httpsTrigger": {"invoker": ["public", "a@b.c"]}}, "endpoints.one.httpsTrigger.invoker: is [public]"),
        ({"scheduleTrigger": {"schedule": "* * * * *"}}, "endpoints.one: needs either httpsTrigger or scheduleTrigger"),
        ({"environmentVariables": {"A": "b"}}, "endpoints.one.environmentVariables: "),  # both CLIs drop it
        ({"secretEnvironmentVariables": [{"key": "a-b", "secret": "x"}]},
         "endpoints.one.secretEnvironmentVariables.0.key: "),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_its_path(change: dict[str, Any], fault: str) -> None:
    found = faults(manifest({**HTTP, **change}))
    assert len(found) == 1, found
    assert found[0].startswith(fault)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"timeoutSeconds": 1801}, "endpoints.one: timeoutSeconds is at most 1800 for a schedule"),
        ({"scheduleTrigger": {"schedule": "every 5 minutes"}}, "endpoints.one.scheduleTrigger.schedule: "),
        ({"scheduleTrigger": {"schedule": "* * * *"}}, "endpoints.one.scheduleTrigger.schedule: "),
        ({"scheduleTrigger": {"schedule": "* * * * *", "retryConfig": {"retryCount": 6}}},
         "endpoints.one.scheduleTrigger.retryConfig.retryCount: "),
    ],
)  # fmt: skip
def test_a_fault_of_a_schedule_is_named_with_its_path(change: dict[str, Any], fault: str) -> None:
    found = faults(manifest({**SCHEDULED, **change}))
    assert len(found) == 1, found
    assert found[0].startswith(fault)


def test_all_faults_are_told_at_once() -> None:
    found = faults(manifest({**HTTP, "cpu": 0, "concurrency": 0, "typo": 1}, specVersion="v2"))
    assert len(found) == 4


def test_an_id_that_the_command_lines_refuse_is_a_fault() -> None:
    assert "1one" in faults(manifest(HTTP, id_="1one"))[0]


def test_a_function_pasted_twice_is_a_fault() -> None:
    text = manifest(HTTP)
    again = text.replace("specVersion", "  one: {platform: gcfv2}\nspecVersion")
    assert faults(again) == ["line 2: 'one' is there twice"]


@pytest.mark.parametrize("text", ["", "[]", "endpoints: {}", "a: [", "endpoints: 3\nspecVersion: v1alpha1"])
def test_a_file_that_is_no_manifest_is_a_fault(text: str) -> None:
    assert faults(text)
