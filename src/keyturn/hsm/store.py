"""The sealed store of the HSM: transactional, authenticated as a whole, readable from memory.

A directory (mode 0700) holds `hsm.db` (SQLite, see `keyturn.hsm.container`), `decisions.log` (`keyturn.hsm.audit`) and
`hsm.lock`. Private keys, system keys and operation results are sealed under keys derived from the passphrase
(`keyturn.hsm.sealing`); labels, policies and public keys are not secret and are not hidden.

Every commit writes one sealed root record over everything: all tables, counters, clock mark, header, head of the
decision log. `open` recomputes it all; whatever does not fit refuses to start with a word `store.…` that names it. What
this cannot see is the whole directory being put back to an older state: nothing inside is newer then. Only a witness
outside who remembers a higher state counter, within the same instance and restore epoch, can tell (rule R6).

One thread (the HSM's event loop) owns everything here; `keyturn.hsm.durability` says how changes reach the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

from keyturn.errors import KeyturnError
from keyturn.hsm.audit import KIND_LOSS, DecisionLog, LogEntry, LogHead, continue_log, open_log
from keyturn.hsm.backup_file import write_backup
from keyturn.hsm.change import Change
from keyturn.hsm.committer import Committer
from keyturn.hsm.container import Container, sync_path
from keyturn.hsm.directory_lock import DirectoryLock
from keyturn.hsm.durability import Durability
from keyturn.hsm.loading import load_store
from keyturn.hsm.migrations import STORE_VERSION
from keyturn.hsm.records import (
    KeyRecord,
    SystemKeyRecord,
    associated_key_data,
    associated_system_key_data,
    store_error,
    translated_os_errors,
)
from keyturn.hsm.sealing import Domain, KdfParameters, create_header, rewrap_header
from keyturn.hsm.state import StoreState, seal_root
from keyturn.hsm.stateful import skip_indices
from keyturn.hsm.store_reader import StoreReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keyturn.clock import Clock

DATABASE_FILE: Final = "hsm.db"
LOG_FILE: Final = "decisions.log"
REPLACED: Final = "replaced-{}"
"""Directory in which a store is kept that a restore replaced."""
LAZY_SECONDS: Final = 5.0
"""Use counts of ordinary keys wait at most this long for a commit, as long as anything is counted at all; what a crash
can lose."""
LAZY_USES: Final = 4096
"""… or at most so many uses."""


class Store(StoreReader):
    """An open store; made by `create` or `open`.

    Args:
        directory: Where it lives.
        lock: Held until `close`.
        container: The open file.
        state: What it holds.
        log: The decision log.
        clock: Time for the bound on lazy use counts.
        torn_log: Octets of a torn last line that were cut from the log.
    """

    def __init__(
        self,
        *,
        directory: Path,
        lock: DirectoryLock,
        container: Container,
        state: StoreState,
        log: DecisionLog,
        clock: Clock,
        torn_log: int = 0,
    ) -> None:
        super().__init__(state)
        self.directory = directory
        self.log = log
        log.commit = state.commit
        self.torn_log = torn_log
        self._lock = lock
        self._container = container
        self._clock = clock
        self._committer = Committer()
        self._durability = Durability(self._committer, self._take)
        self._change_open = False
        self._lazy_uses = 0
        self._lazy_clock = False
        self._lazy_since = clock.now()
        self._new_header: bytes | None = None
        self._closed = False

    # --- coming and going --------------------------------------------------------------------------------

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether there is a store in `directory`.

        A creation that a crash interrupted left none.
        """
        path = directory / DATABASE_FILE
        try:
            with translated_os_errors():
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    return False
            if stat.S_ISREG(status.st_mode) and status.st_size == 0:
                return False
            with contextlib.closing(Container(path)) as container:
                return not container.empty
        except KeyturnError:
            return True  # A damaged store is one, too; nothing may be put in its place unasked.

    @classmethod
    def create(cls, directory: Path, passphrase: bytes, *, clock: Clock, kdf: KdfParameters | None = None) -> Self:
        """Make a new store and open it.

        Args:
            directory: Made if it does not exist; its mode becomes 0700.
            passphrase: 1 to 1024 bytes.
            clock: Where the first clock mark comes from.
            kdf: Cost of the passphrase; None for the default.

        Returns:
            The open store, empty.

        Raises:
            KeyturnError: `store.exists`, `store.database-lost`, `store.locked`, `store.bad-passphrase`,
                `store.unusable`.
        """
        with translated_os_errors(), contextlib.ExitStack() as undo:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            lock = DirectoryLock(directory)
            undo.callback(lock.release)
            if cls.exists(directory):
                raise store_error("exists", f"There is a store in {directory}. Open it, or choose another directory.")
            log_path = directory / LOG_FILE
            if (log_path.exists() and log_path.stat().st_size) or any(directory.glob(REPLACED.format("*"))):
                # There was a store. An empty one in its place would look as if it had never had keys.
                raise store_error(
                    "database-lost",
                    f"There are traces of a store in {directory}, but not the store: {DATABASE_FILE} was lost, or a "
                    "restore did not finish. Bring the file back, restore a backup, or choose another directory.",
                )
            header, sealing = create_header(passphrase, kdf)
            state = StoreState(sealing, header, str(uuid4()), clock_mark=clock.now())
            log, _ = open_log(log_path, LogHead())
            undo.callback(log.close)
            container = Container(directory / DATABASE_FILE)
            undo.callback(container.close)
            container.initialise(STORE_VERSION, header, seal_root(sealing, state.root_record(log.head), STORE_VERSION))
            sync_path(directory)
            undo.pop_all()
        return cls(directory=directory, lock=lock, container=container, state=state, log=log, clock=clock)

    @classmethod
    def open(cls, directory: Path, passphrase: bytes, *, clock: Clock, accept_log_loss: bool = False) -> Self:
        """Open a store and check all of it.

        Args:
            directory: Where it lives.
            passphrase: As at creation, or as changed since.
            clock: Time.
            accept_log_loss: Go on with a decision log that is lost, cut or broken. What is left of it is kept beside
                the new one, whose first line says so; the store counts it.

        Returns:
            The open store.

        Raises:
            KeyturnError: `store.…`: see the module's words. Nothing has been changed then.
        """
        with translated_os_errors(), contextlib.ExitStack() as undo:
            if not (directory / DATABASE_FILE).exists():
                raise store_error(
                    "missing", f"There is no store in {directory}. Create one, or name the right directory."
                )
            if directory.stat().st_mode & 0o077:
                raise store_error(
                    "permissions", f"Others than its owner can reach {directory}. Make its mode 0700 (chmod 700)."
                )
            lock = DirectoryLock(directory)
            undo.callback(lock.release)
            container = Container(directory / DATABASE_FILE)
            undo.callback(container.close)
            if container.empty:
                raise store_error(
                    "missing", f"The creation of the store in {directory} did not finish. Create it again."
                )
            state, head = load_store(container, passphrase)
            try:
                log, torn = open_log(directory / LOG_FILE, head, state.commit)
                lost = ""
            except KeyturnError as error:
                if not accept_log_loss:
                    raise
                entry = LogEntry(int(clock.now()), KIND_LOSS, "noted", refusal=error.refusal, note=error.message)
                log, torn, lost = continue_log(directory / LOG_FILE, head, entry), 0, error.refusal
            undo.callback(log.close)
            undo.pop_all()
        store = cls(
            directory=directory, lock=lock, container=container, state=state, log=log, clock=clock, torn_log=torn
        )
        if lost:
            with store.change() as change:
                change.mark_log_loss()
        else:
            skip_indices(store, log.uncovered)
        if store.pending:
            store.commit_now()
            sync_path(directory)
        return store

    def close(self) -> None:
        """Write what waits, let go of the files and the lock. Doing so twice is harmless.

        Raises:
            KeyturnError: `store.commit-failed`: what waited could not be written; everything is closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if not self._durability.failed:
                self.persist()
                self.commit_now()
        finally:
            self._committer.stop()
            self.log.close()
            self._container.close()
            self._lock.release()

    # --- private keys: one caller each (rules R3, R5) ----------------------------------------------------

    def open_private_key(self, record: KeyRecord) -> bytes:
        """The private key of a record. Called by `keyturn.hsm.door` only (rule R3).

        Args:
            record: As the store gave it.

        Returns:
            PKCS#8, DER.

        Raises:
            KeyturnError: `store.no-private-key`; `store.seal-broken`: any public field differs from what was sealed.
        """
        if not record.private_key:
            raise store_error("no-private-key", f"Key {record.label!r} has a public part only.")
        return self._state.sealing.open(Domain.KEYS, record.private_key, associated_key_data(record))

    def open_system_key(self, record: SystemKeyRecord) -> bytes:
        """The private half of a system key. Called by `keyturn.hsm.system_keys` only (rule R5).

        Args:
            record: As the store gave it.

        Returns:
            PKCS#8, DER.
        """
        return self._state.sealing.open(Domain.SYSTEM_KEYS, record.private_key, associated_system_key_data(record))

    # --- passwords of keys (rule R27) --------------------------------------------------------------------

    def seal_verifier(self, uuid: str, verifier: bytes) -> bytes:
        """Seal what a key's password is checked against. Called by `keyturn.hsm.passwords` only.

        Args:
            uuid: The key.
            verifier: Salt and hash.

        Returns:
            Sealed bytes for its record.
        """
        return self._state.sealing.seal(Domain.PASSWORDS, verifier, uuid.encode())

    def open_verifier(self, uuid: str, sealed: bytes) -> bytes:
        """What a key's password is checked against. Called by `keyturn.hsm.passwords` only.

        Args:
            uuid: The key.
            sealed: What `seal_verifier` returned.

        Returns:
            Salt and hash.

        Raises:
            KeyturnError: `store.seal-broken`.
        """
        return self._state.sealing.open(Domain.PASSWORDS, sealed, uuid.encode())

    # --- changing ----------------------------------------------------------------------------------------

    def change(self) -> Change:
        """Begin a change-set; see `keyturn.hsm.change`.

        Returns:
            A context manager.

        Raises:
            KeyturnError: `store.commit-failed`, `store.closed`; `store.change-open`: the one before has not ended.
        """
        self._check_alive()
        if self._change_open:
            raise store_error("change-open", "One change-set at a time: end the one before.")
        self._change_open = True
        return Change(self._state, self._finish_change)

    def count_use(self, uuid: str) -> None:
        """Count a use of an ordinary key, without waiting for the disk.

        It is written with the next commit of anything, or with one of its own after `LAZY_SECONDS` or `LAZY_USES`.
        """
        state = self._state
        state.uses[uuid] = state.uses.get(uuid, 0) + 1
        state.used.add(uuid)
        self._lazy_uses += 1
        if self._lazy_uses >= LAZY_USES or self._clock.now() - self._lazy_since >= LAZY_SECONDS:
            self.persist()

    def observe_clock(self, moment: float) -> None:
        """Make the clock mark at least `moment`; it is written with the next commit of anything."""
        if moment > self._state.clock_mark:
            self._state.clock_mark = float(moment)
            self._lazy_clock = True

    def persist(self) -> None:
        """See to it that use counts, clock mark and log lines get a commit soon.

        For a timer, and before the end.
        """
        if self._lazy_uses or self._lazy_clock or self.log.unsynced:
            self._durability.note_change()

    def change_passphrase(self, old: bytes, new: bytes, *, kdf: KdfParameters | None = None) -> None:
        """Wrap the master key under a new passphrase, durably. Blocks for two key derivations (about 0.3 s).

        Args:
            old: The passphrase so far.
            new: 1 to 1024 bytes. Older backups keep the old one.
            kdf: New cost; None for the default.

        Raises:
            KeyturnError: `store.wrong-passphrase`, `store.bad-passphrase`.
        """
        self._check_alive()
        self._state.header = self._new_header = rewrap_header(self._state.header, old, new, kdf)
        self._durability.note_change()
        self.commit_now()

    # --- becoming durable --------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """True while something has changed that is not on disk yet. Log lines and lazy counts do not matter here."""
        return self._durability.pending

    async def durable(self) -> None:
        """Wait until everything changed so far is on disk.

        Raises:
            KeyturnError: `store.commit-failed`: it will never be. `store.closed`.
        """
        self._check_alive()
        await self._durability.wait()

    def commit_now(self) -> None:
        """Put everything changed so far on disk, now. For the command line, tests and the end; blocks.

        Raises:
            KeyturnError: `store.commit-failed`.
        """
        self._durability.commit_now()

    @property
    def on_fatal(self) -> Callable[[BaseException], None] | None:
        """Called once, with the cause, when a commit has failed: memory is ahead of the disk, and the HSM must end."""
        return self._durability.on_fatal

    @on_fatal.setter
    def on_fatal(self, callback: Callable[[BaseException], None] | None) -> None:
        self._durability.on_fatal = callback

    def backup(self, target: Path) -> None:
        """Write a backup; see `keyturn.hsm.backup`. Blocks; `backup_async` does not.

        Args:
            target: New file; it opens with the passphrase of this moment.

        Raises:
            KeyturnError: `store.backup-exists`.
        """
        self.persist()
        self.commit_now()
        self._committer.call(lambda: write_backup(self._container, target)).result()

    async def backup_async(self, target: Path) -> None:
        """As `backup`, while the event loop goes on. What changes meanwhile may be in it or not; it is consistent."""
        self.persist()
        await self.durable()
        await asyncio.wrap_future(self._committer.call(lambda: write_backup(self._container, target)))

    @staticmethod
    def restore(
        backup: Path, directory: Path, passphrase: bytes, *, clock: Clock, overwrite: bool = False, epoch_above: int = 0
    ) -> None:
        """Make a store from a backup; see `keyturn.hsm.backup.restore`."""
        from keyturn.hsm.backup import restore  # backup opens stores, so it stands above this module

        restore(backup, directory, passphrase, clock=clock, overwrite=overwrite, epoch_above=epoch_above)

    # --- inside ------------------------------------------------------------------------------------------

    def _finish_change(self, applied: bool) -> None:
        self._change_open = False
        if applied:
            self._durability.note_change()

    def _take(self) -> Callable[[], None]:
        """Take everything that waits for a commit; what is returned writes it, in the commit thread."""
        state, log, container = self._state, self.log, self._container
        log.flush()
        state.commit += 1
        log.commit = state.commit
        rows = state.take_rows()
        head = log.head
        root = state.root_record(head)
        header, self._new_header = self._new_header, None
        self._lazy_uses, self._lazy_clock, self._lazy_since = 0, False, self._clock.now()

        def write() -> None:
            # The log first: a commit never refers to lines that are not on disk.
            log.sync(head.offset)
            container.commit(rows, seal_root(state.sealing, root, STORE_VERSION), header)

        return write

    def _check_alive(self) -> None:
        self._durability.check()
        if self._closed:
            raise store_error("closed", "The store is closed. Start the HSM again.")
