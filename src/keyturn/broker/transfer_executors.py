"""Passwords of keys, and key material that comes in or leaves: with a connected HSM, and with none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from keyturn.broker.answers import AttestedKey, ExportedKey
from keyturn.broker.asking import as_attested, asked
from keyturn.broker.executor import without_hsm
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.policy import encode_policy

if TYPE_CHECKING:
    from keyturn.broker.calls import ImportCall
    from keyturn.hsm.client import HsmClient


class LocalTransfer:
    """A connected HSM keeps the keys.

    Args:
        client: A connected client.
    """

    _client: HsmClient

    async def transport_key(self) -> bytes:
        """Asked for each time: another HSM may answer there by now."""
        info = await asked(self._client.info())
        if info.sealed:
            raise KeyturnError(
                ErrorCode.HSM_FAILURE,
                "the HSM is sealed; its administrator opens it with `keyturn hsm unseal`",
                refusal="hsm.sealed",
            )
        return info.transport_key

    async def check_password(self, label: str, sealed_password: bytes) -> None:
        """Have the HSM check a password."""
        await asked(self._client.check_password(label, sealed_password))

    async def change_password(
        self, operation_id: bytes, label: str, new_sealed_password: bytes, sealed_password: bytes
    ) -> None:
        """Have the HSM change a password."""
        await asked(
            self._client.change_password(operation_id, label, new_sealed_password, sealed_password=sealed_password)
        )

    async def export(self, label: str, sealed_password: bytes) -> ExportedKey:
        """Have the HSM export a key."""
        given = await asked(self._client.export(label, sealed_password=sealed_password))
        return ExportedKey(private_key=given.private_key, public_key=given.public_key, secret_key=given.secret_key)

    async def import_key(self, operation_id: bytes, call: ImportCall) -> AttestedKey:
        """Have the HSM take a key in."""
        made = await asked(
            self._client.import_key(
                operation_id,
                call.label,
                call.algorithm,
                private_key=call.private_key,
                public_key=call.public_key,
                secret_key=call.secret_key,
                certificate=call.certificate,
                attributes=call.attributes,
                policy=b"" if call.policy is None else encode_policy(call.policy),
                blocked=call.blocked,
                key_id=call.key_id,
                allowed_operations=call.allowed_operations,
                allowed_algorithms=call.allowed_algorithms,
                sealed_password=call.sealed_password,
                address_format=call.address_format,
            )
        )
        return as_attested(made)


class AirGappedTransfer:
    """The HSM that keeps the keys is out of reach."""

    async def transport_key(self) -> bytes:
        """Refused."""
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            "This broker has no HSM (profile air-gapped), and a key's password does not travel across the gap: leave "
            "it out here; it is typed at the offline side when the request is executed there.",
            refusal="password.offline",
        )

    async def check_password(self, label: str, sealed_password: bytes) -> None:
        """Refused."""
        await self.transport_key()

    async def change_password(
        self, operation_id: bytes, label: str, new_sealed_password: bytes, sealed_password: bytes
    ) -> None:
        """Refused."""
        _refuse("Passwords are changed")

    async def export(self, label: str, sealed_password: bytes) -> ExportedKey:
        """Refused."""
        _refuse("Keys are exported")

    async def import_key(self, operation_id: bytes, call: ImportCall) -> AttestedKey:
        """Refused."""
        _refuse("Keys are imported")


def _refuse(what: str) -> NoReturn:
    without_hsm(f"{what} at the offline side.")
