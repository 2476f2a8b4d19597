"""The file `hsm.db`: SQLite as a transactional container for rows that are opaque to it.

Integrity is ours, not SQLite's: every table is a map from an id to an encoded record, and the sealed root record covers
them all (`keyturn.hsm.store`). Durable means WAL with `synchronous=FULL`: each commit is flushed to disk before it
returns (https://sqlite.org/pragma.html#pragma_synchronous).

A file that somebody prepared could carry triggers or views that act while we read and write, or pages that belong to
two tables or to none, which harm rows long after they were read. So before anything is read there may be nothing but
tables, on sound pages; and the schema must be exactly ours, entry by entry: a trigger may bear a table's name.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final

from keyturn.errors import KeyturnError
from keyturn.hsm.records import store_error, translated_os_errors
from keyturn.hsm.regular_file import open_regular

if TYPE_CHECKING:
    from pathlib import Path

TABLES: Final = ("keys", "labels", "operations", "uses", "system_keys", "ledger", "consumed", "objects")
"""Tables of rows; header and root stand apart."""

SCHEMA: Final = {
    "header": (
        "CREATE TABLE header (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, content BLOB NOT NULL)"
    ),
    "root": "CREATE TABLE root (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL)",
} | {
    # Rows of 2 000 octets: beside a rowid they stay on one page, up to 4 061 octets, and without one only up to 1 002
    # (https://sqlite.org/fileformat2.html#payload_overflow).
    name: f"CREATE TABLE {name} (id BLOB NOT NULL UNIQUE, content BLOB NOT NULL)"
    if name == "consumed"
    else f"CREATE TABLE {name} (id BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID"
    for name in TABLES
}
"""Statements that make the tables, by name."""

_INDEX: Final = ("index", "sqlite_autoindex_consumed_1", "consumed", None)
"""What SQLite makes of `UNIQUE`; no statement of anybody's stands behind it."""

# Table names are constants of ours; SQLite takes no parameters in their place.
_UPSERT: Final = {
    # A row that changes stays where it is, so that an index has nothing to do.
    name: f"INSERT INTO {name} (id, content) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET content = excluded.content"  # noqa: S608
    for name in TABLES
}
_DELETE: Final = {name: f"DELETE FROM {name} WHERE id = ?" for name in TABLES}  # noqa: S608

_COMPANIONS: Final = ("-journal", "-wal", "-shm")
_MAX_VALUE: Final = 16 << 20
"""Longest id, content or record of the file in octets, many times what is ever written; longer ones are damage, and not
worth the memory to look at."""

Rows = Mapping[tuple[str, bytes], bytes | None]
"""Changes of one commit: table and id to the new content, None to delete."""


