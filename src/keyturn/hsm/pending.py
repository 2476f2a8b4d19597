"""What a change-set has put together, and how it becomes the state of the store.

Source: docs/adr/0020, 0079, 0086.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from keyturn.hsm.segments import ENTRY

if TYPE_CHECKING:
    from keyturn.hsm.records import (
        KeyRecord,
        LabelRecord,
        LedgerRecord,
        ObjectRecord,
        OperationRecord,
        SystemKeyRecord,
    )
    from keyturn.hsm.state import StoreState

MAX_OPERATIONS: Final = 100_000
"""Results kept for repeated calls; the oldest go first. A caller repeats a call after a broken line or a crash, so
minutes would do: at the targeted 150 approved flows per second this is eleven minutes, at a person's pace years. About
70 MB of memory when full. Results of single-use keys are counted apart, up to the same number: only other approved uses
push them out (docs/adr/0079)."""


@dataclass(slots=True)
class Pending:
    """What a change-set has put together so far; None stands for what is taken out.

    Attributes:
        rows: What the next commit writes: table and id to content.
        keys: By UUID.
        deleted: Deleted keys that lie sealed, by UUID.
        labels: By label.
        operations: By id.
        ledger: Lines by row, with whether they stay.
        segments: UUID and segment to consumed statements; empty for none.
        system_keys: By name.
        objects: By kind and name.
        uses: UUID to how many more.
        clock_mark: The mark, if it changes.
        restored_above: What the new restore epoch is above, if there is a new one.
        log_loss: Whether a loss of the decision log is accepted.
        witnessed: Restore epoch and counter of evidence that the store is an older one, if that changes.
        accepted_rollbacks: How many more.
    """

    rows: dict[tuple[str, bytes], bytes | None] = field(default_factory=dict)
    keys: dict[str, KeyRecord | None] = field(default_factory=dict)
    deleted: dict[str, KeyRecord | None] = field(default_factory=dict)
    labels: dict[str, LabelRecord] = field(default_factory=dict)
    operations: dict[bytes, OperationRecord] = field(default_factory=dict)
    ledger: dict[bytes, tuple[LedgerRecord, bool]] = field(default_factory=dict)
    segments: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    system_keys: dict[str, SystemKeyRecord] = field(default_factory=dict)
    objects: dict[tuple[str, str], ObjectRecord | None] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    clock_mark: float | None = None
    restored_above: int | None = None
    log_loss: bool = False
    witnessed: tuple[int, int] | None = None
    accepted_rollbacks: int = 0

    @property
    def counts(self) -> bool:
        """Whether the store's state counter grows with it."""
        return any((self.keys, self.deleted, self.ledger, self.segments, self.system_keys, self.objects))

    def apply_to(self, state: StoreState) -> None:
        """Make all of it visible; nothing can fail from here on."""
        state.rows.update(self.rows)
        state.state_counter += self.counts
        self._apply_keys(state)
        state.labels.update(self.labels)
        state.system_keys.update(self.system_keys)
        for place, one_object in self.objects.items():
            if one_object is None:
                state.objects.pop(place, None)
            else:
                state.objects[place] = one_object
        self._apply_operations(state)
        self._apply_ledger(state)
        for uuid, times in self.uses.items():
            if uuid in state.keys_by_uuid:
                state.uses[uuid] = state.uses.get(uuid, 0) + times
                state.used.add(uuid)
        if self.clock_mark is not None:
            state.clock_mark = self.clock_mark
        if self.restored_above is not None:
            state.restore_epoch = max(state.restore_epoch, self.restored_above) + 1
        state.log_losses += self.log_loss
        if self.witnessed is not None:
            state.witnessed = self.witnessed
        state.accepted_rollbacks += self.accepted_rollbacks

    def _apply_keys(self, state: StoreState) -> None:
        # Removals first: a label may pass to a new key within one change.
        for uuid, record in sorted(self.keys.items(), key=lambda item: item[1] is not None):
            if record is None:
                gone = state.keys_by_uuid.pop(uuid, None)
                if gone is not None:
                    del state.keys[gone.label]
                if not self.deleted.get(uuid) and state.uses.pop(uuid, None) is not None:
                    state.used.add(uuid)
            else:
                state.keys[record.label] = state.keys_by_uuid[uuid] = record
        for uuid, record in self.deleted.items():
            if record is not None:
                state.deleted[uuid] = record
            else:
                state.deleted.pop(uuid, None)
                if uuid not in self.keys and state.uses.pop(uuid, None) is not None:
                    state.used.add(uuid)

    def _apply_ledger(self, state: StoreState) -> None:
        ledger = state.ledger
        for line, stays in self.ledger.values():
            if stays:
                ledger.setdefault(line.uuid, {}).setdefault(line.kind, {})[line.place] = line
            else:
                ledger.get(line.uuid, {}).get(line.kind, {}).pop(line.place, None)
        for (uuid, place), packed in self.segments.items():
            segments = state.segments.setdefault(uuid, {})
            growth = (len(packed) - len(segments.get(place, b""))) // ENTRY
            state.consumed[uuid] = state.consumed.get(uuid, 0) + growth
            if packed:
                segments[place] = packed
            else:
                segments.pop(place, None)
        gone = {uuid for uuid, record in (*self.keys.items(), *self.deleted.items()) if record is None}
        for uuid in gone:
            # Moved between those that are there and those that lie sealed: it keeps its lines.
            if not self.keys.get(uuid) and not self.deleted.get(uuid):
                ledger.pop(uuid, None)
                state.segments.pop(uuid, None)
                state.consumed.pop(uuid, None)

    def _apply_operations(self, state: StoreState) -> None:
        for identity, record in self.operations.items():
            (state.single_uses if record.use_digest else state.operations)[identity] = record
            state.operation_sequence = record.sequence
        for kept in (state.operations, state.single_uses):
            while len(kept) > MAX_OPERATIONS:
                oldest = next(iter(kept))
                del kept[oldest]
                state.rows["operations", oldest] = None
