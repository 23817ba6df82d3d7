"""Whose object it is, and what config/storage.json may say."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts.manifest import ROOT
from shared.domain import storage
from shared.domain.faults import ConfigError
from shared.domain.storage import Bucket, Disordered, Usage, in_order, tally, usage_of
from shared.metrics.storage_usage import load_storage

NOW = datetime(2026, 11, 23, 3, 10, tzinfo=UTC)


def bucket(*patterns: str) -> Bucket:
    return Bucket.model_validate({"name": "my-app.appspot.com", "userPattern": list(patterns)})


def faults(folder: Path, data: Any) -> list[str]:
    (folder / "storage.json").write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(ConfigError) as caught:
        load_storage(folder)
    return caught.value.faults


@pytest.mark.parametrize(
    ("pattern", "name", "owner"),
    [
        ("users/{uid}/**", "users/ada/photo.png", "ada"),
        ("users/{uid}/**", "users/ada/a/b/c.png", "ada"),
        ("users/{uid}/**", "users/ada/", "ada"),  # the folder that consoles make
        ("users/{uid}/**", "users/ada", None),
        ("users/{uid}/**", "users//photo.png", None),
        ("users/{uid}/**", "other/users/ada/photo.png", None),
        ("users/{uid}/**", "Users/ada/photo.png", None),
        ("users/{uid}/**", "users/ada/two\nlines", "ada"),
        ("users/{uid}/*", "users/ada/photo.png", "ada"),
        ("users/{uid}/*", "users/ada/a/photo.png", None),
        ("users/{uid}/*", "users/ada/", None),
        ("*/{uid}/avatar.png", "eu/ada/avatar.png", "ada"),
        ("*/{uid}/avatar.png", "eu/ada/avatarXpng", None),
        ("{uid}", "ada", "ada"),
        ("{uid}", "ada/b", None),
        ("{uid}/**", "a+b (c)/x", "a+b (c)"),
    ],
)
def test_a_pattern_gives_the_owner_of_an_object(pattern: str, name: str, owner: str | None) -> None:
    assert bucket(pattern).owner_of(name) == owner


def test_the_first_pattern_that_matches_decides() -> None:
    two = bucket("shared/{uid}/**", "{uid}/*/**")
    assert two.owner_of("shared/ada/x") == "ada"
    assert two.owner_of("bob/photos/x") == "bob"


@pytest.mark.parametrize("uid", ["..", ".", "__all__", "u" * 129, "\ud800"])
def test_what_cannot_be_a_users_id_is_no_user(uid: str) -> None:
    assert bucket("users/{uid}/**").owner_of(f"users/{uid}/x") is None


@pytest.mark.parametrize("uid", ["u" * 128, "...", "__", "ädä", "0"])
def test_what_can_be_a_users_id_is_one(uid: str) -> None:
    assert bucket("users/{uid}/**").owner_of(f"users/{uid}/x") == uid


def test_the_shipped_configuration_names_no_bucket() -> None:
    assert load_storage(ROOT / "config").buckets == ()


def test_a_pattern_may_be_one_or_several_or_none(tmp_path: Path) -> None:
    buckets = [
        {"name": "one", "userPattern": "users/{uid}/**"},
        {"name": "two", "userPattern": ["users/{uid}/**", "{uid}/*"]},
        {"name": "none"},
    ]
    (tmp_path / "storage.json").write_text(json.dumps({"buckets": buckets}))
    assert [len(b.patterns) for b in load_storage(tmp_path).buckets] == [1, 2, 0]


def test_every_fault_is_named_with_its_path(tmp_path: Path) -> None:
    buckets = [
        {"name": "gs://my-app", "userPattern": "users/**"},
        {"name": "my-app", "userPattern": ["users/{uid}/**", "a-{uid}/**/x", "/{uid}/{uid}"], "prefix": "users/"},
        {"userPattern": 7},
    ]
    once = "needs {uid} once, as a segment of its own, such as users/{uid}/**"
    assert faults(tmp_path, {"buckets": buckets}) == [
        "buckets[0].name: is not the name of a bucket, such as my-app.appspot.com (without gs://)",
        f"buckets[0].userPattern[0]: {once}",
        f"buckets[1].userPattern[1]: 'a-{{uid}}' is not a whole segment; {once}; ** can only come last",
        f"buckets[1].userPattern[2]: {once}; has an empty segment: names of objects do not begin with /",
        "buckets[1].prefix: there is no such field",
        "buckets[2].name: is missing",
        "buckets[2].userPattern: must be a list",
    ]


def test_a_bucket_that_is_named_twice_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, {"buckets": [{"name": "one"}, {"name": "one"}]}) == ["buckets: named twice: one"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"buckets": {}}', "\xff"])
def test_a_file_that_is_no_such_configuration_is_a_fault(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text)


def test_a_file_that_is_missing_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_storage(tmp_path)


def test_objects_are_added_up_by_user_and_in_all() -> None:
    page = tally(bucket("users/{uid}/**"), [("a", 5), ("users/ada/1", 10), ("users/ada/2", 0), ("users/bob/1", 3)])
    assert page.users == {"ada": Usage(10, 2), "bob": Usage(3, 1)}
    assert (page.total, page.no_user, page.last) == (Usage(18, 4), Usage(5, 1), "users/bob/1")


def test_a_page_is_put_in_order_and_what_was_counted_is_left_out() -> None:
    objects = [(name, 1) for name in "bcde"]
    random.Random(1).shuffle(objects)
    assert in_order(objects, "b") == [("c", 1), ("d", 1), ("e", 1)]


@pytest.mark.parametrize("objects", [[("a", 1), ("c", 1)], [("c", 1), ("c", 1)], [("B", 1)]])
def test_a_page_that_goes_back_or_repeats_is_refused(objects: list[tuple[str, int]]) -> None:
    with pytest.raises(Disordered):
        in_order(objects, "b")


def test_a_users_document_adds_up_within_a_run_and_begins_anew_with_another() -> None:
    run = storage.new_run("r1", "h", [bucket("{uid}")], NOW)
    first = usage_of(run, None, Usage(1_500_000_000, 2), NOW)
    assert first == {
        "bytes": 1_500_000_000,
        "objects": 2,
        "gb": 1.5,
        "runId": "r1",
        "updatedAt": NOW,
        "expireAt": datetime(2027, 2, 22, tzinfo=UTC),
    }
    assert usage_of(run, first, Usage(1, 1), NOW)["bytes"] == 1_500_000_001
    assert usage_of({**run, "runId": "r2"}, first, Usage(1, 1), NOW)["bytes"] == 1


def test_a_run_goes_on_for_a_week_with_the_same_configuration() -> None:
    run = storage.new_run("r1", "h", [bucket("{uid}")], NOW)
    assert storage.goes_on(run, "h", NOW + timedelta(days=6))
    assert not storage.goes_on(run, "h", NOW + timedelta(days=7))
    assert not storage.goes_on(run, "other", NOW)
    assert not storage.goes_on(storage.finished(run, NOW), "h", NOW)
