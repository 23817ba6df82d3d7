"""Rules of the code that a machine can hold: where decisions live, who reads the clock, who makes adapters.

Each check takes sources by path and gives its findings, so each is tried on a planted fault too.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from scripts.manifest import ROOT

Sources = Mapping[str, str]  # path from the root → text

DEPLOYED = ("main.py", "functions/", "shared/")
NOT_DEPLOYED = ("scripts", "demo", "bench", "tests")
EFFECTS = {"os", "io", "pathlib", "socket", "time", "random", "secrets", "threading", "subprocess", "logging"}
VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}
ADAPTERS = {
    "shared.store.sqlite": "SqliteStore",
    "shared.store.firestore": "FirestoreStore",
    "shared.outbound": "HttpOutbound",
}

CLOCKS = {
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today", "time.time",
    "time.time_ns", "time.localtime", "time.gmtime", "time.ctime", "time.strftime", "time.monotonic",
    "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
}  # fmt: skip
# (module, clock) → why this module may read it
MAY_READ = {
    ("shared/bootstrap.py", "datetime.datetime.now"): "makes the clock that handlers are given",
    ("shared/bootstrap.py", "time.monotonic"): "gives the App its way to measure waits",
    ("shared/delivery/run.py", "app.clock"): "a lease must be judged by the time just before the bytes leave",
    ("shared/api/jwks.py", "time.monotonic"): "deadline of a fetch, age of the keys; an argument in tests",
    ("shared/log.py", "datetime.datetime.now"): "the time of a log line; no decision hangs on it",
    ("shared/metrics_client.py", "time.monotonic"): "deadlines and pauses in the user's own app",
    ("shared/metrics_client.py", "time.perf_counter"): "how long the user's own code took",
    ("shared/metrics_client.py", "time.time"): "default of an argument, in the user's own app",
    ("shared/notify/answers.py", "time.monotonic"): "how long an attempt took",
    ("shared/notify/mail.py", "time.monotonic"): "deadline of a conversation, and how long it took",
    (
        "shared/notify/registry.py",
        "app.clock",
    ): "a webhook is signed with the time at which the bytes leave; an inbox is read in the order of arrival",
    ("shared/outbound.py", "time.monotonic"): "deadline of a call",
    ("shared/secrets.py", "time.monotonic"): "deadline of a call",
    ("shared/store/firestore.py", "time.monotonic"): "deadline of a call",
    ("shared/store/sqlite.py", "time.monotonic"): "deadline of a call",
    ("shared/usage_client.py", "time.monotonic"): "deadlines in the user's own app",
    ("shared/usage_client.py", "time.time"): "default of an argument, in the user's own app",
}

# Written so that this file does not find itself.
OF_A_MACHINE = {
    "a path of a machine": re.compile(r"(?<![\w.:}\]])/(?:[w]ork|[r]oot|[h]ome/\w+|[U]sers/\w+)(?:/|\b(?![\w.-]))"),
    "a place outside of the repository": re.compile(r"\.\.[/]shared\b|\.[l]ibrary\b"),
    "a package registry": re.compile(
        r"\b(?:[p]ypi\.org|[p]ythonhosted\.org|[n]pmjs\.(?:org|com)|[y]arnpkg\.com|[p]roxy\.golang\.org|[c]rates\.io)\b"
    ),
}


def tracked() -> dict[str, str]:
    """The text files that git knows, or will know with the next commit."""
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    if listed.returncode != 0:
        pytest.skip("not a git repository: the tracked files cannot be listed")
    files = [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]
    return {path: (ROOT / path).read_text(encoding="utf-8", errors="replace") for path in files}


def modules(*places: str) -> dict[str, str]:
    """Python sources below the places, which are files or folders ending in a slash."""
    found: list[Path] = []
    for place in places:
        found += (ROOT / place).rglob("*.py") if place.endswith("/") else [ROOT / place]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(found)}


# The checks


@cache
def parsed(text: str) -> ast.Module:
    """Most of a check's time; several look at the same sources."""
    return ast.parse(text)


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported anywhere in a module: `shared.store.sqlite.SqliteStore`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def impure_domain(sources: Sources) -> list[str]:
    """Domain modules import the standard library without its effects, pydantic, and each other."""
    allowed = (set(sys.stdlib_module_names) - EFFECTS) | {"pydantic"}
    return [
        f"{path}: {name}"
        for path, text in sources.items()
        for name in imports(parsed(text))
        if name.split(".")[0] not in allowed and not name.startswith("shared.domain")
    ]


def clock_reads(sources: Sources) -> set[tuple[str, str]]:
    """Module and clock, for each mention of a clock: a call, or handing it on. `app.clock` is one too."""
    found: set[tuple[str, str]] = set()
    for path, text in sources.items():
        tree = parsed(text)
        names: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.asname: alias.name for alias in node.names if alias.asname}
            elif isinstance(node, ast.ImportFrom):
                names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute):
                full = _full_name(node, names)
                if full in CLOCKS:
                    found.add((path, full))
                elif re.fullmatch(r"(.+\.)?app\.clock", full):
                    found.add((path, "app.clock"))
    return found


