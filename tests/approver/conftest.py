"""The `keyturn` command in this process, and a server of tasks over real HTTP on the loopback interface."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from keyturn.cli.main import root
from keyturn.errors import KeyturnError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSPHRASE = "four words drawn at random"


@dataclass
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str
    error: KeyturnError | None

    @property
    def refusal(self) -> str:
        assert self.error is not None, self.out
        return self.error.refusal

    def json(self) -> Any:
        assert self.code == 0, (self.out, self.err, self.error)
        return json.loads(self.out)


class Officers:
    """Runs `keyturn …` as an officer whose files lie in a directory of the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.passphrase_file = home / "passphrase"
        self.passphrase_file.write_text(PASSPHRASE + "\n")
        self.book = home / "book.json"

    def run(self, *words: str | Path, typed: str = "") -> Outcome:
        # Whoever types sits at a terminal.
        with patch("keyturn.cli.officer.has_terminal", return_value=bool(typed)):
            result = CliRunner().invoke(root, [str(word) for word in words], input=typed)
        error = result.exception if isinstance(result.exception, KeyturnError) else None
        if result.exception is not None and error is None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr, error)

    def keygen(self, name: str, key_type: str = "ec-p256", *more: str) -> dict[str, Any]:
        outcome = self.run(
            "approver", "keygen", "--type", key_type, "--out", self.home / f"{name}.key",
            "--passphrase-file", self.passphrase_file, "--json", *more,
        )  # fmt: skip
        described = outcome.json()
        assert isinstance(described, dict)
        return described

    def at(self, url: str, name: str) -> tuple[str | Path, ...]:
        """The options of an officer's command at a server."""
        return (
            "--url", url, "--key", self.home / f"{name}.key",
            "--passphrase-file", self.passphrase_file, "--address-book", self.book,
        )  # fmt: skip


@pytest.fixture
def officers(tmp_path: Path) -> Officers:
    return Officers(tmp_path)


@dataclass(frozen=True)
class Received:
    """One call that a server received."""

    method: str
    path: str
    body: Any


@dataclass
class TaskServer:
    """A server that answers what the test tells it to and keeps what it is sent."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    def bodies(self, path: str) -> list[Any]:
        return [one.body for one in self.received if one.path == path]

    def calls(self) -> list[Received]:
        """Everything but fetches of tasks."""
        return [one for one in self.received if not one.path.startswith("/v1/filtered")]


@pytest.fixture
def task_server() -> Iterator[TaskServer]:
    state = TaskServer()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            body = json.loads(self.rfile.read(length)) if length else None
            state.received.append(Received(self.command, self.path, body))
            status, answer = 200, state.answers.get(self.path, {})
            if isinstance(answer, tuple):
                status, answer = answer
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - Names that the base class prescribes.

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
