"""The published prices of the package genai-prices, with what `config/pricing.json` overrides.

The package is data to us: its own look-up by prefix is not used, nor what fetches newer prices over the network. Its
import takes a quarter of a second and 24 MB, so it is imported when the first price is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from hashlib import blake2b
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.config_file import load_exact
from shared.domain.price import SEARCHES, Dated, ModelPrices, Rate, Rates
from shared.domain.pricing import PER_THOUSAND, Pricing, undated

if TYPE_CHECKING:
    from shared.bootstrap import App

FILE = "pricing.json"
PACKAGE = "genai-prices"
_FIELDS = {  # our rate → the package's, the first that is there
    "input": ("input_mtok",),
    "output": ("output_mtok",),
    "cache_read": ("cache_read_mtok",),
    "cache_write_5m": ("cache_write_5m_mtok", "cache_write_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "input_audio": ("input_audio_mtok",),
    "output_audio": ("output_audio_mtok",),
    "web_searches": ("web_searches_kcount",),
    "file_searches": ("storage_searches_kcount",),
}


def load_pricing(config_dir: Path) -> Pricing:
    """Raises `ConfigError` with every fault."""
    return load_exact(config_dir / FILE, Pricing)


class PublishedPrices:
    """A `PriceSource`."""

    def __init__(self, pricing: Pricing) -> None:
        self.pricing = pricing
        version = metadata.version(PACKAGE)
        text = version + pricing.model_dump_json()
        self.hash = blake2b(text.encode(), digest_size=6).hexdigest()
        self._known: dict[tuple[str, str], ModelPrices | None] = {}
        self._lock = threading.Lock()

    def find(self, provider: str, model: str) -> ModelPrices | None:
        """By the exact id; else, where it ends in a date, by the id before that."""
        key = (provider, model)
        if key not in self._known:
            with self._lock:
                if len(self._known) > 10_000:  # senders name models as they like
                    self._known.clear()
                self._known[key] = self._find(provider, model)
        return self._known[key]

    def tier_share(self, provider: str, tier: str) -> Decimal | None:
        return self.pricing.tiers.get(provider, {}).get(tier)

    def _find(self, provider: str, model: str) -> ModelPrices | None:
        base = undated(model)
        own = base or model
        published = self._published.get((provider, model)) or self._published.get((provider, own))
        found = None if published is None else prices_of(published, provider, own)
        overrides = tuple(
            override.dated()
            for name in dict.fromkeys((own, model))  # those of the very id last: they win
            for override in self.pricing.models.get(f"{provider}/{name}", ())
        )
        if found is None and not overrides:
            return None
        return ModelPrices(own, provider, found.standard if found else (), found.variants if found else (), overrides)

    @cached_property
    def _published(self) -> dict[tuple[str, str], Any]:
        """The package's models by provider and exact id."""
        from genai_prices.data import providers

        found: dict[tuple[str, str], Any] = {}
        for provider in providers:
            for model in provider.models:
                for id_ in _ids(model):
                    found.setdefault((provider.id, id_), model)
        return found


def _ids(model: Any) -> list[str]:
    """The ids that are this model and no other: its own, the same without `-latest`, and those it says are equal."""
    clauses = getattr(model.match, "or_", [model.match])
    equal = [clause.equals for clause in clauses if isinstance(getattr(clause, "equals", None), str)]
    return [model.id, model.id.removesuffix("-latest"), *equal]


def prices_of(model: Any, provider: str, own_id: str) -> ModelPrices | None:
    """One model of the package as our data. None where its price depends on the time of day: a day's sums cannot."""
    listed = model.prices if isinstance(model.prices, list) else None
    conditions = [c.constraint for c in listed or ()] + [v.constraint for v in model.price_variants or ()]
    if any(c is not None and not hasattr(c, "start_date") for c in conditions):
        return None
    standard = (
        tuple(Dated(_rates(c.prices), c.constraint and c.constraint.start_date) for c in listed)
        if listed is not None
        else (Dated(_rates(model.prices)),)
    )
    variants = tuple(
        (next(iter(v.when.values())), Dated(_rates(v.prices), v.constraint and v.constraint.start_date))
        for v in model.price_variants or ()
        if len(v.when) == 1 and next(iter(v.when)) in ("processing", "service_tier", "speed")
    )
    return ModelPrices(own_id, provider, standard, variants)


def _rates(prices: Any) -> Rates:
    given: Mapping[str, Any] = prices.__dict__
    rates = {}
    for ours, theirs in _FIELDS.items():
        found = next((given[name] for name in theirs if given.get(name) is not None), None)
        rate = None if found is None else _rate(found)
        rates[ours] = rate.times(PER_THOUSAND) if rate and ours in SEARCHES else rate
    return Rates(**rates)


def _rate(price: Any) -> Rate:
    if isinstance(price, Decimal):
        return Rate(price)
    return Rate(price.base, tuple((tier.start, tier.price) for tier in price.tiers))


def prices_for(app: App) -> PublishedPrices:
    """The prices of this instance: `app.part(prices_for)`."""
    return PublishedPrices(load_pricing(app.settings.config_dir))
