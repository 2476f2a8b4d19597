"""The ciphers behind their names: RSA with OAEP, PKCS#1 v1.5 or no padding, block ciphers in their modes, ChaCha20.

A scheme is given checked input: a key of the right kind, an initialization vector of a length that its entry names.
What does not decrypt raises `ValueError` or `InvalidTag`; `ciphers.decrypt` makes one refusal of all of them.

Source: RFC 8017 sections 7.1 and 7.2, RFC 3713 (Camellia), NIST SP 800-67 (TDEA), RFC 8439 (ChaCha20),
NIST SP 800-38A (ECB, CBC, CTR) and 800-38D (GCM), RFC 5652 section 6.3
(padding of AES-CBC).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.hazmat.decrepit.ciphers.algorithms import Camellia, TripleDES
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB, GCM
from cryptography.hazmat.primitives.padding import PKCS7

from keyturn.crypto.keys import SecretKey
from keyturn.crypto.rsa_raw import private_operation, public_operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.hashes import HashAlgorithm

    from keyturn.crypto.keys import PrivateKey, PublicKey

    AnyKey = PrivateKey | PublicKey | SecretKey
    Random = Callable[[int], bytes]

BLOCK: Final = 16
"""Block of AES and Camellia in bytes."""
TDEA_BLOCK: Final = 8
PKCS1_OVERHEAD: Final = 11
"""Bytes of the modulus that PKCS#1 v1.5 padding needs for itself (RFC 8017 section 7.2.1)."""


@dataclass(frozen=True, slots=True)
class CipherParameters:
    """What goes into a cipher beside key and data.

    Args:
        iv: Initialization vector; None where none is used.
        aad: Additional data that is authenticated and not encrypted; None for none.
        tag_length: Length of the authentication tag in bits; 0 for the default, and where there is none.
    """

    iv: bytes | None = None
    aad: bytes | None = None
    tag_length: int = 0


