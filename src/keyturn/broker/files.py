"""Encrypting and decrypting files of any size with bounded memory.

A client sends all of a file before it reads an answer, and names the key before or behind the file. So the encrypted
form waits on disk, in a file without a name that vanishes with the process; the content itself never touches the disk.
What is decrypted is authenticated twice: all of it before the first octet leaves, so that a file that was changed is
refused as a whole, and each chunk again on its way, in case the disk has changed meanwhile.

Source: docs/formats/encrypted-files.md; rest-api.md section 3.3; docs/adr/0109.
"""

from __future__ import annotations

import asyncio
import errno
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.crypto.encrypted_files import HEADER, FileDecryptor, FileEncryptor, new_file_key, parse_header
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path
    from typing import BinaryIO, Self

BATCH: Final = 1 << 20
"""Octets that are worked on at once, beside the event loop."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What came of a file.

    Args:
        size: Its length in octets.
        pieces: Its octets.
    """

    size: int
    pieces: AsyncIterator[bytes]


class _Spool:
    """Octets that wait on disk, encrypted.

    Args:
        directory: Where; the file has no name there.
    """

    def __init__(self, directory: Path) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile(dir=directory, prefix="spool-")  # noqa: SIM115 - See `close`.
        self.size = 0

    def write(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise _no_room(error) from error
        self.size += len(content)

    def read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


class _Worker:
    """Collects pieces and works on them in batches, in a thread.

    Args:
        spool: Directory for what waits.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = _Spool(spool)
        self._waiting = bytearray()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what waits on disk; doing so twice does no harm."""
        self._spool.close()

    async def write(self, piece: bytes) -> None:
        """Take the next piece of the file."""
        self._waiting += piece
        if len(self._waiting) >= BATCH:
            await self._work()

    async def _work(self) -> None:
        batch = bytes(self._waiting)
        self._waiting.clear()
        await asyncio.to_thread(self._take, batch)

    def _take(self, batch: bytes) -> None:
        raise NotImplementedError


class FileSealing(_Worker):
    """One file that is being encrypted.

    Args:
        make_file_key: Seals a file's key to a key: takes a label and the key, gives the file's header.
        spool: Directory for what waits.
    """

    def __init__(self, make_file_key: Callable[[str, bytes], Awaitable[bytes]], spool: Path) -> None:
        super().__init__(spool)
        self._make_file_key = make_file_key
        self._file_key = new_file_key()
        self._encryptor = FileEncryptor(self._file_key)
        self._header = b""

    async def encrypt_for(self, label: str) -> None:
        """Say for which key; at any time before `finish`.

        Raises 650, 606 (no `derive`), 607 (not on P-384), 614 (a key with a policy).
        """
        self._header = await self._make_file_key(label, self._file_key)

    async def finish(self) -> Produced:
        """The encrypted file."""
        await self._work()
        await asyncio.to_thread(lambda: self._spool.write(self._encryptor.finish()))
        return Produced(HEADER + self._spool.size, self._pieces())

    def _take(self, batch: bytes) -> None:
        self._spool.write(self._encryptor.update(batch))

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield self._header
        for offset in range(0, self._spool.size, BATCH):
            yield await asyncio.to_thread(self._spool.read, offset, BATCH)


class FileOpening(_Worker):
    """One file that is being decrypted.

    Args:
        open_file_key: Opens a file's key: takes label, header and sealed password.
        spool: Directory for what waits.
    """

    def __init__(self, open_file_key: Callable[[str, bytes, bytes], Awaitable[bytes]], spool: Path) -> None:
        super().__init__(spool)
        self._open_file_key = open_file_key
        self._label = ""
        self._sealed_password = b""
        self._header = bytearray()
        self._file_key = b""

    async def decrypt_with(self, label: str, sealed_password: bytes) -> None:
        """Say with which key; at any time before `finish`."""
        self._label, self._sealed_password = label, sealed_password
        await self._open_header()

    async def write(self, piece: bytes) -> None:
        """Take the next piece; what begins as no encrypted file is refused at once, and so is a key that is not its.

        Raises 623, and what the HSM says of the key: 650, 606, 607, 614, 620.
        """
        if len(self._header) < HEADER:
            self._header += piece[: HEADER - len(self._header)]
            if len(self._header) == HEADER:
                parse_header(bytes(self._header))
                await self._open_header()
        await super().write(piece)

    async def _open_header(self) -> None:
        """Open the file's key as soon as header and key are known."""
        if self._label and len(self._header) == HEADER:
            self._file_key = await self._open_file_key(self._label, bytes(self._header), self._sealed_password)

    async def finish(self) -> Produced:
        """The content, all of which has been authenticated.

        Raises as `write`, and 623 for a file that was changed or cut off.
        """
        await self._work()
        parse_header(bytes(self._header))
        size = await asyncio.to_thread(self._authenticate)
        return Produced(size, self._pieces())

    def _take(self, batch: bytes) -> None:
        self._spool.write(batch)

    def _authenticate(self) -> int:
        decryptor = FileDecryptor(self._file_key)
        size = 0
        for offset in range(HEADER, self._spool.size, BATCH):
            size += len(decryptor.update(self._spool.read(offset, BATCH)))
        return size + len(decryptor.finish())

    def _open_piece(self, decryptor: FileDecryptor, offset: int) -> bytes:
        return decryptor.update(self._spool.read(offset, BATCH))

    async def _pieces(self) -> AsyncIterator[bytes]:
        decryptor = FileDecryptor(self._file_key)
        for offset in range(HEADER, self._spool.size, BATCH):
            opened = await asyncio.to_thread(self._open_piece, decryptor, offset)
            if opened:
                yield opened
        yield decryptor.finish()


def _no_room(error: OSError) -> KeyturnError:
    why = "its disk is full" if error.errno == errno.ENOSPC else "its disk cannot be written"
    return KeyturnError(
        ErrorCode.IO,
        f"The server cannot hold this file while it works on it: {why}. Make room in its data directory.",
        refusal="file.no-room",
    )
