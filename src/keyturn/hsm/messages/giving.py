"""Messages about what the HSM gives to whoever may call it: randomness, the decision log, time, keys of files."""

from __future__ import annotations

from keyturn.hsm.messages.base import Message


class GetRandom(Message, frozen=True, tag="random"):
    """Ask for random bytes. Answer: `Random`."""

    length: int


class Random(Message, frozen=True, tag="random-is"):
    """Random bytes, from the operating system's generator in the HSM process."""

    data: bytes

    def __repr__(self) -> str:
        return "Random(…)"


class GetLog(Message, frozen=True, tag="log"):
    """Ask for the newest lines of the decision log. Answer: `LogLines`."""


class LogLines(Message, frozen=True, tag="log-lines"):
    """Lines of the decision log as they stand in the file, oldest first."""

    lines: list[str]


class DateWithRfc3161(Message, frozen=True, tag="rfc3161"):
    """Ask for a timestamp of RFC 3161. Answer: `Dated`.

    Args:
        payload: What is dated; hashed here.
        hash_algorithm: As in `keyturn.crypto.rfc3161.imprint_of`.
    """

    payload: bytes
    hash_algorithm: str


class Dated(Message, frozen=True, tag="rfc3161-is"):
    """A TimeStampResp, DER."""

    response: bytes


class MakeFileKey(Message, frozen=True, tag="file-key-make"):
    """Seal the key of a file to an EC key on P-384. Answer: `FileKey`.

    Args:
        label: The key for which the file is encrypted.
        file_key: The file's key, 32 bytes.
    """

    label: str
    file_key: bytes

    def __repr__(self) -> str:
        return f"MakeFileKey({self.label!r}, …)"


class OpenFileKey(Message, frozen=True, tag="file-key-open"):
    """Open the key of a file. Answer: `FileKey`.

    Args:
        label: The key for which the file was encrypted.
        header: The file's header (docs/formats/encrypted-files.md).
        sealed_password: The key's password, sealed to the HSM's transport key; empty for none.
    """

    label: str
    header: bytes
    sealed_password: bytes = b""


class FileKey(Message, frozen=True, tag="file-key-is"):
    """The key of a file, and its header.

    Args:
        header: The file's header.
        file_key: 32 bytes.
    """

    header: bytes
    file_key: bytes

    def __repr__(self) -> str:
        return "FileKey(…)"
