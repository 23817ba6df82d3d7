"""YAML of several documents, read strictly: each part knows its place, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from shared.domain.faults import ConfigError

try:
    import yaml
except ImportError as error:  # it is not among what is deployed
    raise ConfigError(
        "OpenSLO",
        ["(the whole): reading YAML needs PyYAML, which is not installed: `.venv/bin/python -m pip install PyYAML`"],
    ) from error


_SMALLEST, _LARGEST = 30, 12  # powers of ten


class _Loader(yaml.SafeLoader):
    """Numbers exactly as written; times stay texts; a key that is there twice is a fault."""

    faults: list[str]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    self.faults.append(f"line {key.start_mark.line + 1}: {key.value!r} is there twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _exact(loader: _Loader, node: yaml.ScalarNode) -> Any:
    try:
        return Decimal(node.value.replace("_", ""))
    except InvalidOperation:  # .inf, .nan, sexagesimal
        return node.value


_Loader.add_constructor("tag:yaml.org,2002:float", _exact)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Part:
    """A mapping at a place. What is asked for and is not there, or is of another type, becomes a fault."""

    def __init__(self, value: dict[str, Any], label: str, path: str, faults: list[str], notes: list[str]) -> None:
        self.value, self.label, self.path = value, label, path
        self.faults, self.notes = faults, notes

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def place(self, name: str = "") -> str:
        path = self.at(name) if name else self.path
        return f"{self.label}: {path}" if path else self.label

    def fault(self, name: str, text: str) -> None:
        line = f"{self.place(name)}: {text}"
        if line not in self.faults:  # a part that several refer to is told once
            self.faults.append(line)

    def note(self, *names: str) -> None:
        for name in names:
            line = f"{self.place(name)}"
            if name in self.value and line not in self.notes:
                self.notes.append(line)

    def only(self, *known: str) -> None:
        for name in self.value:
            if name not in known:
                self.fault(str(name), f"not known here; known: {', '.join(known)}")

    def text(self, name: str, required: bool = True) -> str | None:
        found: str | None = self._of(name, str, "a text", required)
        return found

    def number(self, name: str, required: bool = True) -> Decimal | None:
        found = self._of(name, (int, Decimal), "a number", required)
        if found is None:
            return None
        number = Decimal(found)
        if number and not -_SMALLEST <= number.adjusted() <= _LARGEST:
            self.fault(name, "is no number that an SLO could be about")
            return None
        return number

    def part(self, name: str, required: bool = True) -> Part | None:
        found = self._of(name, dict, "a mapping", required)
        return None if found is None else Part(found, self.label, self.at(name), self.faults, self.notes)

    def parts(self, name: str) -> Iterator[Part]:
        """Of a list; none where it is missing."""
        for n, item in enumerate(self._of(name, list, "a list", required=False) or []):
            if isinstance(item, dict):
                yield Part(item, self.label, f"{self.at(name)}[{n}]", self.faults, self.notes)
            else:
                self.fault(f"{name}[{n}]", "must be a mapping")

    def _of(self, name: str, kind: type | tuple[type, ...], words: str, required: bool) -> Any:
        found = self.value.get(name)
        if found is None:
            if required:
                self.fault(name, f"is missing: {words}")
            return None
        if not isinstance(found, kind) or isinstance(found, bool):
            self.fault(name, f"must be {words}")
            return None
        return found


def documents(text: str, source: str) -> list[Any]:
    """Raises `ConfigError` where it is not YAML, or has a key twice."""
    faults: list[str] = []
    loader = _Loader(text)
    loader.faults = faults
    found = []
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]  # PyYAML
            found.append(loader.get_data())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "(the whole)"
        raise ConfigError(source, [f"{place}: is not readable as YAML: {error.problem or error.context}"]) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(source, [f"(the whole): is not readable as YAML: {error}"]) from None
    finally:
        loader.dispose()
    if faults:
        raise ConfigError(source, faults)
    return found
