"""Consumed statements, packed: many lines of the ledger in one row of the store.

A single-use key may be used a million times, and every start reads and hashes every row. So the statements that a key
has consumed stand in up to 32 768 segments, by the first 15 bits of the statement (a SHA-256, so that they fill
evenly). A segment is a string of entries of 64 octets in ascending order:

    statement (32)   time (8)   stamp (8, 0 for none)   operation (16)

Times are seconds since the epoch, big-endian. With a million entries a segment holds some thirty, and a use rewrites
one row of 2 000 bytes, which SQLite keeps on one page. A key that was used a few times has as many rows as entries.

Source: docs/security/rules.md R14; docs/adr/0078, 0086.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRY: Final = 64
"""Octets of an entry."""
_STATEMENT: Final = 32
_TIME: Final = slice(32, 40)
_STAMP: Final = slice(40, 48)
_OPERATION: Final = slice(48, 64)


@dataclass(frozen=True, slots=True)
class ConsumedStatement:
    """A statement that has served.

    Args:
        statement: SHA-256 of the signed bytes (0x1055), 32 bytes.
        time: When it served, seconds since the epoch.
        stamp: Seconds since the epoch in its timestamp; None where it has none.
        operation: Id of the operation for which it served, 16 bytes.
    """

    statement: bytes
    time: int
    stamp: int | None
    operation: bytes


def segment_of(statement: bytes) -> bytes:
    """The segment in which a statement stands.

    Args:
        statement: Its SHA-256.

    Returns:
        Two bytes, the last bit of them 0.
    """
    return bytes((statement[0], statement[1] & 0xFE))


def find(segment: bytes, statement: bytes) -> ConsumedStatement | None:
    """Look a statement up.

    Args:
        segment: The entries of `segment_of(statement)`.
        statement: Its SHA-256.

    Returns:
        Its entry, None if it has not served.
    """
    index = _place(segment, statement)
    entry = segment[index * ENTRY : (index + 1) * ENTRY]
    return _unpack(entry) if entry[:_STATEMENT] == statement else None


def with_entry(segment: bytes, entry: ConsumedStatement) -> bytes:
    """Put an entry in.

    Args:
        segment: The entries of its segment; it is not among them.
        entry: What has served.

    Returns:
        The new entries.
    """
    offset = _place(segment, entry.statement) * ENTRY
    packed = (
        entry.statement + entry.time.to_bytes(8, "big") + max(entry.stamp or 0, 0).to_bytes(8, "big") + entry.operation
    )
    if len(packed) != ENTRY:
        raise ValueError("an entry of the ledger has 64 octets")
    return segment[:offset] + packed + segment[offset:]


def without_stamps_to(segment: bytes, last: int) -> tuple[bytes, int]:
    """Leave out the entries whose timestamp is not later than a second.

    Args:
        segment: Entries.
        last: Seconds since the epoch.

    Returns:
        The entries that stay, and the newest timestamp of those that go, 0 if none goes.
    """
    stay: list[bytes] = []
    newest = 0
    for offset in range(0, len(segment), ENTRY):
        entry = segment[offset : offset + ENTRY]
        stamp = int.from_bytes(entry[_STAMP], "big")
        if stamp and stamp <= last:
            newest = max(newest, stamp)
        else:
            stay.append(entry)
    return (b"".join(stay), newest) if newest else (segment, 0)


def entries(segment: bytes) -> Iterator[ConsumedStatement]:
    """All entries of a segment, in the order of their statements."""
    return (_unpack(segment[offset : offset + ENTRY]) for offset in range(0, len(segment), ENTRY))


def _unpack(entry: bytes) -> ConsumedStatement:
    return ConsumedStatement(
        statement=entry[:_STATEMENT],
        time=int.from_bytes(entry[_TIME], "big"),
        stamp=int.from_bytes(entry[_STAMP], "big") or None,
        operation=entry[_OPERATION],
    )


def _place(segment: bytes, statement: bytes) -> int:
    """Number of entries before the place of a statement."""
    return bisect_left(
        range(len(segment) // ENTRY), statement, key=lambda index: segment[index * ENTRY : index * ENTRY + _STATEMENT]
    )
