"""Approver management with a connected HSM, and with none (`keyturn.broker.onboarding`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from keyturn.broker.answers import AttestedKey, Executed
from keyturn.broker.asking import as_attested, asked
from keyturn.broker.calls import UnwrapCall
from keyturn.broker.executor import without_hsm
from keyturn.broker.onboarding import ManagedApprover, Package, said_of
from keyturn.hsm import protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.calls import RestoreCall
    from keyturn.broker.onboarding import ApproverOrder
    from keyturn.hsm.client import HsmClient


class LocalOnboarding:
    """A connected HSM makes the keys."""

    _client: HsmClient

    async def create_approver(self, operation_id: bytes, order: ApproverOrder) -> str:
        """Make a key."""
        return await asked(
            self._client.create_approver(operation_id, order.name, order.key_size, order.days, order.backup_password)
        )

    async def renew_approver_code(self, operation_id: bytes, name: str) -> str:
        """Another code."""
        return await asked(self._client.renew_approver_code(operation_id, name))

    async def onboard_approver(self, operation_id: bytes, name: str, code: bytes, transport_password: bytes) -> Package:
        """The file, for its code."""
        given = await asked(self._client.onboard_approver(operation_id, name, code, transport_password))
        return Package(initialization_vector=given.initialization_vector, payload=given.payload)

    async def managed_approvers(self) -> list[ManagedApprover]:
        """All of them."""
        entries = await asked(self._client.approvers())
        return [ManagedApprover(name=name, certificate=made, onboarded=given) for name, made, given in entries]

    async def delete_approver(self, operation_id: bytes, name: str) -> None:
        """Forget one."""
        await asked(self._client.delete_approver(operation_id, name))

    async def restoration(self, call: RestoreCall) -> UnwrapCall:
        """What has to be unwrapped."""
        found = await asked(self._client.restoration(call.name, call.purpose, call.backup_password))
        return UnwrapCall(
            wrapped_key=found.wrapped_key,
            key_name=found.label,
            method=found.method,
            new_label=found.new_label,
            attributes=found.attributes,
            meta_data=said_of(call),
        )

    async def restore_approver(
        self,
        operation_id: bytes,
        restore: RestoreCall,
        call: UnwrapCall,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
    ) -> Executed[AttestedKey]:
        """Restore a file."""
        message = protocol.Unwrap(
            operation_id,
            call.key_name,
            call.wrapped_key,
            call.method,
            call.new_label,
            dict(call.attributes),
            list(approvals),
            request_id=request_id,
            approver=restore.name,
            purpose=restore.purpose,
            backup_password=restore.backup_password,
            old_backup_password=restore.old_backup_password,
        )
        done = await asked(self._client.restore_approver(message))
        return Executed(as_attested(done), done.receipt, done.receipt_signature)

    async def restored_code(self, name: str, operation_id: bytes) -> str:
        """The code that a restoration made."""
        return await asked(self._client.restored_code(name, operation_id))


class AirGappedOnboarding:
    """There is no HSM that could make a key."""

    async def create_approver(self, operation_id: bytes, order: ApproverOrder) -> str:
        """Refused."""
        _refuse()

    async def renew_approver_code(self, operation_id: bytes, name: str) -> str:
        """Refused."""
        _refuse()

    async def onboard_approver(self, operation_id: bytes, name: str, code: bytes, transport_password: bytes) -> Package:
        """Refused."""
        _refuse()

    async def managed_approvers(self) -> list[ManagedApprover]:
        """Refused."""
        _refuse()

    async def delete_approver(self, operation_id: bytes, name: str) -> None:
        """Refused."""
        _refuse()

    async def restoration(self, call: RestoreCall) -> UnwrapCall:
        """Refused."""
        _refuse()

    async def restore_approver(
        self,
        operation_id: bytes,
        restore: RestoreCall,
        call: UnwrapCall,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
    ) -> Executed[AttestedKey]:
        """Refused."""
        _refuse()

    async def restored_code(self, name: str, operation_id: bytes) -> str:
        """Refused."""
        _refuse()


def _refuse() -> NoReturn:
    without_hsm("Officers make their own keys (keyturn approver keygen).")
