"""The key with which an installation seals what it hands to the courier (law 1, decisions 16).

It says from which installation a carrier comes, so that a foreign or damaged one is refused early. It authorises
nothing: whatever a sealed bundle contains is checked as if it were not sealed.
"""

from __future__ import annotations

import hashlib
import stat
from typing import TYPE_CHECKING, Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.key_strength import check_ed25519
from keyturn.ska.words import TRUST_WORDS, checksum_words
from keyturn.transport.cose import PUBLIC_KEY_SIZE
from keyturn.transport.files import PRIVATE_FILE, make_private_directory, read_bounded, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "instance-key.pem"
"""Its place in the data directory."""

WORDS_DOMAIN: Final = "instance-key"
"""Domain of the trust words (R11: domain separated)."""

_MAX_FILE: Final = 4096


class InstanceKey:
    """An Ed25519 key pair in a file of mode 0600. Its `repr` shows the public half only."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Load the key, or make one on first use.

        Args:
            path: The PKCS#8 PEM file; its directory is made (mode 0700) if it is missing.

        Returns:
            The key.

        Raises:
            KeyturnError: `instance-key.permissions` if others could read the file, `instance-key.unreadable` if it is
                not an Ed25519 key.
        """
        if not path.exists():
            make_private_directory(path.parent)
            fresh = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            # Two commands may start at once: the first file stays, both load it.
            write_atomically(path, fresh, mode=PRIVATE_FILE, replace=False)
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the key from a file that exists; errors as in `load_or_create`."""
        content = read_bounded(path, _MAX_FILE)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"Others may read {path} (mode {mode:04o}). If nobody did: chmod 600 {path}. "
                "If somebody may have: delete it; a new key is made, and the other side must pin that one.",
                refusal="instance-key.permissions",
            )
        try:
            private = load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unreadable(path) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise _unreadable(path)
        return cls(private)

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self._public

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the raw public key, hex."""
        return fingerprint(self._public)

    @property
    def words(self) -> tuple[str, ...]:
        """The sixteen words to compare by voice before the other side pins this key."""
        return trust_words(self._public)

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature over `data` (RFC 8032)."""
        return self._private.sign(data)

    def __repr__(self) -> str:
        return f"InstanceKey(fingerprint={self.fingerprint[:16]}…)"

    def __reduce__(self) -> str:
        raise TypeError("an instance key is not pickled")


def trust_words(public_key: bytes) -> tuple[str, ...]:
    """The sixteen words (128 bits) of a raw public key, 32 bytes, for comparing by voice at first trust."""
    return checksum_words(public_key, domain=WORDS_DOMAIN, count=TRUST_WORDS)


def fingerprint(public_key: bytes) -> str:
    """SHA-256 of a raw public key, hex; its first half is the key id in a bundle's header."""
    return hashlib.sha256(public_key).hexdigest()


def check_public_key(public_key: bytes) -> bytes:
    """Return `public_key` if it is a usable Ed25519 key of 32 bytes.

    Raises:
        KeyturnError: `instance-key.unusable` if it is not, or is one of the keys under which anybody can sign (R13).
    """
    try:
        if len(public_key) != PUBLIC_KEY_SIZE:
            raise _unusable()
        check_ed25519(public_key)
    except FormatError as error:
        raise _unusable() from error
    return public_key


def _unusable() -> KeyturnError:
    return KeyturnError(
        ErrorCode.PARSING_KEY,
        "This is not a usable instance key: 32 bytes of a proper Ed25519 public key, hex or base64, as "
        "keyturn transport trust prints it.",
        refusal="instance-key.unusable",
    )


def _unreadable(path: Path) -> KeyturnError:
    return KeyturnError(
        ErrorCode.CONFIG_NOT_VALID,
        f"{path} holds no Ed25519 key in PKCS#8 PEM. Put the right file back; or move it away, then a new key is made "
        "and the other side must pin that one.",
        refusal="instance-key.unreadable",
    )
