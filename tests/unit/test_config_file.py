"""A file of the configuration is read whole and exact, or every fault of it is told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from shared.config_file import load_exact, load_model, read_json
from shared.domain.faults import ConfigError


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid")

    most: Decimal = Decimal(1)
    names: tuple[str, ...] = ()


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "limits.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def faults_of(load: object, path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_json(path) if load is read_json else load(path, Limits)  # type: ignore[operator]
    assert caught.value.source == "limits.json"
    return caught.value.faults


def test_a_fraction_stays_what_is_written(tmp_path: Path) -> None:
    path = written(tmp_path, '{"most": 0.1000000000000000000001, "names": ["a"]}')
    assert read_json(path)["most"] == Decimal("0.1000000000000000000001")
    assert load_exact(path, Limits) == Limits(most=Decimal("0.1000000000000000000001"), names=("a",))


def test_what_stands_in_for_a_missing_file_does_not_for_a_broken_one(tmp_path: Path) -> None:
    holds = Limits(most=Decimal(7))
    assert load_model(tmp_path / "limits.json", Limits, holds) is holds
    path = written(tmp_path, "{")
    with pytest.raises(ConfigError):
        load_model(path, Limits, holds)


@pytest.mark.parametrize("load", [load_exact, load_model])
def test_every_fault_is_told_with_its_place(tmp_path: Path, load: object) -> None:
    faults = faults_of(load, written(tmp_path, '{"most": "many", "names": 7, "more": 1}'))
    assert [fault.partition(":")[0] for fault in faults] == ["most", "names", "more"]


@pytest.mark.parametrize("load", [read_json, load_exact, load_model])
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, load: object) -> None:
    assert faults_of(load, tmp_path / "limits.json") == ["(the whole): cannot be read: there is no such file"]
    assert faults_of(load, written(tmp_path, b'{"names": ["\xff"]}')) == ["(the whole): is not UTF-8, at byte 12"]
    (tmp_path / "limits.json").unlink()
    (tmp_path / "limits.json").mkdir()
    assert faults_of(load, tmp_path / "limits.json") == ["(the whole): cannot be read: it is a folder"]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
@pytest.mark.parametrize("load", [read_json, load_exact, load_model])
def test_what_is_no_json_is_told_once(tmp_path: Path, load: object, text: str) -> None:
    (fault,) = faults_of(load, written(tmp_path, text))
    assert fault.startswith("(the whole): is not readable as JSON: ")
