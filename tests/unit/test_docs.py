"""The documents, held true: what the code has is described, and what is described works."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.cost import KINDS, ONE_EACH, SHAPES, beyond_free, dollars, measured, operations_a_day
from functions.metrics_ingest.body import MAX_HELD
from functions.metrics_ingest.decode import read_batch
from functions.metrics_ingest.forms import MAX_METRICS, MAX_WEIGHT
from functions.metrics_ingest.handler import MAX_BODY
from functions.metrics_ingest.ingest import OWN_EVERY_SECONDS
from functions.metrics_ingest.otlp import MAX_DECODED, MAX_SENT
from functions.metrics_ingest.otlp_histograms import MOST_BUCKETS
from functions.metrics_ingest.otlp_read import MAX_POINTS
from functions.metrics_ingest.otlp_units import _FACTORS as UNITS
from scripts.manifest import ROOT, load
from shared.api.http import Problem
from shared.components import load_components
from shared.domain import notification
from shared.domain.aggregate import AHEAD_MS, OLDEST_MS
from shared.domain.alert_policy import AlertPolicy
from shared.domain.building import LARGEST
from shared.domain.cumulative import LOOKBACK_BLOCKS
from shared.domain.heartbeat import FORGOTTEN_AFTER_MS, MAX_AGENTS, Agents, Pace
from shared.domain.metric import Registry
from shared.domain.plans import Plans
from shared.domain.pricing import Pricing
from shared.domain.series import MAX_LABEL_LENGTH, MAX_LABELS, split_key
from shared.domain.sketch import SMALLEST
from shared.domain.slo_file import SloSpec
from shared.domain.spending import Spending
from shared.domain.storage import KEEP as STORAGE_KEEP
from shared.flags import CACHE_SECONDS, load_defaults
from shared.metrics.agents import load_agents
from shared.metrics.layout import KEEP
from shared.metrics.rollups import read_blocks
from shared.metrics_client import MetricsClient
from shared.slo_loader import load_file, load_registry
from shared.store.sqlite import SqliteStore
from tests.core import new_table
from tests.dev_server import DevServer

CONFIG = ROOT / "config"
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
README, ALERTS, METRICS, SLO, COSTS = (
    PAGES[n] for n in ("README.md", "docs/alerts.md", "docs/METRICS_GUIDE.md", "docs/SLO.md", "docs/COST_TRACKING.md")
)
LOCAL = "http://127.0.0.1:8080"
SHOWN_DATA = ".f0ops/"
NAMED_OTHERWISE = {"SLI": "Counts", "allow list": "allowed", "kill switch": "flag"}
EXAMPLES = {name: PAGES[name] for name in ("README.md", "docs/METRICS_GUIDE.md", "docs/COST_TRACKING.md")}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def table(page: str, *heads: str) -> list[list[str]]:
    """The cells of all tables that have these heads, without code marks."""
    rows: list[list[str]] = []
    for text in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        head, _, *body = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()]
        if [cell.strip("| ") for cell in head] == list(heads):
            rows += [[cell.strip("| ").replace("`", "") for cell in row] for row in body]
    assert rows, heads
    return rows


def in_code_marks(page: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)))


# What the code has is described


def test_every_path_of_the_product_is_described() -> None:
    rewrites = json.loads((ROOT / "firebase.json").read_text())["hosting"]["rewrites"]
    assert rewrites
    assert [
        r["source"] for r in rewrites if not any(r["source"].rstrip("*") in page for page in (README, METRICS, COSTS))
    ] == []


def test_every_function_is_described() -> None:
    assert [name for name in load().endpoints if name not in README or name not in PAGES["docs/glossary.md"]] == []


def test_every_flag_is_described() -> None:
    assert set(load_defaults(CONFIG)) - in_code_marks(ALERTS) == set()


def test_a_flag_that_nothing_obeys_is_not_said_to_do_anything() -> None:
    files = {path for top in ("functions", "shared") for path in (ROOT / top).rglob("*.py")}
    source = "".join(
        path.read_text() for path in files - {ROOT / "shared" / "domain" / "flags.py"}
    )  # it only lists them
    idle = ALERTS.partition("Nothing obeys these yet")[2].partition("\n\n")[0]
    for flag in load_defaults(CONFIG):
        obeyed = f'"{flag}"' in source or flag.startswith("alerts.")  # of these the name is put together
        assert obeyed is (f"`{flag}`" not in idle), flag


def test_every_metric_is_described_as_it_is() -> None:
    registry = load_registry(CONFIG).metrics
    expected = [
        [name, m.unit, m.kind, m.direction.partition("_")[0], m.aggregation, ", ".join(m.aliases)]
        for name, m in registry.items()
    ]
    assert table(METRICS, "metric", "unit", "kind", "worse is", "read as", "aliases") == expected


def test_what_each_metric_keeps_is_described_as_it_is() -> None:
    expected = [
        [
            name,
            ", ".join(m.labels or ()),
            str(m.max_series),
            ", ".join(f"{bound:g}" for bound in m.bounds),
            ", ".join(m.otlp.names),
        ]
        for name, m in load_registry(CONFIG).metrics.items()
    ]
    assert table(METRICS, "metric", "labels", "series", "bounds", "OpenTelemetry") == expected


def test_what_is_derived_is_described_as_it_is() -> None:
    derived = {name: m.derived_from for name, m in load_registry(CONFIG).metrics.items() if m.derived_from}
    expected = [
        [name, d.metric, ", ".join(d.bad), ", ".join(d.good) or "any other number"] for name, d in derived.items()
    ]
    assert table(METRICS, "metric", "counted from", "bad", "good") == expected


def test_a_metric_that_is_shown_could_be_declared() -> None:
    (shown,) = [block for block in blocks(METRICS, "json") if '"metrics"' in block]
    written = json.loads((CONFIG / "metrics.json").read_text())
    Registry.model_validate({**written, "metrics": {**written["metrics"], **json.loads(shown)["metrics"]}})


def test_the_agents_that_are_shown_could_be_configured() -> None:
    (shown,) = [block for block in blocks(METRICS, "json") if '"agents"' in block]
    shipped = load_agents(CONFIG)
    assert Agents.model_validate_json(shown).default == shipped.default == Agents().default


def test_what_opentelemetry_names_is_described_as_it_is() -> None:
    registry = load_registry(CONFIG)
    assert dict(table(METRICS, "attribute", "label")) == registry.label_names
    assert dict(table(METRICS, "our unit", "what may be sent")) == {
        own: ", ".join(sent) for own, sent in UNITS.items() if sent
    }
    quietly = METRICS.partition("dropped without a word: ")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"`([^`]+)`", quietly)) == registry.ignored


def test_every_reason_against_opentelemetry_that_is_described_is_given() -> None:
    source = "".join(path.read_text() for path in (ROOT / "functions" / "metrics_ingest").glob("otlp*.py"))
    assert [reason for _, reason in table(METRICS, "what", "reason") if reason not in source] == []


def test_the_costs_in_the_guide_are_those_of_its_operations() -> None:
    """The operations are measured by `bench cost`, which takes minutes; what follows from them is checked."""
    heads = ("metrics", *KINDS[:3], "by TTL", "a million", "one document each", "a day", "with the free quota")
    for what, *cells in table(METRICS, *heads):
        million = {kind: float(cell.replace(",", "")) for kind, cell in zip(KINDS, cells, strict=False)}
        series, a_second = (int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", what))
        (shape,) = [s for s in SHAPES if (s.series, s.per_second) == (series, a_second)]
        day = {kind: n * shape.per_day / 1e6 for kind, n in million.items()}
        assert cells[4] == f"${dollars(million):.4f}"
        alone, times = re.findall(r"[\d.,]*\d", cells[5])
        assert alone == f"{dollars(ONE_EACH):.2f}"
        assert float(times) == pytest.approx(dollars(ONE_EACH) / dollars(million), abs=1)
        shown = [float(cell.strip("$")) for cell in cells[6:]]
        assert shown == pytest.approx([dollars(day), dollars(beyond_free(day))], abs=0.001)
    for _, *cells in table(METRICS, "heartbeats", *KINDS[:3], "by TTL", "a day"):
        day = {kind: float(cell.replace(",", "")) for kind, cell in zip(KINDS, cells, strict=False)}
        assert cells[4] == f"${dollars(day):.4f}"


def test_the_operations_are_counted_with_each_batch_a_segment() -> None:
    """An hour of the smallest shape. A document each would be 86,400 writes."""
    (smallest,) = [shape for shape in SHAPES if shape.per_second == 1]
    day = operations_a_day(replace(smallest, hours=1))
    assert day["deletes"] == 86_400 / 5
    assert 86_400 / 5 < day["writes"] < 86_400 / 4
    assert day["reads"] > day["deletes"]
    assert day["ttl_deletes"] > 288


def test_the_errors_in_the_guide_are_those_of_the_sketch() -> None:
    for name, quantile, *shown in table(
        METRICS, "values", "quantile", "exact", "sketch is off by", "histogram is off by", "low to high"
    ):
        found = measured(name, float(quantile[1:]) / 100)
        errors = [f"{100 * found.sketch:.2f} %", f"{100 * found.histogram:.1f} %"]
        assert shown == [f"{found.exact:.1f}", *errors, f"{found.low:.0f} to {found.high:.0f}"]
        assert found.sketch <= 0.01


def test_every_slo_is_described_as_it_is() -> None:
    written = json.loads((CONFIG / "slo.json").read_text())["slos"]
    slos = load_file(CONFIG / "slo.json", load_registry(CONFIG)).slos
    components = load_components(CONFIG)
    expected = [
        [
            *(str(w[key]) for key in ("name", "metric", "target", "window", "threshold")),
            *(w["alert"]["severity"], ", ".join(w["alert"]["channels"]), str(components.component_of(slo.metric))),
        ]
        for w, slo in zip(written, slos, strict=True)
    ]
    heads = ("SLO", "metric", "target", "window", "threshold", "severity", "channels", "component")
    assert table(SLO, *heads) == expected


def test_burn_rates_are_described_as_they_are() -> None:
    units = {"m": "minute", "h": "hour", "d": "day"}

    def words(text: str) -> str:
        return f"{text[:-1]} {units[text[-1]]}" + ("s" if text[:-1] != "1" else "")

    written = json.loads((CONFIG / "burn_windows.json").read_text())["rules"]
    rows = [
        [f"{pair['factor']} ×", words(pair["long"]), words(pair["short"])]
        for rule in written
        for pair in rule["windows"]
    ]
    described = table(
        SLO,
        *("alert", "fires where the budget burns faster than", "over", "and still over", "severity, channels"),
        "opens an incident",
    )
    assert [row[1:4] for row in described] == rows
    told = [[row[0].strip("`"), row[5] == "yes"] for row in described if row[0]]
    assert told == [[rule["name"], rule["incident"]] for rule in written]
    assert {rule["name"]: rule.get("min_failures") for rule in written} == {"page": None, "ticket": 40}
    usual = AlertPolicy.model_validate({"severity": "high", "channels": ["slack"], "burn_rates": True}).min_failures
    assert usual == 8
    assert "fewer failures than the SLO's `min_failures` (8 unless said otherwise; 40 for a ticket)" in " ".join(
        SLO.split()
    )


def test_every_field_of_an_slo_is_described_and_no_other() -> None:
    described = {name.strip() for cell, _ in table(SLO, "field", "what it is") for name in cell.split(",")}
    alert = {f"alert.{field.alias or name}" for name, field in AlertPolicy.model_fields.items()}
    assert described == {*SloSpec.model_fields} - {"alert"} | alert


def test_every_configuration_of_costs_that_is_shown_could_be_used() -> None:
    pricing, plans, spending = (json.loads(block) for block in blocks(COSTS, "json"))
    Pricing.model_validate(pricing)
    Plans.model_validate(plans)
    Spending.model_validate(spending)


def test_the_limits_in_the_text_are_those_of_the_code() -> None:
    hours, minutes = OLDEST_MS // 3_600_000, AHEAD_MS // 60_000
    metrics = (
        f"At most {MAX_BODY // 2**20} MiB and {MAX_METRICS:,} metrics in a body",
        f"at most {hours} hours old and {minutes} minutes ahead",
        f"at most {MAX_LABELS}: names of at most 63 letters",
        f"texts of at most {MAX_LABEL_LENGTH} characters",
        f"0, or from {SMALLEST:g} to {LARGEST:g}".replace("e+", "e"),
        f"keeps at most {MetricsClient.__init__.__kwdefaults__['max_queue']:,} metrics",
        f"| points in an OTLP request | {MAX_POINTS:,} |",
        f"| buckets of a histogram | {MOST_BUCKETS:,} |",
        f"| an OTLP body unpacked | {MAX_DECODED // 2**20} MiB |",
        f"| a body as sent, and a JSON body unpacked | {MAX_SENT // 2**20} MiB |",
        f"| bodies that one instance unpacks at once | {MAX_HELD // 2**20} MiB",
        f"| a weight | {MAX_WEIGHT:,} |",
        f"a whole number from 1 to {MAX_WEIGHT}, counts",
        f"At most {MAX_AGENTS} agents.",
        f"until {FORGOTTEN_AFTER_MS // 86_400_000} days without one",
        f"at most every {OWN_EVERY_SECONDS:g} seconds",
        f"until its interval and grace are over: {Pace().lasts_ms // 1000} seconds",
        f"at most {'two' if LOOKBACK_BLOCKS == 24 else LOOKBACK_BLOCKS} hours before",
    )
    alerts = (
        f"whose lease ends after {notification.LEASE.seconds} s",
        f"An attempt takes {notification.HTTP_TIMEOUT.seconds} s at most",
        f"up to {notification.LONGEST_WAIT.seconds // 60} minutes",
        f"until {notification.DELIVERY_DEADLINE.total_seconds() / 3600:g} hours have passed",
        f"Records stay for {notification.RETENTION.days} days",
        f"wins over them within {CACHE_SECONDS:g} seconds",
    )
    assert [text for text in metrics if text not in " ".join(METRICS.split())] == []
    assert [text for text in alerts if text not in " ".join(ALERTS.split())] == []


def test_what_is_kept_is_kept_as_long_as_the_code_says() -> None:
    kept = [("m5", KEEP["m5"]), ("points", KEEP["m5"]), ("h1", KEEP["h1"]), ("day", KEEP["day"])]
    kept += [("storage", STORAGE_KEEP), ("slo_days", KEEP["slo_days"])]
    assert [days for _, days in table(METRICS, "what", "how long")] == [f"{keep.days} days" for _, keep in kept]


def problems(*places: str) -> set[tuple[str, str]]:
    """Code and status of every `Problem` that is made below the places."""
    found = set()
    for place in places:
        for path in (ROOT / place).rglob("*.py"):
            for call in calls(path, "Problem"):
                status, code = call.args[:2]
                assert isinstance(status, ast.Constant), f"{path}: a status must be written out, to be documented"
                assert isinstance(code, ast.Constant), f"{path}: a code must be written out, to be documented"
                found.add((str(code.value), str(status.value)))
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def calls_in(path: Path) -> dict[str, list[ast.Call]]:
    """Every call of a file by the last name of what is called."""
    found: dict[str, list[ast.Call]] = defaultdict(list)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            found[node.func.id if isinstance(node.func, ast.Name) else node.func.attr].append(node)
    return found


def calls(path: Path, name: str) -> list[ast.Call]:
    return calls_in(path).get(name, [])


def test_every_error_code_is_described_with_its_status_and_no_other() -> None:
    described = {
        (code, s) for code, statuses, _ in table(METRICS, "code", "status", "meaning") for s in statuses.split(", ")
    }
    assert described == problems("functions", "shared") | problems("scripts/dev")


def words_in(node: ast.AST) -> set[str]:
    """Words in lower case that stand in an expression, as texts of their own."""
    inside = [part for joined in ast.walk(node) if isinstance(joined, ast.JoinedStr) for part in ast.walk(joined)]
    texts = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and n not in inside}
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"[a-z_]+", text)}


def functions_in(path: str, *names: str) -> list[ast.FunctionDef]:
    found = [
        node for node in ast.walk(tree_of(ROOT / path)) if isinstance(node, ast.FunctionDef) and node.name in names
    ]
    assert len(found) == len(names)
    return found


def reasons_of_alerts() -> set[str]:
    steps = {w for p in (ROOT / "shared").rglob("*.py") for call in calls(p, "Step") for w in words_in(call.args[1])}
    judged = functions_in("shared/domain/alert.py", "judge")
    returned = {
        w for f in judged for n in ast.walk(f) if isinstance(n, ast.Return) and n.value for w in words_in(n.value)
    }
    kinds = {w for call in calls(ROOT / "shared/domain/alert.py", "_Words") for a in call.args for w in words_in(a)}
    return steps | kinds | returned - {"breach", "within"}  # verdicts that `step` gives other words


def reasons_of_notifications() -> set[str]:
    (withhold,) = functions_in("shared/domain/notification.py", "withhold_reason")
    found = {w for n in ast.walk(withhold) if isinstance(n, ast.Return) and n.value for w in words_in(n.value)}
    for path in (ROOT / "shared").rglob("*.py"):
        found |= {w for name in ("cancel", "withhold") for call in calls(path, name) for w in words_in(call.args[1])}
        found |= {w for call in calls(path, "_closed") for w in words_in(call.args[2])}
        found |= {w for call in calls(path, "Hold") for w in words_in(call.args[0])}
    return found


def details_of_attempts() -> set[str]:
    shared = list((ROOT / "shared").rglob("*.py"))
    found = {w for path in shared for call in calls(path, "Outcome") for w in words_in(call.args[1])}
    found |= {w for call in calls(ROOT / "shared/outbound.py", "OutboundError") for w in words_in(call.args[0])}
    return found | {w for path in shared for call in calls(path, "with_attempt") for w in words_in(call.args[-1])}


def words_of_stops() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "shared" / "delivery").glob("*.py")]
    nodes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Assign)]
    assigned = [n for n in nodes if ast.unparse(n.targets[0]).endswith(".stopped")]
    return {word for node in assigned for word in words_in(node.value)}


def test_the_words_are_looked_for_where_they_are_written() -> None:
    assert {"threshold_exceeded", "no_data", "too_few_events", "slo_removed"} <= reasons_of_alerts()
    assert {"alerts_disabled", "resolved_before_sent", "deadline"} <= reasons_of_notifications()
    assert {"throttled", "timeout", "sender_lost", "not_configured"} <= details_of_attempts()
    assert {"budget", "flags_unknown"} <= words_of_stops()


@pytest.mark.parametrize(
    "words",
    [reasons_of_alerts, reasons_of_notifications, details_of_attempts, words_of_stops],
    ids=lambda f: f.__name__,
)
def test_every_reason_that_may_be_on_record_is_described(words: Any) -> None:
    assert words() - in_code_marks(ALERTS) == set()


def test_no_reason_is_described_that_does_not_exist() -> None:
    of_alerts = {reason for cell, _ in table(ALERTS, "reason", "meaning") for reason in cell.split(", ")}
    of_notifications = {reason for reason, _, _ in table(ALERTS, "reason", "state", "meaning") if " " not in reason}
    of_attempts = {word for cell, _ in table(ALERTS, "detail", "meaning") for word in cell.split(", ")}
    assert of_alerts == reasons_of_alerts()
    assert of_notifications - reasons_of_notifications() - details_of_attempts() == set()
    assert of_attempts - details_of_attempts() == {"http_503", "smtp_451 and the like"}


def test_every_state_of_a_notification_is_described() -> None:
    states = ast.unparse(ast.parse((ROOT / "shared/domain/notification.py").read_text()))
    described = {state for state, _ in table(ALERTS, "state", "meaning")}
    assert described == {"pending", "sending", "delivered", "withheld", "cancelled", "dead"}
    assert [state for state in described if f"'{state}'" not in states] == []


# The glossary


def terms() -> list[list[str]]:
    """The terms in bold at the beginning of a paragraph, by section."""
    sections = PAGES["docs/glossary.md"].split("\n## ")[1:]
    return [re.findall(r"^\*\*([^*]+)\*\*: ", section, re.MULTILINE) for section in sections]


def test_a_term_is_defined_once_and_where_one_looks_for_it() -> None:
    flat = [term for section in terms() for term in section]
    assert len(flat) > 50
    assert len(flat) == len(set(flat))
    assert [section for section in terms() if section != sorted(section, key=str.lower)] == []


def test_every_term_is_in_use_or_said_not_to_be() -> None:
    tops = ("functions", "shared", "scripts", "config")
    files = [path for top in tops for kind in ("py", "json") for path in (ROOT / top).rglob(f"*.{kind}")]
    source = "\n".join(path.read_text() for path in files).lower()
    paragraphs = PAGES["docs/glossary.md"].split("\n\n")
    for term in (term for section in terms() for term in section):
        said = " ".join(next(p for p in paragraphs if p.startswith(f"**{term}**: ")).split())
        planned = re.search(r"(Not in|of) this release", said)
        words = NAMED_OTHERWISE.get(term, term).lower()
        pattern = r"[\s_-]?".join(re.escape(word) for word in re.split(r"[\s-]", words))
        assert re.search(pattern, source) or planned, term


# What is described works


def test_every_link_leads_somewhere() -> None:
    for name, page in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", page):
            if target.startswith(("http://", "https://")):
                continue
            path, _, anchor = target.partition("#")
            found = (ROOT / name).parent / path if path else ROOT / name
            assert found.is_file(), f"{name}: {target}"
            heads = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            assert not anchor or anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in heads}, target


def test_every_page_is_in_the_readmes_table() -> None:
    assert {cell.partition("](")[2].rstrip(")") for cell, _ in table(README, "page", "what it answers")} == (
        set(PAGES) - {"README.md"}
    )


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(
        re.findall(r"(?:^|`|\s)make ([a-z]+)\b(?=[`\s]|$)", "\n".join([*blocks(README, "sh"), *in_code_marks(README)]))
    )
    assert {"dev", "test", "demo"} <= used <= targets


def test_every_module_that_is_run_exists() -> None:
    for name, page in PAGES.items():
        for module in set(re.findall(r"python -m ([\w.]+)", page)) - {"pip"}:
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), f"{name}: {module}"


def with_another_python(text: str) -> list[str]:
    """The commands of a text that need what `make` installs, and name a Python that may not have it."""
    found = re.findall(r"(?<![\w$./-])[\w./-]*python3?(?:\.\d+)? -m [\w.]+", text)
    return [command for command in found if not command.startswith(".venv/bin/python -m ")]


def test_a_command_with_another_python_is_found() -> None:
    text = "`python -m a`, (python3 -m scripts.b), venv/bin/python -m c, 'python -m g'"
    text += ", .venv/bin/python -m d, $PYTHON -m e, ./ops f"
    assert with_another_python(text) == ["python -m a", "python3 -m scripts.b", "venv/bin/python -m c", "python -m g"]


def test_every_command_that_is_written_anywhere_works_once_make_has_installed_what_is_needed() -> None:
    """In pages, messages and usage texts alike: what admins ask is `./ops`, all else `.venv/bin/python -m …`."""
    tops = ("config", "demo", "bench", "docs", "functions", "public", "runbooks", "scripts", "shared", "tests")
    files = [path for top in tops for path in (ROOT / top).rglob("*") if path.suffix in (".py", ".md", ".html", ".js")]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name not in (".git", ".env")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(errors="replace") for path in files}
    here = "tests/unit/test_docs.py"  # which has the planted ones
    assert {name: found for name, text in texts.items() if name != here and (found := with_another_python(text))} == {}
    pages = {name: text for name, text in texts.items() if name.endswith(".md")}
    assert [name for name, text in pages.items() if "python -m scripts.ops" in text] == []


def test_the_deploy_command_of_the_readme_shows_what_would_be_done() -> None:
    (command,) = [block for block in blocks(README, "sh") if "scripts.deploy" in block]
    python, *arguments = command.split()
    assert python == ".venv/bin/python"
    argv = [sys.executable, *arguments, "--env-file", str(ROOT / ".env.example")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert "gcloud functions deploy" in done.stdout


def test_the_changelog_has_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in PAGES["CHANGELOG.md"]


def bodies() -> list[tuple[str, str]]:
    """The page and the text of each body of metrics that is shown, as the shell would send it."""
    found = []
    for name, page in PAGES.items():
        text = re.sub(r"'?\$\(date \+%s(?:%N)?\)(000)?'?", r"1700000000\1", page).replace('\\"', '"')
        for match in re.finditer(r'\{\s*"batchId"', text):
            _, length = json.JSONDecoder().raw_decode(text[match.start() :])
            found.append((name, text[match.start() : match.start() + length]))
    return found


def test_every_body_of_a_batch_that_is_shown_is_accepted() -> None:
    assert {"docs/METRICS_GUIDE.md", "docs/deploy.md"} <= {name for name, _ in bodies()}
    assert len(bodies()) == sum(len(re.findall(r'batchId\\?"\s*:', page)) for page in PAGES.values())
    for name, body in bodies():
        try:
            read_batch(body.encode(), new_table(), 1_700_000_000_000)
        except Problem as problem:
            pytest.fail(f"{name}: {problem.detail}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docs") / "data"


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[DevServer]:
    with DevServer(data, "--no-schedules") as server:
        yield server


def here(text: str, url: str, data: Path) -> str:
    """The text with this server's address and folder in the place of those that are shown."""
    return text.replace(LOCAL, url).replace(SHOWN_DATA, f"{data}/")


