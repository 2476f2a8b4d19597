"""The real HSM process, one per test module and kind of store; tests use labels of their own.

The stories of this room run on SQLite, and once more on PostgreSQL (those are marked slow).
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING

import pytest

from keyturn_testing import broker_world
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def hsm_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], HsmProcess]]:
    """The module's HSM for a kind of store: the same stories are told on each, with the same labels."""
    with ExitStack() as stack:
        yield cache(lambda store: stack.enter_context(HsmProcess(tmp_path_factory.mktemp(f"hsm-{store}"))))


@pytest.fixture
def hsm(request: pytest.FixtureRequest, hsm_of: Callable[[str], HsmProcess]) -> HsmProcess:
    callspec = getattr(request.node, "callspec", None)
    return hsm_of("sqlite" if callspec is None else callspec.params.get("store", "sqlite"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server; tests use schemas or databases of their own."""
    with PostgresServer() as server:
        yield server


ONCE = frozenset(
    {
        "test_crash",  # Its dying broker is another process; `test_two_brokers.py` kills those.
        "test_postgres",
        "test_states",
        "test_storage",
        "test_two_brokers",
    }
)
"""Modules whose tests do not depend on the store, or name theirs themselves."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if module not in ONCE and "tmp_path" in metafunc.fixturenames:
        stores = [
            pytest.param("sqlite", id=pytest.HIDDEN_PARAM),
            pytest.param("postgresql", marks=pytest.mark.slow),
        ]
        metafunc.parametrize("store", stores, indirect=True)


@pytest.fixture(autouse=True)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the test's brokers keep their requests: each directory its own database, found again after a restart."""
    if getattr(request, "param", "sqlite") != "postgresql":
        return
    postgres: PostgresServer = request.getfixturevalue("postgres")
    databases: dict[Path, str] = {}

    def url_of(directory: Path) -> str:
        if directory not in databases:
            databases[directory] = postgres.new_schema()
        return databases[directory]

    monkeypatch.setattr(broker_world, "url_of", url_of)
