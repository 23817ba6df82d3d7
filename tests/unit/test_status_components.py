"""config/components.json: what ships is right, and a broken file names every fault."""

import json
from pathlib import Path

import pytest

from shared.components import ComponentsError, load_components, parse_components
from shared.domain.component import Component

CONFIG = Path(__file__).parents[2] / "config"


def faults_of(data: object) -> list[str]:
    with pytest.raises(ComponentsError) as caught:
        parse_components(json.dumps(data))
    return caught.value.faults


def test_the_six_components_are_there_in_the_original_order() -> None:
    assert [c.id for c in load_components(CONFIG).components] == [
        "API",
        "Auth",
        "Billing",
        "AI_Providers",
        "Database",
        "Storage",
    ]


def test_each_component_names_its_provider() -> None:
    assert {c.id: c.provider for c in load_components(CONFIG).components if c.provider} == {
        "Auth": "Firebase Auth",
        "Billing": "Stripe",
        "Database": "Firestore",
        "Storage": "Cloud Storage",
    }
    ai: Component = load_components(CONFIG).components[3]
    assert [(p.name, p.models) for p in ai.providers] == [("Claude", ("sonnet-4-5", "opus-4")), ("OpenAI", ("gpt-4",))]


@pytest.mark.parametrize(
    ("metric", "component"),
    [
        ("error_rate", "API"),
        ("api_latency", "API"),
        ("agent_success_rate", "AI_Providers"),
        ("firestore_write_latency", "Database"),
        ("firestore_read_latency", "Database"),
        ("token_cost", None),
    ],
)
def test_a_metric_speaks_for_its_component(metric: str, component: str | None) -> None:
    assert load_components(CONFIG).component_of(metric) == component


def test_every_fault_is_told_with_its_path() -> None:
    faults = faults_of(
        {
            "page": {"name": "", "timeZone": "Mars/Olympus", "links": [{"label": "x", "url": "javascript:alert(1)"}]},
            "components": [{"id": "1st", "name": "API", "colour": "green"}],
        }
    )
    assert [fault.partition(":")[0] for fault in faults] == [
        "page.name",
        "page.timeZone",
        "page.links[0].url",
        "components[0].id",
        "components[0].colour",
    ]


def test_one_metric_cannot_speak_for_two_components_nor_two_components_share_an_id() -> None:
    source = {"metric": "error_rate", "message": "Bad"}
    part = {"id": "API", "name": "API", "metrics": [source]}
    (fault,) = faults_of({"page": {"name": "F0"}, "components": [part, part]})
    assert "component API is there 2 times" in fault
    assert "metric error_rate is named 2 times" in fault


def test_one_figure_cannot_have_two_sources() -> None:
    sources = [{"metric": m, "message": "Bad", "shows": "latency"} for m in ("a", "b")]
    (fault,) = faults_of({"page": {"name": "F0"}, "components": [{"id": "API", "name": "API", "metrics": sources}]})
    assert "API has 2 sources of latency" in fault


def test_uptime_is_counted_in_time_and_no_metric_shows_it() -> None:
    source = {"metric": "error_rate", "message": "Bad", "shows": "uptime"}
    (fault,) = faults_of({"page": {"name": "F0"}, "components": [{"id": "API", "name": "API", "metrics": [source]}]})
    assert fault.startswith("components[0].metrics[0].shows: ")


def test_a_missing_file_and_no_json_are_told(tmp_path: Path) -> None:
    with pytest.raises(ComponentsError, match="cannot be read"):
        load_components(tmp_path)
    (tmp_path / "components.json").write_text("{")
    with pytest.raises(ComponentsError, match="is not readable as JSON"):
        load_components(tmp_path)
