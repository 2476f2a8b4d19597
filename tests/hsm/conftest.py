"""Fixtures of the HSM's tests: the real process, and a client as the broker has one."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from keyturn.hsm.client import HsmClient
from keyturn_testing.hsm_process import HsmProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HsmProcess]:
    """One HSM process for all tests that do not start one; each uses labels of its own."""
    with HsmProcess(tmp_path_factory.mktemp("hsm") / "data") as process:
        yield process


@pytest_asyncio.fixture
async def client(hsm: HsmProcess) -> AsyncIterator[HsmClient]:
    """A client of the shared HSM."""
    connected = await HsmClient.connect(hsm.address)
    yield connected
    await connected.close()


@pytest.fixture
def hsm_run() -> Iterator[Path]:
    """A directory with a short path, for sockets."""
    with tempfile.TemporaryDirectory(prefix="kt-") as made:
        yield Path(made)


@pytest.fixture
def label() -> str:
    """A label that no other test uses."""
    return f"key-{uuid.uuid4().hex[:12]}"
