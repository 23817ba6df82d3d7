"""Which labels make the series of a metric many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.cardinality import DroppedLabel, LabelCost, costs_of, dropped_labels
from shared.domain.series import key_of
from tests.core import registry


def test_the_label_without_which_fewest_series_would_be_left_comes_first() -> None:
    events = {
        key_of("api_latency", {"endpoint": f"/{e}", "status": s, "region": "eu"}): 2
        for e in "abc"
        for s in ("200", "500")
    }
    (cost,) = costs_of(events, registry())
    assert (cost.metric, cost.series, cost.events) == ("api_latency", 6, 12)
    assert cost.limit == registry().metrics["api_latency"].max_series
    assert cost.labels == [LabelCost("endpoint", 3, 2), LabelCost("status", 2, 3), LabelCost("region", 1, 6)]


def test_a_series_without_the_label_is_told_from_those_with_it() -> None:
    events = {key_of("api_latency", labels): 1 for labels in ({}, {"status": "200"}, {"status": "500"})}
    (cost,) = costs_of(events, registry())
    assert cost.labels == [LabelCost("status", 2, 1)]


def test_the_share_of_what_was_folded_is_of_events() -> None:
    events = {key_of("token_cost", {"model": "a"}): 75, key_of("token_cost", {"other": "true"}): 25}
    (cost,) = costs_of(events, registry())
    assert cost.other_percent == 25
    assert [label.label for label in cost.labels] == ["model"]


def test_the_metric_with_the_most_series_comes_first_and_a_removed_one_has_no_limit() -> None:
    events = {key_of("removed", {"x": str(n)}): 1 for n in range(3)} | {key_of("token_cost", {}): 9}
    assert [(cost.metric, cost.series, cost.limit) for cost in costs_of(events, registry())] == [
        ("removed", 3, 0),
        ("token_cost", 1, registry().metrics["token_cost"].max_series),
    ]


def test_dropped_labels_are_told_by_how_often_they_came() -> None:
    samples = {
        key_of("dropped_labels", {"metric": "api_latency", "label": "trace"}): 5,
        key_of("dropped_labels", {"metric": "token_cost", "label": "colour"}): 50,
        key_of("dropped_labels", {"other": "true"}): 1,
    }
    assert dropped_labels(samples) == [
        DroppedLabel("token_cost", "colour", 50),
        DroppedLabel("api_latency", "trace", 5),
        DroppedLabel("", "", 1),
    ]


labels = st.dictionaries(st.sampled_from(["endpoint", "method", "status"]), st.sampled_from("abc"))


@given(st.lists(labels, min_size=1, max_size=40))
def test_without_a_label_no_more_series_are_left_than_there_are(sets: list[dict[str, str]]) -> None:
    (cost,) = costs_of({key_of("api_latency", s): 1 for s in sets}, registry())
    distinct = {tuple(sorted(s.items())) for s in sets}
    assert cost.series == len(distinct)
    for label in cost.labels:
        assert label.without == len({tuple(i for i in s if i[0] != label.label) for s in distinct})
        assert label.values == len({dict(s)[label.label] for s in distinct if label.label in dict(s)})
