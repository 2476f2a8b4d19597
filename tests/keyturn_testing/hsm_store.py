"""A store to play with: cheap passphrases, records in one line, and fingers in the file behind its back."""

from __future__ import annotations

import contextlib
import sqlite3
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import NAMESPACE_DNS, uuid5

from keyturn.clock import Clock, ManualClock
from keyturn.hsm.records import KeyRecord
from keyturn.hsm.sealing import KdfParameters
from keyturn.hsm.store import DATABASE_FILE, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSPHRASE = b"correct horse battery staple"
CHEAP_KDF = KdfParameters(memory_kib=8 * 1024, iterations=1, lanes=1)
PRIVATE_KEY = b"-- a private key --"


def create_store(directory: Path, clock: Clock | None = None) -> Store:
    """A new store whose passphrase is cheap to check."""
    return Store.create(directory, PASSPHRASE, clock=clock or ManualClock(), kdf=CHEAP_KDF)


def open_store(directory: Path, clock: Clock | None = None) -> Store:
    """The store again, as after a restart."""
    return Store.open(directory, PASSPHRASE, clock=clock or ManualClock())


def new_key(label: str = "treasury", *, generation: int = 1, policy: bytes = b"") -> KeyRecord:
    """A key record; its uuid follows from label and generation."""
    return KeyRecord(
        uuid=str(uuid5(NAMESPACE_DNS, f"{label}/{generation}")),
        label=label,
        generation=generation,
        algorithm="EC",
        curve_oid="1.2.840.10045.3.1.7",
        key_size=0,
        creation="generated",
        created=1_700_000_000,
        attributes={"sign": True, "destroyable": True, "extractable": False},
        policy=policy,
        blocked=False,
        key_id=None,
        public_key=b"-- its public key --",
    )


def add_key(store: Store, label: str = "treasury", *, policy: bytes = b"") -> KeyRecord:
    """Put a key into the store, durably."""
    with store.change() as change:
        record = change.put_key(new_key(label, generation=store.next_generation(label), policy=policy), PRIVATE_KEY)
    store.commit_now()
    return record


def operation_id(number: int) -> bytes:
    """Sixteen bytes for operation `number`."""
    return sha256(b"operation %d" % number).digest()[:16]


def input_digest(number: int) -> bytes:
    """Digest of the input of operation `number`."""
    return sha256(b"input %d" % number).digest()


@contextlib.contextmanager
def behind_its_back(directory: Path) -> Iterator[sqlite3.Connection]:
    """The file `hsm.db`, open to anybody who can write it."""
    with contextlib.closing(sqlite3.connect(directory / DATABASE_FILE)) as connection:
        yield connection
        connection.commit()
