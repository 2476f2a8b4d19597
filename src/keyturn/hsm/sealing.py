"""Sealing: from a passphrase to the keys under which the store's secrets rest.

    passphrase --Argon2id--> key-encryption key --AES-256-GCM unwraps--> master key --HKDF-SHA256--> one key per domain

The master key is random and never changes; a new passphrase only wraps it anew. So a backup made under an old
passphrase still opens with that old passphrase: who must withdraw a passphrase must also destroy the backups made under
it.

A sealed value is `salt (16) || nonce (12) || ciphertext and tag`. Its AES-GCM key is HMAC-SHA256(domain key,
tag || salt), so that salt and nonce together are 28 random octets: one root record per commit, thousands per second,
never comes near the 2^32 messages that random 96-bit nonces allow under one key (NIST SP 800-38D section 8.3).
A counter as nonce would repeat after a restore from backup.

What this does not do: Python cannot wipe memory. The keys live in the HSM process as long as it is unsealed.

Sources: RFC 9106 (Argon2id), RFC 5869 (HKDF), NIST SP 800-38D (GCM).
"""

from __future__ import annotations

import hmac
import os
from enum import StrEnum
from hashlib import sha256
from typing import Final, NoReturn

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyturn.hsm.records import encode_canonical, store_error

HEADER_FORMAT: Final = 1
MAX_PASSPHRASE: Final = 1024
"""Longest passphrase in bytes: more is a wrong file given as passphrase file."""
MAX_MEMORY_KIB: Final = 4 * 1024 * 1024
"""4 GiB: a damaged header must not make the machine swap before it is refused."""
MIN_MEMORY_KIB: Final = 8 * 1024
MAX_ITERATIONS: Final = 64
MAX_LANES: Final = 16

_KEY_SIZE: Final = 32
_SALT_SIZE: Final = 16
_NONCE_SIZE: Final = 12
_TAG_SIZE: Final = 16
_SEAL_TAG: Final = b"keyturn/seal/1\x00"
_WRAP_TAG: Final = b"keyturn/store-header/1\x00"
_CHECKSUM_TAG: Final = b"keyturn/store-header-checksum/1\x00"


class Domain(StrEnum):
    """What a sealed value is; each has a key of its own, so that none can stand in another's place."""

    KEYS = "keys"
    SYSTEM_KEYS = "system-keys"
    OPERATIONS = "operations"
    OBJECTS = "objects"
    ROOT = "root"
    PASSWORDS = "passwords"


class KdfParameters(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Cost of guessing a passphrase (Argon2id, RFC 9106 section 4).

    Args:
        memory_kib: Memory in KiB.
        iterations: Passes over the memory.
        lanes: Degree of parallelism.
    """

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The one part of the store that is readable before the passphrase is known.

    Args:
        format: `HEADER_FORMAT`.
        kdf: How the passphrase becomes the key-encryption key.
        salt: 16 random bytes for it.
        nonce: 12 bytes.
        wrapped: The master key under AES-256-GCM, with everything before it as associated data.
        checksum: SHA-256 over everything before it. No protection against malice (the sealed root record covers the
            header for that); it only tells a damaged header from a wrong passphrase.
    """

    format: int
    kdf: KdfParameters
    salt: bytes
    nonce: bytes
    wrapped: bytes
    checksum: bytes = b""


class SealingKeys:
    """The sealing keys of an open store. They show in no `repr` and cannot be pickled to another process.

    Args:
        master: The 32-byte master key; it is not kept.
    """

    __slots__ = ("_keys",)

    def __init__(self, master: bytes) -> None:
        self._keys = {domain: _derive_subkey(master, domain) for domain in Domain}

    def __repr__(self) -> str:
        return "<SealingKeys>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("sealing keys never leave their process")

    def seal(self, domain: Domain, plaintext: bytes, associated: bytes) -> bytes:
        """Encrypt and authenticate.

        Args:
            domain: What the value is.
            plaintext: The secret.
            associated: Bytes that must be presented again to open it.

        Returns:
            `salt || nonce || ciphertext and tag`.
        """
        prefix = os.urandom(_SALT_SIZE + _NONCE_SIZE)
        return prefix + self._cipher(domain, prefix).encrypt(prefix[_SALT_SIZE:], plaintext, associated)

    def open(self, domain: Domain, sealed: bytes, associated: bytes) -> bytes:
        """Check and decrypt.

        Args:
            domain: What the value is.
            sealed: What `seal` returned.
            associated: The same associated bytes.

        Returns:
            The secret.

        Raises:
            KeyturnError: `store.seal-broken`: damaged, or not sealed for this domain and these associated bytes.
        """
        prefix = sealed[: _SALT_SIZE + _NONCE_SIZE]
        if len(sealed) < len(prefix) + _TAG_SIZE:
            raise _seal_broken(domain)
        try:
            return self._cipher(domain, prefix).decrypt(prefix[_SALT_SIZE:], sealed[len(prefix) :], associated)
        except InvalidTag as error:
            raise _seal_broken(domain) from error

    def _cipher(self, domain: Domain, prefix: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._keys[domain], _SEAL_TAG + prefix[:_SALT_SIZE], "sha256"))


