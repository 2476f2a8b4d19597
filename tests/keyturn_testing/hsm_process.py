"""The real HSM process for tests: `python -m keyturn hsm serve` on Unix sockets in a directory of the test.

    with HsmProcess(tmp_path / "hsm") as hsm:
        client = await HsmClient.connect(hsm.address)

Argon2id runs with its bounded minimum (`--kdf-memory`, a real option). Where a test gives no reason for another first
start, its store is made beforehand (`made_stores`). Nothing else differs from production.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyturn_testing.made_stores import make_store
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

PASSPHRASE = b"correct horse battery staple"
READY_WITHIN = 90.0
"""Seconds a start may take on a loaded machine before a test gives up; longer than a server waits for its own HSM."""


class HsmProcess:
    """One HSM process; a context manager that starts it and kills it.

    Args:
        directory: Data directory, made if missing.
        options: Further words for `keyturn hsm serve`.
        passphrase: Written to a file for `--passphrase-file`; None starts without one.
        listen: Address of the broker's protocol, a Unix socket in a short directory if None.
        pass_fds: Descriptors that the process inherits.
        env: Environment, that of the test if None.
        python: Interpreter that runs it, that of the test if None.
        user: User (and group) id that it runs as; None for that of the test. Another one takes root, and a directory
            that is theirs.
    """

    def __init__(
        self,
        directory: Path,
        *,
        options: Sequence[str] = (),
        passphrase: bytes | None = PASSPHRASE,
        listen: str | None = None,
        pass_fds: Sequence[int] = (),
        env: dict[str, str] | None = None,
        python: str | None = None,
        user: int | None = None,
    ) -> None:
        self.python = python or sys.executable
        self.user = user
        self.directory = directory
        self.options = tuple(options)
        self.passphrase = passphrase
        self.listen = listen
        self.pass_fds = tuple(pass_fds)
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}
        # Socket paths must be short, whatever the test is called.
        self._run = Path(tempfile.mkdtemp(prefix="kt-"))
        self._errors = self._run / "stderr"
        if user is not None:
            # Others pass through to the socket; what lies beside it has modes of its own.
            self._give(self._run, 0o711)
        self._cleanup = weakref.finalize(self, shutil.rmtree, self._run, ignore_errors=True)

    def __enter__(self) -> HsmProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._cleanup()

    @property
    def address(self) -> str:
        """Address for `HsmClient.connect`."""
        if self.ready:
            return str(self.ready["address"])
        return self.listen or f"unix:{self._run}/hsm.sock"

    @property
    def admin_socket(self) -> Path:
        """Path of the administration socket."""
        return self._run / "admin.sock"

    @property
    def pid(self) -> int:
        """Process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return self._errors.read_text() if self._errors.exists() else ""

    def start(self) -> HsmProcess:
        """Start it, anew if it ran before, and wait until it says that it is ready."""
        self.stop()
        self.ready = {}
        words = [
            *(self.python, "-m", "keyturn", "hsm", "serve", "--json"),
            *("--data-dir", str(self.directory), "--listen", self.address, "--admin-socket", str(self.admin_socket)),
            *("--kdf-memory", "8192"),
        ]
        if self.passphrase is not None:
            file = self.passphrase_file
            file.write_bytes(self.passphrase + b"\n")
            self._give(file, 0o600)
            words += ["--passphrase-file", str(file)]
            if self._ordinary:
                make_store(self.directory, self.passphrase)
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*words, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=self.pass_fds,
                env=self.env,
                user=self.user,
                group=self.user,
                extra_groups=None if self.user is None else [],
            )
        self.ready = json.loads(self._first_line())
        return self

    @property
    def _ordinary(self) -> bool:
        """Whether the HSM would make its store as this process would: as this user, at this time, with these names."""
        named = any("key-name" in word for word in self.options)
        return self.user is None and self.env is None and not named

    @property
    def broker_socket(self) -> Path:
        """Path of the broker's socket, where none was given."""
        return self._run / "hsm.sock"

    @property
    def passphrase_file(self) -> Path:
        """Where its passphrase lies."""
        return self._run / "passphrase"

    def _give(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        if self.user is not None:
            os.chown(path, self.user, self.user)

    def line(self) -> RawLine:
        """A new line to the broker's socket, as the broker has one."""
        return RawLine(self.address)

    def admin_line(self) -> RawLine:
        """A new line to the administration socket, as the HSM's administrator has one."""
        return RawLine(f"unix:{self.admin_socket}")

    def _first_line(self) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + READY_WITHIN
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            ready, _, _ = select.select([descriptor], [], [], max(0.0, left))
            piece = os.read(descriptor, 4096) if ready else b""
            if not piece:
                self.stop()
                raise AssertionError(f"the HSM did not become ready: {line!r}\n{self.errors}")
            line += piece
        return line

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def restart(self) -> HsmProcess:
        """End it in good order and start it again on the same directory."""
        return self.start()

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def decisions(self) -> list[dict[str, Any]]:
        """All lines of the decision log, oldest first."""
        return list(read_decisions(self.directory))

    def last_refusal(self) -> dict[str, Any]:
        """The newest line of the decision log that tells of a refusal."""
        return [line for line in self.decisions() if line.get("outcome") == "refused"][-1]


def read_decisions(directory: Path) -> Iterator[dict[str, Any]]:
    """Read the decision log of a data directory, oldest line first."""
    for file in sorted(directory.glob("**/decisions*.log")):
        for line in file.read_text().splitlines():
            yield json.loads(line)
