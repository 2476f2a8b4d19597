"""Passwords of keys, and key material that comes in or leaves (R27).

Passwords are sealed to the HSM where they arrive, at the API's edge; here they are opaque. Without an HSM there is
nobody to seal them to: they are typed at the offline side.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from keyturn.broker.answers import AttestedKey, ExportedKey
    from keyturn.broker.calls import ImportCall


class TransferExecutor(Protocol):
    """The side that keeps keys."""

    async def transport_key(self) -> bytes:
        """The public key to which passwords of keys are sealed, SPKI."""
        ...

    async def check_password(self, label: str, sealed_password: bytes) -> None:
        """Return only if it is the key's; raises 620 otherwise."""
        ...

    async def change_password(
        self, operation_id: bytes, label: str, new_sealed_password: bytes, sealed_password: bytes
    ) -> None:
        """Change a key's password, give a first one, or take it away."""
        ...

    async def export(self, label: str, sealed_password: bytes) -> ExportedKey:
        """A key's material in the clear."""
        ...

    async def import_key(self, operation_id: bytes, call: ImportCall) -> AttestedKey:
        """Take in a key, a public key or a certificate that was made elsewhere."""
        ...


class Transfer:
    """What the API asks about passwords and key material.

    Args:
        executor: The side that keeps keys.
    """

    def __init__(self, executor: TransferExecutor) -> None:
        self._executor = executor

    async def transport_key(self) -> bytes:
        """The public key to which passwords are sealed, SPKI. Raises 611 `password.offline` without an HSM."""
        return await self._executor.transport_key()

    async def change_password(self, label: str, new_sealed_password: bytes, sealed_password: bytes) -> None:
        """Change a password. Raises 620, 614 (not modifiable), 650, what approvals for a modify lack, 611."""
        await self._executor.change_password(uuid.uuid4().bytes, label, new_sealed_password, sealed_password)

    async def export(self, label: str, sealed_password: bytes) -> ExportedKey:
        """Key material in the clear. Raises 606, 614, 620, 650, 611 without an HSM."""
        return await self._executor.export(label, sealed_password)

    async def import_key(self, call: ImportCall) -> AttestedKey:
        """Take something in. Raises 600, 603, 606, 608, 407, 409, 611 without an HSM."""
        return await self._executor.import_key(uuid.uuid4().bytes, call)