def create_header(passphrase: bytes, kdf: KdfParameters | None = None) -> tuple[bytes, SealingKeys]:
    """Make a new master key and wrap it.

    Args:
        passphrase: 1 to `MAX_PASSPHRASE` bytes.
        kdf: Cost parameters; None for the default (64 MiB, 3 passes).

    Returns:
        The encoded header and the keys it leads to.

    Raises:
        KeyturnError: `store.bad-passphrase` or `store.bad-kdf`: outside the bounds.
    """
    master = os.urandom(_KEY_SIZE)
    return _wrap(master, passphrase, kdf or KdfParameters()), SealingKeys(master)


def open_header(content: bytes, passphrase: bytes) -> SealingKeys:
    """Open a header with its passphrase.

    Args:
        content: The encoded header.
        passphrase: As at creation.

    Returns:
        The keys it leads to.

    Raises:
        KeyturnError: `store.header-damaged` or `store.header-unknown` where the header is not usable,
            `store.wrong-passphrase` where it is and the passphrase does not open it.
    """
    return SealingKeys(_unwrap(content, passphrase))


def rewrap_header(content: bytes, old: bytes, new: bytes, kdf: KdfParameters | None = None) -> bytes:
    """Wrap the same master key under another passphrase.

    Args:
        content: The encoded header.
        old: The passphrase so far.
        new: The new one.
        kdf: New cost parameters; None keeps the default.

    Returns:
        The new encoded header.

    Raises:
        KeyturnError: As `open_header` and `create_header`.
    """
    return _wrap(_unwrap(content, old), new, kdf or KdfParameters())


def _wrap(master: bytes, passphrase: bytes, kdf: KdfParameters) -> bytes:
    header = Header(HEADER_FORMAT, kdf, os.urandom(_SALT_SIZE), os.urandom(_NONCE_SIZE), b"")
    kek = _derive_kek(passphrase, header)
    wrapped = AESGCM(kek).encrypt(header.nonce, master, _WRAP_TAG + encode_canonical(header))
    header = msgspec.structs.replace(header, wrapped=wrapped)
    return encode_canonical(msgspec.structs.replace(header, checksum=_checksum(header)))


def _unwrap(content: bytes, passphrase: bytes) -> bytes:
    try:
        header = msgspec.msgpack.decode(content, type=Header)
    except msgspec.MsgspecError as error:
        raise _header_damaged() from error
    bare = msgspec.structs.replace(header, checksum=b"")
    if not hmac.compare_digest(header.checksum, _checksum(bare)) or len(header.nonce) != _NONCE_SIZE:
        raise _header_damaged()
    if header.format != HEADER_FORMAT:
        raise store_error(
            "header-unknown",
            f"The store's header has format {header.format}; this program knows {HEADER_FORMAT}. Use the newer "
            "program.",
        )
    kek = _derive_kek(passphrase, header)
    try:
        return AESGCM(kek).decrypt(
            header.nonce, header.wrapped, _WRAP_TAG + encode_canonical(msgspec.structs.replace(bare, wrapped=b""))
        )
    except InvalidTag as error:
        raise store_error("wrong-passphrase", "The passphrase does not open this store. Give the right one.") from error


def _derive_kek(passphrase: bytes, header: Header) -> bytes:
    if not 1 <= len(passphrase) <= MAX_PASSPHRASE:
        raise store_error(
            "bad-passphrase", f"A passphrase has 1 to {MAX_PASSPHRASE} bytes; this one has {len(passphrase)}."
        )
    kdf = header.kdf
    if not (
        MIN_MEMORY_KIB <= kdf.memory_kib <= MAX_MEMORY_KIB
        and 1 <= kdf.iterations <= MAX_ITERATIONS
        and 1 <= kdf.lanes <= MAX_LANES
        and len(header.salt) == _SALT_SIZE
    ):
        raise store_error(
            "bad-kdf",
            f"Argon2id parameters outside the bounds: memory {MIN_MEMORY_KIB} to {MAX_MEMORY_KIB} KiB, "
            f"1 to {MAX_ITERATIONS} iterations, 1 to {MAX_LANES} lanes, {_SALT_SIZE} bytes of salt.",
        )
    function = Argon2id(
        salt=header.salt, length=_KEY_SIZE, iterations=kdf.iterations, lanes=kdf.lanes, memory_cost=kdf.memory_kib
    )
    try:
        return function.derive(passphrase)
    except MemoryError as error:
        raise store_error(
            "bad-kdf",
            f"This machine has no {kdf.memory_kib} KiB to spare for the passphrase. Free some, or add memory.",
        ) from error


def _derive_subkey(master: bytes, domain: Domain) -> bytes:
    return HKDF(hashes.SHA256(), _KEY_SIZE, salt=None, info=b"keyturn/store/1/" + domain.value.encode()).derive(master)


def _checksum(header: Header) -> bytes:
    return sha256(_CHECKSUM_TAG + encode_canonical(header)).digest()


def _header_damaged() -> Exception:
    return store_error("header-damaged", "The store's header is damaged. Restore the store from a backup.")


def _seal_broken(domain: Domain) -> Exception:
    return store_error(
        "seal-broken",
        f"A sealed value ({domain.value}) is damaged or stands in the wrong place. Restore the store from a backup.",
    )
