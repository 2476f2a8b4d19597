"""Somebody prepares the store's directory while the HSM is off: what opens is sound, and nothing else happens.

`test_r6_tampering` changes what the store says; here the files themselves are not what they seem.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from keyturn.clock import ManualClock
from keyturn.errors import KeyturnError
from keyturn.hsm.audit import MAX_TORN, LogEntry
from keyturn.hsm.store import Store
from keyturn_testing.hsm_store import (
    CHEAP_KDF,
    PASSPHRASE,
    add_key,
    behind_its_back,
    create_store,
    input_digest,
    open_store,
    operation_id,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.rule("R6")

COMPANIONS: Final = ("hsm.db-wal", "hsm.db-shm", "hsm.db-journal")


@pytest.fixture
def closed(directory: Path) -> Path:
    """A closed store with a key, and tables that are empty."""
    store = create_store(directory)
    add_key(store)
    store.log.append(LogEntry(1, "sign", "granted"))
    store.close()
    return directory


@pytest.fixture
def untouched(closed: Path, tmp_path: Path) -> Path:
    """A copy that is left alone, to show that it opens."""
    return shutil.copytree(closed, tmp_path / "untouched")


def refusal(directory: Path) -> str:
    with pytest.raises(KeyturnError) as refused:
        open_store(directory)
    return refused.value.refusal


def test_r6_a_trigger_that_bears_the_name_of_a_table(closed: Path, untouched: Path) -> None:
    """It stood before the table in the schema, so that a look-up by name found the table and the trigger went on."""
    with behind_its_back(closed) as disk:
        disk.execute("CREATE TRIGGER uses AFTER UPDATE ON root BEGIN DELETE FROM operations; END")
        disk.execute("PRAGMA writable_schema = ON")
        disk.execute("UPDATE sqlite_schema SET rowid = 100 WHERE name = 'uses' AND type = 'table'")
    assert refusal(closed) == "store.schema"
    open_store(untouched).close()


def test_r6_a_view_in_place_of_the_header_is_refused_before_it_is_read(closed: Path, untouched: Path) -> None:
    """Read, it would never end."""
    with behind_its_back(closed) as disk:
        disk.execute("DROP TABLE header")
        disk.execute(
            "CREATE VIEW header AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) "
            "SELECT n AS version, x'00' AS content FROM r WHERE n < 0"
        )
    assert refusal(closed) == "store.schema"
    open_store(untouched).close()


def test_r6_two_empty_tables_on_one_page(closed: Path, untouched: Path) -> None:
    """Both are empty, so both fit the root record; the next acknowledged operation would ruin the store."""
    with behind_its_back(closed) as disk:
        disk.execute("PRAGMA writable_schema = ON")
        disk.execute(
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'uses') "
            "WHERE name = 'operations'"
        )
    assert refusal(closed) == "store.damaged"
    store = open_store(untouched)
    with store.change() as change:
        change.put_operation(operation_id(1), input_digest(1), b"result", time=1)
    store.close()
    open_store(untouched).close()


def test_r6_a_row_of_a_gigabyte_is_not_taken_into_memory(closed: Path, untouched: Path) -> None:
    with behind_its_back(closed) as disk:
        disk.execute("INSERT INTO uses VALUES (x'01', zeroblob(17 << 20))")
    assert refusal(closed) == "store.damaged"
    open_store(untouched).close()


@pytest.mark.parametrize("name", ["hsm.db", "hsm.lock", "decisions.log", *COMPANIONS])
def test_r6_a_pipe_in_place_of_a_file_holds_up_nobody(closed: Path, untouched: Path, name: str) -> None:
    (closed / name).unlink(missing_ok=True)
    os.mkfifo(closed / name)
    assert refusal(closed) == "store.unusable"
    assert Store.exists(closed)
    open_store(untouched).close()


def test_r6_a_pipe_in_place_of_the_log_of_a_new_store(directory: Path) -> None:
    create_store(directory).close()
    (directory / "decisions.log").unlink()
    os.mkfifo(directory / "decisions.log")
    assert refusal(directory) == "store.unusable"
    (directory / "decisions.log").unlink()
    open_store(directory).close()


@pytest.mark.parametrize("name", ["hsm.db", "hsm.lock", "decisions.log"])
def test_r6_a_link_in_place_of_a_file_is_not_followed(closed: Path, untouched: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(closed / name, elsewhere)
    content = elsewhere.read_bytes()
    (closed / name).symlink_to(elsewhere)
    assert refusal(closed) == "store.unusable"
    assert elsewhere.read_bytes() == content
    (closed / name).unlink()
    shutil.move(elsewhere, closed / name)
    open_store(closed).close()


def test_r6_a_directory_in_place_of_the_database_is_a_refusal(closed: Path, untouched: Path) -> None:
    (closed / "hsm.db").unlink()
    (closed / "hsm.db").mkdir()
    assert refusal(closed) == "store.unusable"
    assert Store.exists(closed), "nothing may be put in its place unasked"
    assert Store.exists(untouched)


def test_r6_a_log_lengthened_by_a_terabyte_is_not_read_into_memory(closed: Path, untouched: Path) -> None:
    log = closed / "decisions.log"
    size = log.stat().st_size
    os.truncate(log, 1 << 40)
    assert refusal(closed) == "store.log-broken"
    # What a crash leaves behind is cut off as ever.
    os.truncate(log, size)
    os.truncate(log, size + MAX_TORN // 8)
    open_store(closed).close()


def test_r6_a_store_whose_lock_file_was_tidied_away_is_locked_still(closed: Path) -> None:
    store = open_store(closed)
    (closed / "hsm.lock").unlink()
    assert refusal(closed) == "store.locked"
    store.close()
    open_store(closed).close()


@pytest.mark.parametrize("lost", ["deleted", "emptied"])
def test_r6_database_lost_is_no_reason_to_begin_a_new_store(closed: Path, tmp_path: Path, lost: str) -> None:
    """An embedded HSM creates its store when there is none; here it would go on as if it had never had keys."""
    database = closed / "hsm.db"
    content = database.read_bytes()
    if lost == "deleted":
        database.unlink()
    else:
        os.truncate(database, 0)
    with pytest.raises(KeyturnError) as refused:
        create_store(closed)
    assert refused.value.refusal == "store.database-lost"
    database.write_bytes(content)
    store = open_store(closed)
    assert store.labels() == ["treasury"]
    store.close()
    create_store(tmp_path / "empty").close()


def test_the_old_passphrase_opens_nothing_that_is_left_in_the_files(closed: Path) -> None:
    """The header it opened lay in the database until the next checkpoint, and after kill -9 for good."""
    with behind_its_back(closed) as disk:
        (old,) = disk.execute("SELECT content FROM header").fetchone()
    store = open_store(closed)
    assert any(old in file.read_bytes() for file in closed.iterdir())
    store.change_passphrase(PASSPHRASE, b"a new one", kdf=CHEAP_KDF)
    assert not any(old in file.read_bytes() for file in closed.iterdir())
    store.close()
    assert not any(old in file.read_bytes() for file in closed.iterdir())


def test_r6_a_store_older_than_its_log_does_not_start_unnoticed(directory: Path, tmp_path: Path) -> None:
    """One bit of the write-ahead log, or the file forgotten in a copy, and all its acknowledged commits were gone."""
    create_store(directory).close()
    store = open_store(directory)
    before = shutil.copytree(directory, tmp_path / "before")
    for number in range(5):
        add_key(store, f"key-{number}")
        store.log.append(LogEntry(number, "create", "granted"))
    store.persist()
    store.commit_now()
    # As after kill -9: the commits stand in the write-ahead log.
    crashed = shutil.copytree(directory, tmp_path / "crashed")
    store.close()
    shutil.copytree(crashed, tmp_path / "whole")
    (crashed / "hsm.db-wal").unlink()
    assert refusal(crashed) == refusal(crashed) == "store.older-than-log"
    whole = open_store(tmp_path / "whole")
    assert len(whole.labels()) == 5
    whole.close()
    # A log of the same age as the store fits; what an administrator accepts is counted.
    open_store(before).close()
    accepted = Store.open(crashed, PASSPHRASE, clock=ManualClock(), accept_log_loss=True)
    assert (accepted.labels(), accepted.log_losses) == ([], 1)
    accepted.close()
    open_store(crashed).close()


def test_r6_lines_of_a_commit_that_was_under_way_are_no_sign_of_an_older_store(directory: Path, tmp_path: Path) -> None:
    """The log is written first: kill -9 between the two leaves lines, and one commit less."""
    store = create_store(directory)
    add_key(store)
    before = shutil.copytree(directory, tmp_path / "before")
    for number in range(2):
        store.log.append(LogEntry(number, "sign", "granted"))
        store.log.flush()
        shutil.copy(directory / "decisions.log", before)
        open_store(shutil.copytree(before, tmp_path / f"crashed-{number}")).close()
        if not number:
            store.persist()
            store.commit_now()
    store.close()
