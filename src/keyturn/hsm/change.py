"""One change-set: everything of it becomes visible at once, and reaches the disk in one commit.

    with store.change() as change:
        record = change.put_key(record, private_key=der)
        change.put_operation(operation_id, digest, answer, time=now)
    await store.durable()

Nothing is visible before the block ends; an exception in it leaves the store as it was. Between `store.change()` and
the end of the block there is no `await`: one change is open at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from msgspec.structs import replace

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.pending import Pending
from keyturn.hsm.records import (
    KeyRecord,
    LabelRecord,
    LedgerRecord,
    ObjectRecord,
    OperationRecord,
    SegmentRecord,
    SystemKeyRecord,
    associated_key_data,
    associated_object_data,
    associated_operation_data,
    associated_system_key_data,
    encode_record,
    store_error,
)
from keyturn.hsm.sealing import Domain

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from keyturn.hsm.state import StoreState

OPERATION_ID_SIZE: Final = 16
_DIGEST_SIZE: Final = 32
_FIXED: Final = (
    *("label", "generation", "algorithm", "curve_oid", "key_size", "creation", "created", "public_key"),
    *("bound", "allowed_operations", "allowed_algorithms", "master", "path", "address_format"),
)


class Change:
    """A change-set being put together. Made by `Store.change`.

    Args:
        state: The store's state.
        done: Called when the change has been applied, or with False when there is nothing to apply.
    """

    def __init__(self, state: StoreState, done: Callable[[bool], None]) -> None:
        self._state = state
        self._done = done
        self._pending = Pending()

    def put_key(self, record: KeyRecord, private_key: bytes | None = None) -> KeyRecord:
        """Add a key, or replace the record of one.

        A key that is new takes the next generation of its label, which the label remembers for ever (rule R18).

        Args:
            record: The key; `changed_at` and `private_key` are set here.
            private_key: PKCS#8, to be sealed. None keeps the one the key has (none for a new key).

        Returns:
            The record as it will be stored.

        Raises:
            KeyturnError: `KEY_ALREADY_EXISTING`: another key bears the label; `store.wrong-generation`,
                `store.identity-changed`: the caller mixed up keys.
        """
        if record.temporary:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the derived key {record.label!r} has no certificate, password or state of its own; what is changed "
                "is its master",
                refusal="key.derived",
            )
        current = self._key(record.uuid)
        if current is None:
            self._admit(record)
        elif any(getattr(current, name) != getattr(record, name) for name in _FIXED):
            raise store_error("identity-changed", f"Key {record.uuid} cannot take over what belongs to another key.")
        elif private_key is None and current.private_key:
            private_key = self._private_of(current)
        stored = self._sealed(record, private_key)
        self._remember(record)
        self._pending.rows["keys", record.uuid.encode()] = encode_record(stored)
        self._pending.keys[record.uuid] = stored
        return stored

    def put_deleted(self, uuid: str, now: int) -> None:
        """Delete a key, and keep it sealed with its lines of the ledger (R28). Its label is free from now on.

        Args:
            uuid: The key.
            now: Seconds since the epoch.

        Raises:
            KeyturnError: `KEY_NOT_EXISTENT`.
        """
        current = self._key(uuid)
        if current is None:
            raise KeyturnError(ErrorCode.KEY_NOT_EXISTENT, f"There is no key {uuid}.")
        stored = self._sealed(replace(current, deleted=max(now, 1)), self._private_of(current))
        self._pending.rows["keys", uuid.encode()] = encode_record(stored)
        self._pending.keys[uuid] = None
        self._pending.deleted[uuid] = stored

    def restore_key(self, uuid: str, label: str, generation: int, now: int) -> KeyRecord:
        """Bring a deleted key back, under a label that is free. Called by `keyturn.hsm.deleted_keys` only.

        Args:
            uuid: The key.
            label: The label it bears from now on.
            generation: The next one of that label (rule R18).
            now: Seconds since the epoch.

        Returns:
            The record as it will be stored.

        Raises:
            KeyturnError: `KEY_NOT_EXISTENT`; `KEY_ALREADY_EXISTING`; `store.wrong-generation`.
        """
        current = self._state.deleted.get(uuid)
        if current is None:
            raise KeyturnError(ErrorCode.KEY_NOT_EXISTENT, f"There is no deleted key {uuid}.")
        record = replace(current, deleted=0, restored=now, label=label, generation=generation)
        self._admit(record)
        stored = self._sealed(record, self._private_of(current))
        self._remember(record)
        self._pending.rows["keys", uuid.encode()] = encode_record(stored)
        self._pending.keys[uuid] = stored
        self._pending.deleted[uuid] = None
        return stored

    def erase_key(self, uuid: str) -> None:
        """Erase a deleted key and its lines of the ledger for good. Called by `keyturn.hsm.deleted_keys` only.

        Args:
            uuid: The key.

        Raises:
            KeyturnError: `KEY_NOT_EXISTENT`.
        """
        if uuid not in self._state.deleted:
            raise KeyturnError(ErrorCode.KEY_NOT_EXISTENT, f"There is no deleted key {uuid}.")
        self._pending.rows["keys", uuid.encode()] = None
        self._pending.deleted[uuid] = None
        self._drop_lines(uuid)

    def remove_key(self, uuid: str) -> None:
        """Delete a key and its lines of the ledger. Its label keeps its history.

        Args:
            uuid: The key.

        Raises:
            KeyturnError: `KEY_NOT_EXISTENT`.
        """
        if self._key(uuid) is None:
            raise KeyturnError(ErrorCode.KEY_NOT_EXISTENT, f"There is no key {uuid}.")
        self._pending.rows["keys", uuid.encode()] = None
        self._pending.keys[uuid] = None
        self._drop_lines(uuid)

    def put_ledger(self, line: LedgerRecord) -> None:
        """Put a line into the ledger, or replace the one in its place.

        Args:
            line: The line; its key exists, in the store or in this change.

        Raises:
            KeyturnError: `KEY_NOT_EXISTENT`.
        """
        if self._key(line.uuid) is None:
            raise KeyturnError(ErrorCode.KEY_NOT_EXISTENT, f"There is no key {line.uuid}.")
        self._pending.rows["ledger", line.row] = encode_record(line)
        self._pending.ledger[line.row] = line, True

    def drop_ledger(self, line: LedgerRecord) -> None:
        """Take a line out of the ledger."""
        self._pending.rows["ledger", line.row] = None
        self._pending.ledger[line.row] = line, False

    def put_segment(self, segment: SegmentRecord) -> None:
        """Put consumed statements in the place of those that a segment has.

        Args:
            segment: What the segment holds from now on; its key exists, in the store or in this change.

        Raises:
            KeyturnError: `KEY_NOT_EXISTENT`.
        """
        if self._key(segment.uuid) is None:
            raise KeyturnError(ErrorCode.KEY_NOT_EXISTENT, f"There is no key {segment.uuid}.")
        self._put_segment(segment)

    def put_operation(
        self, operation_id: bytes, input_digest: bytes, result: bytes, *, time: int, use_digest: bytes = b""
    ) -> OperationRecord:
        """Remember the result of an operation together with its effect (law 3).

        Args:
            operation_id: 16 bytes.
            input_digest: SHA-256 of the whole input.
            result: Encoded answer; it is sealed.
            time: Seconds since the epoch.
            use_digest: As in `OperationRecord`.

        Returns:
            The record as it will be stored.

        Raises:
            KeyturnError: `store.operation-exists`: the id is taken; look it up before executing anything.
        """
        if len(operation_id) != OPERATION_ID_SIZE or len(input_digest) != _DIGEST_SIZE:
            raise store_error("bad-operation", "An operation has an id of 16 bytes and a SHA-256 digest of its input.")
        state = self._state
        if any(operation_id in known for known in (state.operations, state.single_uses, self._pending.operations)):
            raise store_error("operation-exists", "This operation id already has a result. Answer that one.")
        sequence = self._state.operation_sequence + len(self._pending.operations) + 1
        record = OperationRecord(operation_id, sequence, input_digest, time, use_digest=use_digest)
        sealed = self._state.sealing.seal(Domain.OPERATIONS, result, associated_operation_data(record))
        record = replace(record, result=sealed)
        self._pending.rows["operations", operation_id] = encode_record(record)
        self._pending.operations[operation_id] = record
        return record

    def put_system_key(self, record: SystemKeyRecord, private_key: bytes | None = None) -> SystemKeyRecord:
        """Add one of the HSM's own keys, or retire it. Called by `keyturn.hsm.system_keys` only (rule R5).

        Args:
            record: The key; `private_key` is set here.
            private_key: PKCS#8, to be sealed; None for a key that exists, of which only `retired_at` may change.

        Returns:
            The record as it will be stored.

        Raises:
            KeyturnError: `store.identity-changed`: anything else would change.
        """
        current = self._state.system_keys.get(record.name)
        if current is not None:
            stored = replace(current, retired_at=record.retired_at)
            if private_key is not None or stored != replace(record, private_key=current.private_key):
                raise store_error(
                    "identity-changed", f"The system key {record.name} exists; give the new one another name."
                )
        elif private_key is None:
            raise store_error("identity-changed", f"There is no system key {record.name}.")
        else:
            sealed = self._state.sealing.seal(Domain.SYSTEM_KEYS, private_key, associated_system_key_data(record))
            stored = replace(record, private_key=sealed)
        self._pending.rows["system_keys", record.name.encode()] = encode_record(stored)
        self._pending.system_keys[record.name] = stored
        return stored

    def put_object(self, record: ObjectRecord, value: bytes) -> ObjectRecord:
        """Add an object, or replace the one of its kind and name.

        Args:
            record: The object; `value` is set here.
            value: Its value, to be sealed.

        Returns:
            The record as it will be stored.
        """
        sealed = self._state.sealing.seal(Domain.OBJECTS, value, associated_object_data(replace(record, value=b"")))
        stored = replace(record, value=sealed)
        self._pending.rows["objects", record.row] = encode_record(stored)
        self._pending.objects[record.kind, record.name] = stored
        return stored

    def remove_object(self, record: ObjectRecord) -> None:
        """Take an object out of the store."""
        self._pending.rows["objects", record.row] = None
        self._pending.objects[record.kind, record.name] = None

    def count_use(self, uuid: str, times: int = 1) -> None:
        """Count uses of a key, durable with this change.

        Args:
            uuid: The key.
            times: How many.
        """
        self._pending.uses[uuid] += times

    def advance_clock(self, moment: float) -> None:
        """Make the clock mark at least `moment`, durable with this change.

        Args:
            moment: Seconds since the epoch that were used or signed.
        """
        self._pending.clock_mark = max(float(moment), self._state.clock_mark, self._pending.clock_mark or 0.0)

    def turn_clock_back(self, moment: float) -> None:
        """Set the clock mark to an earlier `moment`. Called by `ClockGuard.confirm` only, on an administrator's word.

        Args:
            moment: Seconds since the epoch.
        """
        self._pending.clock_mark = float(moment)

    def mark_restored(self, above: int) -> None:
        """Raise the restore epoch. Called by `keyturn.hsm.backup` and `accept_rollback` only.

        Whoever restores a store knows that it is an older one, so that evidence of it is used up.

        Args:
            above: The new epoch is greater than this and than the present one.
        """
        self._pending.restored_above = above
        self._pending.witnessed = (0, 0)

    def mark_rolled_back(self, epoch: int, counter: int) -> None:
        """Remember that this store is an older one. Called by `keyturn.hsm.rollback` only (rule R6).

        Args:
            epoch: Restore epoch of the evidence.
            counter: State counter of the evidence.
        """
        self._pending.witnessed = max((epoch, counter), self._state.witnessed)

    def accept_rollback(self) -> None:
        """Go on with a store that is an older one, in a new restore epoch. Called by `keyturn.hsm.rollback` only."""
        self.mark_restored(self._state.witnessed[0])
        self._pending.accepted_rollbacks = 1

    def mark_log_loss(self) -> None:
        """Count one accepted loss of the decision log. Called when a store is opened so."""
        self._pending.log_loss = True

    @property
    def state_counter(self) -> int:
        """The store's state counter once this change is applied."""
        return self._state.state_counter + self._pending.counts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._pending.apply_to(self._state)
        self._done(kind is None)

    def _key(self, uuid: str) -> KeyRecord | None:
        return self._pending.keys[uuid] if uuid in self._pending.keys else self._state.keys_by_uuid.get(uuid)

    def _sealed(self, record: KeyRecord, private_key: bytes | None) -> KeyRecord:
        """A record as this change stores it, with its private key sealed anew."""
        stored = replace(record, changed_at=self._state.state_counter + 1, private_key=b"")
        if private_key is not None:
            # Sealed anew at every change: the private key is bound to all public fields, policy and state included.
            stored = replace(
                stored, private_key=self._state.sealing.seal(Domain.KEYS, private_key, associated_key_data(stored))
            )
        return stored

    def _remember(self, record: KeyRecord) -> None:
        """What a label keeps of its bearers."""
        label = self._pending.labels.get(record.label) or self._state.labels.get(record.label)
        if label is None or label.generations < record.generation or (record.policy and not label.ever_protected):
            protected = bool(record.policy) or (label is not None and label.ever_protected)
            label = self._pending.labels[record.label] = LabelRecord(record.label, record.generation, protected)
            self._pending.rows["labels", record.label.encode()] = encode_record(label)

    def _private_of(self, record: KeyRecord) -> bytes | None:
        if not record.private_key:
            return None
        return self._state.sealing.open(Domain.KEYS, record.private_key, associated_key_data(record))

    def _drop_lines(self, uuid: str) -> None:
        for lines in self._state.ledger.get(uuid, {}).values():
            for line in lines.values():
                self.drop_ledger(line)
        for place in self._state.segments.get(uuid, ()):
            self._put_segment(SegmentRecord(uuid, place, b""))

    def _put_segment(self, segment: SegmentRecord) -> None:
        self._pending.rows["consumed", segment.row] = segment.entries or None
        self._pending.segments[segment.uuid, segment.place] = segment.entries

    def _admit(self, record: KeyRecord) -> None:
        state = self._state
        bearer = state.keys.get(record.label)
        taken = bearer is not None and self._key(bearer.uuid) is not None
        if taken or any(one is not None and one.label == record.label for one in self._pending.keys.values()):
            raise KeyturnError(
                ErrorCode.KEY_ALREADY_EXISTING, f"There is a key with the label {record.label!r}. Choose another label."
            )
        label = self._pending.labels.get(record.label) or state.labels.get(record.label)
        if record.generation != (label.generations if label is not None else 0) + 1:
            raise store_error(
                "wrong-generation", f"Generation {record.generation} is not the next one of the label {record.label!r}."
            )