def answered() -> list[tuple[str, str]]:
    """Each `curl -i` with the answer that is shown after it."""
    pattern = r"^```sh\n(curl [^`]*?)^```\n\n^```http\n(.*?)^```$"
    return [pair for page in EXAMPLES.values() for pair in re.findall(pattern, page, re.DOTALL | re.MULTILINE)]


def test_every_curl_is_shown_with_its_answer() -> None:
    written = [block for page in EXAMPLES.values() for block in blocks(page, "sh") if "curl" in block]
    assert [command for command, _ in answered()] == written
    assert len(written) >= 3


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize(("command", "answer"), answered())
def test_a_curl_gives_the_answer_that_is_shown(command: str, answer: str, server: DevServer, data: Path) -> None:
    script = here(command, server.url, data)
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    head, _, body = done.stdout.partition("\n\n")  # text mode has made plain line ends of the headers'
    shown_head, _, shown_body = answer.partition("\n\n")
    assert head.splitlines()[0] == shown_head.strip()
    assert json.loads(body) == json.loads(shown_body)


def run_python(script: Path, server: DevServer, *path: Path, **settings: str) -> str:
    env = {
        **os.environ,
        **settings,
        "OPS_URL": server.url,
        "OPS_KEY": server.key,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
    }
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def app_folder(tmp_path: Path) -> Path:
    """A folder of somebody's app, with the client copied into it."""
    shutil.copy(ROOT / "shared" / "metrics_client.py", tmp_path)
    return tmp_path


