"""What the HSM gives beside operations with keys: data objects, randomness, its log, dated hashes, keys of files.

One interface and two executors, as in `keyturn.broker.executor`; nothing is stored here, and nothing can be carried
across an air gap.

Source: rest-api.md sections 1.7, 3.3 (files) and 3.9.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from keyturn.broker.files import FileOpening, FileSealing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.broker.files import SpoolRoom


@dataclass(frozen=True, slots=True, kw_only=True)
class DataObject:
    """A data object.

    Args:
        name: Its name.
        value: Its value, at most 64 KiB.
        attributes: `private`, `modifiable`, `destroyable`, as far as they are known.
    """

    name: str
    value: bytes
    attributes: Mapping[str, bool]


class ServingExecutor(Protocol):
    """The side that gives; errors as in `Executor`."""

    @property
    def license_flags(self) -> list[str]:
        """Names of what is offered, as the documented product licenses it (rest-api.md section 1.7)."""
        ...

    async def put_object(self, operation_id: bytes, wanted: DataObject, *, replace: bool) -> None:
        """Keep a data object, or another value of one, at most once."""
        ...

    async def object(self, name: str) -> DataObject:
        """A data object."""
        ...

    async def delete_object(self, operation_id: bytes, name: str) -> None:
        """Delete a data object, at most once."""
        ...

    async def random(self, length: int) -> bytes:
        """Random bytes."""
        ...

    async def log_lines(self) -> list[str]:
        """The newest lines of the HSM's decision log, oldest first."""
        ...

    async def date_with_rfc3161(self, payload: bytes, hash_algorithm: str) -> bytes:
        """A TimeStampResp, DER."""
        ...

    async def make_file_key(self, label: str, file_key: bytes) -> bytes:
        """The header that carries a file's key for a key."""
        ...

    async def open_file_key(self, label: str, header: bytes, sealed_password: bytes) -> bytes:
        """The key in a file's header."""
        ...


class Serving:
    """What endpoints ask for.

    Args:
        executor: The side that gives.
        room: Where what of a file does not fit into memory waits: encrypted, and without a name.
    """

    def __init__(self, executor: ServingExecutor, room: SpoolRoom) -> None:
        self._executor = executor
        self._room = room

    @property
    def license_flags(self) -> list[str]:
        """As in `ServingExecutor`."""
        return self._executor.license_flags

    async def put_object(self, wanted: DataObject, *, replace: bool = False) -> DataObject:
        """Keep a data object, or write another value for one that exists.

        Raises 615 (exists), 616 (size), 653 (unknown, when replacing), 614 (not modifiable), 600 (name).
        """
        await self._executor.put_object(uuid.uuid4().bytes, wanted, replace=replace)
        return await self._executor.object(wanted.name)

    async def object(self, name: str) -> DataObject:
        """A data object. Raises 653."""
        return await self._executor.object(name)

    async def delete_object(self, name: str) -> None:
        """Delete a data object. Raises 653, 614 (not destroyable)."""
        await self._executor.delete_object(uuid.uuid4().bytes, name)

    async def random(self, length: int) -> bytes:
        """Random bytes of the HSM. Raises 619 when there would be none, or too many."""
        return await self._executor.random(length)

    async def log_lines(self) -> list[str]:
        """The newest lines of the HSM's decision log, oldest first."""
        return await self._executor.log_lines()

    async def date_with_rfc3161(self, payload: bytes, hash_algorithm: str) -> bytes:
        """Have the HSM date a payload: a TimeStampResp, DER. Raises 600 (hash algorithm), 612."""
        return await self._executor.date_with_rfc3161(payload, hash_algorithm)

    def seal_file(self) -> FileSealing:
        """Begin to encrypt a file."""
        return FileSealing(self._executor.make_file_key, self._room)

    def open_file(self) -> FileOpening:
        """Begin to decrypt a file."""
        return FileOpening(self._executor.open_file_key, self._room)
