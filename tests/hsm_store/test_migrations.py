"""Stores of every version open, and the way from one version to the next is all or nothing."""

from __future__ import annotations

import shutil
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec.structs import replace

from keyturn.clock import ManualClock
from keyturn.errors import KeyturnError
from keyturn.hsm import loading, migrations, state
from keyturn.hsm import store as store_module
from keyturn.hsm.audit import verify
from keyturn.hsm.container import Container
from keyturn.hsm.ledger import LedgerKind, Withdrawn, consumed, last
from keyturn.hsm.sealing import open_header
from keyturn.hsm.segments import entries, segment_of
from keyturn.hsm.state import open_root, seal_root
from keyturn.hsm.store import Store
from keyturn.hsm.system_keys import SystemKeys
from keyturn_testing.hsm_store import (
    PRIVATE_KEY,
    add_key,
    behind_its_back,
    create_store,
    input_digest,
    open_store,
    operation_id,
)

if TYPE_CHECKING:
    from keyturn.hsm.sealing import SealingKeys
    from keyturn.hsm.segments import ConsumedStatement

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_PASSPHRASE = b"golden, for tests only"
NEAR = ("123400", "12347f", "123480", "1234ff", "123500", "123580", "123600", "123380")
"""How statements begin that differ around the borders of segments; zeros follow."""


def check_golden(store: Store, *, state_counter: int = 3) -> None:
    key = store.key("treasury")
    assert key is not None
    assert key.policy == b"a policy"
    assert store.open_private_key(key) == PRIVATE_KEY
    assert store.uses(key.uuid) == 7
    assert store.key("gone") is None
    assert store.next_generation("gone") == 2
    operation = store.operation(operation_id(1))
    assert operation is not None
    assert operation.input_digest == input_digest(1)
    assert store.operation_result(operation) == b"result"
    assert store.instance_id == "ff121191-3d9e-44c7-bb9d-5e692291223e"
    assert store.clock_mark == 1_700_000_042
    assert store.state_counter == state_counter
    keys = SystemKeys.open(store, now=1_700_000_100)
    # Those that its version did not have are made at opening.
    assert keys.names >= {"attestation-key", "timestamp-key", "receipt-key", "rfc-timestamp-key"}
    assert store.instance_id in keys.attestation.certificate.decode("latin-1")


def test_a_store_of_version_1_opens(directory: Path) -> None:
    shutil.copytree(GOLDEN / "v1", directory)
    directory.chmod(0o700)
    head = verify(directory / "decisions.log")
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    check_golden(store)
    assert store.restore_epoch == 0
    assert store.log.head == head
    add_key(store, "new")
    store.close()


@pytest.mark.rule("R15")
def test_whatever_was_stamped_for_a_store_of_version_1_may_have_served(directory: Path) -> None:
    shutil.copytree(GOLDEN / "v1", directory)
    directory.chmod(0o700)
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    key = store.key("treasury")
    assert key is not None
    assert last(store, key.uuid, LedgerKind.MODIFIED) == store.clock_mark
    assert last(store, key.uuid, LedgerKind.BLOCKED) == 0
    store.close()


def test_a_store_of_version_2_opens(directory: Path) -> None:
    shutil.copytree(GOLDEN / "v2", directory)
    directory.chmod(0o700)
    head = verify(directory / "decisions.log")
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    check_golden(store, state_counter=4)
    assert store.log.head == head
    assert not (directory / "hsm.db.version-1").exists()
    key = store.key("treasury")
    assert key is not None
    assert last(store, key.uuid, LedgerKind.BLOCKED) == 1_700_000_050
    assert list(store.ledger(key.uuid, LedgerKind.SPENT_MODIFY)) == [input_digest(7)]
    assert (input_digest(8), input_digest(7)) in Withdrawn(store.ledger(key.uuid, LedgerKind.WITHDRAWN))
    store.close()


@pytest.mark.rule("R9")
def test_keys_of_version_2_have_no_limits_and_their_private_keys_are_sealed_anew(directory: Path) -> None:
    shutil.copytree(GOLDEN / "v2", directory)
    directory.chmod(0o700)
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    key = store.key("treasury")
    assert key is not None
    assert (key.allowed_operations, key.allowed_algorithms, key.bound) == ((), (), False)
    assert store.open_private_key(key) == PRIVATE_KEY
    with pytest.raises(KeyturnError) as refused:
        store.open_private_key(replace(key, allowed_algorithms=("NONE_WITH_ECDSA",)))
    assert refused.value.refusal == "store.seal-broken"
    store.close()


