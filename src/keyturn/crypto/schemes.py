"""The signature schemes behind the algorithm names: RSA PKCS#1 v1.5, RSA-PSS, ECDSA, EdDSA.

Each class binds everything that does not change from call to call (padding, hash objects), so that signing costs
little more than the library's own call. A key of another kind is refused here, for signing and for verifying.

Source: RFC 8017 (RSA), SEC 1 and FIPS 186-5 (ECDSA), RFC 6979 (deterministic ECDSA), RFC 8032 (Ed25519),
BIP 146 (low s), the Keccak submission to SHA-3 (version 3), decisions 24 and 33.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NoReturn, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    NoDigestInfo,
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA256, SHA384, SHA512, HashAlgorithm

from keyturn.crypto.keys import SecretKey, curve_of, kind_of
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.crypto.keys import Curve, PrivateKey, PublicKey

    SigningKey = PrivateKey | SecretKey
    VerifyingKey = PublicKey | SecretKey

Form = Literal["DER", "RAW", "ETH"]
"""How `r` and `s` are written: a DER SEQUENCE; one behind the other, each as long as the order; or so with Ethereum's
recovery number behind them."""


@dataclass(frozen=True, slots=True)
class SignOptions:
    """Parameters that some signature algorithms take beside the payload; None where the call has none.

    Args:
        context: Context bytes of ML-DSA and SLH-DSA, at most 255.
        auxiliary_random: 32 bytes that a BIP 340 nonce is made of; left out, they are random.
        taproot_tweak: 32 bytes that are added to the key for a BIP 340 signature (key path).
        merkle_root: 32 bytes from which the tweak is computed as in BIP 341 (script path).
    """

    context: bytes | None = None
    auxiliary_random: bytes | None = None
    taproot_tweak: bytes | None = None
    merkle_root: bytes | None = None

    @property
    def given(self) -> dict[str, bytes]:
        """Those that the call has, by their API names; the form in which statements and receipts name them."""
        return {word: value for name, word in API_OPTIONS.items() if (value := getattr(self, name)) is not None}


API_OPTIONS: Final = {
    "context": "context",
    "auxiliary_random": "auxiliaryRandomData",
    "taproot_tweak": "taprootTweakData",
    "merkle_root": "merkleRootData",
}
"""Fields of `SignOptions` to their API names."""
NO_OPTIONS: Final = SignOptions()


class Scheme(Protocol):
    """One way to sign and verify, with everything but key and payload bound."""

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """Sign `payload`; 607 when the key is of another kind, 612 when the payload cannot be signed."""
        ...

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """Verify; raises `cryptography.exceptions.InvalidSignature`, or as `sign`. Form None: either."""
        ...


def key_kind(key: PrivateKey | PublicKey | SecretKey) -> str:
    """API name of the kind of a key."""
    return key.algorithm if isinstance(key, SecretKey) else kind_of(key).name


def wrong_key(scheme: str, key: PrivateKey | PublicKey | SecretKey) -> NoReturn:
    """Refuse a key of another kind: 607 `signature.wrong-key-type`."""
    raise KeyturnError(
        ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
        f"A key of type {key_kind(key)} cannot be used with {scheme}; choose an algorithm for {key_kind(key)} keys.",
        refusal="signature.wrong-key-type",
    )


def _too_large(key: RSAPrivateKey, error: ValueError) -> NoReturn:
    raise KeyturnError(
        ErrorCode.INVALID_PAYLOAD,
        f"The payload or digest is too large for this RSA key of {key.key_size} bits with this padding; "
        "use a larger key or a shorter digest.",
        refusal="payload.too-large",
    ) from error


@dataclass(frozen=True, slots=True)
class RsaPkcs1:
    """RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2).

    Args:
        hash: Hash over the payload, or `Prehashed` when the payload is a digest.
    """

    hash: HashAlgorithm | Prehashed

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`. An RSA signature has one form, whatever `form` says."""
        if not isinstance(key, RSAPrivateKey):
            wrong_key("RSA PKCS#1 v1.5", key)
        try:
            return key.sign(payload, _PKCS1, self.hash)
        except ValueError as error:
            _too_large(key, error)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, RSAPublicKey):
            wrong_key("RSA PKCS#1 v1.5", key)
        key.verify(signature, payload, _PKCS1, self.hash)