def test_the_readmes_app_sends_its_metrics(app_folder: Path, server: DevServer) -> None:
    (example,) = [block for block in blocks(README, "python") if "Flask" in block]
    use = 'print(app.test_client().get("/api/orders").get_json())\nmetrics.flush()\nprint(metrics.stats)\n'
    (app_folder / "shop.py").write_text(example + use)
    told = run_python(app_folder / "shop.py", server)
    assert "['a teapot']" in told
    assert "accepted=3, rejected=0, lost=0, dropped=0, queued=0, sending=0" in told


ALL_ACCEPTED = "rejected=0, lost=0, dropped=0, queued=0, sending=0"


def example(mark: str) -> str:
    """The guide's one example in Python that has these words in it."""
    (found,) = [block for block in blocks(METRICS, "python") if mark in block]
    return found


def test_every_example_of_the_guide_is_run() -> None:
    marks = ("client.timed", "client.wsgi", "client.asgi", "OTLPMetricExporter())", "keep_alive", "sample_one_in")
    assert sorted(map(example, marks)) == sorted(blocks(METRICS, "python"))


def test_the_clients_example_sends_its_metrics(app_folder: Path, server: DevServer) -> None:
    (app_folder / "example.py").write_text(example("client.timed"))
    assert f"accepted=4, {ALL_ACCEPTED}" in run_python(app_folder / "example.py", server)