@pytest.mark.rule("R9")
def test_a_store_of_version_3_opens(directory: Path) -> None:
    shutil.copytree(GOLDEN / "v3", directory)
    directory.chmod(0o700)
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    check_golden(store, state_counter=5)
    key = store.key("limited")
    assert key is not None
    assert (key.allowed_operations, key.allowed_algorithms, key.bound) == (("sign",), ("SHA256_WITH_ECDSA",), True)
    assert store.open_private_key(key) == PRIVATE_KEY
    for stolen in (
        replace(key, allowed_operations=()),
        replace(key, allowed_algorithms=()),
        replace(key, attributes={**key.attributes, "boundApprovals": False}),
    ):
        # What is fixed at creation stays so: neither from outside the program nor from within it.
        with pytest.raises(KeyturnError) as refused:
            store.open_private_key(stolen)
        assert refused.value.refusal == "store.seal-broken"
        with pytest.raises(KeyturnError) as refused, store.change() as change:
            change.put_key(stolen)
        assert refused.value.refusal == "store.identity-changed"
    store.close()


def check_consumed(store: Store) -> None:
    """What `v3-consumed` holds."""
    once, twice = store.key("once"), store.key("twice")
    assert once is not None
    assert twice is not None
    assert store.open_private_key(once) == PRIVATE_KEY
    known = consumed(store, once.uuid)
    served = {sha256(b"statement %d" % number).digest(): number for number in range(40)}
    near = {bytes.fromhex(start) + bytes(29): 100 + place for place, start in enumerate(NEAR)}
    for statement, number in (served | near).items():
        entry = known.find(statement)
        assert entry is not None
        assert (entry.operation, entry.time) == (operation_id(number), 1_700_000_000 + number)
        assert entry.stamp == (entry.time if number % 3 and number < 100 else None)
        assert known.find(statement[:-1] + bytes([statement[-1] ^ 1])) is None
    assert sorted(known) == sorted(served | near)
    assert len(known) == 48
    assert all(
        segment_of(one.statement) == place
        for place, packed in store.segments(once.uuid).items()
        for one in entries(packed)
    )
    assert list(consumed(store, twice.uuid)) == [bytes.fromhex(NEAR[2]) + bytes(29)]
    strange = b"/use/" + bytes(27)
    assert list(Withdrawn(store.ledger(once.uuid, LedgerKind.WITHDRAWN))) == [(strange, strange)]
    assert last(store, once.uuid, LedgerKind.FORGOTTEN) == 1_600_000_000
    assert store.ledger_size == 48 + 1 + 2


@pytest.mark.rule("R14")
def test_what_was_consumed_in_version_3_is_found_in_its_new_segment(directory: Path) -> None:
    shutil.copytree(GOLDEN / "v3-consumed", directory)
    directory.chmod(0o700)
    with behind_its_back(directory) as disk:
        assert (
            disk.execute("SELECT count(*) FROM ledger WHERE instr(id, CAST('/use/' AS BLOB)) = 37").fetchone()[0] > 40
        )
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    check_consumed(store)
    once = store.key("once")
    assert once is not None
    # Six of the eight near ones had four segments; now they have one.
    assert len(entries_of(store, once.uuid, "1234")) == 6
    store.close()
    with behind_its_back(directory) as disk:
        assert disk.execute("SELECT count(*) FROM ledger").fetchone() == (2,)
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    check_consumed(store)
    with store.change() as change:
        change.remove_key(once.uuid)
    store.close()
    with behind_its_back(directory) as disk:
        assert disk.execute("SELECT count(*) FROM consumed").fetchone() == (1,)
        assert disk.execute("SELECT count(*) FROM ledger").fetchone() == (0,)


def entries_of(store: Store, uuid: str, place: str) -> list[ConsumedStatement]:
    return list(entries(store.segments(uuid)[bytes.fromhex(place)]))


@pytest.mark.rule("R28")
def test_a_store_of_version_5_opens(directory: Path) -> None:
    shutil.copytree(GOLDEN / "v5", directory)
    directory.chmod(0o700)
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    assert not list(directory.glob("hsm.db.version-*"))
    check_consumed(store)
    (gone,) = store.deleted_keys().values()
    assert (gone.label, gone.deleted, store.key("deleted")) == ("deleted", 1_700_000_060, None)
    key, child, once = store.key("everything"), store.key("once/44'/0'"), store.key("once")
    assert key is not None
    assert child is not None
    assert once is not None
    assert (key.password, key.certificate, key.restored) == (b"a verifier", b"a certificate", 1_700_000_070)
    assert (key.address_format, key.master, key.path) == ("ETH", "", "")
    assert store.open_private_key(key) == PRIVATE_KEY
    assert (child.master, child.path, child.creation) == (once.uuid, "44'/0'", "derived")
    note = store.object("data", "note")
    assert note is not None
    assert (note.created, note.changed) == (1_700_000_001, 1_700_000_002)
    assert note.attributes == {"private": True, "modifiable": False}
    assert store.object_value(note) == b"a value"
    store.close()


