"""What the components are doing, from runs, alerts and incidents."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.history import percent_down
from shared.domain.status import ComponentStatus, View, derive
from tests.unit.status_scenes import BILLING, COMPONENTS, MEASURED, NO_DATA, NOW, PAST, alert, minutes, run, slo

EVERYWHERE = ("API", "AI_Providers", "Database")


def view(run: Any = None, alerts: Any = (), incidents: Any = ()) -> View:
    return derive(COMPONENTS, run, alerts, [{"id": f"i{n}", **i} for n, i in enumerate(incidents)], NOW)


def of(view: View, name: str) -> ComponentStatus:
    return next(s for s in view.components if s.component.id == name)


def test_a_component_with_data_and_nothing_firing_is_operational() -> None:
    found = view(run())
    assert {s.component.id: s.state for s in found.components} == {
        "API": "operational",
        "Auth": "not_monitored",
        "Billing": "not_monitored",
        "AI_Providers": "operational",
        "Database": "operational",
        "Storage": "not_monitored",
    }
    assert found.overall == "operational"


@pytest.mark.parametrize(("severity", "state"), [("critical", "outage"), ("high", "degraded"), ("warning", "degraded")])
def test_a_firing_alert_sets_the_state_by_its_severity(severity: str, state: str) -> None:
    found = view(run(), [alert("a1", "error_rate", severity)])
    assert (of(found, "API").state, found.overall) == (state, state)
    assert of(found, "Database").state == "operational"


def burning(incident: str | None, severity: str = "critical") -> dict[str, Any]:
    return {
        **alert("a1", "error_rate", severity),
        "rule": "page",
        "burn": {"shortSeconds": 300},
        "incidentId": incident,
    }


@pytest.mark.parametrize(("recent", "state"), [("met", "operational"), ("missed", "outage"), ("no_data", "outage")])
def test_a_burn_rate_that_looks_hours_back_counts_until_the_last_minutes_are_good(recent: str, state: str) -> None:
    slos = [{**slo, "recent": recent} for slo in MEASURED]
    assert of(view(run(slos), [burning("a1-1")]), "API").state == state
    assert of(view(run(slos), [alert("a1", "error_rate", "critical")]), "API").state == "outage"


def test_the_last_minutes_of_a_run_that_is_long_ago_say_nothing() -> None:
    slos = [{**slo, "recent": "met"} for slo in MEASURED]
    assert of(view(run(slos, facts_at=NOW - minutes(30)), [burning("a1-1")]), "API").state == "outage"


@pytest.mark.parametrize("recent", ["met", "missed", "no_data"])
def test_a_ticket_is_about_the_budget_and_no_user_feels_it(recent: str) -> None:
    slos = [{**slo, "recent": recent} for slo in MEASURED]
    assert of(view(run(slos), [burning(None, "warning")]), "API").state == "operational"


@pytest.mark.parametrize("state", ["pending", "ok", "resolved"])
def test_an_alert_that_does_not_fire_changes_nothing(state: str) -> None:
    assert view(run(), [alert("a1", "error_rate", "critical", state=state)]) == view(run())


def test_reason_names_the_alert_and_message_does_not() -> None:
    api = of(view(run(), [alert("a1", "error_rate", "critical")]), "API")
    assert api.reason == "alert a1: threshold_exceeded"
    assert api.message == "Some requests are failing"


def test_the_worst_cause_is_told_first_and_each_message_once() -> None:
    alerts = [
        alert("slow", "api_latency", "warning"),
        alert("slower", "api_latency", "high"),
        alert("broken", "error_rate", "critical"),
    ]
    api = of(view(run(), alerts), "API")
    assert api.state == "outage"
    assert api.message == "Some requests are failing. Slower than usual"


def test_an_alert_without_a_metric_of_the_page_speaks_for_its_own_component() -> None:
    api = of(view(run(), [alert("watchdog", "unknown_metric", "high", "API")]), "API")
    assert (api.state, api.message) == ("degraded", "Not working as it should")


def test_without_any_run_nothing_is_operational() -> None:
    found = view()
    assert found.overall == "unknown"
    assert {s.state for s in found.components} == {"no_data", "not_monitored"}
    assert of(found, "API").reason == "never_evaluated"


def test_a_component_whose_slos_have_no_data_says_so() -> None:
    ai = of(view(run(MEASURED[:2] + NO_DATA)), "AI_Providers")
    assert (ai.state, ai.reason, ai.last_check) == ("no_data", "no_data", None)


def test_a_component_that_has_fallen_silent_has_no_data_however_good_its_30_days_were() -> None:
    silent = [slo("error_rate", "API", value=None, good=20, total=20, recent=0)]
    found = view(run(silent))
    api = of(found, "API")
    assert (api.state, api.reason, api.message) == ("no_data", "no_data", "There are no recent measurements")
    assert (api.figures, api.last_check, found.overall) == ({}, None, "unknown")


def test_a_single_recent_event_is_a_measurement() -> None:
    api = of(view(run([slo("api_latency", "API", value=88.0, good=21, total=21, recent=1)])), "API")
    assert (api.state, api.figures) == ("operational", {"latency": 88})


def test_one_silent_slo_of_a_component_hides_only_its_own_figure() -> None:
    slos = [slo("error_rate", "API", value=None, recent=0), slo("api_latency", "API", value=212.4)]
    api = of(view(run(slos)), "API")
    assert (api.state, api.figures) == ("operational", {"latency": 212})


def test_an_alert_that_fires_still_shows_when_the_app_has_fallen_silent() -> None:
    silent = {**slo("error_rate", "API", value=None, good=90, total=100, recent=0), "alertState": "firing"}
    api = of(view(run([silent]), [alert("a1", "error_rate", "critical")]), "API")
    assert (api.state, api.message, api.figures) == ("outage", "Some requests are failing", {})


def test_a_component_without_an_slo_of_its_metrics_is_not_monitored() -> None:
    assert of(view(run(MEASURED[:1])), "Database").state == "not_monitored"


def test_only_components_without_data_make_the_whole_unknown() -> None:
    assert view(run(NO_DATA)).overall == "unknown"
    assert view(run([])).overall == "unknown"


def test_an_evaluation_that_is_long_past_says_nothing_about_now() -> None:
    old = run(facts_at=NOW - minutes(21))
    assert (of(view(old), "API").state, of(view(old), "API").reason) == ("no_data", "evaluation_stale")
    assert of(view(run(facts_at=NOW - minutes(20))), "API").state == "operational"
    assert of(view(old, [alert("a1", "error_rate", "critical")]), "API").state == "outage"


def test_a_public_incident_affects_its_components_even_unmonitored_ones() -> None:
    found = view(run(), incidents=[BILLING])
    assert of(found, "Billing").state == "outage"
    assert of(found, "Billing").message == "Affected by a current incident"
    assert found.overall == "outage"


def test_an_incident_that_is_not_critical_degrades() -> None:
    assert of(view(run(), incidents=[{**BILLING, "impact": "high"}]), "API").state == "degraded"


def test_an_incident_that_is_resolved_or_not_public_affects_nothing() -> None:
    assert of(view(run(), incidents=[PAST]), "Auth").state == "not_monitored"
    hidden = view(run(), incidents=[{**BILLING, "publicVisible": False}])
    assert (of(hidden, "Billing").state, hidden.incidents) == ("not_monitored", ())


def test_incidents_are_unresolved_first_and_resolved_ones_leave_after_14_days() -> None:
    edge = {**PAST, "resolvedAt": NOW - timedelta(days=14)}
    gone = {**PAST, "resolvedAt": NOW - timedelta(days=14, seconds=1)}
    old_but_open = {**BILLING, "startedAt": NOW - timedelta(days=40)}
    found = view(run(), incidents=[gone, edge, PAST, old_but_open, BILLING])
    assert [i["id"] for i in found.incidents] == ["i4", "i3", "i1", "i2"]


def test_figures_come_from_the_slos_that_show_them() -> None:
    found = view(run())
    assert of(found, "API").figures == {"latency": 212}
    assert of(found, "Database").figures == {"writeLatency": 78, "readLatency": 45}
    assert of(found, "AI_Providers").figures == {}
    assert of(found, "API").last_check == NOW - minutes(2.5)


def test_a_figure_that_is_not_known_is_absent() -> None:
    assert of(view(run([slo("api_latency", "API", value=None)])), "API").figures == {}
    assert of(view(run([slo("api_latency", "API", value=3.14)])), "API").figures == {"latency": 3.1}


def test_uptime_is_rounded_down() -> None:
    assert percent_down(99_996, 100_000) == 99.99
    assert percent_down(10**15 - 1, 10**15) == 99.99
    assert percent_down(7, 7) == 100.0


@given(total=st.integers(1, 10**18), data=st.data())
def test_uptime_reads_100_only_when_nothing_failed(total: int, data: Any) -> None:
    good = data.draw(st.integers(0, total))
    assert (percent_down(good, total) >= 100) == (good == total)


@given(
    st.lists(
        st.builds(
            alert,
            st.just("a"),
            st.sampled_from(["error_rate", "api_latency", "agent_success_rate", "token_cost"]),
            st.sampled_from(["critical", "high", "warning"]),
            st.sampled_from(EVERYWHERE),
            st.sampled_from(["ok", "pending", "firing", "resolved"]),
        ),
        max_size=5,
    ),
    st.sampled_from([None, run(), run([]), run(NO_DATA), run(facts_at=NOW - minutes(60))]),
)
def test_the_whole_is_the_worst_of_what_is_known(alerts: list[Any], last: Any) -> None:
    found = view(last, alerts)
    states = [s.state for s in found.components]
    worst = [s for s in ("outage", "degraded", "operational") if s in states]
    assert found.overall == (worst[0] if worst else "unknown")
