"""The file `hsm.db`: SQLite as a transactional container for rows that are opaque to it.

Integrity is ours, not SQLite's: every table is a map from an id to an encoded record, and the sealed root record covers
them all (`keyturn.hsm.store`). Durable means WAL with `synchronous=FULL`: each commit is flushed to disk before it
returns (https://sqlite.org/pragma.html#pragma_synchronous).

A file that somebody prepared could carry triggers or views that act during our writes; so the schema must be exactly
ours.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from keyturn.errors import KeyturnError
from keyturn.hsm.records import store_error

if TYPE_CHECKING:
    from pathlib import Path

TABLES: Final = ("keys", "labels", "operations", "uses", "system_keys")
"""Tables of rows; header and root stand apart."""

_SCHEMA: Final = {
    "header": (
        "CREATE TABLE header (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, content BLOB NOT NULL)"
    ),
    "root": "CREATE TABLE root (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL)",
} | {name: f"CREATE TABLE {name} (id BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID" for name in TABLES}

# Table names are constants of ours; SQLite takes no parameters in their place.
_UPSERT: Final = {name: f"INSERT OR REPLACE INTO {name} (id, content) VALUES (?, ?)" for name in TABLES}  # noqa: S608
_DELETE: Final = {name: f"DELETE FROM {name} WHERE id = ?" for name in TABLES}  # noqa: S608

Rows = Mapping[tuple[str, bytes], bytes | None]
"""Changes of one commit: table and id to the new content, None to delete."""


class Container:
    """An open `hsm.db`. Used by one thread at a time.

    Args:
        path: The file; it is created, mode 0600, if it does not exist.

    Raises:
        KeyturnError: `store.damaged`: it is not a SQLite file.
    """

    def __init__(self, path: Path) -> None:
        # Created by us, so that SQLite gives its companions (-wal, -shm) the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.path = path
        # Autocommit mode: transactions are begun and ended here, by name.
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with _translated():
                self._connection.execute("PRAGMA trusted_schema = OFF")
                self._connection.execute("PRAGMA cell_size_check = ON")
                self._connection.execute("PRAGMA journal_mode = WAL")
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
            for statement in _SCHEMA.values():
                connection.execute(statement)
            connection.execute("INSERT INTO header (id, version, content) VALUES (1, ?, ?)", (version, header))
            connection.execute("INSERT INTO root (id, content) VALUES (1, ?)", (root,))

    def check_schema(self) -> None:
        """Make sure that the file holds our tables and nothing else.

        Raises:
            KeyturnError: `store.schema`: it does not.
        """
        with _translated():
            found = dict(self._connection.execute("SELECT name, sql FROM sqlite_schema").fetchall())
        if found != _SCHEMA:
            strange = sorted(set(found) ^ set(_SCHEMA)) or sorted(n for n in _SCHEMA if found[n] != _SCHEMA[n])
            raise store_error(
                "schema",
                f"The store's tables are not what this program made ({', '.join(strange)}). Restore it from a backup.",
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

    def read_rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """All rows of a table.

        Args:
            table: One of `TABLES`.

        Yields:
            Id and content.

        Raises:
            KeyturnError: `store.damaged`: SQLite cannot read it, or a row is not made of blobs.
        """
        with _translated():
            cursor = self._connection.execute(f"SELECT id, content FROM {table}")  # noqa: S608 - a constant of ours
            for identity, content in cursor:
                if not isinstance(identity, bytes) or not isinstance(content, bytes):
                    raise store_error(
                        "damaged", f"Table {table} of the store is damaged. Restore the store from a backup."
                    )
                yield identity, content

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
