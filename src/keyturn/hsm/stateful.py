"""Keys of LMS and XMSS: which index comes next, and when none may be used any more.

Two signatures with one index give such a key away. So an index is used up in the change-set that carries the signature
as its result, and that is on disk before the signature leaves; signing, counting and storing happen in one turn of the
event loop. A repeated operation id gets the stored signature. Where nobody can know which indices have served, because
the store was restored from a backup or is known to have been put back (R6), the key does not sign any more, for good:
its capacity is worth less than its secret.

A key with a policy that protects it is for single use (R14), whatever its creation said: a repeated statement gets the
stored signature instead of another index (R28).

Source: NIST SP 800-208 section 7.1; docs/security/rules.md R6, R14, R28; docs/adr/0094.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.crypto.key_types import KEY_TYPES
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.ledger import LedgerKind
from keyturn.hsm.records import LedgerRecord
from keyturn.ska.policy import decode_policy
from keyturn.ska.policy_rules import is_protected

if TYPE_CHECKING:
    from keyturn.hsm.change import Change
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store_reader import StoreReader


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
    return LedgerRecord(record.uuid, LedgerKind.STATE, b"", b"", 0, reader.restore_epoch)


def remaining(reader: StoreReader, record: KeyRecord) -> int | None:
    """How many signatures a key can still make; None for kinds without a state."""
    capacity = capacity_of(record.algorithm)
    if not capacity:
        return None
    if reader.key_by_uuid(record.uuid) is None:
        # It is being made; its state comes with it.
        return capacity
    state = reader.ledger(record.uuid, LedgerKind.STATE).get(b"")
    if state is None or state.stamp != reader.restore_epoch:
        return 0
    return max(0, capacity - state.time)


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
    state = reader.ledger(record.uuid, LedgerKind.STATE).get(b"")
    if state is None or state.stamp != reader.restore_epoch or reader.witnessed is not None:
        raise KeyturnError(
            ErrorCode.IN_HSM,
            f"the key {record.label!r} does not sign any more: it signs once with each of its indices, and since this "
            "store was restored or put back nobody knows which of them have served. Make a new key",
            refusal="stateful.restored",
        )
    if state.time >= capacity:
        raise KeyturnError(
            ErrorCode.IN_HSM,
            f"the key {record.label!r} has made all of its {capacity} signatures. Make a new key",
            refusal="stateful.exhausted",
        )
    return state.time


def use_up(change: Change, record: KeyRecord, index: int, restore_epoch: int) -> None:
    """Note in the change that carries a signature that its index has served.

    Args:
        change: The open change-set.
        record: The key.
        index: The index.
        restore_epoch: Of the store.
    """
    change.put_ledger(LedgerRecord(record.uuid, LedgerKind.STATE, b"", b"", index + 1, restore_epoch))
