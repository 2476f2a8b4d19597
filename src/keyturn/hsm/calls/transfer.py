"""Calls that bring key material in or out, and those about passwords of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class TransferCalls(Calls):
    """Calls that bring key material in or out, and those about passwords of keys."""

    async def check_password(self, label: str, sealed_password: bytes = b"") -> None:
        """Whether a password opens a key; refused with 620 if not."""
        await self.ask(protocol.CheckPassword(label, sealed_password), protocol.Done)

    async def change_password(
        self, operation_id: bytes, label: str, new_sealed_password: bytes = b"", *, sealed_password: bytes = b""
    ) -> None:
        """Change a password; the arguments are those of `protocol.ChangePassword`."""
        message = protocol.ChangePassword(operation_id, label, new_sealed_password, sealed_password)
        await self.ask(message, protocol.Done)

    async def export(self, label: str, *, sealed_password: bytes = b"") -> protocol.Exported:
        """A key's material in the clear."""
        return await self.ask(protocol.ExportKey(label, sealed_password), protocol.Exported)

    async def import_key(
        self,
        operation_id: bytes,
        label: str,
        algorithm: str = "",
        *,
        private_key: bytes = b"",
        public_key: bytes = b"",
        secret_key: bytes = b"",
        certificate: bytes = b"",
        attributes: Mapping[str, bool] | None = None,
        policy: bytes = b"",
        blocked: bool = False,
        key_id: str | None = None,
        allowed_operations: Sequence[str] = (),
        allowed_algorithms: Sequence[str] = (),
        sealed_password: bytes = b"",
        address_format: str = "",
    ) -> protocol.Attested:
        """Take in what was made elsewhere; the arguments are those of `protocol.ImportKey`."""
        message = protocol.ImportKey(
            operation_id,
            label,
            algorithm,
            private_key,
            public_key,
            secret_key,
            certificate,
            None if attributes is None else dict(attributes),
            policy,
            blocked,
            key_id,
            list(allowed_operations),
            list(allowed_algorithms),
            sealed_password=sealed_password,
            address_format=address_format,
        )
        return await self.ask(message, protocol.Attested)
