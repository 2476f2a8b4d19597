"""Calls about keys as such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class KeyCalls(Calls):
    """Calls about keys as such."""

    async def labels(self) -> list[str]:
        """Labels of all keys, sorted."""
        return (await self.ask(protocol.ListKeys(), protocol.Labels)).labels

    async def lookup(self, label: str) -> protocol.KeyFacts:
        """A key's public side; 650 when there is none."""
        return await self.ask(protocol.Lookup(label), protocol.KeyFacts)

    async def attest(self, label: str, sealed_password: bytes | None = None) -> protocol.Attested:
        """Attested attributes of a key; rate-limited. The arguments are those of `protocol.Attest`."""
        return await self.ask(protocol.Attest(label, sealed_password), protocol.Attested)

    async def create(
        self,
        operation_id: bytes,
        label: str,
        algorithm: str,
        *,
        curve_oid: str = "",
        key_size: int = 0,
        attributes: Mapping[str, bool],
        policy: bytes = b"",
        blocked: bool = False,
        key_id: str | None = None,
        address_format: str = "",
        allowed_operations: Sequence[str] = (),
        allowed_algorithms: Sequence[str] = (),
        sealed_password: bytes = b"",
    ) -> protocol.Attested:
        """Create a key; the arguments are those of `protocol.CreateKey`."""
        message = protocol.CreateKey(
            operation_id,
            label,
            algorithm,
            curve_oid,
            key_size,
            dict(attributes),
            policy,
            blocked,
            key_id,
            list(allowed_operations),
            list(allowed_algorithms),
            sealed_password=sealed_password,
            address_format=address_format,
        )
        return await self.ask(message, protocol.Attested)

    async def delete(self, operation_id: bytes, label: str, *, sealed_password: bytes = b"") -> None:
        """Delete a destroyable key."""
        await self.ask(protocol.DeleteKey(operation_id, label, sealed_password=sealed_password), protocol.Done)
