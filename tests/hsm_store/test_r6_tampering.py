"""Somebody writes into the store's files: whatever single thing they change, the HSM does not start (rule R6).

And what it cannot see: the whole directory put back. The last test says so.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace

from keyturn.errors import KeyturnError
from keyturn.hsm.audit import LogEntry
from keyturn.hsm.container import TABLES
from keyturn.hsm.ledger import LedgerKind
from keyturn.hsm.records import LedgerRecord, ObjectRecord, SegmentRecord, SystemKeyRecord
from keyturn.hsm.segments import ConsumedStatement, segment_of, with_entry
from keyturn_testing.hsm_store import (
    PASSPHRASE,
    PRIVATE_KEY,
    add_key,
    behind_its_back,
    create_store,
    input_digest,
    open_store,
    operation_id,
)

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.hsm.store import Store

pytestmark = pytest.mark.rule("R6")

WORD: Final = {table: f"store.{table.replace('_', '-')}-mismatch" for table in TABLES}


@pytest.fixture
def full(directory: Path) -> Path:
    """A closed store with two rows in every table, in its second state."""
    store = create_store(directory)
    for number, label in enumerate(("treasury", "bank")):
        key = add_key(store, label, policy=b"a policy")
        with store.change() as change:
            change.put_operation(operation_id(number), input_digest(number), b"result", time=1)
            change.count_use(key.uuid)
            change.put_ledger(LedgerRecord(key.uuid, LedgerKind.SPENT_MODIFY, input_digest(number), b"", 1))
            change.put_ledger(LedgerRecord(key.uuid, LedgerKind.MODIFIED, b"", b"", 1))
            change.put_system_key(SystemKeyRecord(label, "integrity", "X", 1, None, b"spki", b""), b"private")
            change.put_object(ObjectRecord("data", label, 1, 1, {"private": True}), b"value")
            change.put_segment(consumed(key.uuid, number))
    store.log.append(LogEntry(1, "sign", "granted"))
    store.close()
    return directory


def consumed(uuid: str, *numbers: int) -> SegmentRecord:
    """A segment with statements that a single-use key has consumed: they differ in their last byte."""
    segment = b""
    for number in numbers:
        statement = bytes(31) + bytes([number])
        segment = with_entry(segment, ConsumedStatement(statement, 1, None, operation_id(number)))
    return SegmentRecord(uuid, segment_of(bytes(32)), segment)


def on(table: str, statement: str) -> str:
    """A statement about `rows`, said of `table`."""
    return statement.replace("rows", table)


def refusal(directory: Path) -> str:
    with pytest.raises(KeyturnError) as refused:
        open_store(directory)
    return refused.value.refusal


@pytest.fixture
def untouched(full: Path, tmp_path: Path) -> Path:
    """A copy that is left alone, to show that it opens."""
    shutil.copytree(full, tmp_path / "untouched")
    return tmp_path / "untouched"


@pytest.mark.parametrize("table", TABLES)
def test_r6_a_bit_is_flipped(full: Path, untouched: Path, table: str) -> None:
    with behind_its_back(full) as disk:
        identity, content = disk.execute(on(table, "SELECT id, content FROM rows LIMIT 1")).fetchone()
        disk.execute(
            on(table, "UPDATE rows SET content = ? WHERE id = ?"), (content[:-1] + bytes([content[-1] ^ 1]), identity)
        )
    assert refusal(full) == WORD[table]
    open_store(untouched).close()


@pytest.mark.parametrize("table", TABLES)
def test_r6_an_identity_is_changed(full: Path, untouched: Path, table: str) -> None:
    with behind_its_back(full) as disk:
        disk.execute(on(table, "UPDATE rows SET id = x'00' WHERE id = (SELECT id FROM rows LIMIT 1)"))
    assert refusal(full) == WORD[table]
    open_store(untouched).close()


@pytest.mark.parametrize("table", TABLES)
def test_r6_a_row_is_deleted(full: Path, untouched: Path, table: str) -> None:
    with behind_its_back(full) as disk:
        disk.execute(on(table, "DELETE FROM rows WHERE id = (SELECT id FROM rows LIMIT 1)"))
    assert refusal(full) == WORD[table]
    open_store(untouched).close()


@pytest.mark.parametrize("table", TABLES)
def test_r6_a_row_is_copied_under_another_identity(full: Path, untouched: Path, table: str) -> None:
    with behind_its_back(full) as disk:
        disk.execute(on(table, "INSERT INTO rows SELECT x'00', content FROM rows LIMIT 1"))
    assert refusal(full) == WORD[table]
    open_store(untouched).close()


@pytest.mark.parametrize("table", TABLES)
def test_r6_two_rows_change_places(full: Path, untouched: Path, table: str) -> None:
    with behind_its_back(full) as disk:
        (one, first), (other, second) = disk.execute(on(table, "SELECT id, content FROM rows LIMIT 2")).fetchall()
        if table == "uses":  # Both were used once: make the swap a change.
            first = b"\x00" * 7 + b"\x02"
        disk.execute(on(table, "UPDATE rows SET content = ? WHERE id = ?"), (second, one))
        disk.execute(on(table, "UPDATE rows SET content = ? WHERE id = ?"), (first, other))
    assert refusal(full) == WORD[table]
    open_store(untouched).close()


@pytest.mark.parametrize("table", TABLES)
def test_r6_a_row_is_put_back_from_an_older_state(full: Path, untouched: Path, table: str) -> None:
    with behind_its_back(untouched) as disk:
        old = disk.execute(on(table, "SELECT id, content FROM rows")).fetchall()
    store = open_store(full)
    change_every_table(store)
    with behind_its_back(full) as disk:
        new = disk.execute(on(table, "SELECT id, content FROM rows")).fetchall()
        changed = [row for row in old if row not in new]
        assert changed
        disk.execute(on(table, "INSERT OR REPLACE INTO rows VALUES (?, ?)"), changed[0])
    assert refusal(full) == WORD[table]
    open_store(untouched).close()


def change_every_table(store: Store) -> None:
    """Alter at least one row of every table, and close."""
    key = store.key("treasury")
    assert key is not None
    system_key = next(iter(store.system_keys()))
    with store.change() as change:
        change.put_key(replace(key, policy=b"a stricter policy"))
        change.count_use(key.uuid)
        change.put_system_key(replace(system_key, retired_at=5))
        change.put_object(ObjectRecord("data", "treasury", 1, 2, {"private": True}), b"another value")
        change.put_segment(consumed(key.uuid, 0, 2))
    # An operation is never altered, only forgotten: as retention would do it.
    state = store._state
    del state.operations[operation_id(0)]
    state.rows["operations", operation_id(0)] = None
    bank = store.key("bank")
    assert bank is not None
    with store.change() as change:
        change.remove_key(bank.uuid)
    add_key(store, "bank")
    store.close()


@pytest.mark.parametrize("table", TABLES)
def test_r6_a_table_is_emptied(full: Path, untouched: Path, table: str) -> None:
    with behind_its_back(full) as disk:
        disk.execute(on(table, "DELETE FROM rows"))
    assert refusal(full) == WORD[table]
    open_store(untouched).close()


@pytest.mark.parametrize("table", TABLES)
def test_r6_a_row_that_is_not_bytes(full: Path, untouched: Path, table: str) -> None:
    with behind_its_back(full) as disk:
        disk.execute(on(table, "UPDATE rows SET content = 'text'"))
    assert refusal(full) == "store.damaged"
    open_store(untouched).close()


def test_r6_the_root_record_is_put_back(full: Path, untouched: Path) -> None:
    with behind_its_back(untouched) as disk:
        (old,) = disk.execute("SELECT content FROM root").fetchone()
    change_every_table(open_store(full))
    with behind_its_back(full) as disk:
        (new,) = disk.execute("SELECT content FROM root").fetchone()
        disk.execute("UPDATE root SET content = ?", (old,))
    assert refusal(full) in WORD.values()
    with behind_its_back(full) as disk:
        disk.execute("UPDATE root SET content = ?", (new,))
    open_store(full).close()


def test_r6_the_root_record_is_damaged_or_missing(full: Path, untouched: Path) -> None:
    with behind_its_back(full) as disk:
        (root,) = disk.execute("SELECT content FROM root").fetchone()
        disk.execute("UPDATE root SET content = ?", (root[:-1] + bytes([root[-1] ^ 1]),))
    assert refusal(full) == "store.seal-broken"
    with behind_its_back(full) as disk:
        disk.execute("DELETE FROM root")
    assert refusal(full) == "store.root-missing"
    with behind_its_back(full) as disk:
        disk.execute("INSERT INTO root VALUES (1, ?)", (root,))
    open_store(full).close()


def test_r6_the_header_is_put_back_after_the_passphrase_was_changed(full: Path) -> None:
    """Who learned the old passphrase must not get in by putting one old row back."""
    with behind_its_back(full) as disk:
        (old,) = disk.execute("SELECT content FROM header").fetchone()
    store = open_store(full)
    store.change_passphrase(PASSPHRASE, b"a new one")
    store.close()
    assert refusal(full) == "store.wrong-passphrase"
    with behind_its_back(full) as disk:
        disk.execute("UPDATE header SET content = ?", (old,))
    assert refusal(full) == "store.header-mismatch"


def test_r6_the_header_is_missing(full: Path, untouched: Path) -> None:
    with behind_its_back(full) as disk:
        disk.execute("DELETE FROM header")
    assert refusal(full) == "store.header-missing"
    open_store(untouched).close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER helpful AFTER UPDATE ON root BEGIN DELETE FROM keys; END",
        "CREATE TABLE more (id BLOB)",
        "CREATE VIEW spying AS SELECT * FROM keys",
        "DROP TABLE operations",
        "ALTER TABLE keys ADD COLUMN more BLOB",
    ],
    ids=["trigger", "table", "view", "table-gone", "column"],
)
def test_r6_schema(full: Path, untouched: Path, statement: str) -> None:
    with behind_its_back(full) as disk:
        disk.execute(statement)
    assert refusal(full) == "store.schema"
    open_store(untouched).close()


def test_r6_rows_of_another_store_with_the_same_passphrase(full: Path, tmp_path: Path) -> None:
    other = create_store(tmp_path / "other")
    add_key(other, "treasury", policy=b"an easy policy")
    other.close()
    with behind_its_back(tmp_path / "other") as disk:
        theirs = disk.execute("SELECT id, content FROM keys").fetchall()
    with behind_its_back(full) as disk:
        disk.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?)", theirs)
    assert refusal(full) == "store.keys-mismatch"
    open_store(tmp_path / "other").close()


def test_r6_damaged_file(full: Path, untouched: Path) -> None:
    content = (full / "hsm.db").read_bytes()
    (full / "hsm.db").write_bytes(b"not a database at all" * 400)
    assert refusal(full) == "store.damaged"
    (full / "hsm.db").write_bytes(content[: len(content) // 2])
    assert refusal(full).startswith("store.")
    (full / "hsm.db").write_bytes(content)
    open_store(full).close()


def test_r6_a_store_that_does_not_fit_is_not_changed_by_looking_at_it(full: Path) -> None:
    with behind_its_back(full) as disk:
        disk.execute("DELETE FROM keys")
    before = (full / "decisions.log").read_bytes()
    assert refusal(full) == refusal(full) == "store.keys-mismatch"
    assert (full / "decisions.log").read_bytes() == before


def test_r6_the_whole_directory_put_back_is_seen_only_from_outside(full: Path, untouched: Path) -> None:
    """Nothing inside is newer than the rest. A witness compares instance, restore epoch and counter."""
    store = open_store(full)
    change_every_table(store)
    store = open_store(full)
    witness = (store.instance_id, store.restore_epoch, store.state_counter)
    store.close()
    back = open_store(untouched)
    assert (back.instance_id, back.restore_epoch) == witness[:2]
    assert back.state_counter < witness[2]
    key = back.key("treasury")
    assert key is not None
    assert back.open_private_key(key) == PRIVATE_KEY
    back.close()
