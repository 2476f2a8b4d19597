"""The ledger: what has happened to a key that later approvals are measured against.

One table for all of it: key uuid, kind and statement lead to a record. A statement is the SHA-256 of the bytes that
were signed (0x1055), so that neither another signature nor another signer makes it another one. Kinds without a
statement say when something happened last.

The lines of a key go with the key. Those of executed statements stay as long as it does; there are as many as people
have approved. Withdrawals are bounded for each signer (`keyturn.hsm.withdrawing`). What a single-use key has consumed
is packed (`keyturn.hsm.segments`), and forgotten where it can never count again (`keyturn.hsm.single_use`).

Source: docs/security/rules.md R6, R14, R15, R26; docs/adr/0052, 0078.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from keyturn.hsm.records import LedgerRecord
from keyturn.hsm.segments import entries, find, segment_of
from keyturn.ska.actions import Action

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from keyturn.hsm.segments import ConsumedStatement
    from keyturn.hsm.store_reader import StoreReader

DIGEST: Final = 32
"""Octets of a statement's or signer's SHA-256."""


class LedgerKind(StrEnum):
    """What a line is about."""

    BLOCKED = "blocked"
    """When the key was last blocked."""
    UNBLOCKED = "unblocked"
    """When it was last unblocked."""
    MODIFIED = "modified"
    """When its policy was last replaced."""
    SPENT_UNBLOCK = "spent-unblock"
    """A statement that has unblocked it, without a timestamp (R15)."""
    SPENT_MODIFY = "spent-modify"
    """A statement that has replaced its policy, without a timestamp (R15)."""
    WITHDRAWN = "withdrawn"
    """A statement that one signer took back (R26)."""
    FORGOTTEN_WITHDRAWAL = "forgotten-withdrawal"
    """The newest timestamp among the withdrawals of a signer that were forgotten: no approval of theirs with a
    timestamp up to it counts again (R26)."""
    USE = "use"
    """A statement that a single-use key has consumed (R14)."""
    FORGOTTEN = "forgotten"
    """The newest timestamp among the consumed statements that were forgotten: none up to it counts again (R14)."""
    STATE = "state"
    """Of a key of LMS or XMSS: the index that it signs with next, as the time, and the restore epoch in which it was
    made, as the stamp (`keyturn.hsm.stateful`)."""


LAST: Final = {
    Action.BLOCK: LedgerKind.BLOCKED,
    Action.UNBLOCK: LedgerKind.UNBLOCKED,
    Action.MODIFY: LedgerKind.MODIFIED,
}
"""The line that says when an action was last executed."""
SPENT: Final = {Action.UNBLOCK: LedgerKind.SPENT_UNBLOCK, Action.MODIFY: LedgerKind.SPENT_MODIFY}
"""Where executed statements of an action stand; the others may serve again."""


def last(reader: StoreReader, uuid: str, kind: LedgerKind) -> int:
    """When something happened last.

    Args:
        reader: The store.
        uuid: The key.
        kind: A kind without a statement.

    Returns:
        Seconds since the epoch; 0 when it never did.
    """
    line = reader.ledger(uuid, kind).get(b"")
    return 0 if line is None else line.time


def happened(reader: StoreReader, uuid: str, kind: LedgerKind, now: int) -> LedgerRecord:
    """The line that something happens now; it never says an earlier time than the one before.

    Args:
        reader: The store.
        uuid: The key.
        kind: A kind without a statement.
        now: Seconds since the epoch.

    Returns:
        The line, to be put into the change that carries the effect.
    """
    return LedgerRecord(uuid, kind, b"", b"", max(now, last(reader, uuid, kind)))


def consumed(reader: StoreReader, uuid: str) -> Consumed:
    """What a single-use key has consumed.

    Args:
        reader: The store.
        uuid: The key.

    Returns:
        The statements, as they are now.
    """
    return Consumed(reader.segments(uuid), reader.consumed_count(uuid))


class Consumed(Collection[bytes]):
    """The statements that a single-use key has consumed, as `ska.findings.Question` takes them.

    Args:
        segments: By `segment_of`.
        count: How many statements stand in them.
    """

    def __init__(self, segments: Mapping[bytes, bytes], count: int) -> None:
        self._segments = segments
        self._count = count

    def __contains__(self, statement: object) -> bool:
        return isinstance(statement, bytes) and self.find(statement) is not None

    def __iter__(self) -> Iterator[bytes]:
        return (one.statement for segment in self._segments.values() for one in entries(segment))

    def __len__(self) -> int:
        return self._count

    def find(self, statement: bytes) -> ConsumedStatement | None:
        """The entry of a statement, by its SHA-256; None if it has not served."""
        return find(self._segments.get(segment_of(statement), b""), statement)


class Withdrawn(Collection[tuple[bytes, bytes]]):
    """The withdrawals of a key as `ska.findings.Question` takes them: pairs of signer and statement.

    Args:
        lines: Of the kind `WITHDRAWN`, by statement and signer.
    """

    def __init__(self, lines: Mapping[bytes, LedgerRecord]) -> None:
        self._lines = lines

    def __contains__(self, pair: object) -> bool:
        signer, statement = pair if isinstance(pair, tuple) else (b"", b"")
        return statement + signer in self._lines

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return ((line.signer, line.statement) for line in self._lines.values())

    def __len__(self) -> int:
        return len(self._lines)
