"""`config/plans.json`: what each plan allows in a day and in a month (both in UTC)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared.domain.pricing import exact

Period = Literal["day", "month"]
Count = Annotated[int, Field(strict=True, ge=0, le=10**15 - 1)]
Usd = Annotated[Decimal, BeforeValidator(exact), Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
OF_ALL = ("calls", "tokens", "cost")


class Limits(BaseModel):
    """None: no limit. `cost_usd` is `costUsd` in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    calls: Count | None = None
    tokens: Count | None = None
    cost_usd: Usd | None = Field(default=None, alias="costUsd")

    def of(self, name: str) -> Decimal | None:
        value = self.cost_usd if name == "cost" else getattr(self, name)
        return None if value is None else Decimal(value)

    def over(self, below: Limits) -> Limits:
        """These, and what they do not name as `below` has it."""
        return below.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})


class Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    day: Limits = Limits()
    month: Limits = Limits()

    def period(self, name: Period) -> Limits:
        return self.day if name == "day" else self.month


class Override(BaseModel):
    """Of one user: another plan, or single limits; null takes a limit away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: str | None = Field(default=None, max_length=40)
    day: Limits = Limits()
    month: Limits = Limits()


class Plans(BaseModel):
    """`default`: of users of whom no plan, or an unknown one, is told. A reservation lasts `reservationSeconds`.

    `on_store_failure`: whether a call may be made while its quota cannot be checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: str
    plans: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")], Plan]
    reservation_seconds: Annotated[int, Field(strict=True, ge=10, le=86_400)] = Field(
        default=900, alias="reservationSeconds"
    )
    on_store_failure: Literal["closed", "open"] = Field(default="closed", alias="onStoreFailure")

    @model_validator(mode="after")
    def _the_default_is_a_plan(self) -> Plans:
        if self.default not in self.plans:
            raise ValueError(f"default: {self.default!r} is none of {', '.join(self.plans)}")
        return self

    def holding(self, told: str | None, override: Override) -> str:
        """The name of the plan whose limits hold for a user who is on plan `told`."""
        named = override.plan or told
        return named if named in self.plans else self.default

    def plan(self, told: str | None, override: Override) -> Plan:
        """What holds for a user who is on plan `told`."""
        plan = self.plans[self.holding(told, override)]
        return Plan(day=override.day.over(plan.day), month=override.month.over(plan.month))
