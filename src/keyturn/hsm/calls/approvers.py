"""Calls about approvers whose keys the HSM makes."""

from __future__ import annotations

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls


class ApproverCalls(Calls):
    """Calls about approvers; see the messages for arguments."""

    async def create_approver(
        self, operation_id: bytes, name: str, key_size: int, days: int, backup_password: bytes
    ) -> str:
        """Make an approver's key; the one-time code."""
        call = protocol.CreateApprover(operation_id, name, key_size, days, backup_password)
        return _given((await self.ask(call, protocol.ApproverCode)).code)

    async def renew_approver_code(self, operation_id: bytes, name: str) -> str:
        """Another one-time code."""
        return _given((await self.ask(protocol.RenewApproverCode(operation_id, name), protocol.ApproverCode)).code)

    async def onboard_approver(
        self, operation_id: bytes, name: str, code: bytes, transport_password: bytes
    ) -> protocol.ApproverPackage:
        """An approver's file, for the code."""
        call = protocol.OnboardApprover(operation_id, name, code, transport_password)
        return await self.ask(call, protocol.ApproverPackage)

    async def approvers(self) -> list[tuple[str, bytes, bool]]:
        """Name, certificate, and whether the file was given, of all approvers."""
        return (await self.ask(protocol.ListApprovers(), protocol.Approvers)).entries

    async def delete_approver(self, operation_id: bytes, name: str) -> None:
        """Forget an approver."""
        await self.ask(protocol.DeleteApprover(operation_id, name), protocol.Done)

    async def restoration(self, name: str, purpose: str, backup_password: bytes) -> protocol.Restoration:
        """What has to be unwrapped to restore an approver's file."""
        return await self.ask(protocol.GetRestoration(name, purpose, backup_password), protocol.Restoration)

    async def restore_approver(self, call: protocol.Unwrap) -> protocol.Attested:
        """Restore an approver's file; attests the backup key."""
        return await self.ask(call, protocol.Attested)

    async def restored_code(self, name: str, operation_id: bytes) -> str:
        """The code that a restoration made; empty once it is no longer good."""
        return (await self.ask(protocol.GetRestoredCode(name, operation_id), protocol.ApproverCode)).code


def _given(code: str) -> str:
    if not code:
        raise KeyturnError(
            ErrorCode.INVALID_ONE_TIME_CODE,
            "the one-time code was told once, and its answer was lost; make another one with "
            "/v1/approverManagement/renewOneTimeCode",
            refusal="approver.code-told",
        )
    return code
