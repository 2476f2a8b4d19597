"""The store in PostgreSQL, for several brokers at once.

Every unit of work is one transaction of its own at REPEATABLE READ, run in a thread with a connection of a small pool,
so that waiting for the server never holds up the event loop. A unit that another broker's change got in the way of
(SQLSTATE 40001, 40P01, 23505, 55P03), or whose connection broke before its commit was sent, is run again from its
beginning; after some tries `write` raises `StaleError`. See ADR 0063.

Nothing here prints or keeps the password: libpq reads the address, and no error repeats it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from keyturn.broker.storage.database import Compiler, Database, StaleError, Transaction, closed
from keyturn.broker.storage.schema import ensure_schema
from keyturn.errors import ErrorCode, KeyturnError

try:
    import psycopg
    from psycopg import errors
    from psycopg.conninfo import conninfo_to_dict
except ImportError as error:
    raise KeyturnError(
        ErrorCode.CONFIG_NOT_VALID,
        "general.databaseUrl names a PostgreSQL database, but its driver is not installed. Install keyturn with the "
        "extra for it: keyturn[postgresql].",
        refusal="storage.driver",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sqlalchemy import Executable
    from sqlalchemy.engine import Dialect

    from keyturn.broker.storage.database import Parameters, Row

T = TypeVar("T")

_log: Final = logging.getLogger("keyturn.broker")

CONNECTIONS: Final = 8
"""Threads, and most connections, of one broker."""
TRIES: Final = 12
"""How often a unit is run when others get in the way."""
PAUSE: Final = 0.01
"""Longest pause in seconds before the second try; it grows with each."""
CONNECT_SECONDS: Final = 5
"""How long the server may take to answer a new connection."""

_SESSION: Final = """
SET lock_timeout = '5s';
SET statement_timeout = '30s';
-- A broker that was stopped in the middle of a transaction must not hold up the others with its locks.
SET idle_in_transaction_session_timeout = '10s';
-- What was acknowledged survives a power cut (law 3), whatever the server's own setting; stronger ones stay.
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""
_WRITE: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ WRITE"
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_AGAIN: Final = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    # Two brokers inserted the same row: the unit finds it there when it runs again.
    errors.UniqueViolation,
)
_DEFAULTS: Final = {
    "application_name": "keyturn",
    "connect_timeout": str(CONNECT_SECONDS),
    # A server that fell silent is noticed within seconds, not hours.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
}
_LOCAL: Final = ("", "localhost", "127.0.0.1", "::1")


class _OnceMoreError(Exception):
    """Nothing of a unit is stored, and it may well be the next time."""


class _NullCharacterError(Exception):
    """A text with U+0000, which PostgreSQL cannot hold, and to which therefore nothing stored is equal."""


class PostgresTransaction(Transaction):
    """A transaction on PostgreSQL: the same, but for texts this database does not know."""

    def run(self, statement: Executable, parameters: Parameters | None = None) -> int:
        """Run a statement that changes rows; as in `Transaction`."""
        try:
            return super().run(statement, _known_text(parameters or {}))
        except _NullCharacterError:
            return 0

    def run_many(self, statement: Executable, parameters: Iterable[Parameters]) -> None:
        """Run a statement once for each set of parameters; as in `Transaction`."""
        super().run_many(statement, [_known_text(each) for each in parameters])

    def all(self, kind: Callable[[Iterable[Any]], Row], statement: Executable, parameters: Parameters) -> list[Row]:
        """Read rows; as in `Transaction`."""
        try:
            return super().all(kind, statement, _known_text(parameters))
        except _NullCharacterError:
            return []

    def one(self, kind: Callable[[Iterable[Any]], Row], statement: Executable, parameters: Parameters) -> Row | None:
        """Read the first row, or None; as in `Transaction`."""
        try:
            return super().one(kind, statement, _known_text(parameters))
        except _NullCharacterError:
            return None


def _known_text(parameters: Parameters) -> Parameters:
    for name, value in parameters.items():
        if isinstance(value, str) and "\0" in value:
            if name.startswith("w_"):
                raise _NullCharacterError
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                "A text holds the character U+0000, which the database cannot store. Leave it out.",
                refusal="storage.null-character",
            )
    return parameters


