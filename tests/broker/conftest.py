"""The real HSM process, one per test module; tests use labels of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HsmProcess]:
    with HsmProcess(tmp_path_factory.mktemp("hsm")) as process:
        yield process


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server; tests use databases of their own."""
    with PostgresServer() as server:
        yield server
