"""The probes that a component may have, as `config/components.json` writes them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Figure = Literal["latency", "readLatency", "writeLatency"]

ROUND_SECONDS = 30  # from one round to the next
LONGEST_SECONDS = 13.0  # that all attempts of a probe may take in a round, with the pauses between them
PAUSE_SECONDS = 0.25  # before another attempt
_SETTING = re.compile(r"\$\{([^{}]*)\}")
_ALLOWED = re.compile(r"APP_BASE_URL|PROBE_[A-Z0-9_]{1,60}")
_STATUSES = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?")
_PATH = re.compile(r"[^.\[\]]+(\.[^.\[\]]+|\[[0-9]{1,4}\])*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RESERVED_HEADERS = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


def names_in(text: str) -> list[str]:
    """The settings that `${NAME}` in a text stands for."""
    return _SETTING.findall(text)


def _check_names(text: str) -> str:
    for name in names_in(text):
        if not _ALLOWED.fullmatch(name):
            raise ValueError(f"${{{name}}}: a probe can name APP_BASE_URL and settings that begin with PROBE_ only")
    if _CONTROL.search(text):
        raise ValueError("has a control character in it")
    return text


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JsonCondition(_Frozen):
    """What must stand at `path` (`checks.database.ok`, `items[0].name`) of an answer in JSON; one condition of four."""

    path: Annotated[str, Field(max_length=200)]
    equals: str | int | float | bool | None = None
    one_of: Annotated[tuple[str | int | float | bool, ...], Field(alias="oneOf", max_length=50)] = ()
    at_least: Annotated[float | None, Field(alias="atLeast", allow_inf_nan=False)] = None
    at_most: Annotated[float | None, Field(alias="atMost", allow_inf_nan=False)] = None

    @field_validator("path")
    @classmethod
    def _readable(cls, path: str) -> str:
        if not _PATH.fullmatch(path):
            raise ValueError(f"{path!r} is no path such as checks.database.ok or items[0].name")
        return path

    @model_validator(mode="after")
    def _one(self) -> JsonCondition:
        given = self.model_fields_set - {"path"}
        if len(given) != 1 or (given == {"one_of"} and not self.one_of):
            raise ValueError("takes one of equals, oneOf, atLeast, atMost")
        return self


Url = Annotated[str, Field(max_length=500, pattern=r"^https?://[^\s/?#@]+(/\S*)?$")]


class Expect(_Frozen):
    """What an answer must be. `certificate_days`: how many days its certificate must still be valid."""

    status: Annotated[tuple[str, ...], Field(min_length=1, max_length=20)] = ("200-299",)
    contains: Annotated[str | None, Field(min_length=1, max_length=500)] = None
    matches: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    json_: Annotated[tuple[JsonCondition, ...], Field(alias="json", max_length=20)] = ()
    certificate_days: Annotated[int | None, Field(alias="certificateDays", ge=1, le=365)] = None

    @field_validator("status")
    @classmethod
    def _statuses(cls, written: tuple[str, ...]) -> tuple[str, ...]:
        for text in written:
            found = _STATUSES.fullmatch(text)
            if not found or (found[2] and found[2] < found[1]):
                raise ValueError(f"{text!r} is neither a status such as 204 nor a range such as 200-299")
        return written

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return pattern

    def takes(self, status: int) -> bool:
        return any(int(low) <= status <= int(high or low) for low, high in self._ranges())

    def _ranges(self) -> list[tuple[str, str | None]]:
        return [(found[1], found[2]) for text in self.status if (found := _STATUSES.fullmatch(text))]


class Probe(_Frozen):
    """What all kinds have.

    `slow_ms`: beyond it, the component is degraded. A failure counts once `retries` further attempts of the same round
    have failed too. `outage_after` and `recover_after` are in rounds in a row. `message` is what the public reads.
    """

    id: Identifier
    timeout_seconds: Annotated[float, Field(alias="timeoutSeconds", ge=0.1, le=10)] = 5.0
    retries: Annotated[int, Field(ge=0, le=3)] = 1
    slow_ms: Annotated[int | None, Field(alias="slowMs", ge=1, le=10_000)] = None
    outage_after: Annotated[int, Field(alias="outageAfter", ge=1, le=120)] = 4
    recover_after: Annotated[int, Field(alias="recoverAfter", ge=1, le=20)] = 2
    every_seconds: Annotated[int, Field(alias="everySeconds", ge=ROUND_SECONDS, le=3600)] = ROUND_SECONDS
    message: Text | None = None
    shows: Figure | None = None

    @model_validator(mode="after")
    def _fits_a_round(self) -> Probe:
        seconds = self.timeout_seconds * (self.retries + 1) + PAUSE_SECONDS * self.retries
        if seconds > LONGEST_SECONDS:
            raise ValueError(f"its attempts may take {seconds:g} s in all: a round has {LONGEST_SECONDS:g} s for them")
        return self


class HttpProbe(Probe):
    """Any HTTP(S) address. `${APP_BASE_URL}` and `${PROBE_…}` in `url`, `headers` and `body` stand for settings."""

    kind: Literal["http"]
    url: Annotated[str, Field(max_length=500)]
    method: Literal["GET", "HEAD", "POST"] = "GET"
    headers: Annotated[dict[str, Annotated[str, Field(max_length=1000)]], Field(max_length=20)] = {}
    body: Annotated[str | None, Field(max_length=10_000)] = None
    expect: Expect = Expect()
    redirects: Annotated[int, Field(ge=0, le=5)] = 3
    private_redirects: Annotated[bool, Field(alias="privateRedirects")] = False

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        _check_names(url)
        if not url.isascii():
            raise ValueError("has more than ASCII in it: a name is written with xn--, a path with percent signs")
        if url.startswith("${APP_BASE_URL}"):
            return url
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and parts.username is None
            _ = parts.port
        except ValueError:
            sound = False
        if not sound or " " in url:
            raise ValueError("is neither an http(s) URL nor begins with ${APP_BASE_URL}")
        return url

    @model_validator(mode="after")
    def _has_a_certificate(self) -> HttpProbe:
        if self.expect.certificate_days is not None and self.url.startswith("http://"):
            raise ValueError("expect.certificateDays: http has no certificate")
        return self

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or name.lower() in _RESERVED_HEADERS:
                raise ValueError(f"{name!r} is no header that a probe can set")
            _check_names(value)
            if not value.isascii():
                raise ValueError(f"{name} has more than ASCII in it")
        return headers

    @field_validator("body")
    @classmethod
    def _names_settings(cls, body: str | None) -> str | None:
        for name in names_in(body or ""):
            _check_names(f"${{{name}}}")
        return body


class FirebaseAuthProbe(Probe):
    """Firebase Authentication: `api` calls it with FIREBASE_API_KEY, `keys` fetches the keys it signs with.

    `url`, here and below: another address than the usual one, such as of a proxy.
    """

    kind: Literal["firebase_auth"]
    check: Literal["api", "keys"] = "api"
    url: Url | None = None


class StripeProbe(Probe):
    """Stripe's API, with STRIPE_API_KEY."""

    kind: Literal["stripe"]
    url: Url | None = None


