"""`functions.yaml` as typed objects, for the deploy script, the local server and the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from shared.domain.faults import words_of

ROOT = Path(__file__).parent.parent
MEMORY_MB = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
HTTP_TIMEOUT = 3600  # seconds
SCHEDULE_TIMEOUT = 1800
_CRON_FIELD = re.compile(r"[0-9*/,-]+")
_PROJECT_ID = "{{ params.PROJECT_ID }}"  # the Firebase CLI puts the project's id in the place of this


class ManifestError(Exception):
    """The manifest cannot be used. `faults` names every fault with its path in the file."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("functions.yaml is not usable:\n  " + "\n  ".join(faults))
        self.faults = faults


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=to_camel)


class RetryConfig(_Model):
    """How Cloud Scheduler repeats a failed run. Times in seconds; None leaves Cloud Scheduler's default."""

    retry_count: Annotated[int, Field(ge=0, le=5)] | None = None
    max_retry_seconds: Annotated[int, Field(ge=0)] | None = None
    min_backoff_seconds: Annotated[int, Field(ge=0)] | None = None
    max_backoff_seconds: Annotated[int, Field(ge=0)] | None = None
    max_doublings: Annotated[int, Field(ge=0)] | None = None


class HttpsTrigger(_Model):
    """`invoker`: who may call: `[public]`, `[private]`, or email addresses of service accounts."""

    invoker: Annotated[list[str], Field(min_length=1)]

    @field_validator("invoker")
    @classmethod
    def _known(cls, invoker: list[str]) -> list[str]:
        words = [entry for entry in invoker if "@" not in entry]
        if any(word not in ("public", "private") for word in words) or (words and len(invoker) > 1):
            raise ValueError("is [public], [private] or a list of service accounts")
        return invoker


class ScheduleTrigger(_Model):
    """`schedule` is a cron expression of five fields, in the time zone `time_zone`."""

    schedule: str
    time_zone: str = "Etc/UTC"
    retry_config: RetryConfig = RetryConfig()

    @field_validator("schedule")
    @classmethod
    def _cron(cls, schedule: str) -> str:
        fields = schedule.split()
        if len(fields) != 5 or not all(map(_CRON_FIELD.fullmatch, fields)):
            raise ValueError("is a cron expression of five fields, in numbers")
        return schedule


class Secret(_Model):
    """The environment variable `key` gets the text of the secret `secret`."""

    key: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    secret: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,255}$")]


class Endpoint(_Model):
    """One function. Memory in MiB, timeout in seconds, concurrency in requests an instance."""

    platform: Literal["gcfv2"]
    region: Annotated[list[str], Field(min_length=1)]
    entry_point: Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$")]
    https_trigger: HttpsTrigger | None = None
    schedule_trigger: ScheduleTrigger | None = None
    available_memory_mb: int
    cpu: Annotated[float, Field(ge=0.08, le=8)]
    timeout_seconds: Annotated[int, Field(ge=1, le=HTTP_TIMEOUT)]
    min_instances: Annotated[int, Field(ge=0)]
    max_instances: Annotated[int, Field(ge=1)]
    concurrency: Annotated[int, Field(ge=1, le=1000)]
    service_account_email: str
    ingress_settings: Literal["ALLOW_ALL", "ALLOW_INTERNAL_ONLY", "ALLOW_INTERNAL_AND_GCLB"] = "ALLOW_ALL"
    secret_environment_variables: list[Secret] = []

    @field_validator("available_memory_mb")
    @classmethod
    def _offered(cls, memory: int) -> int:
        if memory not in MEMORY_MB:
            raise ValueError(f"is one of {', '.join(map(str, MEMORY_MB))}")
        return memory

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        faults = []
        if (self.https_trigger is None) == (self.schedule_trigger is None):
            faults.append("needs either httpsTrigger or scheduleTrigger")
        if self.concurrency > 1 and self.cpu < 1:
            faults.append("cpu must be at least 1 where concurrency is above 1")
        if self.schedule_trigger and self.timeout_seconds > SCHEDULE_TIMEOUT:
            faults.append(f"timeoutSeconds is at most {SCHEDULE_TIMEOUT} for a schedule")
        if self.min_instances > self.max_instances:
            faults.append("minInstances is above maxInstances")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def public(self) -> bool:
        return self.https_trigger is not None and self.https_trigger.invoker == ["public"]

    def service_account(self, project: str) -> str:
        """The email address of the account that this function runs as, and that its schedule calls it as."""
        return self.service_account_email.replace(_PROJECT_ID, project)


class RequiredApi(_Model):
    api: str
    reason: str


class Manifest(_Model):
    """The whole file. `endpoints` maps a function's id to the function, in the file's order."""

    spec_version: Literal["v1alpha1"]
    required_apis: Annotated[list[RequiredApi], Field(alias="requiredAPIs")] = []
    endpoints: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_-]{0,62}$")], Endpoint], Field(min_length=1)
    ]

    @property
    def scheduled(self) -> dict[str, Endpoint]:
        return {id_: endpoint for id_, endpoint in self.endpoints.items() if endpoint.schedule_trigger}

    @property
    def secret_keys(self) -> frozenset[str]:
        """The settings that come from Secret Manager in any function."""
        return frozenset(s.key for e in self.endpoints.values() for s in e.secret_environment_variables)


class _OnceOnly(yaml.SafeLoader):
    """YAML would silently let the second of two equal keys win: a function pasted twice must be seen."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ManifestError([f"line {node.start_mark.line + 1}: {key!r} is there twice"])
        return super().construct_mapping(node, deep)


def parse(text: str) -> Manifest:
    """Raises `ManifestError` with every fault."""
    try:
        data = yaml.load(text, _OnceOnly)
    except yaml.YAMLError as error:
        raise ManifestError([f"not YAML: {error}"]) from error
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc'])) or 'the file'}: {words_of(e)}" for e in error.errors()]
        raise ManifestError(faults) from error


def load(path: Path = ROOT / "functions.yaml") -> Manifest:
    """Raises `ManifestError`, and `OSError` where there is no such file."""
    return parse(path.read_text())


def table(manifest: Manifest) -> str:
    """The functions as a Markdown table, for docs/deploy.md."""
    rows = [
        "| function | called by | memory | cpu | requests at a time | timeout | instances | secrets |",
        "|---" * 8 + "|",
    ]
    for id_, e in manifest.endpoints.items():
        if e.schedule_trigger:
            caller = f"schedule `{e.schedule_trigger.schedule}` {e.schedule_trigger.time_zone}"
        else:
            caller = "anyone" if e.public else "its invokers"
        secrets = ", ".join(s.secret for s in e.secret_environment_variables)
        cells = [
            id_,
            caller,
            f"{e.available_memory_mb} MiB",
            f"{e.cpu:g}",
            str(e.concurrency),
            f"{e.timeout_seconds} s",
        ]
        rows.append(f"| {' | '.join([*cells, f'{e.min_instances} to {e.max_instances}', secrets])} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(load()))
