"""Calls about what the HSM keeps for callers and is no key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls

if TYPE_CHECKING:
    from collections.abc import Mapping


class ObjectCalls(Calls):
    """Calls about data objects."""

    async def put_object(
        self, operation_id: bytes, name: str, value: bytes, attributes: Mapping[str, bool], *, replace: bool = False
    ) -> None:
        """Keep a data object, or another value for one; see `protocol.PutObject`."""
        await self.ask(protocol.PutObject(operation_id, name, value, dict(attributes), replace), protocol.Done)

    async def object(self, name: str) -> protocol.ObjectIs:
        """A data object."""
        return await self.ask(protocol.GetObject(name), protocol.ObjectIs)

    async def delete_object(self, operation_id: bytes, name: str) -> None:
        """Delete a data object."""
        await self.ask(protocol.DeleteObject(operation_id, name), protocol.Done)
