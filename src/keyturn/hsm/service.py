"""The life of the HSM process: sealed, open, gone; and the two sockets it serves.

The store is opened once there is a passphrase: at start, or when the administrator unseals. Until then the broker's
socket answers `GetInfo` and refuses the rest. If a commit fails, no answer leaves any more and the process ends: what
memory knows and the disk does not must not be told (law 3).
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import replace

from keyturn import __version__
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import admin, protocol
from keyturn.hsm.audit import LogEntry
from keyturn.hsm.clock_guard import ClockCondition, ClockGuard
from keyturn.hsm.console import note
from keyturn.hsm.engine import Engine
from keyturn.hsm.gate import AnswerGate
from keyturn.hsm.handlers import AdminHandler, BrokerHandler
from keyturn.hsm.hardening import inspect_process
from keyturn.hsm.listening import isolation
from keyturn.hsm.passphrase import check_passphrase
from keyturn.hsm.sealing import KdfParameters
from keyturn.hsm.self_test import run_self_test
from keyturn.hsm.server import SocketServer
from keyturn.hsm.store import Store
from keyturn.hsm.system_keys import SystemKeys
from keyturn.hsm.worker import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keyturn.clock import Clock
    from keyturn.hsm.addresses import Address
    from keyturn.hsm.settings import HsmSettings

_T = TypeVar("_T")
PERSIST_EVERY: Final = 5.0
"""Seconds between commits of what waits for none: use counts, clock mark, log lines."""
PATIENCE: Final = 3.0
"""Seconds to wait for what the last HSM held that is just being killed: the lock of the store, its sockets."""
_HELD: Final = frozenset({"store.locked", "address.in-use"})


@dataclass(frozen=True, slots=True)
class _Open:
    """Everything that exists only while unsealed."""

    store: Store
    clock_guard: ClockGuard
    engine: Engine


class HsmService:
    """One HSM.

    Args:
        settings: Its settings.
        clock: The machine's clock.
        notices: What the operator was told at start; status repeats it.
    """

    def __init__(self, settings: HsmSettings, clock: Clock, notices: list[str]) -> None:
        self.settings = settings
        self.notices = notices
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._clock = clock
        self.isolation = isolation(settings.address, settings.uids, os.getuid())
        self._open: _Open | None = None
        self._workers = WorkerPool(settings.workers or None)
        self._gate = AnswerGate(self)
        self._broker: SocketServer[protocol.Call] | None = None
        self._admin: SocketServer[admin.AdminCall] | None = None
        self._address: Address = settings.address
        self._timer: asyncio.TimerHandle | None = None

    # --- Durability, for the gate ------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether something was decided that is not on disk yet."""
        return self._open is not None and self._open.store.pending

    async def durable(self) -> None:
        """Wait for the disk."""
        if self._open is not None:
            await self._open.store.durable()

    def flush(self) -> None:
        """Hand the decision log's lines to the operating system."""
        if self._open is not None:
            try:
                self._open.store.log.flush()
            except KeyturnError as error:
                self._die(error)
                raise

    # --- coming and going --------------------------------------------------------------------------------

    @property
    def sealed(self) -> bool:
        """Whether there is no open store."""
        return self._open is None

    @property
    def address(self) -> Address:
        """Where the broker's protocol is served."""
        return self._address

    def serve(self) -> None:
        """Listen on both sockets.

        Raises:
            KeyturnError: An address cannot be used.
        """
        settings = self.settings
        _make_parent(settings.admin_path, 0o700)
        if settings.address.path is not None:
            _make_parent(settings.address.path, 0o700 if settings.uids == {os.getuid()} else 0o711)
        tls = settings.tls
        administration = SocketServer(AdminHandler(self), admin.AdminCall, self._gate, allowed_uids={os.getuid()})
        broker = SocketServer(
            BrokerHandler(self),
            protocol.Call,
            self._gate,
            allowed_uids=settings.uids,
            tls=None if tls is None else tls.server_context(),
        )
        self._admin, self._broker = administration, broker
        _patiently(lambda: administration.listen(type(self._address)(path=settings.admin_path)))
        self._address = _patiently(lambda: broker.listen(settings.address))

    def unseal(self, passphrase: bytes, *, create: bool = False, accept_log_loss: bool = False) -> None:
        """Open the store, or make it.

        Args:
            passphrase: Its passphrase.
            create: Whether a new store may be made.
            accept_log_loss: Whether to go on without the whole decision log.

        Raises:
            KeyturnError: `hsm.not-sealed`; `passphrase.length`; `store.…`; `system-key.…`.
        """
        if self._open is not None:
            raise KeyturnError(ErrorCode.CONFIG_NOT_VALID, "the HSM is unsealed already", refusal="hsm.not-sealed")
        run_self_test()
        directory = self.settings.directory
        if Store.exists(directory):
            store = _patiently(
                lambda: Store.open(directory, passphrase, clock=self._clock, accept_log_loss=accept_log_loss)
            )
        elif create:
            kdf = KdfParameters(memory_kib=self.settings.kdf_memory_kib)
            check_passphrase(passphrase)
            store = _patiently(lambda: Store.create(directory, passphrase, clock=self._clock, kdf=kdf))
        else:
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"there is no store in {directory} yet: check the directory, or `keyturn hsm unseal --create`",
                refusal="store.missing",
            )
        try:
            guard = ClockGuard(
                self._clock, store, tolerance=self.settings.clock_tolerance, bound=self.settings.clock_bound
            )
            system_keys = SystemKeys.open(
                store,
                now=int(max(self._clock.now(), store.clock_mark)),
                clock_is_good=guard.status.condition is ClockCondition.GOOD,
                attestation_name=self.settings.attestation_key_name,
                integrity_name=self.settings.timestamp_key_name,
                receipt_name=self.settings.receipt_key_name,
                transport_name=self.settings.transport_key_name,
                rfc_timestamp_name=self.settings.rfc_timestamp_key_name,
            )
            engine = Engine(
                store=store,
                system_keys=system_keys,
                clock_guard=guard,
                clock=self._clock,
                settings=self.settings,
                isolation=self.isolation,
                workers=self._workers,
            )
        except BaseException:
            store.close()
            raise
        store.on_fatal = self._die
        self._open = _Open(store, guard, engine)
        self.record("unseal", "granted", note=f"isolation {self.isolation}")
        self._persist()

    def _persist(self) -> None:
        if self._open is not None and not self.ended.done():
            self._open.engine.deleted_keys.sweep()
            self._open.store.persist()
            self._timer = asyncio.get_running_loop().call_later(PERSIST_EVERY, self._persist)

    def _die(self, error: BaseException) -> None:
        self.end(70)
        note(f"the store cannot be written, the HSM ends: {error}")

    def end(self, status: int = 0) -> None:
        """Ask the process to end.

        Args:
            status: Its exit status.
        """
        if not self.ended.done():
            self.ended.set_result(status)

    async def close(self) -> None:
        """Stop serving, write what waits, let go of everything."""
        if self._timer is not None:
            self._timer.cancel()
        for server in (self._broker, self._admin):
            if server is not None:
                await server.close()
        await self._workers.close()
        if self._open is not None:
            opened, self._open = self._open, None
            opened.store.close()

    # --- what the handlers need --------------------------------------------------------------------------

    @property
    def engine(self) -> Engine | None:
        """The engine, None while sealed."""
        return None if self._open is None else self._open.engine

    def require_open(self) -> _Open:
        """The open store and what belongs to it.

        Raises:
            KeyturnError: `hsm.sealed`.
        """
        if self._open is None:
            raise KeyturnError(
                ErrorCode.HSM_FAILURE,
                "the HSM is sealed; its administrator opens it with `keyturn hsm unseal`",
                refusal="hsm.sealed",
            )
        return self._open

    def require_root_key_store(self) -> None:
        """Refuse where nothing can seal an integrity key yet: it is made in the root key store and rests there.

        Raises:
            KeyturnError: 702 `integrity-key.no-root-key-store`.
        """
        if self._open is None and not Store.exists(self.settings.directory):
            raise KeyturnError(
                ErrorCode.CREATION_INTEGRITY_KEY,
                "the integrity key, which signs timestamps, cannot be made: the HSM has no root key store yet. Its "
                "administrator sets it up with `keyturn hsm unseal --create`",
                refusal="integrity-key.no-root-key-store",
            )

    def record(self, kind: str, outcome: str, *, refusal: str = "", note: str = "") -> None:
        """Put an act of administration into the decision log."""
        if self._open is not None:
            self._open.store.log.append(
                LogEntry(time=int(self._clock.now()), kind=kind, outcome=outcome, refusal=refusal, note=note)
            )

    def sealed_info(self) -> protocol.Info:
        """What a sealed HSM says of itself."""
        return protocol.Info(
            protocol=protocol.PROTOCOL_VERSION,
            version=__version__,
            sealed=True,
            instance_id="",
            restore_epoch=0,
            isolation=self.isolation,
            switches=list(self.settings.weakening_switches),
            device_chain=[],
            integrity_key_name="",
            integrity_key=b"",
        )

    def status(self) -> admin.Status:
        """How this HSM is."""
        hardening = asdict(inspect_process())
        base = admin.Status(
            version=__version__,
            pid=os.getpid(),
            sealed=self.sealed,
            has_store=self._open is not None or Store.exists(self.settings.directory),
            isolation=self.isolation,
            switches=list(self.settings.weakening_switches),
            address=str(self._address),
            notices=self.notices,
            hardening={name: int(value) for name, value in hardening.items() if isinstance(value, int)},
        )
        if self._open is None:
            return base
        store, clock = self._open.store, self._open.clock_guard.status
        answer = self._open.engine.handle(protocol.GetStatistics(), "admin")
        witnessed = store.witnessed or (0, 0)
        return replace(
            base,
            instance_id=store.instance_id,
            restore_epoch=store.restore_epoch,
            state_counter=store.state_counter,
            keys=len(store.labels()),
            log_losses=store.log_losses,
            clock=clock.condition.value,
            clock_reading=clock.reading,
            clock_mark=clock.mark,
            figures=answer.figures if isinstance(answer, protocol.Statistics) else {},
            rolled_back=store.witnessed is not None,
            witnessed_epoch=witnessed[0],
            witnessed_counter=witnessed[1],
            accepted_rollbacks=store.accepted_rollbacks,
        )


def _make_parent(path: Path, mode: int) -> None:
    """Make a socket's directory if it is missing; one that is there is the administrator's business."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(mode)


def _patiently(opening: Callable[[], _T]) -> _T:
    """Open what a process that is dying may hold for some moments more: the system closes one thing after the other."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return opening()
        except KeyturnError as error:
            if error.refusal not in _HELD or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
