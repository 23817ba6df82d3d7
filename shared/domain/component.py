"""The components that the public page shows, and which metrics speak for each."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator, model_validator

from shared.domain.probe import AnyProbe, Figure, Identifier, Text

Address = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s/]|mailto:[^\s@]+@)\S*$", max_length=500)]
MAX_PROBES = 60  # in all: each has a thread of its own in a round


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
    """One of several providers behind a component; without probes of its own, its status is the component's."""

    name: Text
    models: tuple[Text, ...] = ()
    probes: tuple[AnyProbe, ...] = ()


class Component(_Frozen):
    """`id` is the name in data and in healthz, `name` what people read. Without metrics and probes: not monitored."""

    id: Identifier
    name: Text
    provider: Text | None = None
    providers: tuple[Provider, ...] = ()
    metrics: tuple[Source, ...] = ()
    probes: tuple[AnyProbe, ...] = ()

    def all_probes(self) -> list[tuple[str | None, AnyProbe]]:
        """Its own probes, and those of its providers with the provider's name."""
        return [(None, probe) for probe in self.probes] + [
            (provider.name, probe) for provider in self.providers for probe in provider.probes
        ]

    def source(self, metric: str) -> Source | None:
        return next((source for source in self.metrics if source.metric == metric), None)


class UptimePolicy(_Frozen):
    """What counts as up in `uptime90`; excluded time is left out of the whole. Time without data never counts."""

    degraded: Literal["up", "down"] = "up"
    maintenance: Literal["excluded", "up", "down"] = "excluded"


class Components(_Frozen):
    """The components in the order of the page. Ids are unique, and a metric speaks for one component only."""

    page: Page
    uptime: UptimePolicy = UptimePolicy()
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
            probes = Counter(probe.id for _, probe in component.all_probes())
            faults += [f"{component.id} has {n} probes {name}" for name, n in probes.items() if n > 1]
            names = Counter(provider.name for provider in component.providers)
            faults += [f"{component.id} has {n} providers {name}" for name, n in names.items() if n > 1]
            shown = Counter(probe.shows for probe in component.probes if probe.shows)
            faults += [f"{component.id} has {n} probes that show {name}" for name, n in shown.items() if n > 1]
        probes_in_all = sum(len(component.all_probes()) for component in self.components)
        if probes_in_all > MAX_PROBES:
            faults.append(f"{probes_in_all} probes: at most {MAX_PROBES}")
        if not 1 <= len(self.components) <= 50:
            faults.append(f"{len(self.components)} components: it takes 1 to 50")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def component_of(self, metric: str) -> str | None:
        """The id of the component that a metric (its registry name, such as `api_latency`) speaks for."""
        return next((component.id for component in self.components if component.source(metric)), None)
