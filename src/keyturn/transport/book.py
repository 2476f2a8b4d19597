"""Which bundles were made and which were taken in: the memory behind the sequence numbers (R29).

A small SQLite file in the data directory, every change durable before the call returns. Outgoing: one counter per
installation, and what was sealed with which number, so that showing the same sheet again gives the same sheet.
Incoming: every number that was acted upon, per sender, for ever; there is no order to keep, a courier may bring two
sticks in any order.

A bundle is noted after it was acted upon with success. If the power fails in between it can be imported again: the HSM,
not this file, stands between a repeated request and a second effect (R14, R15).
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from keyturn.clock import Clock, iso
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.transport.bundle import MAX_SEQUENCE
from keyturn.transport.files import PRIVATE_FILE, make_private_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.transport.bundle import Bundle

FILE_NAME: Final = "carried.sqlite3"
"""Its place in the data directory."""

_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS made (
  sequence INTEGER PRIMARY KEY,
  content BLOB NOT NULL,
  time INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS made_content ON made (content);
CREATE TABLE IF NOT EXISTS taken (
  sender BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  digest BLOB NOT NULL,
  time INTEGER NOT NULL,
  PRIMARY KEY (sender, sequence)
) WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;
"""
_VERSION: Final = 1
_WAIT_SECONDS: Final = 10


class Book:
    """The sequence numbers of one data directory.

    Args:
        path: The SQLite file; made on first use (mode 0600).
        clock: Gives the time noted beside each bundle.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def next_sequence(
        self, *, kind: str, request_id: str | None, recipient: bytes | None, body: bytes, reuse: bool = False
    ) -> int:
        """Take a number for a bundle to be made.

        Args:
            kind: Kind of the bundle.
            request_id: Its request.
            recipient: Whom it is for.
            body: Its body.
            reuse: Give the number of the last bundle with exactly this content, if there is one, so that the same
                bundle is made again (a page that is shown twice). Without it, each call gives a new number.

        Returns:
            The number, from 1, already durable.
        """
        content = _content_digest(kind, request_id, recipient, body)
        with self._open() as database:
            if reuse:
                row = database.execute("SELECT max(sequence) FROM made WHERE content = ?", (content,)).fetchone()
                if row[0] is not None:
                    return int(row[0])
            (last,) = database.execute("SELECT coalesce(max(sequence), 0) FROM made").fetchone()
            if last >= MAX_SEQUENCE:
                raise KeyturnError(ErrorCode.TECHNICAL, "There are no sequence numbers left.", refusal="book.full")
            database.execute(
                "INSERT INTO made (sequence, content, time) VALUES (?, ?, ?)", (last + 1, content, self._now())
            )
            return int(last) + 1

    def require_new(self, bundle: Bundle) -> None:
        """Refuse a bundle whose number was already acted upon.

        Raises:
            KeyturnError: `bundle.seen`.
        """
        with self._open() as database:
            row = database.execute(
                "SELECT time FROM taken WHERE sender = ? AND sequence = ?", (bundle.sender, bundle.sequence)
            ).fetchone()
        if row is not None:
            raise _seen(bundle, row[0])

    def note(self, bundle: Bundle) -> None:
        """Remember, durably, that a bundle was acted upon.

        Raises:
            KeyturnError: `bundle.seen` if another process noted it in the meantime.
        """
        with self._open() as database:
            try:
                database.execute(
                    "INSERT INTO taken (sender, sequence, digest, time) VALUES (?, ?, ?, ?)",
                    (bundle.sender, bundle.sequence, bundle.digest, self._now()),
                )
            except sqlite3.IntegrityError as error:
                raise _seen(bundle, self._now()) from error

    def _now(self) -> int:
        return int(self._clock.now())

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One immediate transaction on a connection of its own, committed if the block ends well."""
        try:
            if not self._path.exists():
                make_private_directory(self._path.parent)
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE))
            with closing(sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = EXTRA")
                (version,) = database.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    database.executescript(_SCHEMA)
                elif version != _VERSION:
                    raise sqlite3.DatabaseError(f"version {version}, not {_VERSION}")
                database.execute("BEGIN IMMEDIATE")
                try:
                    yield database
                except BaseException:
                    database.execute("ROLLBACK")
                    raise
                database.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise KeyturnError(
                ErrorCode.TECHNICAL,
                f"The book of carried bundles, {self._path}, cannot be used: {error}. Without it a bundle could be "
                "taken in twice; put the right file back.",
                refusal="book.unusable",
            ) from error


def _seen(bundle: Bundle, when: int) -> KeyturnError:
    return KeyturnError(
        ErrorCode.SECURITY_NOT_ALLOWED,
        f"Bundle {bundle.sequence} of this sender was already imported, at {iso(when)}. If its answer was lost on the "
        "way, export it once more on the other side (keyturn transport export): that gives a new bundle.",
        refusal="bundle.seen",
    )


def _content_digest(kind: str, request_id: str | None, recipient: bytes | None, body: bytes) -> bytes:
    parts = (kind.encode(), (request_id or "").encode(), recipient or b"", body)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
