"""`config/incidents.json`: when what fires again is the same incident, and which incidents need a post-mortem by when.

Every part may be left out; `{}` is the policy that is shipped.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.domain.durations import Duration, Wait

Impact = Literal["low", "medium", "high", "critical"]
_DAY = 86_400


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Postmortem(_Frozen):
    """Of `impacts`: due so long after the resolution; admins are reminded `remind` before that, and when it is due."""

    impacts: tuple[Impact, ...] = ("high", "critical")
    within: Annotated[Duration, Field(le=30 * _DAY)] = 2 * _DAY
    remind: Annotated[Wait, Field(le=30 * _DAY)] = _DAY

    @model_validator(mode="after")
    def _reminds_before(self) -> Postmortem:
        if self.remind >= self.within:
            raise ValueError("`remind` must be shorter than `within`")
        return self

    def due(self, impact: str, resolved: datetime) -> tuple[datetime, datetime] | None:
        """When it is due, and when somebody is to be reminded; None if none is asked for."""
        if impact not in self.impacts:
            return None
        at = resolved + timedelta(seconds=self.within)
        return at, at - timedelta(seconds=self.remind)


class IncidentPolicy(_Frozen):
    """`reopen`: what fires again so long after the resolution, in seconds, opens the same incident again."""

    reopen: Annotated[Wait, Field(le=7 * _DAY)] = 1800
    postmortem: Postmortem = Postmortem()

    @property
    def reopen_within(self) -> timedelta:
        return timedelta(seconds=self.reopen)


SHIPPED = IncidentPolicy()
