"""The two executors of what the HSM gives: a connected HSM, and none (`keyturn.broker.serving`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from keyturn.broker.asking import asked
from keyturn.broker.executor import without_hsm
from keyturn.broker.serving import DataObject

if TYPE_CHECKING:
    from keyturn.hsm.client import HsmClient


class LocalServing:
    """A connected HSM gives.

    Args:
        client: A connected client.
    """

    def __init__(self, client: HsmClient) -> None:
        self._client = client

    @property
    def license_flags(self) -> list[str]:
        """Everything; there are no licences here, and clients look before they ask."""
        return ["REST_API", "TSB_ENGINE", "KEY_AUTH", "FIREBLOCKS_AGENT"]

    async def put_object(self, operation_id: bytes, wanted: DataObject, *, replace: bool) -> None:
        """Keep a data object."""
        await asked(
            self._client.put_object(operation_id, wanted.name, wanted.value, wanted.attributes, replace=replace)
        )

    async def object(self, name: str) -> DataObject:
        """A data object."""
        found = await asked(self._client.object(name))
        return DataObject(name=found.name, value=found.value, attributes=found.attributes)

    async def delete_object(self, operation_id: bytes, name: str) -> None:
        """Delete a data object."""
        await asked(self._client.delete_object(operation_id, name))

    async def random(self, length: int) -> bytes:
        """Random bytes."""
        return await asked(self._client.random(length))

    async def log_lines(self) -> list[str]:
        """The newest lines of the decision log."""
        return await asked(self._client.log_lines())

    async def date_with_rfc3161(self, payload: bytes, hash_algorithm: str) -> bytes:
        """A TimeStampResp."""
        return await asked(self._client.date_with_rfc3161(payload, hash_algorithm))

    async def make_file_key(self, label: str, file_key: bytes) -> bytes:
        """A file's header."""
        return await asked(self._client.make_file_key(label, file_key))

    async def open_file_key(self, label: str, header: bytes, sealed_password: bytes) -> bytes:
        """A file's key."""
        return await asked(self._client.open_file_key(label, header, sealed_password=sealed_password))


class AirGappedServing:
    """Nobody gives: the HSM is out of reach."""

    @property
    def license_flags(self) -> list[str]:
        """Requests, approvals and keys with a policy; nothing is done at once."""
        return ["TSB_ENGINE", "KEY_AUTH"]

    async def put_object(self, operation_id: bytes, wanted: DataObject, *, replace: bool) -> None:
        """Refused."""
        _refuse("Data objects are kept")

    async def object(self, name: str) -> DataObject:
        """Refused."""
        _refuse("Data objects are kept")

    async def delete_object(self, operation_id: bytes, name: str) -> None:
        """Refused."""
        _refuse("Data objects are kept")

    async def random(self, length: int) -> bytes:
        """Refused."""
        _refuse("Random bytes are made")

    async def log_lines(self) -> list[str]:
        """Refused."""
        _refuse("A decision log is written")

    async def date_with_rfc3161(self, payload: bytes, hash_algorithm: str) -> bytes:
        """Refused."""
        _refuse("Timestamps are made")

    async def make_file_key(self, label: str, file_key: bytes) -> bytes:
        """Refused."""
        _refuse("Files are encrypted")

    async def open_file_key(self, label: str, header: bytes, sealed_password: bytes) -> bytes:
        """Refused."""
        _refuse("Files are decrypted")


def _refuse(what: str) -> NoReturn:
    without_hsm(f"{what} at the offline side only.")
