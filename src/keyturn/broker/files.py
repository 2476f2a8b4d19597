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
import os
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.crypto.encrypted_files import HEADER, FileDecryptor, FileEncryptor, new_file_key, parse_header
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path
    from typing import BinaryIO

BATCH: Final = 1 << 20
"""Octets that are worked on at once, beside the event loop."""
KEPT_FREE: Final = 256 << 20
"""Octets that files leave free on the disk: the broker's own store lies there, too, and must always be writable."""


@dataclass(frozen=True, slots=True)
class Produced:
    """What came of a file.

    Args:
        size: Its length in octets.
        pieces: Its octets.
    """

    size: int
    pieces: AsyncIterator[bytes]


class SpoolRoom:
    """The place on disk for all files under way, and how much of it they may take together.

    Args:
        directory: Where; files have no name there.
        most: Most octets of all of them at once.
    """

    def __init__(self, directory: Path, most: int) -> None:
        self.directory = directory
        self._most = most
        self._taken = 0
        self._lock = threading.Lock()  # Files are written in threads.

    def take(self, size: int) -> None:
        """Set room aside. Raises 703 `file.too-many` when others have taken it, `file.no-room` on a full disk."""
        disk = os.statvfs(self.directory)
        if disk.f_bavail * disk.f_frsize - size < KEPT_FREE:
            raise _no_room("its disk is full")
        with self._lock:
            if self._taken + size > self._most:
                raise KeyturnError(
                    ErrorCode.IO,
                    "The server works on as much of files as it may at once (files.maxWaiting). Try again when others "
                    "are done.",
                    refusal="file.too-many",
                )
            self._taken += size

    def give_back(self, size: int) -> None:
        """Let go of what was set aside."""
        with self._lock:
            self._taken -= size


class _Spool:
    """Octets that wait on disk, encrypted.

    Args:
        room: Where.
    """

    def __init__(self, room: SpoolRoom) -> None:
        # It vanishes when it is closed: see `close`.
        self._file: BinaryIO = tempfile.TemporaryFile(dir=room.directory, prefix="spool-")  # noqa: SIM115
        self._room = room
        self._taken = 0
        self._lock = threading.Lock()
        self.size = 0

    def write(self, content: bytes) -> None:
        self._room.take(len(content))
        with self._lock:
            self._taken += len(content)
        try:
            self._file.write(content)
            self._file.flush()  # A full disk is heard of here, and not when the answer has begun.
        except ValueError:
            # Closed while this thread was at it: what it has taken must be given back, too.
            self.close()
            raise
        except OSError as error:
            full = error.errno == errno.ENOSPC
            raise _no_room("its disk is full" if full else "its disk cannot be written") from error
        self.size += len(content)

    def read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
        with self._lock:
            taken, self._taken = self._taken, 0
        self._room.give_back(taken)


class _Worker:
    """Collects pieces and works on them in batches, in a thread.

    Args:
        room: Where what waits, waits.
    """

    def __init__(self, room: SpoolRoom) -> None:
        self._spool = _Spool(room)
        self._waiting = bytearray()

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
        room: Where what waits, waits.
    """

    def __init__(self, make_file_key: Callable[[str, bytes], Awaitable[bytes]], room: SpoolRoom) -> None:
        super().__init__(room)
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
        room: Where what waits, waits.
    """

    def __init__(self, open_file_key: Callable[[str, bytes, bytes], Awaitable[bytes]], room: SpoolRoom) -> None:
        super().__init__(room)
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


def _no_room(why: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.IO,
        f"The server cannot hold this file while it works on it: {why}. Make room in its data directory.",
        refusal="file.no-room",
    )
