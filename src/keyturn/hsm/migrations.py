"""From one store version to the next.

A migration is a function from version n to n + 1. It gets the open container, inside a transaction, and the sealing
keys; it checks what it reads against the sealed root record of version n, writes the tables of version n + 1 and seals
their root record. All steps and the new version number commit together. Before the first step the file is copied beside
itself (`hsm.db.version-<n>`, sealed as it was), so that going back is a rename.

A step reads and writes the keys and lines of its own two versions. They stand here as they were then, since those of
`keyturn.hsm.records` go on changing, and a step must write what the next one reads. Only the root record is today's:
each version reads those before it.

Version 1 is the first. Version 2 has a ledger (docs/adr/0052), version 3 limits of operations and algorithms in every
key record (docs/adr/0076), and room for what single-use keys have consumed, of which older versions have nothing
(docs/adr/0078). Version 4 appends to key records what the whole API knows of a key: password, certificate, when it was
deleted and restored (docs/adr/0100, 0101). Version 5 keeps what single-use keys have consumed in a table of its own and
in fewer segments (docs/adr/0086), and has objects, which are no keys (docs/adr/0107).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from msgspec.structs import astuple, replace

from keyturn.hsm.container import Container
from keyturn.hsm.merkle import AuthenticatedMap
from keyturn.hsm.records import (
    Record,
    SegmentRecord,
    decode_record,
    encode_canonical,
    encode_record,
    store_error,
)
from keyturn.hsm.sealing import Domain, SealingKeys
from keyturn.hsm.segments import ENTRY, segment_of
from keyturn.hsm.state import open_root, read_table, seal_root

STORE_VERSION: Final = 5
"""Version that this program writes."""

Migration = Callable[[Container, SealingKeys], None]


class _KeyOfVersion2(Record, frozen=True):
    """A key record as versions 1 and 2 had it: the order of its fields is what private keys were bound to."""

    uuid: str
    label: str
    generation: int
    algorithm: str
    curve_oid: str
    key_size: int
    creation: str
    created: int
    attributes: dict[str, bool]
    policy: bytes
    blocked: bool
    key_id: str | None
    public_key: bytes
    changed_at: int = 0
    private_key: bytes = b""


class _KeyOfVersion3(_KeyOfVersion2, frozen=True):
    """A key record as version 3 had it."""

    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()


class _KeyOfVersion4(_KeyOfVersion3, frozen=True):
    """A key record as versions 4 and 5 have it."""

    password: bytes = b""
    certificate: bytes = b""
    deleted: int = 0
    restored: int = 0
    master: str = ""
    path: str = ""
    address_format: str = ""


class _LineOfVersion2(Record, frozen=True):
    """A line of the ledger as versions 2 to 5 have it."""

    uuid: str
    kind: str
    statement: bytes
    signer: bytes
    time: int
    stamp: int | None = None
    operation: bytes = b""


def _add_ledger(container: Container, sealing: SealingKeys) -> None:
    """Version 1 to 2: add the ledger.

    Version 1 did not note when a key was modified. Whatever was stamped so far may have served, so the ledger says that
    every key with a policy was modified at the newest time used: a timestamp for a modify counts if it is later (R15).
    """
    root = open_root(sealing, container.read_root(), 1)
    keys = read_table(container, "keys", AuthenticatedMap("keys"), root.maps.get("keys", b""))
    now = int(root.clock_mark)
    lines = [
        _LineOfVersion2(key.uuid, "modified", b"", b"", max(now, key.created))
        for key in (decode_record(_KeyOfVersion2, content) for content in keys.values())
        if key.policy
    ]
    ledger = AuthenticatedMap("ledger")
    container.add_table("ledger")
    for line in lines:
        row, content = f"{line.uuid}/{line.kind}/".encode(), encode_record(line)
        container.insert("ledger", row, content)
        ledger.set(row, content)
    container.replace_root(seal_root(sealing, replace(root, maps={**root.maps, "ledger": ledger.root()}), 2))


_KeyT = TypeVar("_KeyT", bound=_KeyOfVersion2)


def _widen_keys(
    container: Container,
    sealing: SealingKeys,
    version: int,
    kind: type[_KeyT],
    widened: Callable[[_KeyT], _KeyOfVersion2],
) -> None:
    """Append fields to every key record.

    Private keys are bound to all public fields of their record, so each is sealed anew.

    Args:
        container: The open file.
        sealing: Its keys.
        version: Version it has.
        kind: Key records of that version.
        widened: Makes a record of the next version of one without its private key.
    """
    root = open_root(sealing, container.read_root(), version)
    keys = AuthenticatedMap("keys")
    for identity, content in read_table(
        container, "keys", AuthenticatedMap("keys"), root.maps.get("keys", b"")
    ).items():
        old = decode_record(kind, content)
        bare = replace(old, private_key=b"")
        new = widened(bare)
        if old.private_key:
            private_key = sealing.open(Domain.KEYS, old.private_key, _bound_to(bare))
            new = replace(new, private_key=sealing.seal(Domain.KEYS, private_key, _bound_to(new)))
        row = encode_record(new)
        container.insert("keys", identity, row)
        keys.set(identity, row)
    container.replace_root(seal_root(sealing, replace(root, maps={**root.maps, "keys": keys.root()}), version + 1))


def _bound_to(bare: Record) -> bytes:
    return b"keyturn/key/1\x00" + encode_canonical(bare)


def _add_limits(container: Container, sealing: SealingKeys) -> None:
    """Version 2 to 3: key records say what a key may at most be used for; those there are, have no limit (R9)."""
    _widen_keys(container, sealing, 2, _KeyOfVersion2, lambda old: _KeyOfVersion3(*astuple(old)))


def _add_whole_api(container: Container, sealing: SealingKeys) -> None:
    """Version 3 to 4: key records have room for what the whole API knows; those there are, have nothing of it."""
    _widen_keys(container, sealing, 3, _KeyOfVersion3, lambda old: _KeyOfVersion4(*astuple(old)))


def _regroup_consumed(container: Container, sealing: SealingKeys) -> None:
    """Version 4 to 5: move consumed statements out of the ledger, into fewer segments.

    So far there were segments by the first 17 bits of a statement, in rows `uuid/use/` and three bytes of the ledger. A
    statement that is looked for in another segment than the one it stands in would serve again (R14), so each entry
    goes where its own statement belongs, whatever its row said.
    """
    root = open_root(sealing, container.read_root(), 4)
    ledger, consumed = AuthenticatedMap("ledger"), AuthenticatedMap("consumed")
    segments: dict[tuple[str, bytes], list[bytes]] = {}
    for identity, content in read_table(
        container, "ledger", AuthenticatedMap("ledger"), root.maps.get("ledger", b"")
    ).items():
        uuid, kind, _ = identity.split(b"/", 2)
        if kind != b"use":
            ledger.set(identity, content)
            continue
        for offset in range(0, len(content), ENTRY):
            entry = content[offset : offset + ENTRY]
            segments.setdefault((uuid.decode(), segment_of(entry)), []).append(entry)
        container.delete("ledger", identity)
    container.add_table("consumed")
    container.add_table("objects")
    for (key, place), found in sorted(segments.items()):
        segment = SegmentRecord(key, place, b"".join(sorted(found)))
        container.insert("consumed", segment.row, segment.entries)
        consumed.set(segment.row, segment.entries)
    objects = AuthenticatedMap("objects").root()
    maps = {**root.maps, "ledger": ledger.root(), "consumed": consumed.root(), "objects": objects}
    container.replace_root(seal_root(sealing, replace(root, maps=maps), 5))


MIGRATIONS: Final[Mapping[int, Migration]] = {
    1: _add_ledger,
    2: _add_limits,
    3: _add_whole_api,
    4: _regroup_consumed,
}
"""Version n to the function that leads to n + 1."""


def migrate(
    container: Container,
    sealing: SealingKeys,
    version: int,
    *,
    target: int = STORE_VERSION,
    migrations: Mapping[int, Migration] = MIGRATIONS,
) -> None:
    """Bring a store to this program's version.

    Args:
        container: The open file.
        sealing: Its keys.
        version: Version it has.
        target: Version it shall have.
        migrations: The steps.

    Raises:
        KeyturnError: `store.version-too-new`, `store.version-unknown`; or what a step found wrong. The store is as it
        was then.
    """
    if version == target:
        return
    if version > target:
        raise store_error(
            "version-too-new",
            f"The store has version {version}, this program writes {target}. Use the newer program that wrote it.",
        )
    steps = range(version, target)
    if any(step not in migrations for step in steps):
        raise store_error(
            "version-unknown",
            f"No way leads from store version {version} to {target}. Restore the store from a backup.",
        )
    copy = container.path.with_name(f"{container.path.name}.version-{version}")
    copy.unlink(missing_ok=True)  # Of an attempt that failed; the original is still what it was.
    container.copy_to(copy)
    with container.transaction():
        for step in steps:
            migrations[step](container, sealing)
        container.set_version(target)
