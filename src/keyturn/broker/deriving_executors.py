"""Seeds, derived keys and addresses: what the two executors do about them.

An air-gapped broker makes no keys. It learns a derived key as any other, from what the offline side attests of
`master/path`, and answers addresses from there.

Source: rest-api.md sections 3.1 and 3.2; docs/security/rules.md R19, R21.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from keyturn.broker.asking import as_attested, asked
from keyturn.broker.executor import without_hsm
from keyturn.broker.register import parsed
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.policy import encode_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.broker.answers import AttestedKey
    from keyturn.broker.deriving import SeedCall
    from keyturn.broker.register import Register
    from keyturn.hsm.client import HsmClient


class LocalDeriving:
    """What an HSM does."""

    _client: HsmClient

    async def import_seed(self, operation_id: bytes, call: SeedCall) -> AttestedKey:
        """Make a master key of a seed."""
        return as_attested(
            await asked(
                self._client.import_seed(
                    operation_id,
                    call.label,
                    call.seed,
                    call.curve_oid,
                    attributes=call.attributes,
                    policy=b"" if call.policy is None else encode_policy(call.policy),
                    blocked=call.blocked,
                    address_format=call.address_format,
                    allowed_operations=call.allowed_operations,
                    allowed_algorithms=call.allowed_algorithms,
                )
            )
        )

    async def derive_key(
        self, operation_id: bytes, master: str, path: str, attributes: Mapping[str, bool], sealed_password: bytes
    ) -> AttestedKey:
        """Store a derived key."""
        return as_attested(
            await asked(
                self._client.derive_key(
                    operation_id, master, path, attributes=attributes, sealed_password=sealed_password
                )
            )
        )

    async def address(self, label: str, sealed_password: bytes) -> bytes:
        """The address of a key."""
        return (await asked(self._client.address(label, sealed_password=sealed_password))).address


class AirGappedDeriving:
    """What there is without an HSM."""

    register: Register

    async def import_seed(self, operation_id: bytes, call: SeedCall) -> AttestedKey:
        """Refused."""
        del operation_id, call
        _refuse("made of a seed", "Import the seed at the offline side")

    async def derive_key(
        self, operation_id: bytes, master: str, path: str, attributes: Mapping[str, bool], sealed_password: bytes
    ) -> AttestedKey:
        """Refused."""
        del operation_id, master, path, attributes, sealed_password
        _refuse("derived", "Ask the offline side for the attributes of master/path, whether or not it is stored there")

    async def address(self, label: str, sealed_password: bytes) -> bytes:
        """The address in the registered attestation."""
        del sealed_password
        found = parsed((await self.register.row(label)).xml).address
        if found is None:
            raise KeyturnError(
                ErrorCode.INVALID_ADDRESS_ON_NON_SKA_KEY,
                f"the key {label[:128]!r} was created without an addressFormat, and has no address",
                refusal="address.none",
            )
        return found[1]


def _refuse(what: str, cure: str) -> NoReturn:
    without_hsm(f"No key can be {what} here. {cure}, and register what it attests with POST /v1/offlineKey.")
