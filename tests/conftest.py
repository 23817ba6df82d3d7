"""Fixtures that all tests share: the stores, each empty, and the Firestore emulator."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import settings

from shared.store.protocol import Store
from shared.store.sqlite import SqliteStore
from tests.emulator import EmulatorMissing, forget, running
from tests.query_shapes import QueryShapes

if TYPE_CHECKING:
    from shared.store.firestore import FirestoreStore

# The same examples in every run, and no deadline: whether a build passes hangs neither on chance nor on the machine's
# load. `--hypothesis-profile=default` looks for new ones.
settings.load_profile("ci")


# An example may take as long as a busy machine needs: a rule does not fail of that.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(QueryShapes())


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """The address of the Firestore emulator. Where it is missing the test is skipped; under CI it fails."""
    try:
        with running() as address:
            yield address
    except EmulatorMissing as missing:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(f"CI runs every test: {missing}")
        pytest.skip(str(missing))


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.db")
    yield store
    store.close()


@pytest.fixture
def firestore_store(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FirestoreStore]:
    """A store in a project of its own, so nothing of another test is in it. The environment names the emulator.

    Its deadline is longer than in production: a busy machine must not look like a store that is down.
    """
    from shared.store.firestore import FirestoreStore

    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", emulator)
    project = f"test-{secrets.token_hex(6)}"
    store = FirestoreStore(project, deadline=30)
    yield store
    store.close()
    forget(emulator, project)


@pytest.fixture(params=["sqlite", "firestore"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn: a test that asks for `store` runs on SQLite and on Firestore."""
    chosen: Store = request.getfixturevalue(f"{request.param}_store")
    return chosen