def test_the_sampled_example_sends_every_failure_and_some_others(app_folder: Path, server: DevServer) -> None:
    (app_folder / "example.py").write_text(example("sample_one_in"))
    told = run_python(app_folder / "example.py", server)
    assert ALL_ACCEPTED in told
    accepted, left_out = (int(re.findall(rf"{name}=(\d+)", told)[0]) for name in ("accepted", "sampled_out"))
    assert accepted + left_out == 1000
    assert 10 < accepted < 500


def test_the_example_of_a_heartbeat_beats(app_folder: Path, server: DevServer) -> None:
    (app_folder / "example.py").write_text(example("keep_alive"))
    assert "beats=1, beats_failed=0" in run_python(app_folder / "example.py", server)


def test_the_wsgi_example_sends_a_request(app_folder: Path, server: DevServer) -> None:
    use = 'assert app.test_client().get("/orders/7").json == {"number": 7}\nclient.flush()\nprint(client.stats)\n'
    (app_folder / "example.py").write_text(example("client.wsgi") + use)
    assert f"accepted=1, {ALL_ACCEPTED}" in run_python(app_folder / "example.py", server)


ONE_REQUEST = """
import asyncio, socket, threading, urllib.request, uvicorn

sock = socket.create_server(("127.0.0.1", 0))
running = uvicorn.Server(uvicorn.Config(app, log_level="error"))
thread = threading.Thread(target=running.run, args=([sock],))
thread.start()
answer = urllib.request.urlopen("http://127.0.0.1:%d/orders/7" % sock.getsockname()[1]).read()
running.should_exit = True
thread.join()
assert answer == b"a teapot", answer
client.flush()
print(client.stats)
"""


