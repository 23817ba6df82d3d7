"""docs/probes.md, held true: kinds, fields and defaults, limits, and what it shows could be configured."""

from __future__ import annotations

import json
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo

from scripts.manifest import ROOT
from shared.components import load_components, parse_components
from shared.domain.component import UptimePolicy
from shared.domain.history import DAYS, HELD
from shared.domain.probe import (
    KINDS,
    LONGEST_SECONDS,
    PAUSE_SECONDS,
    ROUND_SECONDS,
    Expect,
    FeedProbe,
    HttpProbe,
    Probe,
)
from shared.domain.probed import PROBE_STALE
from shared.outbound import MAX_ANSWER_BYTES
from shared.slo_loader import load_file, load_registry
from shared.status.cache import REFRESH_SECONDS
from tests.unit.test_docs import blocks, table

PAGE = (ROOT / "docs" / "probes.md").read_text()
TEXT = " ".join(PAGE.split())


def shown(with_key: str) -> Any:
    (found,) = [block for block in blocks(PAGE, "json") if f'"{with_key}"' in block]
    return json.loads(found)


def alias(name: str, field: FieldInfo) -> str:
    return field.alias or name


def test_every_kind_is_in_the_table_with_what_it_needs() -> None:
    rows = table(PAGE, "component", "probe", "what it does", "needs")
    assert {kind.strip() for _, kinds, _, _ in rows for kind in kinds.split(",")} == set(KINDS)


def test_every_field_of_a_probe_is_described_with_its_default() -> None:
    described = {name: default for name, default, _ in table(PAGE, "field of any probe", "default", "what it is")}
    fields = {alias(name, field): field.default for name, field in Probe.model_fields.items() if name != "id"}
    fields["everySeconds"] = f"{ROUND_SECONDS}; of a feed {FeedProbe.model_fields['every_seconds'].default}"
    assert described.pop("id, kind") == "required"
    assert described.pop("message") == '"Not responding as it should"'
    fields.pop("message")
    told = {name: "none" if v is None else f"{v:g}" if isinstance(v, float) else str(v) for name, v in fields.items()}
    assert described == told


def test_every_field_of_an_http_probe_is_described() -> None:
    described = {
        name.strip()
        for names, *_ in table(PAGE, "field of an http probe", "default", "what it is")
        for name in names.split(",")
    }
    own = {alias(n, f) for n, f in HttpProbe.model_fields.items() if n not in Probe.model_fields} - {"kind", "expect"}
    assert described == own | {f"expect.{alias(n, f)}" for n, f in Expect.model_fields.items()}


def test_how_uptime_is_counted_is_described_with_its_defaults() -> None:
    rows = {name: default for name, default, _ in table(PAGE, "field", "default", "")}
    assert rows == {name: field.default for name, field in UptimePolicy.model_fields.items()}
    for name, field in UptimePolicy.model_fields.items():
        (text,) = [text for cell, _, text in table(PAGE, "field", "default", "") if cell == name]
        assert {field.default, *re.findall("up|down|excluded", text)} >= set(get_args(field.annotation)), name


def test_the_limits_in_the_text_are_those_of_the_code() -> None:
    told = (
        f"asks twice, {ROUND_SECONDS} seconds apart",
        f"All attempts together have {LONGEST_SECONDS:g} s",
        f"its first {MAX_ANSWER_BYTES // 1024} KiB",
        f"nothing could be said for {PROBE_STALE // timedelta(minutes=1)} minutes",
        f"Of each of the last {DAYS} UTC days",
        f"for more than {HELD // timedelta(minutes=1)} minutes",
    )
    assert [text for text in told if text not in TEXT] == []


def test_a_failure_of_the_api_shows_within_60_seconds_as_it_is_worked_out_there() -> None:
    """The page's own pace is in its script."""
    (api,) = load_components(ROOT / "config").components[0].probes
    hangs = api.timeout_seconds * (api.retries + 1) + PAUSE_SECONDS * api.retries
    at_most = ROUND_SECONDS + hangs + REFRESH_SECONDS + 10
    assert f"hang take {hangs:g} more" in TEXT
    assert f"at most {REFRESH_SECONDS:g} seconds later" in TEXT
    assert f"{at_most:g} in all" in TEXT
    assert at_most < 60


def test_the_component_that_is_shown_could_be_configured() -> None:
    written = json.loads((ROOT / "config" / "components.json").read_text())
    found = parse_components(json.dumps({**written, "components": [*written["components"], shown("certificateDays")]}))
    assert found.components[-1].id == "Search"


def test_the_slo_that_is_shown_could_be_configured(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ROOT / "config", tmp_path / "config"))
    (folder / "slo.json").write_text(json.dumps({"slos": [shown("probe_success")]}))
    (slo,) = load_file(folder / "slo.json", load_registry(ROOT / "config")).slos
    assert dict(slo.labels) == {"component": "API"}


@pytest.mark.parametrize("component", load_components(ROOT / "config").components, ids=lambda c: c.id)
def test_what_ships_is_described(component: Any) -> None:
    rows = [row for row in table(PAGE, "component", "probe", "what it does", "needs") if row[0] == component.name]
    assert {kind.strip() for row in rows for kind in row[1].split(",")} == {p.kind for _, p in component.all_probes()}
