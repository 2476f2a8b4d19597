"""A real PostgreSQL server for tests: made for them, on a Unix socket in a directory of its own, gone after them.

    with PostgresServer() as server:
        url = server.new_schema()

It is Debian's server (`scripts/setup` installs it) as it comes, with a password asked for and every commit on disk.
PostgreSQL refuses to run as root; then it runs as Debian's user for it, whom the directory belongs to. It dies with
the test process, whatever becomes of that.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from types import TracebackType

PASSWORD = "pass/word@1"
"""Has characters that an address must write otherwise."""
USER = "keyturn"
UNPRIVILEGED = "postgres"


def programs() -> Path:
    """The directory of the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise AssertionError("PostgreSQL is not installed; scripts/setup does it, or: apt-get install postgresql")
    return Path(on_path).parent


class PostgresServer:
    """One server; a context manager that makes, starts and stops it.

    Args:
        settings: Further settings of the server, such as `{"fsync": "off"}`.
    """

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="kt-pg-"))
        self.settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "max_connections": "60",
            "shared_buffers": "16MB",
            **(settings or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._cleanup = weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        account: list[str] = []
        if os.getuid() == 0:
            entry = pwd.getpwnam(UNPRIVILEGED)
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            account = ["--reuid", UNPRIVILEGED, "--regid", str(entry.pw_gid), "--clear-groups"]
        # The kernel ends the server when the test process is gone.
        self._as_user = ["setpriv", "--pdeathsig", "QUIT", *account]
        (self.directory / "password").write_text(PASSWORD)
        (self.directory / "password").chmod(0o644)
        self._run(
            *(str(programs() / "initdb"), "--pgdata", str(self.directory / "data"), "--username", USER),
            *("--auth", "scram-sha-256", "--pwfile", str(self.directory / "password"), "--encoding", "UTF8"),
            *("--no-locale", "--no-sync", "--no-instructions"),
        )
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nobody will read it again: no last checkpoint.
        self.stop(signal.SIGQUIT)
        self._cleanup()

    def start(self) -> PostgresServer:
        """Start it, and wait until it lets people in."""
        words = [f"--{name}={value}" for name, value in self.settings.items()]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._as_user, str(programs() / "postgres"), "-D", str(self.directory / "data"), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )
        ready = [str(programs() / "pg_isready"), "--host", str(self.directory), "--quiet"]
        for _ in range(600):
            if self.process.poll() is not None:
                break
            if subprocess.run(ready, check=False).returncode == 0:
                return self
        self.stop()
        raise AssertionError(f"PostgreSQL did not start:\n{(self.directory / 'log').read_text()}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it at once, as an administrator in a hurry does; what is committed stays."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(20)

    def _run(self, *words: str) -> None:
        done = subprocess.run([*self._as_user, *words], capture_output=True, text=True, check=False, cwd=self.directory)
        assert done.returncode == 0, done.stdout + done.stderr

    def url(self, name: str) -> str:
        """Address of a database."""
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@/{name}?host={quote(str(self.directory), safe='')}"

    def connect(self, name: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """A connection of the test's own."""
        return psycopg.connect(self.url(name), autocommit=True)

    def new_schema(self) -> str:
        """Make an empty schema, which a broker takes for a database of its own, in no time; returns its address."""
        name = f"test{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        return f"{self.url('postgres')}&options=-csearch_path%3D{name}"

    def new_database(self, options: str = "") -> str:
        """Make an empty database; returns its address.

        Args:
            options: Words behind CREATE DATABASE.
        """
        name = f"test{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} " + options).format(sql.Identifier(name)))
        return self.url(name)
