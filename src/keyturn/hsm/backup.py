"""Restoring a store from a backup file (`keyturn.hsm.backup_file` says what that is).

A restored store is an older state brought back on purpose. It keeps its instance id and gets a higher restore epoch,
which stands in every attestation: state counters of different epochs do not compare (rule R6). Restoring the same
backup twice in two places would give both the same epoch; so the new epoch is also above that of the store it replaces,
and above `epoch_above` where a person knows a higher one.

Steps: copy the backup beside the target, open and check all of it with the passphrase, raise the epoch, begin a new
decision log that continues the chain at the head the backup remembers, commit, then move it into place. A store that is
replaced is kept in `replaced-<n>` in its directory, never deleted.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keyturn.errors import KeyturnError
from keyturn.hsm.audit import KIND_RESTORED, LogEntry, continue_log
from keyturn.hsm.container import Container, sync_path
from keyturn.hsm.directory_lock import DirectoryLock
from keyturn.hsm.loading import load_store
from keyturn.hsm.records import store_error, translated_os_errors
from keyturn.hsm.sealing import open_header
from keyturn.hsm.state import open_root
from keyturn.hsm.store import DATABASE_FILE, LOG_FILE, REPLACED, Store

if TYPE_CHECKING:
    from keyturn.clock import Clock

_FILES: Final = (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", LOG_FILE)


@translated_os_errors()
def restore(
    backup: Path, directory: Path, passphrase: bytes, *, clock: Clock, overwrite: bool = False, epoch_above: int = 0
) -> None:
    """Make a store from a backup.

    Args:
        backup: The file.
        directory: Where the store shall live; no HSM may have it open.
        passphrase: That of the backup.
        clock: For the log.
        overwrite: Replace a store that is there; it is kept in `replaced-<n>`.
        epoch_above: The new restore epoch is greater than this. Give the highest that any attestation has shown.

    Raises:
        KeyturnError: `store.exists`: there is one, and `overwrite` was not said; `store.locked`;
            `store.backup-missing`; `store.…`: the backup is damaged or the passphrase wrong. Nothing has changed then.
    """
    if not backup.is_file():
        raise store_error(
            "backup-missing", f"There is no backup {backup}. Name the file that the backup command wrote."
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    lock = DirectoryLock(directory)
    try:
        replaces = Store.exists(directory)
        if replaces and not overwrite:
            raise store_error(
                "exists",
                f"There is a store in {directory}. Say that it shall be replaced, or choose another directory.",
            )
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=directory) as made:
            staging = Path(made)
            # Also of stores replaced before: a restore that was interrupted has set the last one aside already.
            old = [directory, *directory.glob(REPLACED.format("*"))]
            epoch = max(epoch_above, *(_epoch_of(one, passphrase) for one in old))
            _prepare(backup, staging, passphrase, clock, epoch)
            if any((directory / name).exists() for name in _FILES):
                _set_aside(directory)
            # The database last: until it is there, the directory holds no store, and the backup is still whole.
            for name in (LOG_FILE, DATABASE_FILE):
                (staging / name).rename(directory / name)
            sync_path(directory)
    finally:
        lock.release()


def _prepare(backup: Path, staging: Path, passphrase: bytes, clock: Clock, epoch_above: int) -> None:
    shutil.copyfile(backup, staging / DATABASE_FILE)
    (staging / DATABASE_FILE).chmod(0o600)
    container = Container(staging / DATABASE_FILE)
    try:
        state, head = load_store(container, passphrase)
    except BaseException:
        container.close()
        raise
    note = f"commit {state.commit}, state counter {state.state_counter}, restore epoch {state.restore_epoch}"
    log = continue_log(staging / LOG_FILE, head, LogEntry(int(clock.now()), KIND_RESTORED, "noted", note=note))
    store = Store(
        directory=staging, lock=DirectoryLock(staging), container=container, state=state, log=log, clock=clock
    )
    try:
        with store.change() as change:
            change.mark_restored(epoch_above)
        store.commit_now()
    finally:
        store.close()
    for name in (LOG_FILE, DATABASE_FILE):
        sync_path(staging / name)


def _epoch_of(directory: Path, passphrase: bytes) -> int:
    """Restore epoch of a store that is replaced, or was.

    0 where it does not tell, being lost, damaged or under another passphrase.
    """
    if not (directory / DATABASE_FILE).is_file():
        return 0
    try:
        container = Container(directory / DATABASE_FILE)
    except KeyturnError:
        return 0
    try:
        container.check_sound()
        version, header = container.read_header()
        return open_root(open_header(header, passphrase), container.read_root(), version).restore_epoch
    except KeyturnError:
        return 0
    finally:
        container.close()


def _set_aside(directory: Path) -> None:
    number = 1
    while (aside := directory / REPLACED.format(number)).exists():
        number += 1
    aside.mkdir(mode=0o700)
    for name in _FILES:
        if (directory / name).exists():
            (directory / name).rename(aside / name)
    sync_path(aside)
