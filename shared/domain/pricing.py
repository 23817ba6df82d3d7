"""`config/pricing.json`: what overrides the published prices, and what models are called in summaries."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from shared.domain.price import RATE_NAMES, SEARCHES, Dated, Rate, Rates
from shared.domain.usage import INPUT_BOUNDS


def exact(given: object) -> object:
    """Prices are written as texts, or as numbers of JSON that are read exactly; a binary fraction is neither."""
    if isinstance(given, bool) or not isinstance(given, str | int | Decimal):
        raise ValueError('must be a number in quotes, such as "0.30"')
    return given


PER_THOUSAND = Decimal(1000)  # searches are priced by the thousand, and kept by the million, as tokens are
Price = Annotated[Decimal, BeforeValidator(exact), Field(ge=0, le=1_000_000, allow_inf_nan=False)]
_DATED = re.compile(r"[-@](20\d{2})-?(\d{2})-?(\d{2})")


class TieredRate(BaseModel):
    """`above`: whole input of a call → price of all its tokens of this kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Price
    above: dict[int, Price] = {}

    @field_validator("above")
    @classmethod
    def _at_a_bound(cls, above: dict[int, Decimal]) -> dict[int, Decimal]:
        unknown = sorted(set(above) - set(INPUT_BOUNDS))
        if unknown:
            known = ", ".join(map(str, INPUT_BOUNDS))
            raise ValueError(f"{', '.join(map(str, unknown))}: usage is kept apart only at {known}")
        return above

    def rate(self) -> Rate:
        return Rate(self.base, tuple(sorted(self.above.items())))


def _tiered(given: object) -> object:
    return given if isinstance(given, dict) else {"base": given}


GivenRate = Annotated[TieredRate, BeforeValidator(_tiered)]


class Override(BaseModel):
    """Only the rates that are named: of a million tokens, or of a thousand searches.

    `from` and `until` are days in UTC; `until` is not in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: date | None = Field(default=None, alias="from")
    until: date | None = None
    input: GivenRate | None = None
    output: GivenRate | None = None
    cache_read: GivenRate | None = None
    cache_write_5m: GivenRate | None = None
    cache_write_1h: GivenRate | None = None
    input_audio: GivenRate | None = None
    output_audio: GivenRate | None = None
    web_searches: GivenRate | None = None
    file_searches: GivenRate | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Override:
        if all(getattr(self, name) is None for name in RATE_NAMES):
            raise ValueError(f"names no rate; there are {', '.join(RATE_NAMES)}")
        if self.since and self.until and self.until <= self.since:
            raise ValueError("until is not after from")
        return self

    def dated(self) -> Dated:
        given = {name: rate.rate() for name in RATE_NAMES if (rate := getattr(self, name)) is not None}
        given |= {name: given[name].times(PER_THOUSAND) for name in SEARCHES if name in given}
        return Dated(Rates(**given), self.since, self.until)


def _listed(given: object) -> object:
    return given if isinstance(given, list) else [given]


Overrides = Annotated[tuple[Override, ...], BeforeValidator(_listed)]


class Pricing(BaseModel):
    """`names`: model → its key in breakdown_by_model. `models`: `provider/model` → overrides.

    `tiers`: provider → tier → share of the standard price, for models without rates of their own for that tier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: dict[str, Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,99}$")]] = {}
    tiers: dict[str, dict[str, Price]] = {}
    models: dict[str, Overrides] = {}

    @field_validator("models")
    @classmethod
    def _with_provider(cls, models: dict[str, Overrides]) -> dict[str, Overrides]:
        wrong = [name for name in models if not re.fullmatch(r"[a-z0-9._-]+/[^/].*", name)]
        if wrong:
            raise ValueError(f"{', '.join(map(repr, wrong))}: must be provider/model")
        return models

    def key(self, model: str) -> str:
        """What a model is called in breakdown_by_model: underscores only."""
        return self.names.get(model) or re.sub(r"[^a-z0-9]+", "_", model.lower()).strip("_") or "model"


def undated(model: str) -> str | None:
    """The id before a date at its end: claude-sonnet-4-5-20250929, gpt-4o-2024-08-06. None if there is none."""
    for found in _DATED.finditer(model):
        if found.end() == len(model) and found.start() and _is_day(*map(int, found.groups())):
            return model[: found.start()]
    return None


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
