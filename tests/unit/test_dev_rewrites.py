"""The local server routes as Hosting does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.dev import manifest, rewrites

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("source", "path", "fits"),
    [
        ("/status", "/status", True),
        ("/status", "/status/", False),
        ("/status", "/statusx", False),
        ("/status", "/api/status", False),
        ("/api/v2/*.json", "/api/v2/summary.json", True),
        ("/api/v2/*.json", "/api/v2/summaryXjson", False),
        ("/api/v2/*.json", "/api/v2/a/summary.json", False),
        ("/api/*/x", "/api/one/x", True),
        ("/api/*/x", "/api/one/two/x", False),
        ("/api/**", "/api/incidents/7/updates", True),
        ("/api/**", "/api/", True),
        ("/api/**", "/api", False),
        ("/api/**", "/apix/y", False),
        ("/a/**/z", "/a/z", True),
        ("/a/**/z", "/a/b/c/z", True),
        ("/a/**/z", "/a/bz", False),
        ("**", "/anything/at/all", True),
    ],
)
def test_a_glob_fits_what_hosting_would_route(source: str, path: str, fits: bool) -> None:
    assert bool(rewrites.glob(source).fullmatch(path)) is fits


@pytest.mark.parametrize("source", ["/a{,/**}", "/@(a|b)", "/[ab]", "/a?"])
def test_a_glob_that_is_not_understood_is_refused_rather_than_guessed(source: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        rewrites.glob(source)


@pytest.fixture
def hosting(tmp_path: Path) -> rewrites.Hosting:
    entries = [
        {"source": "/api/metrics", "function": {"functionId": "metricsIngest"}},
        {"source": "/api/**", "function": "incidentsApi"},
        {"regex": "/v[12]/metrics", "function": {"functionId": "metricsIngest"}},
        {"source": "/admin/**", "destination": "/admin.html"},
    ]
    moved = [{"source": "/old", "destination": "/new", "type": 301}]
    written = {"hosting": {"public": "web", "redirects": moved, "rewrites": entries}}
    (tmp_path / "firebase.json").write_text(json.dumps(written))
    (tmp_path / "web" / "docs").mkdir(parents=True)
    (tmp_path / "web" / "docs" / "index.html").write_text("docs")
    (tmp_path / "secret").write_text("no")
    return rewrites.load(tmp_path / "firebase.json")


def test_the_first_rewrite_that_fits_wins(hosting: rewrites.Hosting) -> None:
    def function_of(path: str) -> str | None:
        found = hosting.rewrite(path)
        return found.function_id if found else "none"

    assert function_of("/api/metrics") == "metricsIngest"
    assert function_of("/api/incidents") == "incidentsApi"
    assert function_of("/v1/metrics") == "metricsIngest"
    assert function_of("/admin/x") is None
    assert function_of("/elsewhere") == "none"


def test_a_folder_answers_with_its_index_and_nothing_outside_the_public_folder_answers(
    hosting: rewrites.Hosting,
) -> None:
    assert hosting.file("/docs/") == hosting.public / "docs" / "index.html"
    assert hosting.file("/docs") == hosting.public / "docs" / "index.html"
    assert hosting.file("/missing") is None
    assert hosting.file("/../secret") is None
    assert hosting.file("//etc/passwd") is None


def test_every_rewrite_of_the_project_leads_to_a_function_of_the_manifest() -> None:
    functions = {f.id for f in manifest.load(ROOT / "functions.yaml")}
    used = {r.function_id for r in rewrites.load(ROOT / "firebase.json").rewrites if r.function_id}
    assert used
    assert used <= functions


@pytest.mark.parametrize("path", ["/status", "/status/", "/status/history/", "/status/incidents/i1/", "/status/wrong"])
def test_whatever_is_typed_below_the_status_page_is_answered_by_it(path: str) -> None:
    found = rewrites.load(ROOT / "firebase.json").rewrite(path)
    assert found is not None
    assert found.function_id == "statusApi"


def test_every_rewrite_of_the_project_that_is_a_page_leads_to_a_file() -> None:
    found = rewrites.load(ROOT / "firebase.json")
    pages = {r.destination for r in found.rewrites if r.destination}
    assert pages == {"/on-call.html"}
    assert [page for page in pages if found.file(page) is None] == []


def test_a_schedule_that_is_no_cron_expression_is_named_with_its_function(tmp_path: Path) -> None:
    text = (ROOT / "functions.yaml").read_text().replace("*/5 * * * *", "every 5 minutes")
    (tmp_path / "functions.yaml").write_text(text)
    with pytest.raises(ValueError, match="alertRules"):
        manifest.load(tmp_path / "functions.yaml")


def test_a_redirect_says_where_to_and_how(hosting: rewrites.Hosting) -> None:
    found = hosting.redirect("/old")
    assert found is not None
    assert (found.destination, found.status) == ("/new", 301)
    assert hosting.redirect("/old/er") is None


def test_whoever_comes_to_the_root_is_led_to_the_status_page() -> None:
    found = rewrites.load(ROOT / "firebase.json").redirect("/")
    assert found is not None
    assert (found.destination, found.status) == ("/status", 302)
