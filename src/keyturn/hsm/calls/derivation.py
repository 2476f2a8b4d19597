"""Calls about seeds, derived keys and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class DerivationCalls(Calls):
    """Calls about seeds, derived keys and addresses."""

    async def import_seed(
        self,
        operation_id: bytes,
        label: str,
        seed: bytes,
        curve_oid: str,
        *,
        attributes: Mapping[str, bool],
        policy: bytes = b"",
        blocked: bool = False,
        address_format: str = "",
        allowed_operations: Sequence[str] = (),
        allowed_algorithms: Sequence[str] = (),
    ) -> protocol.Attested:
        """Make a master key of a seed; the arguments are those of `protocol.ImportSeed`."""
        message = protocol.ImportSeed(
            operation_id,
            label,
            seed,
            curve_oid,
            dict(attributes),
            policy,
            blocked,
            address_format,
            list(allowed_operations),
            list(allowed_algorithms),
        )
        return await self.ask(message, protocol.Attested)

    async def derive_key(
        self,
        operation_id: bytes,
        label: str,
        path: str,
        *,
        attributes: Mapping[str, bool],
        sealed_password: bytes = b"",
    ) -> protocol.Attested:
        """Store a derived key; the arguments are those of `protocol.DeriveKey`."""
        message = protocol.DeriveKey(operation_id, label, path, dict(attributes), sealed_password)
        return await self.ask(message, protocol.Attested)

    async def address(self, label: str, *, sealed_password: bytes = b"") -> protocol.Address:
        """The address of a key with a policy."""
        return await self.ask(protocol.GetAddress(label, sealed_password), protocol.Address)
