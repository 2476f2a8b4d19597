"""Calls about what governs a key: policy, block, withdrawn approvals, signed time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls

if TYPE_CHECKING:
    from collections.abc import Sequence


class GovernCalls(Calls):
    """Calls about what governs a key: policy, block, withdrawn approvals, signed time."""

    async def modify(
        self,
        operation_id: bytes,
        label: str,
        policy: bytes,
        approvals: Sequence[bytes] = (),
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> protocol.Attested:
        """Replace a key's policy; the arguments are those of `protocol.Modify`."""
        message = protocol.Modify(
            operation_id, label, policy, list(approvals), request_id, sealed_password=sealed_password
        )
        return await self.ask(message, protocol.Attested)

    async def block(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes] = (),
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> protocol.Attested:
        """Block a key; the arguments are those of `protocol.Block`."""
        message = protocol.Block(operation_id, label, list(approvals), request_id, sealed_password=sealed_password)
        return await self.ask(message, protocol.Attested)

    async def unblock(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes] = (),
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> protocol.Attested:
        """Lift a key's block; the arguments are those of `protocol.Unblock`."""
        message = protocol.Unblock(operation_id, label, list(approvals), request_id, sealed_password=sealed_password)
        return await self.ask(message, protocol.Attested)

    async def withdraw(
        self,
        label: str,
        approval: bytes,
        task_id: str,
        signature: bytes,
        *,
        spki: bytes | None = None,
        certificate: bytes | None = None,
    ) -> None:
        """Take an approval back; the arguments are those of `protocol.Withdraw`."""
        await self.ask(protocol.Withdraw(label, approval, task_id, signature, spki, certificate), protocol.Done)

    async def stamp(self, label: str, action: int, payload: bytes) -> protocol.Stamped:
        """A signed timestamp for an operation with a key; rate-limited."""
        return await self.ask(protocol.Stamp(label, action, payload), protocol.Stamped)
