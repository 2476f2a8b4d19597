"""Seeds, derived keys and addresses: what endpoints ask for, and what the side that acts must offer.

Source: rest-api.md sections 3.1 and 3.2; docs/security/rules.md R21.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.broker.answers import AttestedKey
    from keyturn.ska.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedCall:
    """A seed that becomes a master key.

    Args:
        label: Label of the key.
        seed: 16 to 64 bytes.
        curve_oid: Dotted OID.
        attributes: Attribute names as in the API to booleans.
        policy: Its policy, or None for an ordinary key.
        blocked: Whether it starts blocked.
        address_format: `BTC`, `ETH`, `XRP` or `XLM`; empty for none.
        allowed_operations: The only uses, among sign, decrypt and unwrap; empty for no limit (R9).
        allowed_algorithms: API names of the only algorithms; empty for no limit.
    """

    label: str
    seed: bytes = field(repr=False)
    curve_oid: str
    attributes: Mapping[str, bool]
    policy: Policy | None = None
    blocked: bool = False
    address_format: str = ""
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()


class DerivingExecutor(Protocol):
    """The side that derives; errors as in `Executor`."""

    async def import_seed(self, operation_id: bytes, call: SeedCall) -> AttestedKey:
        """Make a master key of a seed, at most once."""
        ...

    async def derive_key(
        self, operation_id: bytes, master: str, path: str, attributes: Mapping[str, bool], sealed_password: bytes
    ) -> AttestedKey:
        """Store a derived key, at most once."""
        ...

    async def address(self, label: str, sealed_password: bytes) -> bytes:
        """The address of a key."""
        ...


class Deriving:
    """What the API asks about seeds, derived keys and addresses.

    Args:
        executor: The side that derives.
    """

    def __init__(self, executor: DerivingExecutor) -> None:
        self._executor = executor

    async def import_seed(self, call: SeedCall) -> AttestedKey:
        """Make a master key of a seed. Raises 600, 605, 606, 608, 610, 630 and 634 as the HSM says; 611 without one."""
        return await self._executor.import_seed(uuid.uuid4().bytes, call)

    async def derive_key(
        self, master: str, path: str, attributes: Mapping[str, bool], sealed_password: bytes = b""
    ) -> AttestedKey:
        """Store a derived key under `master/path`.

        Args:
            master: Name of the master.
            path: Derivation path.
            attributes: Those that differ from the master's.
            sealed_password: The master's password; empty for none.

        Raises:
            KeyturnError: 606, 608, 610, 620, 634, 650 as the HSM says; 611 without one.
        """
        return await self._executor.derive_key(uuid.uuid4().bytes, master, path, attributes, sealed_password)

    async def address(self, label: str, sealed_password: bytes = b"") -> bytes:
        """The bytes of a key's address. Raises 630 for a key that has none, 650 for an unknown one, 620."""
        return await self._executor.address(label, sealed_password)
