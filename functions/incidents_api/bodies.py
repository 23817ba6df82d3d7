"""What may be sent about incidents."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from shared.api.bodies import Body, Line, LongText, Moment, Text
from shared.components import load_components
from shared.domain.action_item import State as ItemState
from shared.domain.incident import OpenStatus, Status
from shared.domain.incident_policy import Impact
from shared.incidents import runbooks


class Known:
    """The names that a body may have, looked up once and only where it has one."""

    def __init__(self, config_dir: Path) -> None:
        self._config_dir = config_dir

    @cached_property
    def components(self) -> list[str]:
        return [component.id for component in load_components(self._config_dir).components]


def _component(name: str, info: ValidationInfo) -> str:
    assert isinstance(info.context, Known)
    known = info.context
    if name not in known.components:
        raise ValueError(f"there is no such component; there are {', '.join(known.components) or 'none'}")
    return name


def _runbook(name: str) -> str:
    if runbooks.runbook(name) is None:
        there = ", ".join(found.name for found in runbooks.all_runbooks())
        raise ValueError(f"there is no such runbook; there are {there}")
    return name


Component = Annotated[str, AfterValidator(_component)]
Uid = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128)]
AlertId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")]
Runbook = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$"), AfterValidator(_runbook)]
UNSENT = datetime.min.replace(tzinfo=UTC)  # what is not sent is not changed, so it is nobody's time
Components = Annotated[list[Component], Field(max_length=20)]
Alerts = Annotated[list[AlertId], Field(max_length=100)]


class NewIncident(Body):
    """`public`: of the first entry; as `publicVisible` is, unless said."""

    title: Line
    impact: Impact
    components: Components = Field(default_factory=list)
    message: Text | None = None
    status: OpenStatus = "investigating"
    startedAt: Moment | None = None
    publicVisible: bool = False
    public: bool | None = None
    alertIds: Alerts = Field(default_factory=list)
    runbook: Runbook | None = None


class Changes(Body):
    """Only what is sent is changed. Times are corrections."""

    title: Line = ""
    impact: Impact = "low"
    components: Components = Field(default_factory=list)
    publicVisible: bool = False
    alertIds: Alerts = Field(default_factory=list)
    runbook: Runbook | None = None
    rootCause: LongText | None = None
    startedAt: Moment = UNSENT
    identifiedAt: Moment | None = None
    mitigatedAt: Moment | None = None
    resolvedAt: Moment | None = None


class NewUpdate(Body):
    """`corrects`: the number of an earlier entry, which stays as it is."""

    message: Text
    status: Status | None = None
    public: bool | None = None
    corrects: Annotated[int, Field(ge=0)] | None = None


class Resolution(Body):
    message: Text | None = None
    rootCause: LongText | None = None
    public: bool | None = None


class Reopening(Body):
    message: Text
    status: OpenStatus = "investigating"
    public: bool | None = None


class NewItem(Body):
    title: Line
    owner: Uid | None = None
    dueAt: Moment | None = None


class ItemChanges(Body):
    title: Line = ""
    owner: Uid | None = None
    dueAt: Moment | None = None
    state: ItemState = "open"