def test_the_asgi_example_sends_a_request(app_folder: Path, server: DevServer) -> None:
    (app_folder / "example.py").write_text(example("client.asgi") + ONE_REQUEST)
    assert f"accepted=1, {ALL_ACCEPTED}" in run_python(app_folder / "example.py", server)


def test_the_opentelemetry_example_sends_its_requests(app_folder: Path, data: Path, server: DevServer) -> None:
    (shown,) = [block for block in blocks(METRICS, "") if "OTEL_" in block]
    settings = dict(line.split("=", 1) for line in here(shown, server.url, data).replace("KEY", server.key).split())
    use = """
from opentelemetry.metrics import get_meter_provider

for _ in range(5):
    assert app.test_client().get("/orders/7").json == {"number": 7}
get_meter_provider().shutdown()
"""
    (app_folder / "example.py").write_text(example("OTLPMetricExporter())") + use)
    assert run_python(app_folder / "example.py", server, **settings) == ""
    assert server.run("alertRules").status_code == 200
    store = SqliteStore(data / "store.db")
    block = int(time.time()) // 300
    found = read_blocks(store, [block - 1, block])
    store.close()
    counts = {split_key(key)[1].get("endpoint"): stats.count for of in found.values() for key, stats in of.items()}
    assert counts.get("/orders/<int:number>") in (5, 6)  # the WSGI example may have asked once


