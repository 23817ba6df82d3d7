"""What an SLO says about its alert: when it is told, how severe it is, and on which channels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from shared.domain.durations import SLOT_SECONDS, Duration, Wait

USUAL_MIN_FAILURES = 8  # with burn rates

Severity = Literal["critical", "high", "warning"]
Channel = Literal["slack", "email", "pagerduty", "inapp", "webhook"]
RunbookName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")]


def _one_each(channels: tuple[str, ...]) -> tuple[str, ...]:
    if not channels:
        raise ValueError("name one channel at least")
    if len(channels) != len(set(channels)):
        raise ValueError("a channel is named twice")
    return channels


class AlertPolicy(BaseModel):
    """`window`: what the threshold is judged over, in seconds; fewer than `min_events` in it decide nothing.

    A breach must hold for `pending_for` (`for` in the file) before it is told, and with `min_failures` bad events at
    least; what fires goes on for `keep_firing_for` after it is within again. `no_data`: what silence means.
    `burn_rates`: the rules of config/burn_windows.json besides. `incident`: whether one is opened, with this `impact`.
    `runbook`: what to follow, by its name: `api-outage` for runbooks/api-outage.md.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    severity: Severity
    channels: Annotated[tuple[Channel, ...], AfterValidator(_one_each)]
    window: Duration = SLOT_SECONDS
    min_events: int = Field(default=10, ge=1)
    min_failures: int = Field(default=0, ge=0)
    pending_for: Wait = Field(default=0, alias="for")
    keep_firing_for: Wait = 0
    no_data: Literal["keep", "ok", "alert"] = "keep"
    burn_rates: bool = False
    incident: bool = True
    impact: Literal["low", "medium", "high", "critical"] | None = None
    runbook: RunbookName | None = None

    @model_validator(mode="before")
    @classmethod
    def _usual_min_failures(cls, data: Any) -> Any:
        """Beside burn rates, which find what is slow, the threshold waits for more failures than chance brings."""
        if isinstance(data, dict) and data.get("burn_rates") is True:
            return {"min_failures": USUAL_MIN_FAILURES, **data}
        return data
