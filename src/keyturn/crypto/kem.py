"""ML-KEM: encapsulation for anybody's public key, decapsulation with a private one.

Decapsulation never fails for a ciphertext of the right length: one that was not made for the key gives a secret that
nobody knows (implicit rejection, FIPS 203 algorithm 18).

Source: FIPS 203 sections 7.2 and 7.3; rest-api.md section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from keyturn.crypto.keys import load_public_key
from keyturn.crypto.kinds.ml_kem import MlKem512PrivateKey, MlKem512PublicKey, MlKemPrivateKey, MlKemPublicKey, library
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.crypto.cipher_schemes import CipherParameters
    from keyturn.crypto.keys import PrivateKey, PublicKey, SecretKey

CIPHERTEXT_512: Final = 768
CIPHERTEXT_768: Final = 1088
CIPHERTEXT_1024: Final = 1568


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """What `encapsulate` makes.

    Args:
        ciphertext: For the owner of the private key.
        shared_secret: 32 bytes; they never appear in its `repr`.
    """

    ciphertext: bytes
    shared_secret: bytes

    def __repr__(self) -> str:
        return "Encapsulated(…)"


def encapsulate(spki: bytes) -> Encapsulated:
    """Make a secret, and the ciphertext from which the owner of a key gets it.

    Args:
        spki: DER SubjectPublicKeyInfo of an ML-KEM key.

    Returns:
        Both.

    Raises:
        FormatError: 407 `key.unreadable`.
        KeyturnError: 613 `key.wrong-type` when it is the key of another algorithm.
    """
    key = load_public_key(spki)
    if not isinstance(key, MlKemPublicKey):
        raise KeyturnError(
            ErrorCode.INVALID_KEY_TYPE,
            "publicKey: only keys of ML-KEM-512, ML-KEM-768 and ML-KEM-1024 encapsulate.",
            refusal="key.wrong-type",
        )
    if isinstance(key, MlKem512PublicKey):
        ciphertext, secret = library().encaps(key.public_bytes)
        return Encapsulated(bytes(ciphertext), bytes(secret))
    secret, ciphertext = key.encapsulate()
    return Encapsulated(ciphertext, secret)


@dataclass(frozen=True, slots=True)
class MlKem:
    """Decapsulation as a cipher (`cipher_schemes.CipherScheme`)."""

    def encrypt(self, key: PrivateKey | PublicKey | SecretKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """Nothing that is given can be encapsulated."""
        raise NotImplementedError

    def decrypt(
        self,
        key: PrivateKey | PublicKey | SecretKey,
        ciphertext: bytes,
        parameters: CipherParameters,
        random: Callable[[int], bytes],
    ) -> bytes:
        """Decapsulate; `ValueError` when the ciphertext has another length than the key's ciphertexts."""
        assert isinstance(key, MlKemPrivateKey)  # noqa: S101 - `decrypt` of `ciphers` has checked the kind.
        if isinstance(key, MlKem512PrivateKey):
            if len(ciphertext) != CIPHERTEXT_512:
                raise ValueError(len(ciphertext))
            return bytes(library().decaps(key.secret, ciphertext))
        if len(ciphertext) != (CIPHERTEXT_768 if isinstance(key, MLKEM768PrivateKey) else CIPHERTEXT_1024):
            raise ValueError(len(ciphertext))
        return key.decapsulate(ciphertext)