class PostgresDatabase(Database):
    """The broker's store in a PostgreSQL database, for several brokers.

    Args:
        arguments: What libpq connects with; holds the password.
    """

    shared = True

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments
        self.compiler = Compiler(_dialect())
        self._threads = ThreadPoolExecutor(max_workers=CONNECTIONS, thread_name_prefix="keyturn-postgres")
        # Taken from and put back to the same end, so that few connections serve when there is little to do.
        self._idle: deque[psycopg.Connection[Any]] = deque()
        self._closed = False

    @classmethod
    def open(cls, data_dir: Path, url: str = "") -> Self:
        """Connect, check the server, make or migrate the schema.

        Args:
            data_dir: The broker's directory; made with mode 0700 if absent. Nothing of the store is kept there.
            url: Address as libpq reads it, `postgresql://user@host/name?…`.

        Raises:
            KeyturnError: 301 `storage.url` for an address libpq does not understand, `storage.unreachable` when
                nobody answers or lets us in, `storage.encoding` and `storage.not-durable` for a server that cannot
                keep what it is given, `storage.newer`, `storage.open`.
        """
        arguments = connection_arguments(url)
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _connect(arguments) as connection:
                _require_able(connection)
        except OSError as error:
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"The data directory {data_dir} cannot be made ({type(error).__name__}). Choose another.",
                refusal="storage.open",
            ) from error
        except psycopg.Error as error:
            raise _unreachable(ErrorCode.CONFIG_NOT_VALID, error) from None
        engine = create_engine("postgresql+psycopg://", creator=lambda: _for_schema(arguments), poolclass=NullPool)
        try:
            ensure_schema(engine)
        except SQLAlchemyError as error:
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"The schema in the PostgreSQL database cannot be made or migrated ({type(error).__name__}). The "
                "broker's user must be allowed to create tables there.",
                refusal="storage.open",
            ) from error
        return cls(arguments)

    def __repr__(self) -> str:
        """Says nothing about how it connects."""
        return "PostgresDatabase()"

    async def close(self) -> None:
        """Finish what is queued, then close."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        while self._idle:
            self._idle.pop().close()

    async def read(self, unit: Callable[[Transaction], T]) -> T:
        """Run a unit that only reads; it sees one committed state."""
        return await self._in_thread(unit, _READ)

    async def write(self, unit: Callable[[Transaction], T]) -> T:
        """Run a unit of work and return when it is on disk; as in `Database`.

        Raises:
            StaleError: Others got in the way again and again.
            KeyturnError: 1 `storage.unreachable` or `storage.failed`: nothing was stored; 1 `storage.commit-unknown`:
                the connection broke during the commit, so that nobody knows; 600 `storage.value` for a value that
                fits no column.
        """
        return await self._in_thread(unit, _WRITE)

    async def _in_thread(self, unit: Callable[[Transaction], T], begin: str) -> T:
        if self._closed:
            raise closed()
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, unit, begin)

    # --- in a thread ---

    def _run(self, unit: Callable[[Transaction], T], begin: str) -> T:
        for attempt in range(TRIES):
            if attempt:
                # Two that met must not meet again: what one waits is left to chance.
                time.sleep(PAUSE * attempt * secrets.randbelow(1000) / 1000)
            try:
                return self._try(self._take(), unit, begin)
            except _OnceMoreError:
                continue
        raise StaleError

    def _try(self, connection: psycopg.Connection[Any], unit: Callable[[Transaction], T], begin: str) -> T:
        committing = False
        try:
            connection.execute(begin)
            result = unit(PostgresTransaction(connection, self.compiler))
            committing = True
            connection.execute("COMMIT")
        except _AGAIN:
            self._undo(connection)
            raise _OnceMoreError from None
        except psycopg.Error as error:
            broken = connection.broken or connection.closed
            self._undo(connection)
            if not broken:
                raise _failed(error) from error
            if committing and begin == _WRITE:
                raise KeyturnError(
                    ErrorCode.TECHNICAL,
                    "The connection to the database broke while a change was being stored; nobody knows whether it is. "
                    "Look before you repeat it.",
                    refusal="storage.commit-unknown",
                ) from error
            # The server ended the connection, perhaps long ago. What it had begun, it has undone.
            raise _OnceMoreError from None
        except BaseException:
            # Whatever it is, it belongs to the one who gave the unit.
            self._undo(connection)
            raise
        self._idle.append(connection)
        return result

    def _take(self) -> psycopg.Connection[Any]:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            return _connect(self._arguments)
        except psycopg.Error as error:
            raise _unreachable(ErrorCode.TECHNICAL, error) from None

    def _undo(self, connection: psycopg.Connection[Any]) -> None:
        """Undo what a connection has begun, and keep it if it is well."""
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()
            return
        self._idle.append(connection)


def _dialect() -> Dialect:
    return PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy's own lack.


def connection_arguments(url: str) -> dict[str, Any]:
    """Read an address as libpq does, and fill in what it leaves open.

    Args:
        url: `postgresql://user:password@host:port/name?option=value`.

    Returns:
        Keyword arguments for `psycopg.connect`. To another machine the server's certificate is checked unless the
        address says otherwise (`sslmode`); of several hosts the one that can be written to is taken.

    Raises:
        KeyturnError: 301 `storage.url`.
    """
    authority, _, path = url.partition("//")[2].partition("?")[0].partition("/")
    try:
        arguments = conninfo_to_dict(url)
        ports = str(arguments.get("port") or "0").split(",")
        understood = (
            "@" not in path and authority.count("@") <= 1 and all(port.isdecimal() or not port for port in ports)
        )
    except psycopg.Error:
        understood = False
    if not understood:
        # Not libpq's own sentence, and not at the attempt to connect: a piece of a password would be taken for a host.
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            "general.databaseUrl is no address that PostgreSQL's library understands. It has the form "
            "postgresql://user@host:5432/name; characters such as @ / : % in a password are written as %40 %2F %3A "
            "%25, or the password is left out and stands in a file named with ?passfile=/path.",
            refusal="storage.url",
        )
    arguments = {name: value for name, value in arguments.items() if value is not None}
    if not all(host in _LOCAL or host.startswith(("/", "@")) for host in str(arguments.get("host", "")).split(",")):
        arguments.setdefault("sslmode", "verify-full")
    return {**_DEFAULTS, **arguments, "client_encoding": "utf8"}


def _connect(arguments: dict[str, Any]) -> psycopg.Connection[Any]:
    connection = psycopg.connect(**arguments, autocommit=True)
    connection.execute(_SESSION)
    return connection


def _for_schema(arguments: dict[str, Any]) -> psycopg.Connection[Any]:
    """Make a connection for the migrations, which begin and end transactions by themselves and may take long."""
    return psycopg.connect(**arguments)


def _require_able(connection: psycopg.Connection[Any]) -> None:
    """Refuse a server that cannot keep what the broker acknowledges."""
    row = connection.execute("SELECT current_setting('server_encoding'), current_setting('fsync')").fetchone()
    encoding, fsync = row if row is not None else ("", "")
    if encoding != "UTF8":
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"The PostgreSQL database has the encoding {encoding}; labels need UTF8. Make one with CREATE DATABASE "
            "name ENCODING 'UTF8' TEMPLATE template0.",
            refusal="storage.encoding",
        )
    if fsync != "on":
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            "The PostgreSQL server runs with fsync = off: a power cut would lose acknowledged approvals. Set it to on.",
            refusal="storage.not-durable",
        )


def _unreachable(code: ErrorCode, error: psycopg.Error) -> KeyturnError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return KeyturnError(
        code,
        f"The PostgreSQL database of general.databaseUrl cannot be reached: {reason}. Nothing was stored. Check that "
        "the server runs, and its address, database, user and password.",
        refusal="storage.unreachable",
    )


def _failed(error: psycopg.Error) -> KeyturnError:
    if isinstance(error, psycopg.DataError):
        return KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "A value does not fit into the database: a number is too large or a text has characters it cannot store.",
            refusal="storage.value",
        )
    return KeyturnError(
        ErrorCode.TECHNICAL,
        f"The change could not be stored; nothing of it was. The database says {type(error).__name__} "
        f"(SQLSTATE {error.sqlstate}); its own log says more.",
        refusal="storage.commit",
    )
