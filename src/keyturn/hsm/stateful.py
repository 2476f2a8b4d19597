"""Keys of LMS and XMSS: which index comes next, and when none may be used any more.

Two signatures with one index give such a key away. So an index is used up in the change-set that carries the signature
as its result, and that is on disk before the signature leaves; signing, counting and storing happen in one turn of the
event loop. A repeated operation id gets the stored signature. Where nobody can know which indices have served, the key
does not sign any more, for good: its capacity is worth less than its secret. That is so where the store

* was restored from a backup, or is known to have been put back, accepted or not (R6);
* was opened without its whole decision log. An older file that was put back beside a newer log starts only that way,
  and where the log is lost as well nothing tells whether the file is an older one.

A file that lacks no more than a crash may cost starts as it is. The log, which is written before a signature leaves,
tells of those that the file does not know; their indices are skipped.

A key with a policy that protects it is for single use (R14), whatever its creation said: a repeated statement gets the
stored signature instead of another index (R28).

Source: NIST SP 800-208 section 7.1; docs/security/rules.md R6, R14, R28; docs/adr/0094, 0117.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from keyturn.crypto.key_types import KEY_TYPES
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.ledger import LedgerKind
from keyturn.hsm.records import LedgerRecord
from keyturn.ska.policy import decode_policy
from keyturn.ska.policy_rules import is_protected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.hsm.change import Change
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store import Store
    from keyturn.hsm.store_reader import StoreReader

_LOSS: Final = 1 << 32
"""What an accepted loss of the decision log adds to `_history`; epochs are far below."""


def capacity_of(algorithm: str) -> int:
    """How many signatures a kind of key makes in its life.

    Args:
        algorithm: API name of the kind.

    Returns:
        The number; 0 for kinds without a state.
    """
    kind = KEY_TYPES.get(algorithm)
    return 0 if kind is None else kind.signatures


def first_state(reader: StoreReader, record: KeyRecord) -> LedgerRecord | None:
    """The state of a key that is being made; None for a kind that has none."""
    if not capacity_of(record.algorithm) or record.creation != "generated":
        return None
    return _line(reader, record, 0)


def remaining(reader: StoreReader, record: KeyRecord) -> int | None:
    """How many signatures a key can still make; None for kinds without a state."""
    capacity = capacity_of(record.algorithm)
    if not capacity:
        return None
    if reader.key_by_uuid(record.uuid) is None:
        # It is being made; its state comes with it.
        return capacity
    index = _certain_index(reader, record)
    return 0 if index is None else max(0, capacity - index)


def require_single_use(record: KeyRecord, policy: bytes) -> None:
    """Refuse a policy that would protect a key with a state that was made without single use.

    Args:
        record: The key.
        policy: The policy that it is to get.

    Raises:
        KeyturnError: 600 `policy.stateful`.
    """
    if capacity_of(record.algorithm) and is_protected(decode_policy(policy)) and not record.attributes.get("singleUse"):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"the key {record.label!r} was made with a ruleUse that asks for nobody, so that each of its signatures "
            "uses up an index, whatever was approved; make a new key with a policy that protects it from the start",
            refusal="policy.stateful",
        )


def next_index(reader: StoreReader, record: KeyRecord) -> int | None:
    """The index with which a key signs next.

    Args:
        reader: The store.
        record: The key.

    Returns:
        The index; None for kinds without a state.

    Raises:
        KeyturnError: 701 `stateful.restored`, `stateful.exhausted`.
    """
    capacity = capacity_of(record.algorithm)
    if not capacity:
        return None
    index = _certain_index(reader, record)
    if index is None:
        raise KeyturnError(
            ErrorCode.IN_HSM,
            f"the key {record.label!r} does not sign any more: it signs once with each of its indices, and since this "
            "store was restored, put back or opened without its whole log nobody knows which of them have served. Make "
            "a new key",
            refusal="stateful.restored",
        )
    if index >= capacity:
        raise KeyturnError(
            ErrorCode.IN_HSM,
            f"the key {record.label!r} has made all of its {capacity} signatures. Make a new key",
            refusal="stateful.exhausted",
        )
    return index


def use_up(change: Change, reader: StoreReader, record: KeyRecord, index: int) -> None:
    """Note in the change that carries a signature that its index has served.

    Args:
        change: The open change-set.
        reader: The store.
        record: The key.
        index: The index.
    """
    change.put_ledger(_line(reader, record, index + 1))


def skip_indices(store: Store, signed: Mapping[str, int]) -> None:
    """Skip the indices of signatures that the decision log tells of and the store does not know.

    After a crash they never left; but after an older file was put back they may have.

    Args:
        store: The store, just opened.
        signed: UUID of any key to the number of signatures.
    """
    found = {uuid: store.ledger(uuid, LedgerKind.STATE).get(b"") for uuid in signed}
    states = [state for state in found.values() if state is not None]
    if not states:
        return
    with store.change() as change:
        for state in states:
            if store.key_by_uuid(state.uuid) is None:
                # Deleted, and brought back in the lost time: without a state it signs no more.
                change.drop_ledger(state)
            else:
                change.put_ledger(replace(state, time=state.time + signed[state.uuid]))


def _line(reader: StoreReader, record: KeyRecord, index: int) -> LedgerRecord:
    """The state of a key: the index where other lines have a time, the history where others have a stamp."""
    return LedgerRecord(record.uuid, LedgerKind.STATE, b"", b"", index, _history(reader))


def _certain_index(reader: StoreReader, record: KeyRecord) -> int | None:
    """The first index that has not served; None where nobody can know."""
    state = reader.ledger(record.uuid, LedgerKind.STATE).get(b"")
    if state is None or state.stamp != _history(reader) or reader.witnessed is not None:
        return None
    return state.time


def _history(reader: StoreReader) -> int:
    """A number that grows whenever something of the store's history may have been lost."""
    return reader.restore_epoch + _LOSS * reader.log_losses
