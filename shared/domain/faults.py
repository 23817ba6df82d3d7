"""Every fault of what was given at once, each with its path, in our words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError  # whoever only catches a ConfigError starts faster without it

WHOLE = "(the whole)"
_NUMBER = "must be a number"
_WHOLE_NUMBER = "must be a whole number"
_TIME = "must be a time such as 2026-03-01T12:00:00Z"
_DATE = "must be a date such as 2026-03-01"
_WORDS = {  # by pydantic's name of the fault, without what stands after its kind
    "missing": "is missing",
    "extra_forbidden": "there is no such field",
    "invalid_key": "must have texts as names",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "string_type": "must be a text",
    "string_pattern_mismatch": "must have the form {pattern}",
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": "is too large a number",
    "int_from_float": _WHOLE_NUMBER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be an object",
    "mapping_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dataclass_type": "must be an object",
    "none_required": "must be null",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": "must be a time with its zone, such as 2026-03-01T12:00:00Z",
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "union_tag_invalid": "its {discriminator} must be {expected_tags}",
    "union_tag_not_found": "its {discriminator} is missing",
    "json_invalid": "is not readable as JSON: {error}",
}


class ConfigError(Exception):
    """A configuration that cannot be used. `faults` are lines such as `slos[0].metric: unknown metric 'x'`."""

    def __init__(self, source: str, faults: list[str]) -> None:
        super().__init__(f"{source} is not usable:\n  " + "\n  ".join(faults))
        self.source = source
        self.faults = faults


def faults_of(error: ValidationError) -> list[str]:
    return [f"{path_of(e['loc'])}: {words_of(e)}" for e in error.errors()]


def words_of(fault: Mapping[str, Any]) -> str:
    """What is wrong, of one of pydantic's errors. What has no words of ours keeps pydantic's."""
    context = fault.get("ctx", {})
    match fault["type"]:
        case "string_too_short":
            return _at_least(context["min_length"], "character")
        case "string_too_long":
            return f"must have at most {_counted(context['max_length'], 'character')}"
        case "too_short":
            return _at_least(context["min_length"], "entry")
        case "too_long":
            return f"must have at most {_counted(context['max_length'], 'entry')}"
    words = _WORDS.get(fault["type"])
    return words.format(**context) if words else str(fault["msg"]).removeprefix("Value error, ")


def unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Why a file cannot be read, to stand after its name."""
    match error:
        case UnicodeDecodeError():
            return f"is not UTF-8, at byte {error.start}"
        case FileNotFoundError():
            return "cannot be read: there is no such file"
        case IsADirectoryError():
            return "cannot be read: it is a folder"
        case PermissionError():
            return "cannot be read: this user may not open it"
    return f"cannot be read: {(error.strerror or 'the system says no more').lower()}"


def path_of(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or WHOLE


def _at_least(least: int, what: str) -> str:
    return "must not be empty" if least == 1 else f"must have at least {_counted(least, what)}"


def _counted(number: int, what: str) -> str:
    many = {"character": "characters", "entry": "entries"}
    return f"{number} {what if number == 1 else many[what]}"
