"""What the two sockets of the HSM do with a message: the broker's protocol, sealed or open, and administration.

Source: keyturn.hsm.protocol, keyturn.hsm.admin; docs/security/rules.md R2.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import admin, protocol
from keyturn.hsm.console import note
from keyturn.hsm.ledger_view import look
from keyturn.hsm.passphrase import check_passphrase
from keyturn.hsm.sealing import KdfParameters

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.errors import FormatError
    from keyturn.hsm.service import HsmService


class _Refuser:
    """How both handlers say no to bytes that are no message.

    Args:
        service: The HSM.
    """

    def __init__(self, service: HsmService) -> None:
        self._service = service

    def refuse_frame(self, error: FormatError, peer: str) -> protocol.Refused:
        """Log bytes that are no message."""
        engine = self._service.engine
        if engine is not None:
            return engine.refuse_frame(error, peer)
        note(f"refused while sealed, {peer}: {error.message} [{error.refusal}]")
        return protocol.Refused(error.code.name, error.refusal, error.message)


class BrokerHandler(_Refuser):
    """The broker's protocol, sealed or open.

    Args:
        service: The HSM.
    """

    def handle(self, message: protocol.Call, peer: str) -> protocol.Answer | Awaitable[protocol.Answer]:
        """Answer a call."""
        engine = self._service.engine
        if engine is not None:
            return engine.handle(message, peer)
        if isinstance(message, protocol.GetInfo):
            return self._service.sealed_info()
        try:
            if isinstance(message, protocol.Stamp):
                self._service.require_root_key_store()
            self._service.require_open()
        except KeyturnError as error:
            return protocol.Refused(error.code.name, error.refusal, error.message)
        raise AssertionError("sealed and open at once")


class AdminHandler(_Refuser):
    """The administration protocol.

    Args:
        service: The HSM.
    """

    def __init__(self, service: HsmService) -> None:
        super().__init__(service)
        self._backups: set[asyncio.Task[admin.AdminAnswer]] = set()

    def handle(self, message: admin.AdminCall, peer: str) -> admin.AdminAnswer | Awaitable[admin.AdminAnswer]:
        """Answer a message."""
        kind = str(message.__struct_config__.tag)
        try:
            if isinstance(message, admin.MakeBackup):
                # Begun, it is brought to its end and recorded, even if the administrator hangs up.
                backup = asyncio.get_running_loop().create_task(self._backup(message))
                self._backups.add(backup)
                backup.add_done_callback(self._backups.discard)
                return asyncio.shield(backup)
            answer = self._handle(message)
        except Exception as error:
            return self._refuse(kind, error)
        if not isinstance(message, admin.GetStatus | admin.GetLedger | admin.GetDeleted | admin.Unseal):
            self._service.record(kind, "granted", note=peer)
        return answer

    def _refuse(self, kind: str, error: Exception) -> protocol.Refused:
        if not isinstance(error, KeyturnError):
            note(f"internal error {type(error).__name__} in administration")
            error = KeyturnError(ErrorCode.TECHNICAL, f"this failed: {type(error).__name__}", refusal="internal.error")
        self._service.record(kind, "refused", refusal=error.refusal, note=error.message)
        return protocol.Refused(error.code.name, error.refusal, error.message)

    def _handle(self, message: admin.AdminCall) -> admin.AdminAnswer:
        service = self._service
        match message:
            case admin.GetStatus():
                return service.status()
            case admin.Unseal(passphrase=passphrase, create=create, accept_log_loss=accept):
                service.unseal(passphrase, create=create, accept_log_loss=accept)
            case admin.ConfirmClock(reading=reading, backwards=backwards):
                service.require_open().clock_guard.confirm(reading, backwards=backwards)
            case admin.ChangePassphrase(old=old, new=new):
                kdf = KdfParameters(memory_kib=service.settings.kdf_memory_kib)
                service.require_open().store.change_passphrase(old, check_passphrase(new), kdf=kdf)
            case admin.PresentWitness(kind=kind, evidence=evidence, signature=signature):
                service.require_open().engine.rollback.present(kind, evidence, signature)
            case admin.AcceptRollback(epoch=epoch, counter=counter):
                service.require_open().engine.rollback.accept(epoch, counter)
            case admin.GetLedger():
                return look(service.require_open().store, message)
            case admin.GetDeleted(after=after):
                return service.require_open().engine.deleted_keys.listed(after)
            case admin.RestoreDeleted(uuid=uuid, label=label):
                service.require_open().engine.deleted_keys.restore(uuid, label)
            case admin.EraseDeleted(uuid=uuid):
                service.require_open().engine.deleted_keys.erase(uuid)
            case admin.Shutdown():
                # After this turn of the loop, so that the answer leaves first.
                asyncio.get_running_loop().call_later(0.05, service.end)
            case _:
                raise AssertionError(message)
        return admin.AdminDone()

    async def _backup(self, message: admin.MakeBackup) -> admin.AdminAnswer:
        target = Path(message.target)
        try:
            if not target.is_absolute():
                raise KeyturnError(
                    ErrorCode.VALIDATION_FAILED, "name the backup by an absolute path", refusal="backup.relative"
                )
            await self._service.require_open().store.backup_async(target)
        except Exception as error:
            return self._refuse("backup", error)
        self._service.record("backup", "granted", note=str(target))
        return admin.AdminDone()