@dataclass(frozen=True, slots=True)
class RsaPkcs1OverBytes:
    """PKCS#1 v1.5 padding (RFC 8017 section 9.2, steps 3 to 5) around the payload itself, without a DigestInfo."""

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`. An RSA signature has one form, whatever `form` says."""
        if not isinstance(key, RSAPrivateKey):
            wrong_key("RSA PKCS#1 v1.5", key)
        try:
            return key.sign(payload, _PKCS1, _NO_DIGEST_INFO)
        except ValueError as error:
            _too_large(key, error)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, RSAPublicKey):
            wrong_key("RSA PKCS#1 v1.5", key)
        if key.recover_data_from_signature(signature, _PKCS1, None) != payload:
            raise InvalidSignature


_PKCS1: Final = PKCS1v15()
_NO_DIGEST_INFO: Final = NoDigestInfo()


@dataclass(frozen=True, slots=True)
class RsaPss:
    """RSASSA-PSS (RFC 8017 section 8.1): MGF1 with the same hash, salt as long as the digest.

    Args:
        hash: Hash over the payload, or `Prehashed` when the payload is a digest.
        padding: The padding that goes with it, see `rsa_pss`.
    """

    hash: HashAlgorithm | Prehashed
    padding: PSS

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`. An RSA signature has one form, whatever `form` says."""
        if not isinstance(key, RSAPrivateKey):
            wrong_key("RSA-PSS", key)
        try:
            return key.sign(payload, self.padding, self.hash)
        except ValueError as error:
            _too_large(key, error)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, RSAPublicKey):
            wrong_key("RSA-PSS", key)
        key.verify(signature, payload, self.padding, self.hash)


def rsa_pss(hash_algorithm: HashAlgorithm, *, prehashed: bool = False) -> RsaPss:
    """RSA-PSS with MGF1 over the same hash and a salt as long as its digest (decisions 33)."""
    padding = PSS(MGF1(hash_algorithm), hash_algorithm.digest_size)
    return RsaPss(Prehashed(hash_algorithm) if prehashed else hash_algorithm, padding)


@dataclass(frozen=True, slots=True)
class RsaPssByLength:
    """RSA-PSS over a digest whose length names the hash: 20, 28, 32, 48, 64 bytes (decisions 33)."""

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`; the registry has checked the length."""
        return _PSS_BY_LENGTH[len(payload)].sign(key, payload, form)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`; the registry has checked the length."""
        _PSS_BY_LENGTH[len(payload)].verify(key, payload, signature, form)


_PSS_BY_LENGTH: Final = {
    algorithm.digest_size: rsa_pss(algorithm, prehashed=True)
    for algorithm in (SHA1(), SHA224(), SHA256(), SHA384(), SHA512())  # noqa: S303 - Documented; decisions 33.
}


@dataclass(frozen=True, slots=True)
class Ecdsa:
    """ECDSA; on curves that ask for it (secp256k1) the smaller of the two possible `s` is returned.

    Args:
        ecdsa: The library's description: hash over the payload, random or RFC 6979 nonces.
        before: Hash that is taken over the payload before that (`DOUBLE_SHA256_WITH_ECDSA`, `KECCAK…`).
    """

    ecdsa: ECDSA
    before: Callable[[bytes], bytes] | None = None

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`."""
        if not isinstance(key, EllipticCurvePrivateKey):
            wrong_key("ECDSA", key)
        if self.before is not None:
            payload = self.before(payload)
        return _finish(curve_of(key), key.sign(payload, self.ecdsa), form)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`. Verification takes both values of `s` (decisions 24)."""
        if not isinstance(key, EllipticCurvePublicKey):
            wrong_key("ECDSA", key)
        if self.before is not None:
            payload = self.before(payload)
        verify_pair(lambda der: key.verify(der, payload, self.ecdsa), signature, curve_of(key).size, form)


def sha256(payload: bytes) -> bytes:
    """SHA-256 (FIPS 180-4), for whoever hashes twice."""
    return hashlib.sha256(payload).digest()


