"""Takes out of labels whatever identifies a person, before anything is stored, logged or echoed."""

from __future__ import annotations

import re
from urllib.parse import unquote

PERSONAL_KEYS = frozenset(
    {
        "uid", "user", "userid", "useruid", "username", "email", "mail", "useremail", "phone", "phonenumber", "name",
        "firstname", "lastname", "fullname", "displayname", "ip", "ipaddress", "clientip", "remoteip", "remoteaddr",
        "remoteaddress", "xforwardedfor", "session", "sessionid", "cookie", "token", "accesstoken", "idtoken",
        "refreshtoken", "authorization", "auth", "apikey", "password", "secret", "deviceid", "customer", "customerid",
        "account", "accountid", "sub",
    }
)  # fmt: skip
_EMAIL = re.compile(r"[^\s@/:;,<>\"']+@[^\s@/:;,<>\"']+\.[^\s@/:;,<>\"']+")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_IPV6 = re.compile(
    r"(?<![\w:])(?=[0-9a-fA-F:]*:[0-9a-fA-F:]*:)[0-9a-fA-F:]*[0-9a-fA-F](?:::)?(?![\w:])|(?<![\w:])::1\b"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_JWT = re.compile(r"eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?")
_KEY = re.compile(
    r"\b(?:sk|pk|rk|ghp|gho|ghs|github_pat|glpat|xox[abprs]|AIza|ya29|AKIA|Bearer)[-_. ]?[\w\-.~+/]{10,}=*"
)
_LONG = re.compile(r"[A-Za-z0-9_\-+=]{20,}")
_DIGITS = re.compile(r"(?<!\d)(?!20\d\d-?[01]\d-?[0-3]\d(?!\d))\+?\d[\d ()\-]{5,}\d(?!\d)")  # a date is no id
_VERSION = re.compile(r"v\d{1,3}")
_PLAIN_WORDS = re.compile(r"[A-Za-z]+(?:[-_][A-Za-z]+)*")


def is_personal_key(key: str) -> bool:
    return re.sub(r"[^a-z0-9]", "", key.lower()) in PERSONAL_KEYS


def scrub_value(value: str) -> str:
    """The value with every part that may identify a person replaced by a word such as `:id` or `:email`."""
    if "%" in value:
        value = unquote(value)
    if "?" in value and "/" in value:
        value = value.partition("?")[0]
    value = _JWT.sub(":token", value)
    value = _KEY.sub(":token", value)
    value = _EMAIL.sub(":email", value)
    value = _IPV4.sub(":ip", value)
    value = _IPV6.sub(":ip", value)
    value = _UUID.sub(":id", value)
    if "/" in value:
        return "/".join(map(_path_segment, value.split("/")))
    value = _DIGITS.sub(":id", value)
    return _LONG.sub(_token, value)


def _path_segment(segment: str) -> str:
    """`8341`, `a8f3c0`, `ord_19283` are ids; `users`, `v1`, `oauth2` are names."""
    if _VERSION.fullmatch(segment) or not any(c.isdigit() for c in segment):
        return segment if segment.startswith(":") else _LONG.sub(_token, segment)
    digits = sum(c.isdigit() for c in segment)
    if segment.startswith(":") or (
        digits == 1 and len(segment) <= 8 and segment[-1].isdigit() and segment[0].isalpha()
    ):
        return segment
    return ":id"


def _token(match: re.Match[str]) -> str:
    """A long run without spaces is a token unless it reads as words (`claude-sonnet-and-so-on`)."""
    text = match.group()
    if _PLAIN_WORDS.fullmatch(text) and max(map(len, re.split(r"[-_]", text))) <= 16:
        return text
    return ":token"
