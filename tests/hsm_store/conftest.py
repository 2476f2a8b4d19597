from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.clock import ManualClock
from keyturn_testing.hsm_store import create_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.hsm.store import Store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(directory: Path, clock: ManualClock) -> Iterator[Store]:
    store = create_store(directory, clock)
    yield store
    store.close()