def keccak(bits: int) -> Callable[[bytes], bytes]:
    """Keccak as it was before FIPS 202 gave it another padding; Ethereum's hash is Keccak-256.

    Args:
        bits: Length of the digest: 224, 256, 384 or 512.
    """

    def digest(payload: bytes) -> bytes:
        from Crypto.Hash import keccak as library  # Loaded when first needed: few HSMs ever do.

        return library.new(data=payload, digest_bits=bits).digest()

    return digest


@dataclass(frozen=True, slots=True)
class EcdsaOverBytes:
    """ECDSA over the payload as the digest: leftmost bits of the order, shorter values left-padded (decisions 33).

    FIPS 186-5 section 6.4.1 step 2 turns a digest into a number. The payload becomes that number here, so that the
    library sees a digest of a length it knows: 28, 32, 48 or 64 bytes, never longer than the order.
    """

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`; the registry has checked the length."""
        if not isinstance(key, EllipticCurvePrivateKey):
            wrong_key("ECDSA", key)
        curve = curve_of(key)
        digest, ecdsa = _as_digest(curve, payload)
        return _finish(curve, key.sign(digest, ecdsa), form)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`; the registry has checked the length."""
        if not isinstance(key, EllipticCurvePublicKey):
            wrong_key("ECDSA", key)
        curve = curve_of(key)
        digest, ecdsa = _as_digest(curve, payload)
        verify_pair(lambda der: key.verify(der, digest, ecdsa), signature, curve.size, form)


_PREHASHED: Final = {
    # The hash's only role is its length, which the library checks.
    algorithm.digest_size: ECDSA(Prehashed(algorithm))
    for algorithm in (SHA224(), SHA256(), SHA384(), SHA512())
}


def natural_digest_size(curve: Curve) -> int:
    """Bytes of the digest that fits a curve without being cut or filled up: 28, 32, 48, and 64, also for P-521."""
    return min(curve.size, 64)


def _as_digest(curve: Curve, payload: bytes) -> tuple[bytes, ECDSA]:
    size = natural_digest_size(curve)
    # Orders of 224 to 512 bits are whole bytes, and 64 bytes are below 521 bits: cutting bytes cuts bits.
    return payload[:size].rjust(size, b"\0"), _PREHASHED[size]


def _finish(curve: Curve, signature: bytes, form: Form) -> bytes:
    if form == "DER" and not curve.low_s:
        return signature
    r, s = decode_dss_signature(signature)
    too_high = curve.low_s and s > curve.order // 2
    if too_high:
        s = curve.order - s
    if form == "DER":
        return encode_dss_signature(r, s) if too_high else signature
    return raw_pair(r, s, curve.size)


def raw_pair(r: int, s: int, size: int) -> bytes:
    """The raw form of a signature that is a pair of numbers (ECDSA, DSA), each `size` bytes long."""
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def verify_pair(verify: Callable[[bytes], None], signature: bytes, size: int, form: Form | None) -> None:
    """Verify a signature that is a pair of numbers (ECDSA, DSA), in either form.

    Args:
        verify: Verifies its DER; raises `InvalidSignature`.
        signature: The signature.
        size: Bytes of each number in the raw form.
        form: `DER` or `RAW`; None: either.

    Raises:
        InvalidSignature: When it is not valid.
    """
    if form != "RAW":
        try:
            # OpenSSL takes the one DER encoding of (r, s) and no other.
            verify(signature)
        except InvalidSignature:
            if form == "DER" or len(signature) != 2 * size:
                raise
        else:
            return
    if len(signature) != 2 * size:
        raise InvalidSignature
    verify(encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")))


@dataclass(frozen=True, slots=True)
class EdDsa:
    """Ed25519, pure (RFC 8032 section 5.1)."""

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`. An Ed25519 signature has one form, whatever `form` says."""
        if not isinstance(key, Ed25519PrivateKey):
            wrong_key("EdDSA", key)
        return key.sign(payload)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, Ed25519PublicKey):
            wrong_key("EdDSA", key)
        key.verify(signature, payload)
