"""A pytest plugin: every query that the tests run, on either store, must find its index in firestore.indexes.json.

Collections whose name begins with `contract` are the contract tests' own and need none. Queries of other processes
that tests start are not seen. Where the tests run in several worker processes, each hands its queries to the one that
leads them, which judges them all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts import indexes
from shared.store import check
from shared.store.protocol import Query

OUTPUT = "query_shapes"  # what a worker hands over


class QueryShapes:
    def __init__(self, declared: Path = indexes.FILE) -> None:
        self._declared = declared
        self._shapes: set[indexes.Shape] = set()
        self._faults: list[str] = []
        self._check_query = check.check_query

    def pytest_sessionstart(self) -> None:
        check.check_query = self.record

    def record(self, query: Query) -> None:
        """Stands in for `check_query`, which both stores call for each query they run."""
        self._check_query(query)
        if not query.group and not query.shape[0].startswith("contract"):
            self._shapes.add(query.shape)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker has ended; one that crashed has handed over nothing, and its tests have failed."""
        self._shapes |= {_thawed(shape) for shape in getattr(node, "workeroutput", {}).get(OUTPUT, ())}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        check.check_query = self._check_query
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[OUTPUT] = list(self._shapes)
            return
        self._faults = indexes.faults(self._shapes, indexes.load(self._declared))
        if self._faults and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._faults:
            terminalreporter.section("queries without an index", red=True)
            for fault in self._faults:
                terminalreporter.line(fault)


def _thawed(shape: Any) -> indexes.Shape:
    """The shape as it was, whatever sequences the way between processes made of its tuples."""
    name, where, order = shape
    return name, tuple((field, how) for field, how in where), tuple((field, how) for field, how in order)
