"""The store in an SQLite file: one writer with group commit, short reads, compiled statements.

All units that wait when the writer is free run in one transaction, each in a savepoint of its own, and share one
commit. A unit that raises is rolled back alone. Units run inside the event loop, where a statement on a warm page
cache takes some ten microseconds; the commit, which waits for the disk, runs in the writer's thread. See ADR 0030.

Reads see what is committed, on a connection of their own (SQLite's WAL lets both go on side by side).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from keyturn.broker.storage.database import Compiler, Database, Transaction, closed
from keyturn.broker.storage.schema import ensure_schema
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import PoolProxiedConnection

T = TypeVar("T")

MAX_BATCH: Final = 256
"""Most units in one transaction, so that one commit keeps nobody waiting long."""
BUSY_TIMEOUT_MS: Final = 5_000
"""How long a statement waits for a lock that a person's tool holds on the file."""
CACHE_KIB: Final = 8_192
"""Page cache per connection, in KiB; two connections."""

_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    # An acknowledged approval must survive a power cut (law 3): FULL syncs the WAL at every commit.
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    f"PRAGMA cache_size=-{CACHE_KIB}",
)


class _Waiting:
    """A unit in the queue and who waits for it."""

    __slots__ = ("future", "unit")

    def __init__(self, unit: Callable[[Transaction], Any], future: asyncio.Future[Any]) -> None:
        self.unit = unit
        self.future = future


class SqliteDatabase(Database):
    """The broker's store in one file, for one broker."""

    def __init__(self, engine: Engine, lock: int) -> None:
        self._engine = engine
        self._lock = lock
        self.compiler = compiler = Compiler(sqlite.dialect(paramstyle="named"))
        self._proxies = (engine.raw_connection(), engine.raw_connection())
        self._writer, self._reader = (_driver_connection(proxy) for proxy in self._proxies)
        self._write_transaction = Transaction(self._writer, compiler)
        self._read_transaction = Transaction(self._reader, compiler)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keyturn-commit")
        self._queue: list[_Waiting] = []
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def open(cls, data_dir: Path, url: str = "") -> Self:
        """Open the store; make or migrate it first where that is needed.

        Args:
            data_dir: The broker's directory; made with mode 0700 if absent.
            url: SQLAlchemy URL, empty for `broker.db` in it.

        Raises:
            KeyturnError: 301 `storage.url` for a database that is not SQLite, `storage.in-use` when another broker
                has it, `storage.newer` when a newer version made it, `storage.open` when it cannot be opened.
        """
        path = _database_path(data_dir, url)
        lock = -1
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _take_lock(path)
            # SQLite would create the file with the umask's mode.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            # One thread at a time uses a connection: the loop, or during a commit the writer's thread.
            engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
            event.listen(engine, "connect", _prepare_connection)
            ensure_schema(engine)
            return cls(engine, lock)
        except (OSError, sqlite3.Error, SQLAlchemyError) as error:
            if lock >= 0:
                os.close(lock)
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"The database {path} cannot be opened ({type(error).__name__}). Check that the directory exists, "
                "belongs to the broker's user and is not full.",
                refusal="storage.open",
            ) from error
        except KeyturnError:
            if lock >= 0:
                os.close(lock)
            raise

    async def close(self) -> None:
        """Commit what is queued, then close."""
        self._closed = True
        while self._pump is not None:
            await asyncio.wait([self._pump])
        self._thread.shutdown(wait=True)
        for proxy in self._proxies:
            proxy.close()
        self._engine.dispose()
        os.close(self._lock)

    async def read(self, unit: Callable[[Transaction], T]) -> T:
        """Run a short unit that only reads; it sees what is committed."""
        return unit(self._read_transaction)

    async def write(self, unit: Callable[[Transaction], T]) -> T:
        """Run a unit of work and return when it is on disk.

        Args:
            unit: Called once, in a savepoint; what it raises is raised here, and only its own changes are undone.

        Returns:
            What the unit returned.

        Raises:
            KeyturnError: 1 `storage.commit` when the commit failed; then nothing of the unit is stored.
        """
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        waiting = _Waiting(unit, loop.create_future())
        self._queue.append(waiting)
        if self._pump is None:
            # The task starts in the loop's next turn: units of this turn go together.
            self._pump = loop.create_task(self._run())
        return await waiting.future  # type: ignore[no-any-return]  # The future carries the unit's own result.

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                try:
                    self._writer.execute("BEGIN IMMEDIATE")
                    # A unit that is alone needs no savepoint: its transaction is one.
                    alone = len(batch) == 1
                    outcomes = [self._run_unit(waiting, alone=alone) for waiting in batch]
                    await loop.run_in_executor(self._thread, self._writer.execute, "COMMIT")
                except Exception as error:
                    self._give_up(batch, error)
                    continue
                for waiting, (result, failure) in zip(batch, outcomes, strict=True):
                    if waiting.future.done():
                        continue
                    if failure is not None:
                        waiting.future.set_exception(failure)
                    else:
                        waiting.future.set_result(result)
        finally:
            self._pump = None

    def _run_unit(self, waiting: _Waiting, *, alone: bool) -> tuple[Any, Exception | None]:
        if not alone:
            self._writer.execute("SAVEPOINT unit")
        try:
            result = waiting.unit(self._write_transaction)
        except Exception as failure:
            # Whatever it is, it belongs to the one who gave the unit.
            if alone:
                self._writer.execute("ROLLBACK")
                self._writer.execute("BEGIN")
            else:
                self._writer.execute("ROLLBACK TO unit")
                self._writer.execute("RELEASE unit")
            return None, failure
        if not alone:
            self._writer.execute("RELEASE unit")
        return result, None

    def _give_up(self, batch: Sequence[_Waiting], error: Exception) -> None:
        # Where even that fails, the next batch's BEGIN does too and ends up here; nobody may be left waiting.
        with contextlib.suppress(sqlite3.Error):
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        for waiting in batch:
            if waiting.future.done():
                continue
            failure = KeyturnError(
                ErrorCode.TECHNICAL,
                "The change could not be stored; nothing of it was. Check the disk of the broker's database.",
                refusal="storage.commit",
            )
            failure.__cause__ = error
            waiting.future.set_exception(failure)


def _database_path(data_dir: Path, url: str) -> Path:
    if not url:
        return data_dir.absolute() / "broker.db"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise _wrong_url() from None
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise _wrong_url()
    return Path(parsed.database).absolute()


def _wrong_url() -> KeyturnError:
    return KeyturnError(
        ErrorCode.CONFIG_NOT_VALID,
        "The broker's database is an SQLite file (sqlite:////absolute/path/broker.db, or nothing for one in the data "
        "directory) or a PostgreSQL database (postgresql://user@host/name).",
        refusal="storage.url",
    )


def _take_lock(path: Path) -> int:
    lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"Another broker has the database {path}. Stop it, or give this one another data directory.",
            refusal="storage.in-use",
        ) from None
    return lock


def _prepare_connection(connection: sqlite3.Connection, _record: object) -> None:
    # Transactions are begun and ended by this module alone, never by the driver.
    connection.isolation_level = None
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _driver_connection(proxy: PoolProxiedConnection) -> sqlite3.Connection:
    connection = proxy.driver_connection
    if not isinstance(connection, sqlite3.Connection):
        raise TypeError(type(connection).__name__)
    return connection
