"""The components that the public page shows, and which metrics speak for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator, model_validator

from shared.domain.probe import AnyProbe, Figure, Identifier, Text

Address = Annotated[str, StringConstraints(pattern=r"^(https?://[^\s/]|mailto:[^\s@]+@)\S*$", max_length=500)]
MAX_PROBES = 60  # in all: each has a thread of its own in a round
Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
Logo = Annotated[
    str, StringConstraints(pattern=r"^([\w.-]+\.(svg|png)|data:image/(svg\+xml|png);base64,[A-Za-z0-9+/=]+)$")
]

# What a configured colour is read on: of the page's two grounds, the one with the lower contrast.
GROUNDS = {"light": "#f6f7f9", "dark": "#171b21"}
LEAST_CONTRAST = 4.5  # WCAG 2.2, AA, of text


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Link(_Frozen):
    label: Text
    url: Address


class Tones(_Frozen):
    """The colours of the states, and of links, in one colour scheme. Those that are absent are the page's own."""

    operational: Colour | None = None
    degraded: Colour | None = None
    outage: Colour | None = None
    maintenance: Colour | None = None
    accent: Colour | None = None


class Colours(_Frozen):
    light: Tones = Tones()
    dark: Tones = Tones()

    @model_validator(mode="after")
    def _can_be_read(self) -> Colours:
        faults = []
        for scheme, ground in GROUNDS.items():
            for name, colour in getattr(self, scheme):
                if colour and contrast(colour, ground) < LEAST_CONTRAST:
                    faults.append(f"{scheme}.{name} {colour}: its contrast to {ground} is below {LEAST_CONTRAST}")
        if faults:
            raise ValueError("; ".join(faults))
        return self


def contrast(colour: str, other: str) -> float:
    """The contrast ratio of two colours `#rrggbb`, 1 to 21, as WCAG 2.2 defines it."""
    lighter, darker = sorted((_luminance(colour), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


class Page(_Frozen):
    """Heading, looks and footer of the page; `timeZone` is an IANA name, used for times until a script localises them.

    `logo` names an SVG or PNG beside the file; who loads the configuration puts the picture itself in its place.
    """

    name: Text
    timeZone: str = "Etc/UTC"
    links: tuple[Link, ...] = ()
    logo: Logo | None = None
    colours: Colours | None = None

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
    """What counts as up in a component's uptime. Excluded time is left out of the whole, as is time without data."""

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

    def component_of(self, metric: str, labels: Iterable[tuple[str, str]] = ()) -> str | None:
        """The id of the component that a metric (its registry name, such as `api_latency`) speaks for.

        Of a metric that speaks for none, such as a probe's, it is the one that the label `component` names.
        """
        found = next((component.id for component in self.components if component.source(metric)), None)
        named = dict(labels).get("component")
        return found or next((component.id for component in self.components if component.id == named), None)
