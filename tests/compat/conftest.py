"""A real server with its HSM process for each process of the test run, and a caller who knows nothing of keyturn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn_testing.plain_client import PlainClient
from keyturn_testing.rest_server import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A `keyturn serve --profile local`, with approver management as it is documented."""
    directory = tmp_path_factory.mktemp("compat")
    (directory / "keyturn.yaml").write_text("approverManagement: {enabled: true}\nhsm: {allowOpenBackupKey: true}\n")
    with ServeProcess(directory / "data", options=["--config", str(directory / "keyturn.yaml")]) as started:
        yield started


@pytest.fixture(scope="session")
def api(server: ServeProcess) -> Iterator[PlainClient]:
    """A client of it that sends documented bodies."""
    with PlainClient(server.url) as client:
        yield client