def test_the_wrappers_example_records_its_call(tmp_path: Path, data: Path, server: DevServer) -> None:
    from tests.provider_servers import provider

    (example_,) = blocks(COSTS, "python")
    shutil.copy(ROOT / "shared" / "usage_client.py", tmp_path)
    (tmp_path / "example.py").write_text(example_)
    key = (data / "usage.key").read_text()
    with provider() as anthropics:
        told = run_python(
            tmp_path / "example.py",
            server,
            USAGE_KEY=key,
            ANTHROPIC_BASE_URL=anthropics.url,
            ANTHROPIC_API_KEY="sk-test",
        )
    assert "recorded=1, accepted=1, rejected=0, lost=0" in told


def test_the_readmes_alert_comes_and_goes(tmp_path: Path) -> None:
    """Once more, with a folder of its own, should a five-minute mark pass meanwhile, as the text says."""
    (example,) = [block for block in blocks(README, "python") if "alertRules" in block]
    (shown,) = blocks(README, "")
    told = ""
    for attempt in range(5):
        mark = time.time() // 300
        with DevServer(tmp_path / str(attempt), "--no-schedules") as server:
            script = tmp_path / "try_alert.py"
            script.write_text(here(example, server.url, tmp_path / str(attempt)))
            told = run_python(script, server, ROOT)
            messages = server.get("/dev/inbox.json").json()["messages"]
        if time.time() // 300 == mark:
            break
    assert told == shown
    assert len(messages) == 2
