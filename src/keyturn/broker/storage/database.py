"""The store as the workflow sees it, whichever database keeps it.

    row = await database.read(lambda tx: tx.one(statements.REQUEST, {"w_id": request_id}))
    await database.write(lambda tx: tx.run(statements.INSERT_REQUEST, values))

A *unit of work* is a plain function that gets a `Transaction`. Everything in it happens together or not at all, and
as if no other unit ran beside it. `write` returns when it is on disk. Two stores do this: `sqlite.SqliteDatabase`
(the default; one broker) and `postgres.PostgresDatabase` (several brokers).

A unit touches nothing but its transaction and values of its own: it may run in a thread, and run again where another
broker's change came in between. What it cannot know is whether the rows its caller read earlier are still as they
were; for this each change of a request names the version it started from, and `StaleError` says that it was late.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Executable
    from sqlalchemy.engine import Dialect

T = TypeVar("T")
Row = TypeVar("Row", bound=tuple[Any, ...])
Parameters = dict[str, Any]

POSTGRES_SCHEMES: Final = ("postgresql://", "postgres://")
"""How the address of a PostgreSQL database begins; libpq reads the rest."""


class StaleError(Exception):
    """Another change to the same row came first; load it again and decide again."""


class Cursor(Protocol):
    """What of a driver's cursor is used."""

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def executemany(self, text: str, parameters: Sequence[Parameters], /) -> Any:
        """Run a statement for each set of parameters."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What of a driver's connection is used."""

    def execute(self, text: str, parameters: Parameters, /) -> Cursor:
        """Run a statement."""
        ...

    def cursor(self) -> Cursor:
        """Make a cursor."""
        ...


class Compiler:
    """Turns Core statements into the driver's text once.

    Args:
        dialect: A dialect that takes parameters by name.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: dict[Executable, tuple[str, Parameters]] = {}

    def text(self, statement: Executable) -> tuple[str, Parameters]:
        """Text and the parameters that stand in the statement itself."""
        known = self._known.get(statement)
        if known is None:
            compiled = statement.compile(dialect=self._dialect)  # type: ignore[attr-defined]  # Every statement has it.
            # What is not required has its value in the statement; a forgotten parameter is an error of the driver.
            defaults = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
            known = self._known[statement] = (str(compiled), defaults)
        return known


class Transaction:
    """What a unit of work may do.

    Args:
        connection: The driver's connection.
        compiler: Where statements become text.
    """

    def __init__(self, connection: Connection, compiler: Compiler) -> None:
        self._connection = connection
        self._compiler = compiler

    def run(self, statement: Executable, parameters: Parameters | None = None) -> int:
        """Run a statement that changes rows.

        Args:
            statement: One of `statements`.
            parameters: Values by name.

        Returns:
            How many rows it changed.
        """
        text, defaults = self._compiler.text(statement)
        return self._connection.execute(text, {**defaults, **(parameters or {})}).rowcount

    def run_many(self, statement: Executable, parameters: Iterable[Parameters]) -> None:
        """Run a statement that changes rows once for each set of parameters."""
        text, defaults = self._compiler.text(statement)
        self._connection.cursor().executemany(text, [{**defaults, **each} for each in parameters])

    def all(self, kind: Callable[[Iterable[Any]], Row], statement: Executable, parameters: Parameters) -> list[Row]:
        """Read rows.

        Args:
            kind: What makes a row of a sequence of columns, such as `RequestRow._make`.
            statement: A SELECT.
            parameters: Values by name.
        """
        text, defaults = self._compiler.text(statement)
        return [kind(row) for row in self._connection.execute(text, {**defaults, **parameters})]

    def one(self, kind: Callable[[Iterable[Any]], Row], statement: Executable, parameters: Parameters) -> Row | None:
        """Read the first row, or None; arguments as in `all`."""
        text, defaults = self._compiler.text(statement)
        row = self._connection.execute(text, {**defaults, **parameters}).fetchone()
        return None if row is None else kind(row)


class Database(ABC):
    """The broker's store. Made by `open`; belongs to one event loop."""

    shared: bool = False
    """Whether other brokers may work on it at the same time."""
    compiler: Compiler
    """Where its statements become text."""

    @classmethod
    def open(cls, data_dir: Path, url: str = "") -> Database:
        """Open the store; make or migrate it first where that is needed.

        Args:
            data_dir: The broker's directory; made with mode 0700 if absent.
            url: `postgresql://…` (libpq's form), `sqlite:////absolute/path`, or empty for `broker.db` in `data_dir`.

        Raises:
            KeyturnError: 301 `storage.url` for any other address, `storage.in-use` when another broker has the
                SQLite file, `storage.newer` when a newer version made it, `storage.open` when it cannot be opened,
                and for PostgreSQL what `PostgresDatabase.open` says.
        """
        if url.startswith(POSTGRES_SCHEMES):
            # Loaded only where it is used: the driver is an extra.
            from keyturn.broker.storage.postgres import PostgresDatabase

            return PostgresDatabase.open(data_dir, url)
        from keyturn.broker.storage.sqlite import SqliteDatabase

        return SqliteDatabase.open(data_dir, url)

    @abstractmethod
    async def close(self) -> None:
        """Finish what is queued, then close."""

    @abstractmethod
    async def read(self, unit: Callable[[Transaction], T]) -> T:
        """Run a short unit that only reads; it sees one committed state."""

    @abstractmethod
    async def write(self, unit: Callable[[Transaction], T]) -> T:
        """Run a unit of work and return when it is on disk.

        Args:
            unit: What it raises is raised here, and only its own changes are undone.

        Returns:
            What the unit returned.

        Raises:
            StaleError: Other brokers' changes came in between again and again; nothing of the unit is stored.
            KeyturnError: 1 `storage.commit` when it could not be stored; then nothing of it is.
        """


def closed() -> KeyturnError:
    """The error for a change that comes when the store is closed already."""
    return KeyturnError(ErrorCode.TECHNICAL, "The broker is shutting down.", refusal="storage.closed")
