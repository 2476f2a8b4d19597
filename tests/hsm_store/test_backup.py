"""Backup and restore: one file, checked before it counts, and a new epoch whenever an older state comes back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from keyturn.clock import ManualClock
from keyturn.errors import KeyturnError
from keyturn.hsm.audit import KIND_RESTORED, LogEntry, verify
from keyturn.hsm.store import Store
from keyturn_testing.hsm_store import (
    CHEAP_KDF,
    PASSPHRASE,
    PRIVATE_KEY,
    add_key,
    create_store,
    input_digest,
    open_store,
    operation_id,
)

CLOCK = ManualClock()


@pytest.fixture
def backup(tmp_path: Path, store: Store) -> Path:
    add_key(store, policy=b"a policy")
    store.count_use(add_key(store, "bank").uuid)
    store.log.append(LogEntry(1, "sign", "granted"))
    store.backup(tmp_path / "monday.ktbackup")
    return tmp_path / "monday.ktbackup"


def restore(backup: Path, directory: Path, *, overwrite: bool = False, epoch_above: int = 0) -> None:
    Store.restore(backup, directory, PASSPHRASE, clock=CLOCK, overwrite=overwrite, epoch_above=epoch_above)


@pytest.mark.rule("R6")
def test_r6_a_restored_store_holds_what_the_backup_held_in_a_new_epoch(
    backup: Path, store: Store, tmp_path: Path
) -> None:
    key = store.key("treasury")
    add_key(store, "after the backup")
    head = store.log.head
    restore(backup, tmp_path / "restored")
    again = open_store(tmp_path / "restored")
    assert again.labels() == ["bank", "treasury"]
    assert again.key("treasury") == key
    assert key is not None
    assert again.open_private_key(key) == PRIVATE_KEY
    bank = again.key("bank")
    assert bank is not None
    assert again.uses(bank.uuid) == 1
    assert (again.instance_id, again.restore_epoch, again.state_counter) == (store.instance_id, 1, 2)
    # The log goes on where the backup stood.
    (line,) = [json.loads(one) for one in (tmp_path / "restored" / "decisions.log").read_text().splitlines()]
    assert (line["seq"], line["kind"], line["previous"]) == (head.sequence + 1, KIND_RESTORED, head.hash.hex())
    assert verify(tmp_path / "restored" / "decisions.log") == again.log.head
    add_key(again, "new")
    again.close()


def test_a_backup_is_one_closed_file(backup: Path, store: Store) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    assert PRIVATE_KEY not in backup.read_bytes()
    assert [file.name for file in backup.parent.iterdir() if file.is_file()] == [backup.name]


def test_backup_exists(backup: Path, store: Store) -> None:
    before = backup.read_bytes()
    with pytest.raises(KeyturnError, match="never overwritten") as refused:
        store.backup(backup)
    assert refused.value.refusal == "store.backup-exists"
    assert backup.read_bytes() == before
    store.backup(backup.with_name("tuesday.ktbackup"))


def test_backup_target(backup: Path, store: Store) -> None:
    with pytest.raises(KeyturnError) as refused:
        store.backup(backup.parent / "nowhere" / "tuesday.ktbackup")
    assert refused.value.refusal == "store.backup-target"
    add_key(store, "life goes on")
    store.backup(backup.parent / "tuesday.ktbackup")


async def test_a_backup_while_the_hsm_works(tmp_path: Path, store: Store) -> None:
    done = 0

    async def work() -> None:
        nonlocal done
        while not backing_up.done():
            with store.change() as change:
                change.put_operation(operation_id(done), input_digest(done), b"result", time=1)
            done += 1
            await store.durable()

    backing_up = asyncio.create_task(store.backup_async(tmp_path / "busy.ktbackup"))
    await asyncio.gather(work(), work(), backing_up)
    restore(tmp_path / "busy.ktbackup", tmp_path / "restored")
    again = open_store(tmp_path / "restored")
    assert again.operation_count <= done
    again.close()


def test_exists_is_not_overwritten_unless_told(backup: Path, store: Store, directory: Path) -> None:
    add_key(store, "newer")
    store.close()
    with pytest.raises(KeyturnError, match="replaced") as refused:
        restore(backup, directory)
    assert refused.value.refusal == "store.exists"
    untouched = open_store(directory)
    assert "newer" in untouched.labels()
    untouched.close()

    restore(backup, directory, overwrite=True)
    again = open_store(directory)
    assert "newer" not in again.labels()
    again.close()
    # What was replaced is kept, log and all.
    kept = directory / "replaced-1"
    kept.chmod(0o700)
    old = open_store(kept)
    assert "newer" in old.labels()
    old.close()


@pytest.mark.rule("R6")
def test_r6_every_restore_has_an_epoch_of_its_own(backup: Path, store: Store, directory: Path, tmp_path: Path) -> None:
    store.close()
    for expected in (1, 2, 3):
        restore(backup, directory, overwrite=True)
        again = open_store(directory)
        assert again.restore_epoch == expected
        again.close()
    # Elsewhere nothing tells; a person who has seen attestations does.
    restore(backup, tmp_path / "elsewhere", epoch_above=3)
    again = open_store(tmp_path / "elsewhere")
    assert again.restore_epoch == 4
    again.close()


@pytest.mark.rule("R6")
@pytest.mark.parametrize("name", ["decisions.log", "hsm.db"])
def test_r6_a_restore_that_was_interrupted_gives_no_epoch_a_second_time(
    backup: Path, store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The store that was replaced, with its high epoch, lay in `replaced-1` already, and was not asked."""
    store.close()
    restore(backup, directory, epoch_above=6, overwrite=True)
    move = Path.rename

    def power_cut(self: Path, target: Path) -> Path:
        if target == directory / name:
            raise RuntimeError("power cut")
        return move(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", power_cut)
        with pytest.raises(RuntimeError):
            restore(backup, directory, overwrite=True)
    assert not Store.exists(directory)
    # An HSM that makes its store when there is none must not come between.
    with pytest.raises(KeyturnError) as refused:
        create_store(directory)
    assert refused.value.refusal == "store.database-lost"
    restore(backup, directory)
    again = open_store(directory)
    assert again.restore_epoch == 8
    assert again.key("treasury") is not None
    again.close()


def test_locked(backup: Path, store: Store, directory: Path) -> None:
    with pytest.raises(KeyturnError) as refused:
        restore(backup, directory, overwrite=True)
    assert refused.value.refusal == "store.locked"
    store.close()
    restore(backup, directory, overwrite=True)


def test_backup_missing(backup: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyturnError) as refused:
        restore(tmp_path / "sunday.ktbackup", tmp_path / "restored")
    assert refused.value.refusal == "store.backup-missing"
    restore(backup, tmp_path / "restored")


def test_a_backup_needs_the_passphrase_of_its_day(backup: Path, store: Store, tmp_path: Path) -> None:
    store.change_passphrase(PASSPHRASE, b"a new one", kdf=CHEAP_KDF)
    with pytest.raises(KeyturnError) as refused:
        Store.restore(backup, tmp_path / "restored", b"a new one", clock=CLOCK)
    assert refused.value.refusal == "store.wrong-passphrase"
    assert not Store.exists(tmp_path / "restored")
    restore(backup, tmp_path / "restored")


@pytest.mark.parametrize("place", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_damaged_backup_changes_nothing(backup: Path, store: Store, directory: Path, place: float) -> None:
    store.close()
    content = backup.read_bytes()
    # Where SQLite leaves pages unused a bit means nothing; so a whole stretch is overwritten.
    at = int(len(content) * place) // 4096 * 4096
    backup.write_bytes(content[:at] + bytes(4096) + content[at + 4096 :])
    with pytest.raises(KeyturnError) as refused:
        restore(backup, directory, overwrite=True)
    assert refused.value.refusal.startswith("store.")
    again = open_store(directory)
    assert again.restore_epoch == 0
    again.close()
    assert not list(directory.glob("replaced-*"))
    assert not list(directory.glob(".restore-*"))
    backup.write_bytes(content)
    restore(backup, directory, overwrite=True)


def test_a_cut_backup_changes_nothing(backup: Path, tmp_path: Path) -> None:
    content = backup.read_bytes()
    for length in (0, 1, 100, 4096, len(content) // 2, len(content) - 4096):
        backup.write_bytes(content[:length])
        with pytest.raises(KeyturnError):
            restore(backup, tmp_path / "restored")
        assert not Store.exists(tmp_path / "restored")
    backup.write_bytes(content)
    restore(backup, tmp_path / "restored")


def test_restoring_beside_a_lost_database_keeps_the_old_log(backup: Path, store: Store, directory: Path) -> None:
    store.close()
    (directory / "hsm.db").unlink()
    restore(backup, directory)
    assert (directory / "replaced-1" / "decisions.log").exists()
    open_store(directory).close()


def test_a_fresh_store_is_backed_up_too(directory: Path, tmp_path: Path) -> None:
    store = create_store(directory)
    store.backup(tmp_path / "empty.ktbackup")
    store.close()
    restore(tmp_path / "empty.ktbackup", tmp_path / "restored")
    open_store(tmp_path / "restored").close()