class Container:
    """An open `hsm.db`. Used by one thread at a time.

    Args:
        path: The file; it is created, mode 0600, if it does not exist.

    Raises:
        KeyturnError: `store.damaged`: it is not a SQLite file. `store.unusable`: it, or a file of SQLite's beside it,
            is a link, a pipe or the like; or its disk cannot do what SQLite needs.
    """

    def __init__(self, path: Path) -> None:
        with translated_os_errors():
            # Created by us, so that SQLite gives its companions (-wal, -shm) the same mode.
            os.close(open_regular(path, os.O_RDWR | os.O_CREAT))
            for suffix in _COMPANIONS:
                with contextlib.suppress(FileNotFoundError):
                    os.close(open_regular(path.with_name(path.name + suffix), os.O_RDWR))
        self.path = path
        with _translated():
            # Autocommit mode: transactions are begun and ended here, by name.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with _translated():
                self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
                self._connection.execute("PRAGMA trusted_schema = OFF")
                self._connection.execute("PRAGMA cell_size_check = ON")
                # What is replaced or deleted is overwritten: an old header still opens with the old passphrase.
                self._connection.execute("PRAGMA secure_delete = ON")
                (mode,) = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
                if mode != "wal":
                    raise sqlite3.OperationalError(f"its disk does not allow a write-ahead log, only {mode!r}")
                self._connection.execute("PRAGMA synchronous = FULL")
        except KeyturnError:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file; the last one out folds the write-ahead log in."""
        self._connection.close()

    @property
    def empty(self) -> bool:
        """True when nothing was ever committed to it."""
        with _translated():
            return self._fetch("SELECT name FROM sqlite_schema") == []

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A durable transaction: all of the block or nothing.

        Yields:
            The connection, for migrations.
        """
        with _translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # On a full disk SQLite has rolled back already.
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def initialise(self, version: int, header: bytes, root: bytes) -> None:
        """Make the tables, with header and root, in one transaction.

        Args:
            version: Store version.
            header: Encoded header.
            root: Sealed root record.
        """
        with self.transaction() as connection:
            for statement in SCHEMA.values():
                connection.execute(statement)
            connection.execute("INSERT INTO header (id, version, content) VALUES (1, ?, ?)", (version, header))
            connection.execute("INSERT INTO root (id, content) VALUES (1, ?)", (root,))

    def check_sound(self) -> None:
        """Make sure that nothing in the file acts when it is read, and that its pages are sound. Comes before reading.

        Raises:
            KeyturnError: `store.schema`: there are triggers, views or the like. `store.damaged`: pages are lost, or
                belong to several tables, rows are out of order, or the index does not fit its table.
        """
        active = [entry[1] for entry in self._schema() if entry[0] != "table" and entry != _INDEX]
        if active:
            raise _strange_schema(active)
        if self._fetch("PRAGMA integrity_check(1)") != [("ok",)]:
            raise store_error("damaged", "The store's file has damaged pages. Restore the store from a backup.")

    def check_schema(self) -> None:
        """Make sure that the file holds our tables and nothing else.

        Raises:
            KeyturnError: `store.schema`: it does not.
        """
        found = self._schema()
        expected = [_INDEX, *(("table", name, name, statement) for name, statement in SCHEMA.items())]
        if sorted(found, key=repr) != sorted(expected, key=repr):
            raise _strange_schema(
                [entry[1] for entry in found if entry not in expected]
                + [entry[1] for entry in expected if entry not in found]
            )

    def read_header(self) -> tuple[int, bytes]:
        """The store version and the encoded header.

        Raises:
            KeyturnError: `store.header-missing`: there is not exactly one.
        """
        rows = self._fetch("SELECT version, content FROM header")
        if len(rows) != 1 or not isinstance(rows[0][0], int) or not isinstance(rows[0][1], bytes):
            raise store_error("header-missing", "The store has no header, or several. Restore it from a backup.")
        return rows[0][0], rows[0][1]

    def read_root(self) -> bytes:
        """The sealed root record.

        Raises:
            KeyturnError: `store.root-missing`: there is not exactly one.
        """
        rows = self._fetch("SELECT content FROM root")
        if len(rows) != 1 or not isinstance(rows[0][0], bytes):
            raise store_error("root-missing", "The store has no root record, or several. Restore it from a backup.")
        return rows[0][0]

    def read_rows(self, table: str) -> list[tuple[bytes, bytes]]:
        """All rows of a table.

        Args:
            table: One of `TABLES`.

        Returns:
            Ids and contents.

        Raises:
            KeyturnError: `store.damaged`: SQLite cannot read it, or a row is not made of blobs.
        """
        with _translated():
            rows: list[tuple[bytes, bytes]] = self._connection.execute(
                f"SELECT id, content FROM {table}"  # noqa: S608 - a constant of ours
            ).fetchall()
        # A ledger may have a hundred thousand rows and each start reads them: no step of our own for each.
        if not {*map(type, chain.from_iterable(rows))} <= {bytes}:
            raise store_error("damaged", f"Table {table} of the store is damaged. Restore the store from a backup.")
        return rows

    def commit(self, rows: Rows, root: bytes, header: bytes | None = None) -> None:
        """Write changes, the root record that covers them and, if it changed, the header, durably.

        Args:
            rows: What changes.
            root: Sealed root record.
            header: Encoded header, or None to leave it.
        """
        with self.transaction() as connection:
            for (table, identity), content in rows.items():
                if content is None:
                    connection.execute(_DELETE[table], (identity,))
                else:
                    connection.execute(_UPSERT[table], (identity, content))
            connection.execute("UPDATE root SET content = ?", (root,))
            if header is not None:
                connection.execute("UPDATE header SET content = ?", (header,))
        if header is not None:
            # The header before is in neither file any more: it would still open with the old passphrase. Should this
            # fail, the commit holds all the same, and must not be reported as failed; closing does it again.
            with contextlib.suppress(KeyturnError):
                self._fetch("PRAGMA wal_checkpoint(TRUNCATE)")

    def add_table(self, table: str) -> None:
        """Make one of our tables; called inside a migration's transaction."""
        self._connection.execute(SCHEMA[table])

    def insert(self, table: str, identity: bytes, content: bytes) -> None:
        """Put a row into a table; called inside a migration's transaction."""
        self._connection.execute(_UPSERT[table], (identity, content))

    def delete(self, table: str, identity: bytes) -> None:
        """Take a row out of a table; called inside a migration's transaction."""
        self._connection.execute(_DELETE[table], (identity,))

    def replace_root(self, root: bytes) -> None:
        """Put another sealed root record; called inside a migration's transaction."""
        self._connection.execute("UPDATE root SET content = ?", (root,))

    def set_version(self, version: int) -> None:
        """Record the store version; called inside a migration's transaction."""
        self._connection.execute("UPDATE header SET version = ?", (version,))

    def copy_to(self, target: Path) -> None:
        """Write a consistent copy of the last commit into a new file, mode 0600, durably.

        Args:
            target: The new file; its directory exists.

        Raises:
            FileExistsError: There is such a file.
        """
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with _translated():
            self._connection.execute("VACUUM INTO ?", (str(target),))
        sync_path(target)
        sync_path(target.parent)

    def _schema(self) -> list[tuple[object, ...]]:
        return self._fetch("SELECT type, name, tbl_name, sql FROM sqlite_schema")

    def _fetch(self, statement: str) -> list[tuple[object, ...]]:
        with _translated():
            return self._connection.execute(statement).fetchall()


def sync_path(path: Path) -> None:
    """Put a file's content, or a directory's entries, on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _strange_schema(names: list[object]) -> KeyturnError:
    strange = ", ".join(sorted({str(name) for name in names})) or "one of them twice"
    return store_error(
        "schema", f"The store's tables are not what this program made ({strange}). Restore it from a backup."
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise store_error(
            "unusable", f"The store's file cannot be used ({error}). Check its disk and permissions."
        ) from error
    except sqlite3.DatabaseError as error:
        raise store_error(
            "damaged", f"The store's file is damaged ({error}). Restore the store from a backup."
        ) from error