class TooLargeError(ValueError):
    """The plaintext does not fit.

    Args:
        size: The most bytes that do.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = max(size, 0)


class CipherScheme(Protocol):
    """One way to encrypt and decrypt."""

    def encrypt(self, key: AnyKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """Encrypt; the tag follows the ciphertext. Raises `TooLargeError`."""
        ...

    def decrypt(self, key: AnyKey, ciphertext: bytes, parameters: CipherParameters, random: Random) -> bytes:
        """Decrypt; raises `ValueError` or `InvalidTag` when it does not."""
        ...


def rsa_public(key: AnyKey) -> RSAPublicKey:
    """The public half of a key that is known to be of RSA."""
    if isinstance(key, RSAPrivateKey):
        return key.public_key()
    assert isinstance(key, RSAPublicKey)  # noqa: S101 - `ciphers` and `wrapping` have checked the kind.
    return key


def rsa_private(key: AnyKey) -> RSAPrivateKey:
    """A key that is known to be a private one of RSA."""
    assert isinstance(key, RSAPrivateKey)  # noqa: S101 - `ciphers` and `wrapping` have checked the kind.
    return key


def secret_value(key: AnyKey) -> bytes:
    """The bytes of a key that is known to be symmetric."""
    assert isinstance(key, SecretKey)  # noqa: S101 - `ciphers` and `wrapping` have checked the kind.
    return key.value


_BLOCK_CIPHERS: Final[dict[str, Callable[[bytes], AES | Camellia | TripleDES]]] = {
    "AES": AES,
    "Camellia": Camellia,
    "TDEA": TripleDES,
}


def _block_cipher(key: AnyKey) -> AES | Camellia | TripleDES:
    assert isinstance(key, SecretKey)  # noqa: S101 - `ciphers` and `wrapping` have checked the kind.
    return _BLOCK_CIPHERS[key.algorithm](key.value)


def _aes(key: AnyKey) -> AES:
    return AES(secret_value(key))


def modulus_size(key: RSAPrivateKey | RSAPublicKey) -> int:
    """Bytes of an RSA modulus, and so of every ciphertext under it."""
    return (key.key_size + 7) // 8


def _fitting(plaintext: bytes, size: int) -> bytes:
    if len(plaintext) > size:
        raise TooLargeError(size)
    return plaintext


@dataclass(frozen=True, slots=True)
class RsaOaep:
    """RSAES-OAEP (RFC 8017 section 7.1): MGF1 with the same hash, empty label.

    Args:
        hash: The hash.
    """

    hash: HashAlgorithm
    padding: OAEP = field(init=False)

    def __post_init__(self) -> None:
        """Make the padding once."""
        object.__setattr__(self, "padding", OAEP(MGF1(self.hash), self.hash, None))

    def encrypt(self, key: AnyKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """See `CipherScheme`."""
        public = rsa_public(key)
        size = modulus_size(public) - 2 * self.hash.digest_size - 2
        return public.encrypt(_fitting(plaintext, size), self.padding)

    def decrypt(self, key: AnyKey, ciphertext: bytes, parameters: CipherParameters, random: Random) -> bytes:
        """See `CipherScheme`."""
        return rsa_private(key).decrypt(ciphertext, self.padding)


@dataclass(frozen=True, slots=True)
class RsaPkcs1Encryption:
    """RSAES-PKCS1-v1_5 (RFC 8017 section 7.2) with implicit rejection, which is the library's (R31, docs/adr/0049)."""

    def encrypt(self, key: AnyKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """See `CipherScheme`."""
        public = rsa_public(key)
        return public.encrypt(_fitting(plaintext, modulus_size(public) - PKCS1_OVERHEAD), _PKCS1)

    def decrypt(self, key: AnyKey, ciphertext: bytes, parameters: CipherParameters, random: Random) -> bytes:
        """See `CipherScheme`. A broken padding gives bytes that depend on key and ciphertext alone."""
        return rsa_private(key).decrypt(ciphertext, _PKCS1)


_PKCS1: Final = PKCS1v15()


@dataclass(frozen=True, slots=True)
class RsaWithoutPadding:
    """The bare RSA operation (RFC 8017 section 5.1), whole blocks in and out."""

    def encrypt(self, key: AnyKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """See `CipherScheme`. A shorter plaintext is filled with zeros on the left."""
        public = rsa_public(key)
        size = modulus_size(public)
        block = _fitting(plaintext, size).rjust(size, b"\0")
        try:
            return public_operation(public, block)
        except ValueError:
            raise TooLargeError(size) from None

    def decrypt(self, key: AnyKey, ciphertext: bytes, parameters: CipherParameters, random: Random) -> bytes:
        """See `CipherScheme`. The result is as long as the modulus, with its zeros on the left."""
        return private_operation(rsa_private(key), ciphertext, random)


@dataclass(frozen=True, slots=True)
class AesGcm:
    """AES-GCM; the tag may be shortened to what the API lists."""

    def encrypt(self, key: AnyKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """See `CipherScheme`."""
        assert parameters.iv is not None  # noqa: S101 - `ciphers` has checked it.
        encryptor = Cipher(_aes(key), GCM(parameters.iv)).encryptor()
        encryptor.authenticate_additional_data(parameters.aad or b"")
        ciphertext = encryptor.update(plaintext) + encryptor.finalize()
        return ciphertext + encryptor.tag[: parameters.tag_length // 8]

    def decrypt(self, key: AnyKey, ciphertext: bytes, parameters: CipherParameters, random: Random) -> bytes:
        """See `CipherScheme`. Nothing of the plaintext leaves before the tag is verified."""
        assert parameters.iv is not None  # noqa: S101 - `ciphers` has checked it.
        size = parameters.tag_length // 8
        body, tag = ciphertext[:-size], ciphertext[-size:]
        decryptor = Cipher(_aes(key), GCM(parameters.iv, tag, min_tag_length=size)).decryptor()
        decryptor.authenticate_additional_data(parameters.aad or b"")
        plaintext = decryptor.update(body)
        return plaintext + decryptor.finalize()


@dataclass(frozen=True, slots=True)
class Stream:
    """A block cipher as a stream cipher: any length, nothing authenticated.

    Args:
        mode: Makes the mode from the initialization vector.
    """

    mode: Callable[[bytes], CBC | CTR | ECB]

    def encrypt(self, key: AnyKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """See `CipherScheme`."""
        encryptor = Cipher(_block_cipher(key), self.mode(parameters.iv or b"")).encryptor()
        return encryptor.update(plaintext) + encryptor.finalize()

    def decrypt(self, key: AnyKey, ciphertext: bytes, parameters: CipherParameters, random: Random) -> bytes:
        """See `CipherScheme`."""
        decryptor = Cipher(_block_cipher(key), self.mode(parameters.iv or b"")).decryptor()
        return decryptor.update(ciphertext) + decryptor.finalize()


@dataclass(frozen=True, slots=True)
class Blocks:
    """A block cipher over whole blocks, nothing authenticated.

    Args:
        mode: Makes the mode from the initialization vector.
        padded: Whether the plaintext is filled up as PKCS#7 does (RFC 5652 section 6.3).
        block: Bytes of a block.
    """

    mode: Callable[[bytes], CBC | CTR | ECB]
    padded: bool
    block: int = BLOCK

    def encrypt(self, key: AnyKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """See `CipherScheme`."""
        if self.padded:
            padder = PKCS7(8 * self.block).padder()
            plaintext = padder.update(plaintext) + padder.finalize()
        return Stream(self.mode).encrypt(key, plaintext, parameters)

    def decrypt(self, key: AnyKey, ciphertext: bytes, parameters: CipherParameters, random: Random) -> bytes:
        """See `CipherScheme`."""
        plaintext = Stream(self.mode).decrypt(key, ciphertext, parameters, random)
        if not self.padded:
            return plaintext
        unpadder = PKCS7(8 * self.block).unpadder()
        return unpadder.update(plaintext) + unpadder.finalize()


CHACHA20_BLOCK: Final = 64
COUNTERS: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class ChaCha20Stream:
    """ChaCha20 (RFC 8439 section 2.4), nothing authenticated.

    The initialization vector is what the RFC calls counter and nonce: four bytes, little endian, and twelve.
    """

    def encrypt(self, key: AnyKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """See `CipherScheme`."""
        iv = parameters.iv or b""
        blocks = -(-len(plaintext) // CHACHA20_BLOCK)
        if int.from_bytes(iv[:4], "little") + blocks > COUNTERS:
            # Beyond, libraries disagree; the key stream would repeat or run into that of another nonce.
            raise ValueError("the counter would overflow")
        encryptor = Cipher(ChaCha20(secret_value(key), iv), None).encryptor()
        return encryptor.update(plaintext) + encryptor.finalize()

    def decrypt(self, key: AnyKey, ciphertext: bytes, parameters: CipherParameters, random: Random) -> bytes:
        """See `CipherScheme`."""
        return self.encrypt(key, ciphertext, parameters)


@dataclass(frozen=True, slots=True)
class ChaCha20WithPoly1305:
    """ChaCha20-Poly1305 (RFC 8439 section 2.8)."""

    def encrypt(self, key: AnyKey, plaintext: bytes, parameters: CipherParameters) -> bytes:
        """See `CipherScheme`."""
        return ChaCha20Poly1305(secret_value(key)).encrypt(parameters.iv or b"", plaintext, parameters.aad)

    def decrypt(self, key: AnyKey, ciphertext: bytes, parameters: CipherParameters, random: Random) -> bytes:
        """See `CipherScheme`. Nothing of the plaintext leaves before the tag is verified."""
        return ChaCha20Poly1305(secret_value(key)).decrypt(parameters.iv or b"", ciphertext, parameters.aad)
