"""Everything that decides what alertRules does, as one hash: runs that differ in it must not overtake each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b

from shared.domain.component import Components
from shared.domain.exclusion import Exclusion
from shared.domain.heartbeat import Agents
from shared.domain.metric import Registry
from shared.domain.slo import SloConfig


def decision_hash(
    config: SloConfig,
    registry: Registry,
    components: Components,
    agents: Agents | None,
    exclusions: Sequence[Exclusion],
) -> str:
    """Of SLOs, burn windows, metrics, components, agents and exclusions. Kill switches are asked at every effect."""
    models = (config.burn, registry, components, agents)
    parts = [config.hash, *("" if model is None else model.model_dump_json() for model in models)]
    excluded = [
        (one.id, one.span.start.isoformat(), one.span.end.isoformat(), one.slos, one.components)
        for one in exclusions
        if one.cancelled_at is None
    ]
    return blake2b(json.dumps([*parts, sorted(excluded, key=str)]).encode(), digest_size=8).hexdigest()
