"""usageApi as its tests want it: `api` on each store in turn, `local` on SQLite alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.store.protocol import Store
from tests.usage_api import UsageApi, usage_api


@pytest.fixture
def api(store: Store) -> Iterator[UsageApi]:
    with usage_api(store) as served:
        yield served


@pytest.fixture
def local(sqlite_store: Store) -> Iterator[UsageApi]:
    with usage_api(sqlite_store) as served:
        yield served
