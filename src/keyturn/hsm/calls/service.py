"""Calls about the HSM itself."""

from __future__ import annotations

from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls


class ServiceCalls(Calls):
    """Calls about the HSM itself."""

    async def info(self) -> protocol.Info:
        """Who is there; works while the HSM is sealed."""
        return await self.ask(protocol.GetInfo(), protocol.Info)

    async def witness(self, kind: str, evidence: bytes, signature: bytes) -> None:
        """Show the HSM something that it signed; the arguments are those of `protocol.Witness`."""
        await self.ask(protocol.Witness(kind, evidence, signature), protocol.Done)

    async def statistics(self) -> dict[str, int]:
        """Figures about the store."""
        return (await self.ask(protocol.GetStatistics(), protocol.Statistics)).figures
