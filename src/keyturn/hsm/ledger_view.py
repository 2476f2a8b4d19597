"""Looking into the ledger, for the HSM's administrator: what stands in it, page by page. Nothing of it is secret.

Source: docs/security/rules.md R14, R15, R26; docs/adr/0078.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.admin import LedgerIs, LedgerKey, LedgerLine
from keyturn.hsm.ledger import DIGEST, LedgerKind
from keyturn.hsm.segments import entries, segment_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.hsm.admin import GetLedger
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store_reader import StoreReader

PAGE: Final = 1000
"""Keys or lines in one answer."""


def look(reader: StoreReader, call: GetLedger) -> LedgerIs:
    """Answer a look into the ledger.

    Args:
        reader: The store.
        call: What is asked for.

    Returns:
        A page.

    Raises:
        KeyturnError: 650 `key.unknown`.
    """
    if not call.label:
        after = call.after.decode(errors="replace")
        labels = [label for label in reader.labels() if label > after][:PAGE]
        keys = [_key(reader, record) for label in labels if (record := reader.key(label)) is not None]
        return LedgerIs(keys=keys, next=labels[-1].encode() if len(labels) == PAGE else b"")
    record = reader.key(call.label)
    if record is None:
        raise KeyturnError(
            ErrorCode.KEY_NOT_EXISTENT, f"a key with the label {call.label!r} does not exist", refusal="key.unknown"
        )
    lines = list(islice(_lines(reader, record.uuid, call.after), PAGE))
    return LedgerIs(keys=[_key(reader, record)], lines=lines, next=_place(lines[-1]) if len(lines) == PAGE else b"")


def _key(reader: StoreReader, record: KeyRecord) -> LedgerKey:
    counts = dict(reader.ledger_kinds(record.uuid))
    counts.pop(LedgerKind.STATE.value, None)
    if used := reader.consumed_count(record.uuid):
        counts[LedgerKind.USE.value] = used
    return LedgerKey(record.label, record.uuid, record.attributes.get("singleUse", False), dict(sorted(counts.items())))


def _lines(reader: StoreReader, uuid: str, after: bytes) -> Iterator[LedgerLine]:
    """The lines of a key in the order of their places, from behind a place on."""
    for kind in sorted(set(LedgerKind) - {LedgerKind.STATE}):  # No event, but a number: attested attributes show it.
        found = _uses(reader, uuid, after) if kind is LedgerKind.USE else _others(reader, uuid, kind)
        yield from (line for line in found if _place(line) > after)


def _others(reader: StoreReader, uuid: str, kind: LedgerKind) -> Iterator[LedgerLine]:
    for _, line in sorted(reader.ledger(uuid, kind).items()):
        yield LedgerLine(
            kind=kind.value,
            statement=line.statement,
            signer=line.signer,
            time=line.time,
            stamp=line.stamp,
            operation=line.operation,
            kept=bool(line.operation) and reader.operation(line.operation) is not None,
        )


def _uses(reader: StoreReader, uuid: str, after: bytes) -> Iterator[LedgerLine]:
    kind = LedgerKind.USE.value
    first = kind.encode() + b"/"
    begin = segment_of(after[len(first) :].ljust(DIGEST, b"\x00")) if after.startswith(first) else b""
    for place, packed in sorted(reader.segments(uuid).items()):
        for entry in entries(packed) if place >= begin else ():
            kept = reader.operation(entry.operation) is not None
            yield LedgerLine(kind, entry.statement, b"", entry.time, entry.stamp, entry.operation, kept)


def _place(line: LedgerLine) -> bytes:
    return f"{line.kind}/".encode() + line.statement + line.signer