class ModelsProbe(Probe):
    """The list of models of a provider's API, with ANTHROPIC_API_KEY or OPENAI_API_KEY."""

    kind: Literal["anthropic", "openai"]
    url: Url | None = None


class FeedProbe(Probe):
    """A provider's own status page (Statuspage v2 `summary.json`). `components`: those that count; empty: the whole."""

    kind: Literal["feed"]
    url: Url
    components: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    every_seconds: Annotated[int, Field(alias="everySeconds", ge=ROUND_SECONDS, le=3600)] = 120


class StoreProbe(Probe):
    """Writes a document and reads it back."""

    kind: Literal["store"]


class CloudStorageProbe(Probe):
    """Writes a file into the bucket PROBE_BUCKET and reads it back."""

    kind: Literal["cloud_storage"]
    object: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._/-]+$")] = "f0-ops/probe"


AnyProbe = Annotated[
    HttpProbe | FirebaseAuthProbe | StripeProbe | ModelsProbe | FeedProbe | StoreProbe | CloudStorageProbe,
    Field(discriminator="kind"),
]
KINDS = ("http", "firebase_auth", "stripe", "anthropic", "openai", "feed", "store", "cloud_storage")


def at_path(data: Any, path: str) -> tuple[bool, Any]:
    """Whether there is something at the path, and what."""
    for name, index in re.findall(r"([^.\[\]]+)|\[([0-9]+)\]", path):
        if index:
            if not isinstance(data, list) or int(index) >= len(data):
                return False, None
            data = data[int(index)]
        else:
            if not isinstance(data, dict) or name not in data:
                return False, None
            data = data[name]
    return True, data
