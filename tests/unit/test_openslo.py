"""OpenSLO v1: what is converted, exactly, and that nothing is left out without a word."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.slo_config.openslo_export import exported
from scripts.slo_config.source import Proposal, read
from scripts.upload_slo_config import main
from shared.domain.faults import ConfigError
from shared.domain.slo_file import parse_slos
from shared.slo_loader import load_registry
from shared.store.protocol import Put
from shared.store.sqlite import SqliteStore
from tests.core import CONFIG, NOW

REGISTRY = load_registry(CONFIG)
PAGE = (CONFIG.parent / "docs" / "SLO.md").read_text()


def slo(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": "api"},
        "spec": {
            "indicator": ratio("error_rate"),
            "timeWindow": [{"duration": "30d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"target": 0.995}],
            "alertPolicies": [policy()],
            **spec,
        },
    }


def ratio(metric: str, part: str = "good") -> dict[str, Any]:
    source = {"metricSource": {"type": "f0ops", "spec": {"metric": metric}}}
    return {"metadata": {"name": "sli"}, "spec": {"ratioMetric": {part: source, "total": source}}}


def threshold(metric: str) -> dict[str, Any]:
    source = {"metricSource": {"type": "f0ops", "spec": {"metric": metric}}}
    return {"metadata": {"name": "sli"}, "spec": {"thresholdMetric": source}}


def policy(burn_rate: float = 1, severity: str = "page", **spec: Any) -> dict[str, Any]:
    return {
        "kind": "AlertPolicy",
        "metadata": {"name": "policy"},
        "spec": {
            "conditions": [
                {
                    "kind": "AlertCondition",
                    "metadata": {"name": "burn"},
                    "spec": {
                        "severity": severity,
                        "condition": {"kind": "burnrate", "threshold": burn_rate, "lookbackWindow": "5m"},
                    },
                }
            ],
            "notificationTargets": [{"targetRef": "slack"}],
            **spec,
        },
    }


def calendar(duration: str, zone: str) -> dict[str, Any]:
    return {"duration": duration, "calendar": {"startTime": "2026-01-01", "timeZone": zone}}


def converted(tmp_path: Path, *documents: Any) -> Proposal:
    path = tmp_path / "slos.yaml"
    path.write_text(documents[0] if isinstance(documents[0], str) else yaml.safe_dump_all(documents, sort_keys=False))
    return read(path, REGISTRY)


def one(tmp_path: Path, *documents: Any) -> dict[str, Any]:
    (found,) = converted(tmp_path, *documents).content["slos"]
    entry: dict[str, Any] = found
    return entry


def faults(tmp_path: Path, *documents: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        converted(tmp_path, *documents)
    assert caught.value.source == str(tmp_path / "slos.yaml")
    return caught.value.faults


def test_the_example_in_the_documents_is_converted_as_is_shown_there(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (ours,) = re.findall(r"in our form -->\n```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    found = converted(tmp_path, shown)
    assert found.content == json.loads(ours)
    assert [s.kind for s in found.config.slos] == ["share", "ratio", "ratio"]


def test_a_ratio_is_a_share_of_good_events_and_its_burn_rate_a_share_of_bad_ones(tmp_path: Path) -> None:
    assert one(tmp_path, slo()) == {
        "name": "api", "id": "api", "window": "30d", "metric": "error_rate", "target": 99.5, "threshold": 0.5,
        "alert": {"severity": "critical", "channels": ["slack"], "window": "5m"},
    }  # fmt: skip
    same = one(tmp_path, slo(indicator=ratio("error_rate", "bad")))
    assert same == one(tmp_path, slo(objectives=[{"targetPercent": 99.5}]))


@pytest.mark.parametrize(
    ("target", "burn_rate", "expected"), [(0.999, 14.4, 1.44), (0.9995, 6, 0.3), (0.995, 3, 1.5), (0.3, 0.1, 7)]
)
def test_burn_rates_are_exact(tmp_path: Path, target: float, burn_rate: float, expected: float) -> None:
    """In floats, 14.4 times 0.1 % is not 1.44 %."""
    document = slo(objectives=[{"target": target}], alertPolicies=[policy(burn_rate)])
    found = one(tmp_path, document)
    assert found["threshold"] == expected
    document["spec"]["indicator"] = ratio("availability")
    assert Decimal(str(one(tmp_path, document)["threshold"])) == 100 - Decimal(str(expected))


def test_a_value_is_a_share_of_a_distribution(tmp_path: Path) -> None:
    document = slo(
        indicator=threshold("api_latency"),
        objectives=[{"op": "lte", "value": 300, "target": 0.99}],
        alertPolicies=[policy(5)],
    )
    found = one(tmp_path, document)
    assert (found["under"], found["target"], found["threshold"]) == (300, 99, 95)
    document["spec"]["objectives"][0]["op"] = "lt"
    below = one(tmp_path, document)["under"]
    assert below < 300
    assert (below + 300) / 2 in (below, 300), "nothing lies between them"


def test_a_quantile_keeps_its_value_and_must_mean_its_own_share(tmp_path: Path) -> None:
    p95 = slo(indicator=threshold("api_latency_p95"), objectives=[{"op": "lte", "value": 300, "target": 0.95}])
    found = one(tmp_path, p95)
    assert (found["metric"], found["target"], found["threshold"]) == ("api_latency_p95", 300, 300)
    p95["spec"]["objectives"][0]["target"] = 0.99
    p95["spec"]["alertPolicies"] = [policy(2)]
    assert [fault.partition(": ")[2].partition(": ")[0] for fault in faults(tmp_path, p95)] == [
        "spec.objectives[0]", "spec.alertPolicies[0].spec.conditions[0].spec.condition.threshold",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("duration", "start", "unit"),
    [
        ("1d", "2026-03-10 00:00:00", "day"),
        ("1w", "2026-03-09", "week"),
        ("1M", "2026-03-01 00:00:00", "month"),
        ("1Q", "2026-04-01 00:00:00", "quarter"),
    ],
)
def test_a_calendar_is_ours_where_it_begins_as_ours(tmp_path: Path, duration: str, start: str, unit: str) -> None:
    window: dict[str, Any] = {
        "duration": duration,
        "calendar": {"startTime": start, "timeZone": "America/New_York"},
    }
    found = one(tmp_path, slo(timeWindow=[window]))
    assert found["window"] == {"calendar": unit, "timeZone": "America/New_York"}
    for wrong in ("2026-03-11 12:00:00", "2026-03-10 00:00:00+01:00", "soon"):
        window["calendar"]["startTime"] = wrong
        assert f"must be where a {unit} begins" in faults(tmp_path, slo(timeWindow=[window]))[0]


def test_an_unquoted_time_in_yaml_is_read_as_it_is_written(tmp_path: Path) -> None:
    window = {"duration": "1M", "calendar": {"startTime": "2026-03-01 00:00:00", "timeZone": "UTC"}}
    text = yaml.safe_dump(slo(timeWindow=[window])).replace("'2026-03-01 00:00:00'", "2026-03-01 00:00:00")
    assert one(tmp_path, text)["window"]["calendar"] == "month"


def test_objects_that_are_referred_to_are_found_in_any_order(tmp_path: Path) -> None:
    def named(kind: str, name: str, spec: Any) -> dict[str, Any]:
        return {"apiVersion": "openslo/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}

    condition = policy(2)["spec"]["conditions"][0]["spec"]
    to_chat = [{"targetRef": "chat"}]
    documents = [
        named("AlertNotificationTarget", "chat", {"target": "Slack"}),
        slo(indicator=None, indicatorRef="errors", alertPolicies=[{"alertPolicyRef": "page"}]),
        named("Service", "shop", {}),
        named("AlertCondition", "burn", condition),
        named("AlertPolicy", "page", {"conditions": [{"conditionRef": "burn"}], "notificationTargets": to_chat}),
        named("SLI", "errors", ratio("error_rate")["spec"]),
        named("SLI", "spare", ratio("error_rate")["spec"]),
    ]  # fmt: skip
    del documents[1]["spec"]["indicator"]
    found = converted(tmp_path, *documents)
    assert found.content["slos"][0]["alert"]["channels"] == ["slack"]
    assert found.content["slos"][0]["threshold"] == 1
    assert set(found.notes) == {
        "document 3 (Service shop): a service has no place here",
        "document 7 (SLI spare): no SLO refers to it",
    }
    assert "there is no SLI 'errors' in the file" in faults(tmp_path, *documents[:5])[0]


def test_annotations_name_channels_and_the_fewest_events(tmp_path: Path) -> None:
    ours = policy(notificationTargets=[{"targetRef": "the-team"}])
    ours["metadata"]["annotations"] = {"f0ops.channels": "slack, email", "f0ops.minEvents": "50", "team": "shop"}
    found = converted(tmp_path, slo(alertPolicies=[ours]))
    alert = found.content["slos"][0]["alert"]
    assert (alert["channels"], alert["min_events"]) == (["slack", "email"], 50)
    assert sorted(note.rpartition(".")[2] for note in found.notes) == ["notificationTargets", "team"]


not_boolean = ratio("error_rate")
not_boolean["spec"]["ratioMetric"]["counter"] = "yes and no"
BREAKING = [
    ({"budgetingMethod": "Timeslices"}, "spec.budgetingMethod: only Occurrences"),
    ({"budgetingMethod": None}, "spec.budgetingMethod: is missing"),
    ({"timeWindow": []}, "spec.timeWindow: name one"),
    ({"timeWindow": [{"duration": "1M", "isRolling": True}]}, "spec.timeWindow[0].duration: a rolling window is in"),
    ({"timeWindow": [{"duration": "7x", "isRolling": True}]}, "spec.timeWindow[0]: a duration is a number with"),
    ({"timeWindow": [{"duration": "1d"}, {"duration": "2d"}]}, "spec.timeWindow: name one"),
    ({"timeWindow": [calendar("3M", "UTC")]}, "spec.timeWindow[0].duration: of a calendar only 1d, 1w, 1M, 1Q"),
    ({"timeWindow": [calendar("1M", "Mars")]}, "spec.timeWindow[0]: timeZone: 'Mars' is no time zone"),
    ({"objectives": []}, "spec.objectives: name one at least"),
    ({"objectives": [{"target": 99.5}]}, "spec.objectives[0].target: from 0, and below 1"),
    ({"objectives": [{"target": 0.9, "targetPercent": 90}]}, "spec.objectives[0]: either target or targetPercent"),
    ({"objectives": [{"target": "0.9"}]}, "spec.objectives[0].target: must be a number"),
    ({"objectives": [{"target": 0.9, "timeSliceTarget": 0.9}]}, "spec.objectives[0].timeSliceTarget: not known here"),
    ({"objectives": [{"target": 0.9, "op": "lte"}]}, "spec.objectives[0].op: is for a thresholdMetric"),
    ({"indicator": ratio("eror_rate")}, "ratioMetric.good.metricSource.spec.metric: unknown metric 'eror_rate'"),
    ({"indicator": ratio("api_latency")}, "spec.metric: api_latency is a distribution"),
    ({"indicatorRef": "x"}, "spec.indicator: either indicator or indicatorRef"),
    ({"indicator": {"spec": {"ratioMetric": {"raw": {}, "rawType": "success"}}}}, "ratioMetric.raw: not known here"),
    ({"indicator": threshold("agent_latency"), "objectives": [{"op": "gte", "target": 0.9}]}, "op: only lte and lt"),
    ({"indicator": threshold("api_latency"), "objectives": [{"target": 0.9}]}, "spec.objectives[0].value: is missing"),
    ({"alertPolicies": []}, "spec.alertPolicies: name one"),
    ({"alertPolicies": [policy(alertWhenNoData="yes")]}, "alertWhenNoData: must be true or false"),
    ({"alertPolicies": [policy(alertWhenResolved=False)]}, "alertWhenResolved: only true"),
    ({"alertPolicies": [policy(severity="sev1")]}, "spec.severity: one of critical, high, warning, page, ticket"),
    ({"alertPolicies": [policy(250)]}, "condition.threshold: against 99.5 % this is 125 % bad events"),
    ({"alertPolicies": [policy(notificationTargets=[{"targetRef": "x"}])]}, "no AlertNotificationTarget 'x'"),
    ({"alertPolicies": [policy(notificationTargets=[])]}, "spec.notificationTargets: name one channel at least"),
    ({"indicator": not_boolean}, "ratioMetric.counter: must be true or false"),
    ({"frequency": 5}, "spec.frequency: not known here"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "told"), BREAKING, ids=[told for _, told in BREAKING])
def test_what_cannot_be_said_in_our_form_is_told_with_its_document(tmp_path: Path, spec: Any, told: str) -> None:
    found = faults(tmp_path, slo(), slo(**spec) | {"metadata": {"name": "other"}})
    assert all(fault.startswith("document 2 (SLO other): ") for fault in found), found
    assert any(told in fault for fault in found), found


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("op", "gte", "only gt: an alert begins strictly beyond its threshold"),
        ("alertAfter", "7m", "must be a multiple of 5 minutes"),
        ("kind", "static", "only burnrate"),
        ("threshold", 0, "must be above 0"),
        ("lookbackWindow", "7m", "must be a multiple of 5 minutes"),
    ],
)
def test_a_condition_that_ours_cannot_be_is_told(tmp_path: Path, name: str, value: Any, told: str) -> None:
    ours = policy()
    ours["spec"]["conditions"][0]["spec"]["condition"][name] = value
    (fault,) = faults(tmp_path, slo(alertPolicies=[ours]))
    assert fault.startswith("document 1 (SLO api): spec.alertPolicies[0].spec.conditions[0].spec.condition." + name)
    assert told in fault


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1", "line 1, column 6: is not readable as YAML: "),
        ("apiVersion: openslo/v1\nkind: SLO\nkind: SLI\n", "line 3: 'kind' is there twice"),
        ("- a\n", "document 1: must be a mapping"),
        ("", "(the whole): there is no SLO in it"),
        ("apiVersion: openslo/v1alpha\nkind: SLO\nmetadata: {name: x}\n", "document 1 (SLO x): apiVersion: must be"),
        ("apiVersion: openslo/v1\nkind: DataSource\nmetadata: {name: x}\n", "kind: nothing here goes by a DataSource"),
        ("apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: 3}\n", "metadata.name: must be a text"),
        ("x: " + "[" * 3000, "is not readable as YAML"),
        ("x: !!python/object/apply:os.getcwd []", "is not readable as YAML"),
    ],
)
def test_what_is_no_openslo_is_told(tmp_path: Path, text: str, told: str) -> None:
    assert any(told in fault for fault in faults(tmp_path, text)), faults(tmp_path, text)


def test_without_pyyaml_it_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "slos.yaml").write_text(yaml.safe_dump(slo()))
    (tmp_path / "store.db").touch()
    code = (
        "import sys; sys.modules['yaml'] = None; from datetime import UTC, datetime; from scripts import"
        " upload_slo_config as u; sys.exit(u.main(sys.argv[1:], {}, datetime.now(UTC)))"
    )
    argv = ["--sqlite", str(tmp_path / "store.db"), "--file", str(tmp_path / "slos.yaml")]
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=CONFIG.parent, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert "needs PyYAML, which is not installed: `.venv/bin/python -m pip install PyYAML`" in done.stderr


def places_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places_in(item, (*path, key))


JUNK: tuple[Any, ...] = (None, [], {}, "x", -3, True, [1], {"a": 1}, 10**30, [[]])


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_whatever_stands_anywhere_it_is_taken_or_told(tmp_path: Path, junk: Any) -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    sound = list(yaml.safe_load_all(shown.replace("2026-01-01 00:00:00", "'2026-01-01'")))
    told: list[list[str]] = []
    for path in places_in(sound):
        documents = copy.deepcopy(sound)
        inner: Any = documents
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = junk
        try:
            converted(tmp_path, *documents)
        except ConfigError as error:
            told.append(error.faults)
    assert len(told) > 50
    assert all(told)
    assert [f for found in told for f in found if not f.startswith(("document ", "(the whole): "))] == []


@pytest.mark.parametrize("number", ["1e999999", "1e-999999", "-1e999999", ".inf", ".nan"])
def test_numbers_without_measure_are_told(tmp_path: Path, number: str) -> None:
    text = yaml.safe_dump(slo(alertPolicies=[policy(2.25)])).replace("threshold: 2.25", f"threshold: {number}")
    assert "condition.threshold: " in faults(tmp_path, text)[0]
    value = slo(indicator=threshold("api_latency"), objectives=[{"value": 2.25, "target": 0.9}])
    assert "objectives[0].value: " in faults(tmp_path, yaml.safe_dump(value).replace("2.25", number))[0]


def test_two_of_a_name_are_told(tmp_path: Path) -> None:
    assert faults(tmp_path, slo(), slo()) == [
        "document 2 (SLO api): metadata.name: is that of document 1 (SLO api) too"
    ]


def test_every_fault_of_every_document_is_told_at_once(tmp_path: Path) -> None:
    broken = slo(budgetingMethod="Timeslices", timeWindow=[])
    other = slo(objectives=[]) | {"metadata": {"name": "other"}}
    assert [fault.split(": ")[:2] for fault in faults(tmp_path, broken, other)] == [
        ["document 1 (SLO api)", "spec.budgetingMethod"],
        ["document 1 (SLO api)", "spec.timeWindow"],
        ["document 2 (SLO other)", "spec.objectives"],
    ]


# --- what an alert has besides


def with_annotations(**annotations: str) -> dict[str, Any]:
    found = policy(alertWhenNoData=annotations.pop("alertWhenNoData", None) == "true")
    found["metadata"]["annotations"] = {f"f0ops.{name}": value for name, value in annotations.items()}
    return found


def test_waits_silence_and_all_else_that_an_alert_may_have_is_taken_over(tmp_path: Path) -> None:
    ours = with_annotations(
        alertWhenNoData="true", minEvents="20", minFailures="9", keepFiringFor="15m", burnRates="true",
        incident="false", impact="low", threshold="2.5",
    )  # fmt: skip
    ours["spec"]["conditions"][0]["spec"]["condition"]["alertAfter"] = "10m"
    found = one(tmp_path, slo(alertPolicies=[ours]))
    assert found["threshold"] == 2.5
    assert found["alert"] == {
        "severity": "critical", "channels": ["slack"], "window": "5m", "for": "10m", "keep_firing_for": "15m",
        "no_data": "alert", "min_events": 20, "min_failures": 9, "burn_rates": True, "incident": False, "impact": "low",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        ({"minFailures": "-1"}, "f0ops.minFailures: "),
        ({"keepFiringFor": "soon"}, "f0ops.keepFiringFor: a duration is a number with"),
        ({"noData": "shrug"}, "f0ops.noData: must be 'keep', 'ok' or 'alert'"),
        ({"noData": "ok", "alertWhenNoData": "true"}, "f0ops.noData: alertWhenNoData says something else"),
        ({"burnRates": "perhaps"}, "f0ops.burnRates: "),
        ({"incident": "perhaps"}, "f0ops.incident: "),
        ({"impact": "huge"}, "f0ops.impact: "),
        ({"threshold": "many"}, "f0ops.threshold: must be a number"),
        ({"threshold": "101"}, "f0ops.threshold: 101 is no percentage"),
        ({"runbooks": "x"}, "f0ops.runbooks: known, in an AlertPolicy: f0ops.channels"),
    ],
)
def test_an_annotation_that_cannot_be_right_is_told_where_it_stands(
    tmp_path: Path, annotations: dict[str, str], told: str
) -> None:
    assert any(told in fault for fault in faults(tmp_path, slo(alertPolicies=[with_annotations(**annotations)])))


# --- and back


def there_and_back(tmp_path: Path, content: dict[str, Any]) -> dict[str, Any]:
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(content))
    mine = read(path, REGISTRY)
    return converted(tmp_path, exported(mine.content, mine.config, REGISTRY, "x")).content


def full(content: dict[str, Any]) -> list[Any]:
    """With everything that is usual said."""
    return [replace(s, id=s.id) for s in parse_slos(content, REGISTRY, source="x", digest="x").slos]


def test_what_is_shipped_comes_back_as_it_was(tmp_path: Path) -> None:
    shipped = json.loads((CONFIG / "slo.json").read_text())
    assert full(there_and_back(tmp_path, shipped)) == full(shipped)


ALERTS = st.fixed_dictionaries(
    {
        "severity": st.sampled_from(["critical", "high", "warning"]),
        "channels": st.sampled_from([["slack"], ["email", "inapp"]]),
    },
    optional={
        "window": st.sampled_from(["5m", "1h", "2d"]),
        "for": st.sampled_from(["0m", "10m"]),
        "keep_firing_for": st.sampled_from(["0m", "15m"]),
        "no_data": st.sampled_from(["keep", "ok", "alert"]),
        "min_events": st.integers(1, 500),
        "min_failures": st.integers(0, 500),
        "burn_rates": st.booleans(),
        "incident": st.booleans(),
        "impact": st.sampled_from(["low", "medium", "high", "critical"]),
    },
)
PERCENT = st.integers(0, 99_999).map(lambda n: n / 1000)
KINDS = st.one_of(
    st.fixed_dictionaries(
        {"metric": st.sampled_from(["error_rate", "availability"]), "target": PERCENT, "threshold": PERCENT}
    ),
    st.fixed_dictionaries(
        {"metric": st.just("api_latency"), "under": st.integers(1, 9000), "target": PERCENT, "threshold": PERCENT}
    ),
    st.fixed_dictionaries(
        {"metric": st.just("api_latency_p95"), "target": st.integers(1, 9000), "threshold": st.integers(1, 9000)}
    ),
)
WINDOWS = st.one_of(
    st.sampled_from(["1d", "30d", "13w"]),
    st.fixed_dictionaries(
        {"calendar": st.sampled_from(["day", "week", "month", "quarter"])},
        optional={"timeZone": st.sampled_from(["UTC", "Europe/Berlin"])},
    ),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(KINDS, WINDOWS, ALERTS, st.sampled_from([{}, {"endpoint": "/api/pay"}]))
def test_whatever_ours_says_comes_back_as_it_was(
    tmp_path: Path, kind: dict[str, Any], window: Any, alert: dict[str, Any], labels: dict[str, str]
) -> None:
    content = {"slos": [{"name": "Pay & go: “ünïcode”", "window": window, **kind, "labels": labels, "alert": alert}]}
    assert full(there_and_back(tmp_path, content)) == full(content)


def test_an_objective_of_everything_cannot_be_said(tmp_path: Path) -> None:
    content = json.loads((CONFIG / "slo.json").read_text())
    content["slos"][0]["target"] = 100
    del content["slos"][0]["alert"]["burn_rates"]  # there is no budget to burn
    with pytest.raises(ConfigError) as caught:
        there_and_back(tmp_path, content)
    assert caught.value.faults == ["slos[0].target: OpenSLO has no objective of 100 %"]


def test_the_command_prints_a_file_or_a_version_as_openslo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "store.db"
    local = ["--sqlite", str(path)]
    assert main(["--openslo", "--file", str(CONFIG / "slo.json"), *local], {}, NOW) == 0
    told = capsys.readouterr().out
    names = [document["metadata"]["name"] for document in yaml.safe_load_all(told)]
    assert names == ["api-availability", "api-latency-p95", "agent-success-rate", "database-write-latency"]
    store = SqliteStore(path)
    shipped = json.loads((CONFIG / "slo.json").read_text())
    store.commit([Put("config/slo/versions/1", {"version": 1, "content": shipped})])
    store.close()
    assert main(["--openslo", "--show", "1", *local], {}, NOW) == 0
    assert capsys.readouterr().out == told
    assert main(["--openslo", "--show", "7", *local], {}, NOW) == 2
    assert main(["--openslo", "--file", str(tmp_path / "none.json"), *local], {}, NOW) == 1