def test_a_backup_of_version_1_is_restored(directory: Path) -> None:
    Store.restore(GOLDEN / "v1" / "store.ktbackup", directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    check_golden(store)
    assert store.restore_epoch == 1
    store.close()


def test_version_too_new(directory: Path) -> None:
    create_store(directory).close()
    with behind_its_back(directory) as disk:
        disk.execute("UPDATE header SET version = version + 1")
    with pytest.raises(KeyturnError, match="newer program") as refused:
        open_store(directory)
    assert refused.value.refusal == "store.version-too-new"
    with behind_its_back(directory) as disk:
        disk.execute("UPDATE header SET version = version - 1")
    open_store(directory).close()


def test_version_unknown(directory: Path) -> None:
    create_store(directory).close()
    with behind_its_back(directory) as disk:
        disk.execute("UPDATE header SET version = 0")
    with pytest.raises(KeyturnError) as refused:
        open_store(directory)
    assert refused.value.refusal == "store.version-unknown"
    with behind_its_back(directory) as disk:
        disk.execute("UPDATE header SET version = ?", (migrations.STORE_VERSION,))
    open_store(directory).close()


@pytest.mark.parametrize(
    ("golden", "target", "table", "fields"),
    [("v1", 2, "ledger", 7), ("v2", 3, "keys", 17), ("v3", 4, "keys", 24), ("v3-consumed", 5, "keys", 24)],
)
def test_a_step_writes_the_records_of_its_own_version_whatever_those_of_today_have(
    directory: Path, golden: str, target: int, table: str, fields: int
) -> None:
    """The numbers are those of what such stores have on disks since; another field belongs to another version."""
    shutil.copytree(GOLDEN / golden, directory)
    container = Container(directory / "hsm.db")
    version, header = container.read_header()
    migrations.migrate(container, open_header(header, GOLDEN_PASSPHRASE), version, target=target)
    found = [msgspec.msgpack.decode(content) for _, content in container.read_rows(table)]
    container.close()
    assert {len(record) for record in found} == {fields}
    assert {"KeyRecord", "LedgerRecord"}.isdisjoint(vars(migrations))


# --- a version 6 that exists in this test only: its step seals the root anew ---------------------------------


def to_next(version: int) -> migrations.Migration:
    def migrate(container: Container, sealing: SealingKeys) -> None:
        root = open_root(sealing, container.read_root(), version)
        container.replace_root(seal_root(sealing, root, version + 1))

    return migrate


@pytest.fixture
def version_6(monkeypatch: pytest.MonkeyPatch) -> dict[int, migrations.Migration]:
    """The program of the day after tomorrow."""
    steps = {**migrations.MIGRATIONS, 5: to_next(5)}
    real = migrations.migrate
    monkeypatch.setattr(
        loading,
        "migrate",
        lambda container, sealing, version: real(container, sealing, version, target=6, migrations=steps),
    )
    for module in (loading, store_module):
        monkeypatch.setattr(module, "STORE_VERSION", 6)
    return steps


def test_an_older_store_is_migrated_step_by_step_and_kept_beside(
    directory: Path, version_6: dict[int, migrations.Migration]
) -> None:
    shutil.copytree(GOLDEN / "v1", directory)
    directory.chmod(0o700)
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    check_golden(store)
    store.close()
    with behind_its_back(directory) as disk:
        assert disk.execute("SELECT version FROM header").fetchone() == (6,)
    with sqlite3.connect(directory / "hsm.db.version-1") as kept:
        assert kept.execute("SELECT version FROM header").fetchone() == (1,)
    kept.close()
    assert (directory / "hsm.db.version-1").stat().st_mode & 0o777 == 0o600
    again = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    check_golden(again, state_counter=4)  # The receipt key was made in between, and counts.
    again.close()


def test_a_step_that_fails_leaves_the_store_as_it_was(
    directory: Path, version_6: dict[int, migrations.Migration], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(GOLDEN / "v1", directory)
    directory.chmod(0o700)

    def fail(container: Container, sealing: SealingKeys) -> None:
        raise RuntimeError("a mistake in the last step")

    good, version_6[5] = version_6[5], fail
    with pytest.raises(RuntimeError):
        Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    with behind_its_back(directory) as disk:
        assert disk.execute("SELECT version FROM header").fetchone() == (1,)
    version_6[5] = good
    store = Store.open(directory, GOLDEN_PASSPHRASE, clock=ManualClock())
    check_golden(store)
    store.close()


def test_a_root_of_one_version_is_none_of_another(directory: Path) -> None:
    store = create_store(directory)
    sealed = store._container.read_root()
    sealing = store._state.sealing
    state.open_root(sealing, sealed, migrations.STORE_VERSION)
    with pytest.raises(KeyturnError) as refused:
        state.open_root(sealing, sealed, migrations.STORE_VERSION + 1)
    assert refused.value.refusal == "store.seal-broken"
    store.close()
