# Made by scripts/async_client.py of keyturn/client/files.py: change that, then `make client`.
"""The endpoints that encrypt and decrypt files, of any size, with bounded memory.

Source: rest-api.md section 3.3; docs/formats/encrypted-files.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import msgspec

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, refusal_of
from keyturn.client.files import MAX_REFUSAL, WORKING_SECONDS
from keyturn.client.reach import why_unreachable
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO


class AsyncFileCalls(AsyncRestConnection):
    """Files. What stands in a `target` counts only when the method has returned; after an error it is a piece of it."""

    async def encrypt_file(self, label: str, source: BinaryIO, target: BinaryIO, *, name: str = "file") -> int:
        """Encrypt a file: `POST /v1/fileEncrypt`.

        Args:
            label: An EC key on curve 1.3.132.0.34 with `derive`, without a policy.
            source: The file, opened for reading.
            target: Where the encrypted file is written.
            name: Name of the file, for the server's answer.

        Returns:
            How many bytes were written.
        """
        part = {"fileEncryptRequest": {"encryptKeyName": label}}
        return await self._exchange_file("/v1/fileEncrypt", "SignedFileEncryptRequestDto", part, source, target, name)

    async def decrypt_file(
        self, label: str, source: BinaryIO, target: BinaryIO, *, name: str = "file", password: str | None = None
    ) -> int:
        """Decrypt a file: `POST /v1/synchronousFileDecrypt`.

        Args:
            label: The key for which it was encrypted.
            source: The encrypted file, opened for reading.
            target: Where the content is written.
            name: Name of the file, for the server's answer.
            password: Password of the key, if it has one.

        Returns:
            How many bytes were written.
        """
        inner: JsonObject = {"decryptKeyName": label}
        if password is not None:
            inner["keyPassword"] = list(password)
        part = {"fileDecryptRequest": inner}
        return await self._exchange_file(
            "/v1/synchronousFileDecrypt", "SignedFileDecryptRequestDto", part, source, target, name
        )

    async def _exchange_file(
        self, path: str, part: str, body: JsonObject, source: BinaryIO, target: BinaryIO, name: str
    ) -> int:
        files: Mapping[str, tuple[str | None, bytes | BinaryIO, str]] = {
            part: (None, msgspec.json.encode(body), "application/json"),
            "file": (name, source, "application/octet-stream"),
        }
        start = source.tell() if source.seekable() else None
        tried = 1
        while True:
            try:
                return await self._send_file(path, files, target)
            except KeyturnError as refused:
                if start is None or not await self._has_another_key(refused, tried):
                    raise
                tried += 1
                source.seek(start)

    async def _send_file(
        self, path: str, files: Mapping[str, tuple[str | None, bytes | BinaryIO, str]], target: BinaryIO
    ) -> int:
        usual = self._http.timeout
        read = None if usual.read is None else max(usual.read, WORKING_SECONDS)
        patience = httpx.Timeout(connect=usual.connect, read=read, write=usual.write, pool=usual.pool)
        written = 0
        try:
            async with self._http.stream("POST", path, files=files, headers=self.proof(), timeout=patience) as answer:
                if answer.status_code != 200:
                    raise refusal_of("POST", path, answer.status_code, await self._refusal(answer))
                async for piece in answer.aiter_bytes(1 << 20):
                    written += target.write(piece)
        except httpx.HTTPError as error:
            raise KeyturnError(
                ErrorCode.CONNECTIVITY, f"Cannot reach {self.base_url}: {why_unreachable(error, self.base_url)}"
            ) from error
        return written

    async def _refusal(self, answer: httpx.Response) -> bytes:
        """As much of an error body as may be one."""
        received = bytearray()
        async for piece in answer.aiter_bytes():
            received += piece
            if len(received) > MAX_REFUSAL:
                break
        return bytes(received)