def _full_name(node: ast.expr, names: Mapping[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_full_name(node.value, names)}.{node.attr}"
    return ""


def clock_faults_of_handlers(sources: Sources) -> list[str]:
    """`handle` reads app.clock() at most once on any way through it; nothing else in functions/ reads it."""
    faults = []
    for path, text in sources.items():
        tree = parsed(text)
        inside = 0
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == "handle":
                inside = _reads(node)
                most = _most_reads(node.body)
                if most > 1:
                    faults.append(f"{path}: handle reads the clock {most} times")
        if _reads(tree) > inside:
            faults.append(f"{path}: the clock is read outside of handle")
    return faults


def _reads(node: ast.AST) -> int:
    return sum(isinstance(part, ast.Attribute) and part.attr == "clock" for part in ast.walk(node))


def _most_reads(body: Sequence[ast.stmt]) -> int:
    """The most clock reads on any way through the statements. An `if` whose body ends the way excludes what follows."""
    if not body:
        return 0
    first, rest = body[0], body[1:]
    if isinstance(first, ast.If):
        ways = [[*first.body, *rest], [*first.orelse, *rest]]
        return _reads(first.test) + max(map(_most_reads, ways))
    if isinstance(first, ast.Return | ast.Raise):
        return _reads(first)
    again = 2 if isinstance(first, ast.For | ast.While) else 1
    return again * _reads(first) + _most_reads(rest)


def vague_names(sources: Sources) -> list[str]:
    """Modules, folders and classes whose names say nothing."""
    faults = []
    for path, text in sources.items():
        parts = path.removesuffix(".py").split("/")
        faults += [path for part in parts if set(part.lower().split("_")) & VAGUE]
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.ClassDef) and {w.lower() for w in re.findall("[A-Z][a-z]*", node.name)} & VAGUE:
                faults.append(f"{path}: {node.name}")
    return faults


def adapters_made_elsewhere(sources: Sources) -> list[str]:
    """Who but bootstrap imports an adapter, so could make one."""
    made = {f"{module}.{name}" for module, name in ADAPTERS.items()}
    return [
        f"{path}: {name}"
        for path, text in sources.items()
        if path != "shared/bootstrap.py"
        for name in imports(parsed(text))
        if name in made | set(ADAPTERS)
    ]


def imports_of_what_is_not_deployed(sources: Sources) -> list[str]:
    return [
        f"{path}: {name}"
        for path, text in sources.items()
        for name in imports(parsed(text))
        if name.split(".")[0] in NOT_DEPLOYED
    ]


def circle_of_imports(sources: Sources) -> list[str]:
    """Modules each of which imports the next one, the first also the last; be it late, or for its types only."""
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources}
    needs: dict[str, set[str]] = {}
    for name, path in names.items():
        found = set(imports(parsed(sources[path])))
        needs[name] = (found | {full.rpartition(".")[0] for full in found}) & names.keys()
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def traces_of_a_machine(sources: Sources) -> list[str]:
    return [
        f"{path}:{n}: {what}: {found.group()}"
        for path, text in sources.items()
        for n, line in enumerate(text.splitlines(), 1)
        for what, pattern in OF_A_MACHINE.items()
        for found in pattern.finditer(line)
    ]


# The code


def test_domain_modules_import_neither_adapters_nor_effects() -> None:
    assert impure_domain(modules("shared/domain/")) == []


def test_the_clock_is_read_only_where_there_is_a_reason() -> None:
    sources = {path: text for path, text in modules(*DEPLOYED).items() if not path.startswith("functions/")}
    assert clock_reads(sources) == set(MAY_READ)


def test_functions_read_no_clock_but_the_apps() -> None:
    assert {clock for _, clock in clock_reads(modules("functions/"))} == {"app.clock"}


def test_a_handler_reads_the_clock_once_a_request() -> None:
    assert clock_faults_of_handlers(modules("functions/")) == []


def test_no_module_or_class_has_a_name_that_says_nothing() -> None:
    assert vague_names(modules("main.py", "functions/", "shared/", "scripts/", "demo/", "bench/", "tests/")) == []


def test_only_bootstrap_makes_adapters() -> None:
    assert adapters_made_elsewhere(modules(*DEPLOYED)) == []


def test_what_is_deployed_imports_nothing_that_is_not() -> None:
    assert imports_of_what_is_not_deployed(modules(*DEPLOYED)) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle_of_imports(modules("main.py", "functions/", "shared/", "scripts/", "demo/", "bench/", "tests/")) == []


def test_nothing_committed_tells_of_the_machine_it_was_written_on() -> None:
    assert traces_of_a_machine(tracked()) == []


# Each check finds what it is for


@pytest.mark.parametrize(
    "planted",
    [
        "import requests",
        "from google.cloud import firestore",
        "from shared.store.protocol import Store",
        "from shared import log",
        "import time",
        "from os import environ",
        "def f():\n    from shared.flags import Flags",
        "from . import nearby",
    ],
)
def test_an_import_that_does_not_belong_into_the_domain_is_found(planted: str) -> None:
    assert len(impure_domain({"shared/domain/a.py": planted})) == 1


