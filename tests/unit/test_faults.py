"""What is wrong with what was given is said in our words, each with its path."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.domain.faults import faults_of, unreadable


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=3)] = "a"
    code: Annotated[str, Field(min_length=2, max_length=1_000, pattern="^[a-z]+$")] = "ab"
    many: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    pair: Annotated[list[int], Field(min_length=2)] = [1, 2]
    one: Annotated[list[int], Field(max_length=1)] = [1]
    kind: Literal["a", "b", "c"] = "a"
    colour: Colour = Colour.RED
    count: Annotated[int, Field(ge=1, le=9)] = 1
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    price: Decimal = Decimal(1)
    on: bool = True
    at: datetime = datetime(2026, 3, 1, tzinfo=UTC)
    day: date = date(2026, 3, 1)
    words: dict[str, str] = {}
    within: Thing | None = None


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"name": ""}, "name: must not be empty"),
        ({"name": "abcd"}, "name: must have at most 3 characters"),
        ({"name": 5}, "name: must be a text"),
        ({"code": "a"}, "code: must have at least 2 characters"),
        ({"code": "A-"}, "code: must have the form ^[a-z]+$"),
        ({"many": []}, "many: must not be empty"),
        ({"many": [1, 2, 3]}, "many: must have at most 2 entries"),
        ({"many": {}}, "many: must be a list"),
        ({"many": [1, "x"]}, "many[1]: must be a whole number"),
        ({"pair": [1]}, "pair: must have at least 2 entries"),
        ({"one": [1, 2]}, "one: must have at most 1 entry"),
        ({"kind": "d"}, "kind: must be 'a', 'b' or 'c'"),
        ({"colour": "green"}, "colour: must be 'red' or 'blue'"),
        ({"count": "many"}, "count: must be a whole number"),
        ({"count": 1.5}, "count: must be a whole number"),
        ({"count": None}, "count: must be a whole number"),
        ({"count": 0}, "count: must be at least 1"),
        ({"count": 10}, "count: must be at most 9"),
        ({"share": 0}, "share: must be more than 0.0"),
        ({"share": 1}, "share: must be less than 1.0"),
        ({"share": []}, "share: must be a number"),
        ({"price": "x"}, "price: must be a number"),
        ({"price": "NaN"}, "price: must be a finite number"),
        ({"on": "perhaps"}, "on: must be true or false"),
        ({"at": "yesterday"}, "at: must be a time such as 2026-03-01T12:00:00Z"),
        ({"day": "31 March"}, "day: must be a date such as 2026-03-01"),
        ({"words": []}, "words: must be an object"),
        ({"within": 5}, "within: must be an object"),
        ({"within": {"nmae": "a"}}, "within.nmae: there is no such field"),
    ],
)  # fmt: skip
def test_each_common_kind_of_fault_has_plain_words(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Thing.model_validate(given)
    assert faults_of(raised.value) == [fault]


def test_what_is_missing_and_what_is_no_json_have_plain_words() -> None:
    class Needs(BaseModel):
        name: str

    with pytest.raises(ValidationError) as raised:
        Needs.model_validate({})
    assert faults_of(raised.value) == ["name: is missing"]
    with pytest.raises(ValidationError) as raised:
        Needs.model_validate_json("{")
    assert faults_of(raised.value)[0].startswith("(the whole): is not readable as JSON: EOF")


def test_why_a_file_cannot_be_read_is_told_without_the_number_of_the_systems_error(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a\xff")
    told = []
    for name in ("none", ".", "latin"):
        with pytest.raises((OSError, UnicodeDecodeError)) as raised:
            (tmp_path / name).read_text(encoding="utf-8")
        told.append(unreadable(raised.value))
    assert told == [
        "cannot be read: there is no such file", "cannot be read: it is a folder", "is not UTF-8, at byte 1",
    ]  # fmt: skip
    assert unreadable(PermissionError(13, "Permission denied")) == "cannot be read: this user may not open it"
    assert unreadable(OSError(5, "Input/output error")) == "cannot be read: input/output error"
