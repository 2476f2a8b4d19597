"""What an open store holds in memory, and how it is read and checked against its root record (rule R6)."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from keyturn.hsm.audit import LogHead
from keyturn.hsm.container import TABLES, Container
from keyturn.hsm.merkle import AuthenticatedMap
from keyturn.hsm.records import (
    KeyRecord,
    LabelRecord,
    LedgerRecord,
    ObjectRecord,
    OperationRecord,
    RootRecord,
    SystemKeyRecord,
    decode_record,
    encode_record,
    store_error,
)
from keyturn.hsm.sealing import Domain, SealingKeys
from keyturn.hsm.segments import ENTRY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.errors import KeyturnError

USES_SIZE: Final = 8

Row = tuple[bytes, bytes]
"""Id and content."""


@dataclass(slots=True)
class StoreState:
    """Everything of a store but its files. Belongs to one thread.

    Attributes:
        sealing: Keys under which secrets rest.
        header: Encoded header.
        instance_id: UUID text.
        restore_epoch: How often the store was restored.
        commit: Number of the last commit begun.
        state_counter: Number of change-sets that altered keys, the ledger, objects or the HSM's own keys.
        clock_mark: Highest time used, seconds since the epoch.
        operation_sequence: Sequence of the newest operation.
        log_losses: How often a lost decision log was accepted.
        witnessed: Restore epoch and counter of the newest evidence that this store is an older one; zeros without.
        accepted_rollbacks: How often an administrator accepted such a store.
        keys: By label.
        keys_by_uuid: By UUID.
        deleted: Deleted keys that lie sealed, by UUID (R28).
        labels: By label.
        operations: By id, oldest first; but for
        single_uses: those that consumed a statement of a single-use key, by id, oldest first.
        uses: UUID to number of uses.
        system_keys: By name.
        ledger: UUID and kind to lines, by `LedgerRecord.place`.
        segments: UUID and segment to consumed statements, packed (`keyturn.hsm.segments`).
        consumed: UUID to the number of statements in its segments.
        objects: By kind and name.
        rows: What the next commit writes.
        used: UUIDs whose number of uses the next commit writes.
        maps: Table to map over its rows, as of the last commit begun.
    """

    sealing: SealingKeys
    header: bytes
    instance_id: str
    restore_epoch: int = 0
    commit: int = 0
    state_counter: int = 0
    clock_mark: float = 0.0
    operation_sequence: int = 0
    log_losses: int = 0
    witnessed: tuple[int, int] = (0, 0)
    accepted_rollbacks: int = 0
    keys: dict[str, KeyRecord] = field(default_factory=dict)
    keys_by_uuid: dict[str, KeyRecord] = field(default_factory=dict)
    deleted: dict[str, KeyRecord] = field(default_factory=dict)
    labels: dict[str, LabelRecord] = field(default_factory=dict)
    operations: dict[bytes, OperationRecord] = field(default_factory=dict)
    single_uses: dict[bytes, OperationRecord] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    system_keys: dict[str, SystemKeyRecord] = field(default_factory=dict)
    ledger: dict[str, dict[str, dict[bytes, LedgerRecord]]] = field(default_factory=dict)
    segments: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    consumed: dict[str, int] = field(default_factory=dict)
    objects: dict[tuple[str, str], ObjectRecord] = field(default_factory=dict)
    rows: dict[tuple[str, bytes], bytes | None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    maps: dict[str, AuthenticatedMap] = field(default_factory=lambda: {name: AuthenticatedMap(name) for name in TABLES})

    def take_rows(self) -> dict[tuple[str, bytes], bytes | None]:
        """Hand out what the next commit writes, and bring the maps up to it.

        Returns:
            Table and id to content, None to delete.
        """
        for uuid in self.used:
            count = self.uses.get(uuid)
            self.rows["uses", uuid.encode()] = None if count is None else count.to_bytes(USES_SIZE, "big")
        self.used.clear()
        rows, self.rows = self.rows, {}
        for (table, identity), content in rows.items():
            if content is not None:
                self.maps[table].set(identity, content)
            else:
                with suppress(KeyError):  # It came and went between two commits.
                    self.maps[table].remove(identity)
        return rows

    def root_record(self, log: LogHead) -> RootRecord:
        """The record that vouches for this state.

        Args:
            log: Head of the decision log that the commit covers.

        Returns:
            The record, to be sealed.
        """
        return RootRecord(
            instance_id=self.instance_id,
            restore_epoch=self.restore_epoch,
            commit=self.commit,
            state_counter=self.state_counter,
            clock_mark=self.clock_mark,
            operation_sequence=self.operation_sequence,
            header=sha256(self.header).digest(),
            maps={name: one.root() for name, one in self.maps.items()},
            log_sequence=log.sequence,
            log_hash=log.hash,
            log_offset=log.offset,
            log_losses=self.log_losses,
            witnessed_epoch=self.witnessed[0],
            witnessed_counter=self.witnessed[1],
            accepted_rollbacks=self.accepted_rollbacks,
        )


def seal_root(sealing: SealingKeys, root: RootRecord, version: int) -> bytes:
    """Seal a root record.

    Args:
        sealing: The store's keys.
        root: The record.
        version: Store version it belongs to; a root of one version does not open as one of another.

    Returns:
        Sealed bytes.
    """
    return sealing.seal(Domain.ROOT, encode_record(root), _root_tag(version))


def open_root(sealing: SealingKeys, sealed: bytes, version: int) -> RootRecord:
    """Open a sealed root record.

    Args:
        sealing: The store's keys.
        sealed: What `seal_root` returned.
        version: Store version.

    Returns:
        The record.

    Raises:
        KeyturnError: `store.seal-broken`, `store.record-damaged`.
    """
    return decode_record(RootRecord, sealing.open(Domain.ROOT, sealed, _root_tag(version)))


def read_rows(container: Container) -> dict[str, list[Row]]:
    """All rows of all tables, unchecked, for `load_state`."""
    return {name: container.read_rows(name) for name in TABLES}


def load_state(
    container: Container, sealing: SealingKeys, version: int, rows: Mapping[str, list[Row]]
) -> tuple[StoreState, LogHead]:
    """Make a store's state of its rows, having compared everything with its root record.

    Args:
        container: The open file.
        sealing: Its keys.
        version: Its store version.
        rows: What `read_rows` returned.

    Returns:
        The state, and the head of the decision log that its last commit covers.

    Raises:
        KeyturnError: `store.…-mismatch` with the table that does not fit, `store.record-damaged`, `store.seal-broken`,
            `store.damaged`. One row that is older, newer, missing, doubled, or another store's, is enough. A whole
            store that is older fits, for nothing in it is newer: only somebody outside who remembers a higher state
            counter can tell.
    """
    root = open_root(sealing, container.read_root(), version)
    _, header = container.read_header()
    if sha256(header).digest() != root.header:
        raise _mismatch("header")
    if set(root.maps) != set(TABLES):
        raise store_error(
            "record-damaged", "The root record names other tables than this store has. Restore it from a backup."
        )
    state = StoreState(
        sealing=sealing,
        header=header,
        instance_id=root.instance_id,
        restore_epoch=root.restore_epoch,
        commit=root.commit,
        state_counter=root.state_counter,
        clock_mark=root.clock_mark,
        operation_sequence=root.operation_sequence,
        log_losses=root.log_losses,
        witnessed=(root.witnessed_epoch, root.witnessed_counter),
        accepted_rollbacks=root.accepted_rollbacks,
    )
    _load_tables(state, rows, root)
    return state, LogHead(root.log_sequence, root.log_hash, root.log_offset)


def _load_tables(state: StoreState, rows: Mapping[str, list[Row]], root: RootRecord) -> None:
    # Compared first, parsed afterwards: what is parsed is what this store wrote.
    tables = {name: _checked(rows[name], name, state.maps[name], root.maps[name]) for name in TABLES}
    for content in tables["keys"].values():
        key = decode_record(KeyRecord, content)
        if key.deleted:
            state.deleted[key.uuid] = key
        else:
            state.keys[key.label] = state.keys_by_uuid[key.uuid] = key
    for content in tables["labels"].values():
        label = decode_record(LabelRecord, content)
        state.labels[label.label] = label
    operations = [decode_record(OperationRecord, content) for content in tables["operations"].values()]
    for one in sorted(operations, key=attrgetter("sequence")):
        (state.single_uses if one.use_digest else state.operations)[one.id] = one
    state.uses = {identity.decode(): int.from_bytes(count, "big") for identity, count in tables["uses"].items()}
    for content in tables["system_keys"].values():
        system_key = decode_record(SystemKeyRecord, content)
        state.system_keys[system_key.name] = system_key
    for content in tables["objects"].values():
        one_object = decode_record(ObjectRecord, content)
        state.objects[one_object.kind, one_object.name] = one_object
    for content in tables["ledger"].values():
        line = decode_record(LedgerRecord, content)
        state.ledger.setdefault(line.uuid, {}).setdefault(line.kind, {})[line.place] = line
    segments: defaultdict[bytes, dict[bytes, bytes]] = defaultdict(dict)
    for identity, content in tables["consumed"].items():
        uuid, _, place = identity.partition(b"/")
        segments[uuid][place] = content
    state.segments = {uuid.decode(): places for uuid, places in segments.items()}
    state.consumed = {uuid: sum(map(len, places.values())) // ENTRY for uuid, places in state.segments.items()}


def read_table(container: Container, table: str, map_: AuthenticatedMap, root: bytes) -> dict[bytes, bytes]:
    """Read a table and compare it with its root.

    Args:
        container: The open file.
        table: Its name.
        map_: An empty map, to be filled.
        root: What its root must be.

    Returns:
        Row id to content.

    Raises:
        KeyturnError: `store.…-mismatch`.
    """
    return _checked(container.read_rows(table), table, map_, root)


def _checked(found: list[Row], table: str, map_: AuthenticatedMap, root: bytes) -> dict[bytes, bytes]:
    rows = dict(found)
    if len(rows) != len(found):
        raise _mismatch(table)
    map_.load(rows.items())
    if map_.root() != root:
        raise _mismatch(table)
    return rows


def _mismatch(what: str) -> KeyturnError:
    return store_error(
        f"{what.replace('_', '-')}-mismatch",
        f"The store's {what.replace('_', ' ')} are not those of its last commit: something was changed, removed, added "
        "or put back from an older state. Find out who had access, then restore the store from a backup.",
    )


def _root_tag(version: int) -> bytes:
    return b"keyturn/root/%d\x00" % version
