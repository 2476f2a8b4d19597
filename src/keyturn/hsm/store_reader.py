"""Reading the store: look-ups in memory, never waiting for the disk. Nothing here yields a private key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.hsm.records import (
    KeyRecord,
    LedgerRecord,
    ObjectRecord,
    OperationRecord,
    SystemKeyRecord,
    associated_object_data,
    associated_operation_data,
)
from keyturn.hsm.sealing import Domain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from keyturn.hsm.state import StoreState


_NO_LINES: Final[Mapping[bytes, LedgerRecord]] = {}
_NO_SEGMENTS: Final[Mapping[bytes, bytes]] = {}


class StoreReader:
    """The reading half of `keyturn.hsm.store.Store`. What it shows includes changes that are not durable yet.

    Args:
        state: What the store holds.
    """

    def __init__(self, state: StoreState) -> None:
        self._state = state

    @property
    def instance_id(self) -> str:
        """UUID text of this store, given at creation and kept through restores."""
        return self._state.instance_id

    @property
    def restore_epoch(self) -> int:
        """How often this store was restored from a backup. Counters compare only within one epoch."""
        return self._state.restore_epoch

    @property
    def state_counter(self) -> int:
        """Number of change-sets that altered keys, the ledger, objects or the HSM's own keys."""
        return self._state.state_counter

    @property
    def clock_mark(self) -> float:
        """Highest time used so far, seconds since the epoch."""
        return self._state.clock_mark

    @property
    def log_losses(self) -> int:
        """How often a lost decision log was accepted."""
        return self._state.log_losses

    @property
    def witnessed(self) -> tuple[int, int] | None:
        """Restore epoch and counter of the newest evidence that this store is an older one; None without (R6)."""
        return self._state.witnessed if any(self._state.witnessed) else None

    @property
    def accepted_rollbacks(self) -> int:
        """How often an administrator accepted that this store is an older one."""
        return self._state.accepted_rollbacks

    @property
    def operation_count(self) -> int:
        """Number of results kept."""
        return len(self._state.operations) + len(self._state.single_uses)

    @property
    def ledger_size(self) -> int:
        """Number of lines of the ledger."""
        lines = sum(len(lines) for kinds in self._state.ledger.values() for lines in kinds.values())
        return lines + sum(self._state.consumed.values())

    def key(self, label: str) -> KeyRecord | None:
        """The key that bears `label` now."""
        return self._state.keys.get(label)

    def key_by_uuid(self, uuid: str) -> KeyRecord | None:
        """The key with this UUID, if it bears its label now."""
        record = self._state.keys_by_uuid.get(uuid)
        bearer = None if record is None else self._state.keys.get(record.label)
        return bearer if bearer is not None and bearer.uuid == uuid else None

    def children(self, uuid: str) -> list[KeyRecord]:
        """The stored keys that are derived from a key, by label."""
        found = (record for record in self._state.keys.values() if record.master == uuid)
        return sorted(found, key=lambda record: record.label)

    def deleted_keys(self) -> Mapping[str, KeyRecord]:
        """Deleted keys that lie sealed, by UUID (R28)."""
        return self._state.deleted

    def labels(self) -> list[str]:
        """Labels of all keys, sorted."""
        return sorted(self._state.keys)

    def next_generation(self, label: str) -> int:
        """The generation that a new key of this label must have."""
        record = self._state.labels.get(label)
        return 1 if record is None else record.generations + 1

    def operation(self, operation_id: bytes) -> OperationRecord | None:
        """The record of an operation, or None when it was never done or is forgotten (`MAX_OPERATIONS`)."""
        return self._state.operations.get(operation_id) or self._state.single_uses.get(operation_id)

    def operation_result(self, record: OperationRecord) -> bytes:
        """The encoded answer of an operation."""
        return self._state.sealing.open(Domain.OPERATIONS, record.result, associated_operation_data(record))

    def uses(self, uuid: str) -> int:
        """How often a key was used. After a crash it may lack the last uses of an ordinary key (`LAZY_SECONDS`)."""
        return self._state.uses.get(uuid, 0)

    def ledger(self, uuid: str, kind: str) -> Mapping[bytes, LedgerRecord]:
        """The lines of the ledger about a key, of one kind, by `LedgerRecord.place`."""
        return self._state.ledger.get(uuid, {}).get(kind, _NO_LINES)

    def ledger_kinds(self, uuid: str) -> Mapping[str, int]:
        """Kinds of lines about a key, with how many there are; the consumed statements of single-use keys apart."""
        return {kind: len(lines) for kind, lines in self._state.ledger.get(uuid, {}).items() if lines}

    def segments(self, uuid: str) -> Mapping[bytes, bytes]:
        """The statements that a key has consumed, packed (`keyturn.hsm.segments`)."""
        return self._state.segments.get(uuid, _NO_SEGMENTS)

    def consumed_count(self, uuid: str) -> int:
        """How many statements stand in the segments of a key."""
        return self._state.consumed.get(uuid, 0)

    def object(self, kind: str, name: str) -> ObjectRecord | None:
        """An object, or None."""
        return self._state.objects.get((kind, name))

    def object_names(self, kind: str) -> list[str]:
        """Names of all objects of a kind, sorted."""
        return sorted(name for one, name in self._state.objects if one == kind)

    def object_value(self, record: ObjectRecord) -> bytes:
        """The value of an object."""
        return self._state.sealing.open(Domain.OBJECTS, record.value, associated_object_data(record))

    def system_keys(self) -> Iterable[SystemKeyRecord]:
        """The HSM's own keys, for `keyturn.hsm.system_keys`."""
        return list(self._state.system_keys.values())
