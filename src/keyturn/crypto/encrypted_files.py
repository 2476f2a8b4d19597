"""Encrypted files: a header that carries the file's key for one EC key, and authenticated chunks of any number.

    header   magic, version, suite, chunk size, recipient, ephemeral point, wrapped file key: 181 bytes
    chunks   AES-256-GCM of 64 KiB each, the last one shorter or as long, each followed by its tag of 16 bytes

The file key is random. It is wrapped (AES key wrap) under a key that HKDF makes of an ephemeral ECDH on P-384 and of
everything that stands before it in the header, so that no octet of a header can be changed. Chunks are numbered and the
last one is marked in the nonce (the STREAM construction), so that a chunk that is missing, doubled, moved or cut off is
found out. An empty last chunk stands only in an empty file: each content has one form.

Wrapping and unwrapping belong to the HSM; what is done with the file key is done where the file is.

Source: docs/formats/encrypted-files.md; Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance" (CRYPTO 2015), section 7; SEC 1 version 2.0 sections 2.3.3 and 3.3.1; RFC 5869; RFC 3394;
NIST SP 800-38D.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keyturn.errors import ErrorCode, FormatError

ALGORITHM: Final = "ECIES"
"""Name of the act for limits and logs."""
CURVE_OID: Final = "1.3.132.0.34"
"""The one curve (rest-api.md section 3.3)."""
MAGIC: Final = b"KTFILE\r\n"
"""The line end is damaged by programs that take the file for text."""
VERSION: Final = 1
SUITE: Final = 1
"""ECDH on P-384, HKDF-SHA-384, AES-256 key wrap, AES-256-GCM."""
CHUNK_BITS: Final = 16
CHUNK: Final = 1 << CHUNK_BITS
"""Octets of content in every chunk but the last."""
TAG: Final = 16
FILE_KEY: Final = 32
HEADER: Final = 181
"""Octets of the header."""

_FIXED: Final = struct.Struct(">8s4B32s97s40s")
_POINT: Final = 97
_WRAPPED: Final = FILE_KEY + 8
_INFO: Final = b"keyturn/file-key/1\x00"
_MAX_CHUNKS: Final = 1 << 48
"""2^48 chunks of 64 KiB: no file reaches it, and the counter has 88 bits."""


def new_file_key() -> bytes:
    """A random key for one file, 32 bytes."""
    return os.urandom(FILE_KEY)


def seal_file_key(public_key: bytes, file_key: bytes, ephemeral: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """Make the header of a file.

    Args:
        public_key: SPKI of the recipient's key on P-384, DER.
        file_key: The file's key, 32 bytes, used for this file alone.
        ephemeral: For golden files; None makes one, as it must be.

    Returns:
        The header.

    Raises:
        FormatError: 607 `file.wrong-key`: it is no key on P-384.
    """
    recipient = load_der_public_key(public_key)
    if not isinstance(recipient, ec.EllipticCurvePublicKey) or not isinstance(recipient.curve, ec.SECP384R1):
        raise wrong_key()
    one = ephemeral or ec.generate_private_key(ec.SECP384R1())
    point = one.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    start = struct.pack(">8s4B32s97s", MAGIC, VERSION, SUITE, CHUNK_BITS, 0, sha256(public_key).digest(), point)
    return start + aes_key_wrap(_key_encryption_key(one.exchange(ec.ECDH(), recipient), start), file_key)


@dataclass(frozen=True, slots=True)
class FileHeader:
    """A header, taken apart.

    Args:
        recipient: SHA-256 of the recipient's SPKI.
        ephemeral: The ephemeral public key.
        start: Everything before the wrapped key.
        wrapped: The wrapped file key.
    """

    recipient: bytes
    ephemeral: ec.EllipticCurvePublicKey
    start: bytes
    wrapped: bytes

    def open(self, shared_secret: bytes) -> bytes:
        """Unwrap the file key.

        Args:
            shared_secret: ECDH of the recipient's private key and `ephemeral`: the x coordinate, 48 bytes.

        Returns:
            The file key.

        Raises:
            FormatError: 623 `file.header-forged`.
        """
        try:
            return aes_key_unwrap(_key_encryption_key(shared_secret, self.start), self.wrapped)
        except InvalidUnwrap:
            raise _bad("its header was changed or damaged: the key in it does not open", "header-forged") from None


def parse_header(content: bytes) -> FileHeader:
    """Take a header apart.

    Args:
        content: The first `HEADER` bytes of a file.

    Returns:
        Its parts.

    Raises:
        FormatError: 623 `file.no-header`, `file.version`, `file.header-damaged`.
    """
    if len(content) != HEADER or not content.startswith(MAGIC):
        raise _bad("it does not begin with the header of an encrypted file", "no-header")
    _, version, suite, chunk_bits, reserved, recipient, point, wrapped = _FIXED.unpack(content)
    if (version, suite, chunk_bits, reserved) != (VERSION, SUITE, CHUNK_BITS, 0):
        raise _bad(f"it has version {version}, suite {suite}; this program reads version 1, suite 1", "version")
    try:
        ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point)
    except ValueError:
        raise _bad("the ephemeral key in its header is no point of P-384", "header-damaged") from None
    return FileHeader(recipient, ephemeral, content[:-_WRAPPED], wrapped)


@dataclass(slots=True)
class FileEncryptor:
    """Makes the chunks of one file. Pieces of any size go in; whole chunks come out.

    Args:
        file_key: The file's key, 32 bytes; used by this object alone.
    """

    file_key: bytes = field(repr=False)
    _aead: AESGCM = field(init=False, repr=False)
    _held: bytearray = field(init=False, repr=False, default_factory=bytearray)
    _count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._aead = AESGCM(self.file_key)

    def update(self, content: bytes) -> bytes:
        """Take content; what can be written so far. A full chunk is held back until it is known not to be the last."""
        self._held += content
        made = []
        while len(self._held) > CHUNK:
            made.append(self._chunk(bytes(self._held[:CHUNK]), last=False))
            del self._held[:CHUNK]
        return b"".join(made)

    def finish(self) -> bytes:
        """The last chunk."""
        last = self._chunk(bytes(self._held), last=True)
        self._held.clear()
        return last

    def _chunk(self, content: bytes, *, last: bool) -> bytes:
        nonce = _nonce(self._count, last=last)
        self._count += 1
        return self._aead.encrypt(nonce, content, None)


@dataclass(slots=True)
class FileDecryptor:
    """Opens the chunks of one file. Nothing comes out that was not authenticated; the end is known at `finish` only.

    Args:
        file_key: The file's key.
    """

    file_key: bytes = field(repr=False)
    _aead: AESGCM = field(init=False, repr=False)
    _held: bytearray = field(init=False, repr=False, default_factory=bytearray)
    _count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._aead = AESGCM(self.file_key)

    def update(self, content: bytes) -> bytes:
        """Take what stands behind the header, in pieces of any size.

        Args:
            content: The next piece.

        Returns:
            The content of the chunks that are complete and known not to be the last.

        Raises:
            FormatError: 623 `file.damaged`.
        """
        self._held += content
        opened = []
        while len(self._held) > CHUNK + TAG:
            opened.append(self._open(bytes(self._held[: CHUNK + TAG]), last=False))
            del self._held[: CHUNK + TAG]
        return b"".join(opened)

    def finish(self) -> bytes:
        """Open the last chunk.

        Returns:
            Its content.

        Raises:
            FormatError: 623 `file.damaged`: also where chunks behind it were cut off.
        """
        last = self._open(bytes(self._held), last=True)
        self._held.clear()
        if not last and self._count > 1:
            raise self._damaged()
        return last

    def _open(self, content: bytes, *, last: bool) -> bytes:
        try:
            opened = self._aead.decrypt(_nonce(self._count, last=last), content, None)
        except (InvalidTag, ValueError):
            raise self._damaged() from None
        self._count += 1
        return opened

    def _damaged(self) -> FormatError:
        return _bad(f"chunk {self._count + 1} was changed, moved or damaged, or the file was cut off there", "damaged")


def wrong_key() -> FormatError:
    """The refusal of a key that files cannot be encrypted for."""
    return FormatError(
        f"Files are encrypted for EC keys on the curve {CURVE_OID} (P-384) with the attribute `derive`; this key is "
        "another kind.",
        code=ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
        refusal="file.wrong-key",
    )


def _key_encryption_key(shared_secret: bytes, start: bytes) -> bytes:
    return HKDF(hashes.SHA384(), 32, salt=None, info=_INFO + start).derive(shared_secret)


def _nonce(count: int, *, last: bool) -> bytes:
    if count >= _MAX_CHUNKS:
        raise OverflowError("a file has too many chunks")
    return count.to_bytes(11, "big") + bytes([last])


def _bad(why: str, word: str) -> FormatError:
    return FormatError(
        f"This is no file that can be decrypted: {why}.", code=ErrorCode.INVALID_FILE_HEADER, refusal=f"file.{word}"
    )
