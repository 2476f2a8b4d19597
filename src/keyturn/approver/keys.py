"""Approval keys: what an officer signs with.

A key knows its own public identity in the form the policy compares (normalised SPKI, its SHA-256 fingerprint and
words for reading aloud), and exactly one digest per key type, so that there is nothing to choose wrongly.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.approver.keyfiles import read_key_file
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.signatures import scheme_for, verify
from keyturn.ska.words import TRUST_WORDS, checksum_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keyturn.approver.keyfiles import PrivateKey

APPROVER_WORDS_DOMAIN: Final = "approver-key"
"""Domain under which an approval key's words are computed, over its normalised SPKI."""

KEY_TYPES: Final[dict[str, Callable[[], PrivateKey]]] = {
    "rsa-3072": lambda: rsa.generate_private_key(public_exponent=65537, key_size=3072),
    "rsa-4096": lambda: rsa.generate_private_key(public_exponent=65537, key_size=4096),
    "ec-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ec-p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ec-p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
"""Kinds that `keygen` makes. DSA keys of before are read and used, but no new ones are made (FIPS 186-5)."""


def fingerprint_of(spki: bytes) -> str:
    """The SHA-256 fingerprint (64 hex digits) of a public key's normalised SPKI.

    Args:
        spki: DER SubjectPublicKeyInfo.

    Raises:
        FormatError: When it is no acceptable approver key (R13).
    """
    return load_approver_key(spki).fingerprint


def identity_words(identity: bytes) -> tuple[str, ...]:
    """The words under which a person recognises an approval key (128 bits).

    Args:
        identity: Normalised SPKI, DER.
    """
    return checksum_words(identity, domain=APPROVER_WORDS_DOMAIN, count=TRUST_WORDS)


@dataclass(frozen=True, slots=True)
class ApproverKey:
    """A private approval key with its public identity.

    Args:
        private_key: RSA, EC (P-256, P-384, P-521, secp256k1), Ed25519 or DSA.
        certificate: The certificate stored beside it, DER, or None.
    """

    private_key: PrivateKey = field(repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    spki: bytes = field(init=False, repr=False)
    """Normalised SPKI, DER; the identity that policies compare (R13)."""
    fingerprint: str = field(init=False)
    """SHA-256 of `spki`, hex."""

    def __post_init__(self) -> None:
        public = self.private_key.public_key()
        known = load_approver_key(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        object.__setattr__(self, "spki", known.identity)
        object.__setattr__(self, "fingerprint", known.fingerprint)

    @classmethod
    def load(cls, path: Path, passphrase: bytes) -> ApproverKey:
        """Open a key file.

        Args:
            path: Encrypted PKCS#8 (PEM or DER) or PKCS#12.
            passphrase: Its passphrase.

        Raises:
            KeyturnError: `approver-key.wrong-passphrase`, `approver-key.unencrypted`, `approver-key.unreadable`, or
                the refusal of the key itself when it is too weak or of an unsupported kind (R13).
        """
        return cls(*read_key_file(path, passphrase))

    @property
    def words(self) -> tuple[str, ...]:
        """Sixteen words for comparing this key aloud."""
        return identity_words(self.spki)

    @property
    def spki_base64(self) -> str:
        """The public key as the API and policies take it."""
        return base64.b64encode(self.spki).decode("ascii")

    @property
    def digest(self) -> str:
        """The API's digest name this key signs with (rest-api.md section 4.5): as strong as the key, never SHA-1."""
        match self.private_key:
            case ed25519.Ed25519PrivateKey():
                return "EdDSA"
            case ec.EllipticCurvePrivateKey() if self.private_key.curve.key_size > 384:
                return "SHA-512"
            case ec.EllipticCurvePrivateKey() if self.private_key.curve.key_size > 256:
                return "SHA-384"
            case _:
                return "SHA-256"

    def sign(self, data: bytes) -> bytes:
        """Sign bytes as approvals are signed, and check the signature before it leaves.

        Args:
            data: Exact bytes.

        Returns:
            The bare signature: RSA PKCS#1 v1.5, ECDSA or DSA as DER SEQUENCE, Ed25519 64 bytes
            (ska-wire-format.md section 5).

        Raises:
            KeyturnError: When the fresh signature does not verify; a faulty one could give the key away.
        """
        hash_algorithm: hashes.HashAlgorithm = {
            "SHA-384": hashes.SHA384(),
            "SHA-512": hashes.SHA512(),
        }.get(self.digest, hashes.SHA256())
        match self.private_key:
            case rsa.RSAPrivateKey():
                signature = self.private_key.sign(data, padding.PKCS1v15(), hash_algorithm)
            case ec.EllipticCurvePrivateKey():
                signature = self.private_key.sign(data, ec.ECDSA(hash_algorithm))
            case ed25519.Ed25519PrivateKey():
                signature = self.private_key.sign(data)
            case _:  # DSA; mypy sees no exhaustive match over abstract classes.
                signature = self.private_key.sign(data, hash_algorithm)
        known = load_approver_key(self.spki)
        verify(known, scheme_for(known, self.digest), signature, data)
        return signature

    def sign_timestamp(self, text: str) -> bytes:
        """Sign a fetch timestamp.

        Args:
            text: ISO-8601 text; exactly these characters are signed (ska-wire-format.md section 5).

        Returns:
            The bare signature.
        """
        return self.sign(text.encode("ascii"))


def generate_key(key_type: str) -> ApproverKey:
    """Make a new approval key.

    Args:
        key_type: One of `KEY_TYPES`.

    Raises:
        KeyturnError: `approver-key.type` for another word.
    """
    if key_type not in KEY_TYPES:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_APPROVER_KEY_TYPE,
            f"'{key_type}' is no kind of approval key that is made here; choose one of {', '.join(KEY_TYPES)}.",
            refusal="approver-key.type",
        )
    return ApproverKey(KEY_TYPES[key_type]())
