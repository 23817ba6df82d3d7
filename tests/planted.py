"""Faults planted at a chosen call of a process: killed, a reply lost, a conflict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shared.store.protocol import Conflict, Doc, Query, Store, Unavailable, Write
from tests.e2e.test_delivery import Wrapped

WAYS = ("killed before", "killed after", "lost before", "lost after", "conflict")


class Killed(BaseException):
    """The process is gone."""


class Calls:
    """Counts the calls of a process, and does something to one of them."""

    def __init__(self, at: int = 0, when: str = "") -> None:
        self.at, self.when, self.made = at, when, 0

    def around(self, call: Callable[[], Any], may_conflict: bool = False) -> Any:
        self.made += 1
        mine = self.made == self.at
        if mine and self.when == "killed before":
            raise Killed
        if mine and self.when == "lost before":
            raise Unavailable("lost")
        if mine and self.when == "conflict" and may_conflict:
            raise Conflict("planted")
        result = call()
        if mine and self.when == "killed after":
            raise Killed
        if mine and self.when == "lost after":
            raise Unavailable("lost")
        return result


class Faulty(Wrapped):
    """Only a commit that ends with, or begins with, a write of one of `contended` may meet a conflict."""

    def __init__(self, inner: Store, calls: Calls, contended: Sequence[str]) -> None:
        super().__init__(inner)
        self.calls = calls
        self.contended = contended

    def get(self, path: str) -> Doc | None:
        found: Doc | None = self.calls.around(lambda: self.inner.get(path))
        return found

    def get_many(self, paths: Sequence[str]) -> list[Doc | None]:
        found: list[Doc | None] = self.calls.around(lambda: self.inner.get_many(paths))
        return found

    def query(self, query: Query) -> list[Doc]:
        found: list[Doc] = self.calls.around(lambda: self.inner.query(query))
        return found

    def commit(self, writes: Sequence[Write]) -> None:
        may_conflict = {writes[0].path, writes[-1].path} & set(self.contended)
        self.calls.around(lambda: self.inner.commit(writes), bool(may_conflict))
