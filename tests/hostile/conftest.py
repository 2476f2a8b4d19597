"""The HSM that is attacked: beside us under our own user, and, where root is at hand, under a user of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn_testing.hostile import ONE_USER, TWO_USERS
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.two_users import HSM_USER, HsmOfAnotherUser, directory_of, find_installation

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can start processes of other users")


@pytest.fixture(scope="session")
def installation() -> Iterator[str]:
    """Interpreter of an installation that other users can run."""
    folder = Path(tempfile.mkdtemp(prefix="kt-installed-"))
    folder.chmod(0o755)
    python = find_installation(folder)
    if python is None:
        pytest.skip("no interpreter with keyturn's files that other users may read")
    yield python
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", params=[ONE_USER, pytest.param(TWO_USERS, marks=needs_root)])
def profile(request: pytest.FixtureRequest) -> str:
    """The surroundings, by their name in the table of attacks."""
    return str(request.param)


@pytest.fixture(scope="module")
def hsm(profile: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[HsmProcess]:
    """One HSM process for all tests of a module in the same surroundings; each test uses labels of its own."""
    if profile == ONE_USER:
        with HsmProcess(tmp_path_factory.mktemp("hsm") / "data") as process:
            assert process.ready["isolation"] == "none"
            yield process
        return
    directory = directory_of(HSM_USER)
    with HsmOfAnotherUser(directory, request.getfixturevalue("installation")) as process:
        assert process.ready["isolation"] == "user"
        yield process
    shutil.rmtree(directory.parent)


@pytest.fixture
def label() -> str:
    """A label that no other test uses."""
    return f"key-{uuid.uuid4().hex[:12]}"
