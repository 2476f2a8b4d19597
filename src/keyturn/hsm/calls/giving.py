"""Calls for what the HSM gives to whoever may call it."""

from __future__ import annotations

from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls


class GivingCalls(Calls):
    """Calls for randomness, the decision log, time and keys of files."""

    async def random(self, length: int) -> bytes:
        """Random bytes."""
        return (await self.ask(protocol.GetRandom(length), protocol.Random)).data

    async def log_lines(self) -> list[str]:
        """The newest lines of the decision log, oldest first."""
        return (await self.ask(protocol.GetLog(), protocol.LogLines)).lines

    async def date_with_rfc3161(self, payload: bytes, hash_algorithm: str) -> bytes:
        """A TimeStampResp; the arguments are those of `protocol.DateWithRfc3161`."""
        return (await self.ask(protocol.DateWithRfc3161(payload, hash_algorithm), protocol.Dated)).response

    async def make_file_key(self, label: str, file_key: bytes) -> bytes:
        """Seal a file's key to a key; the file's header."""
        return (await self.ask(protocol.MakeFileKey(label, file_key), protocol.FileKey)).header

    async def open_file_key(self, label: str, header: bytes, *, sealed_password: bytes = b"") -> bytes:
        """Open a file's key with the key for which the file was encrypted."""
        return (await self.ask(protocol.OpenFileKey(label, header, sealed_password), protocol.FileKey)).file_key
