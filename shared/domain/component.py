"""The components that the public page shows, and which metrics speak for each."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator, model_validator

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Address = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s/]|mailto:[^\s@]+@)\S*$", max_length=500)]
Figure = Literal["latency", "uptime", "readLatency", "writeLatency"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Link(_Frozen):
    label: Text
    url: Address


class Page(_Frozen):
    """Heading and footer of the page; `timeZone` is an IANA name, used for times until a script localises them."""

    name: Text
    timeZone: str = "Etc/UTC"
    links: tuple[Link, ...] = ()

    @field_validator("timeZone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name in ("UTC", "Etc/UTC"):  # known even where the machine has no zone data
            return name
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is not an IANA time zone, such as Europe/Zurich") from error
        return name


class Source(_Frozen):
    """A metric that speaks for a component: what the public reads while it is bad, and the figure it gives, if any."""

    metric: Identifier
    message: Text
    shows: Figure | None = None


class Provider(_Frozen):
    """One of several providers behind a component; its status is the component's."""

    name: Text
    models: tuple[Text, ...] = ()


class Component(_Frozen):
    """`id` is the name in data and in healthz, `name` what people read. Without `metrics` it is not monitored."""

    id: Identifier
    name: Text
    provider: Text | None = None
    providers: tuple[Provider, ...] = ()
    metrics: tuple[Source, ...] = ()

    def source(self, metric: str) -> Source | None:
        return next((source for source in self.metrics if source.metric == metric), None)


class Components(_Frozen):
    """The components in the order of the page. Ids are unique, and a metric speaks for one component only."""

    page: Page
    components: tuple[Component, ...]

    @model_validator(mode="after")
    def _unambiguous(self) -> Components:
        ids = Counter(component.id for component in self.components)
        metrics = Counter(source.metric for component in self.components for source in component.metrics)
        faults = [f"component {name} is there {n} times" for name, n in ids.items() if n > 1]
        faults += [f"metric {name} is named {n} times: it can speak once" for name, n in metrics.items() if n > 1]
        for component in self.components:
            figures = Counter(source.shows for source in component.metrics if source.shows)
            faults += [f"{component.id} has {n} sources of {name}" for name, n in figures.items() if n > 1]
        if not 1 <= len(self.components) <= 50:
            faults.append(f"{len(self.components)} components: it takes 1 to 50")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def component_of(self, metric: str) -> str | None:
        """The id of the component that a metric (its registry name, such as `api_latency`) speaks for."""
        return next((component.id for component in self.components if component.source(metric)), None)
