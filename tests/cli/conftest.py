"""One real server for the commands that call one, and how they are called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from keyturn.cli.main import root
from keyturn.errors import KeyturnError
from keyturn_testing.rest_server import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.client import RestClient


@dataclass(frozen=True)
class Done:
    """What a command did.

    Args:
        code: Exit code; 1 for a refusal.
        refusal: The refusal's word, or empty.
        out: Standard output.
        err: Standard error.
    """

    code: int
    refusal: str
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)


def run(*words: object) -> Done:
    """Call `keyturn …`; a bug of ours stays an exception."""
    done = CliRunner().invoke(root, [str(word) for word in words])
    if isinstance(done.exception, KeyturnError):
        return Done(1, done.exception.refusal or str(done.exception.code.number), done.stdout, done.stderr)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, "", done.stdout, done.stderr)


@pytest.fixture(scope="session")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A `keyturn serve --profile local` with its HSM, shared: tests use labels of their own."""
    with ServeProcess(tmp_path_factory.mktemp("vault")) as server:
        yield server


@pytest.fixture
def rest(vault: ServeProcess) -> Iterator[RestClient]:
    """A client of it."""
    with vault.client() as client:
        yield client