@pytest.mark.parametrize("sound", ["import re", "from pydantic import BaseModel", "from shared.domain import slo"])
def test_an_import_that_belongs_into_the_domain_is_not_found(sound: str) -> None:
    assert impure_domain({"shared/domain/a.py": sound}) == []


@pytest.mark.parametrize(
    ("planted", "clock"),
    [
        ("from datetime import UTC, datetime\nx = datetime.now(UTC)", "datetime.datetime.now"),
        ("import datetime\nx = datetime.datetime.utcnow()", "datetime.datetime.utcnow"),
        ("import datetime as dt\nx = dt.date.today()", "datetime.date.today"),
        ("from datetime import date as day\nx = day.today()", "datetime.date.today"),
        ("import time\nx = time.time()", "time.time"),
        ("import time as t\nx = t.time_ns()", "time.time_ns"),
        ("from time import time\nx = time()", "time.time"),
        ("import time\ndef f(clock=time.monotonic): ...", "time.monotonic"),
        ("def f(app):\n    return app.clock()", "app.clock"),
        ("class A:\n    def f(self):\n        return self.app.clock()", "app.clock"),
    ],
)
def test_a_clock_reading_is_found_by_whatever_name(planted: str, clock: str) -> None:
    assert clock_reads({"shared/a.py": planted}) == {("shared/a.py", clock)}


@pytest.mark.parametrize(
    "sound", ["def f(now):\n    return now", "import time\ntime.sleep(1)", "x = datetime(2026, 1, 1)"]
)
def test_what_takes_the_time_as_an_argument_is_not_found(sound: str) -> None:
    assert clock_reads({"shared/a.py": sound}) == set()


@pytest.mark.parametrize(
    "planted",
    [
        "def handle(request, app):\n    now = app.clock()\n    return act(app.clock())",
        "def handle(request, app):\n    if request.path:\n        now = app.clock()\n    return act(app.clock())",
        "def handle(request, app):\n    for item in request.items:\n        act(app.clock())",
        "def handle(request, app):\n    return below(app)\ndef below(app):\n    return app.clock()",
    ],
)
def test_a_handler_that_reads_the_clock_twice_or_elsewhere_is_found(planted: str) -> None:
    assert len(clock_faults_of_handlers({"functions/a/handler.py": planted})) == 1


def test_a_handler_may_read_the_clock_in_each_of_its_branches() -> None:
    sound = (
        "def handle(request, app):\n    if request.path:\n        return one(app.clock())\n    return two(app.clock())"
    )
    assert clock_faults_of_handlers({"functions/a/handler.py": sound}) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("shared/utils.py", ""),
        ("shared/store_helpers.py", ""),
        ("shared/manager/run.py", ""),
        ("shared/a.py", "class AlertManager: ..."),
    ],
)
def test_a_name_that_says_nothing_is_found(path: str, text: str) -> None:
    assert len(vague_names({path: text})) == 1


@pytest.mark.parametrize(
    "planted",
    [
        "from shared.store.sqlite import SqliteStore",
        "import shared.store.firestore",
        "def f():\n    from shared.outbound import HttpOutbound",
    ],
)
def test_an_adapter_in_other_hands_is_found(planted: str) -> None:
    assert len(adapters_made_elsewhere({"shared/a.py": planted})) == 1
    assert adapters_made_elsewhere({"shared/bootstrap.py": planted}) == []


@pytest.mark.parametrize("planted", ["import scripts.manifest", "from tests.core import KEY", "from demo import clock"])
def test_an_import_of_what_is_not_deployed_is_found(planted: str) -> None:
    assert len(imports_of_what_is_not_deployed({"functions/a/handler.py": planted})) == 1


@pytest.mark.parametrize(
    "planted",
    [
        "from shared.b import y",
        "import shared.b",
        "from shared import b",
        "def f():\n    from shared.b import y",
        "if TYPE_CHECKING:\n    from shared.b import y",
    ],
)
def test_an_import_that_closes_a_circle_is_found(planted: str) -> None:
    rest = {"shared/__init__.py": "", "shared/b.py": "from shared.c import z", "shared/c.py": "import shared.a"}
    assert set(circle_of_imports({"shared/a.py": planted, **rest})) == {"shared.a", "shared.b", "shared.c"}
    assert circle_of_imports({"shared/a.py": "", **rest}) == []


@pytest.mark.parametrize(
    "planted",
    [
        "see /wo" + "rk/main/shared",
        "cd /ro" + "ot",
        "'/ho" + "me/ada/f0'",
        "read ../sha" + "red/DESIGN.md",
        "in .libr" + "ary/search",
        "https://py" + "pi.org/simple",
        "files.python" + "hosted.org",
    ],
)
def test_a_trace_of_a_machine_is_found(planted: str) -> None:
    assert len(traces_of_a_machine({"docs/a.md": f"one\n{planted}\n"})) == 1


@pytest.mark.parametrize("sound", ["GET /users/8341/orders", "a/work/b", "/homepage", "from shared import log"])
def test_an_ordinary_path_is_no_trace(sound: str) -> None:
    assert traces_of_a_machine({"docs/a.md": sound}) == []
