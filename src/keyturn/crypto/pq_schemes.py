"""The signature schemes of ML-DSA, SLH-DSA, LMS and XMSS.

A pre-hash variant (`SHA2_256_WITH_ML_DSA`, …) signs the digest of the payload under a mark of its own (FIPS 204 section
5.4, FIPS 205 section 10.2), so that it is never a pure signature of anything. `ML_DSA_M` signs `mu`, the 64 bytes into
which ML-DSA turns public key, context and message before it signs (FIPS 204 algorithm 7, step 6): the caller has
computed it, the usual way or another.

Source: FIPS 204, FIPS 205, RFC 8554, RFC 8391; rest-api.md section 4.3; decisions 32.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature

from keyturn.crypto.kinds import slh_dsa
from keyturn.crypto.kinds.ml_dsa import MlDsaPrivateKey, MlDsaPublicKey
from keyturn.crypto.kinds.slh_dsa import SlhDsaPrivateKey, SlhDsaPublicKey
from keyturn.crypto.kinds.stateful import StatefulPrivateKey, StatefulPublicKey
from keyturn.crypto.schemes import NO_OPTIONS, wrong_key
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.der import encode_oid

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.crypto.schemes import Form, SigningKey, SignOptions, VerifyingKey

MAX_CONTEXT: Final = 255
"""Longest context in bytes."""
MU_SIZE: Final = 64


@dataclass(frozen=True, slots=True)
class PreHash:
    """A hash function of the pre-hash variants.

    Args:
        name: As the API's names of algorithms begin.
        digest: As rest-api.md section 4.5 spells it.
        oid: Its OID, DER.
        library: Its name in `pqcrypto`.
        function: The function.
    """

    name: str
    digest: str
    oid: bytes
    library: str
    function: Callable[[bytes], bytes]


def _hashed(name: str) -> Callable[[bytes], bytes]:
    return lambda payload: hashlib.new(name, payload).digest()


def _pre_hash(name: str, digest: str, arc: int, library: str, function: Callable[[bytes], bytes]) -> PreHash:
    return PreHash(name, digest, encode_oid(f"2.16.840.1.101.3.4.2.{arc}"), library, function)


PRE_HASHES: Final = (
    _pre_hash("SHA2_224", "SHA-224", 4, "Sha224", _hashed("sha224")),
    _pre_hash("SHA2_256", "SHA-256", 1, "Sha256", _hashed("sha256")),
    _pre_hash("SHA2_384", "SHA-384", 2, "Sha384", _hashed("sha384")),
    _pre_hash("SHA2_512", "SHA-512", 3, "Sha512", _hashed("sha512")),
    _pre_hash("SHA3_224", "SHA3-224", 7, "Sha3_224", _hashed("sha3_224")),
    _pre_hash("SHA3_256", "SHA3-256", 8, "Sha3_256", _hashed("sha3_256")),
    _pre_hash("SHA3_384", "SHA3-384", 9, "Sha3_384", _hashed("sha3_384")),
    _pre_hash("SHA3_512", "SHA3-512", 10, "Sha3_512", _hashed("sha3_512")),
    # The lengths are those of FIPS 204 section 5.4.
    _pre_hash("SHAKE_128", "SHAKE128", 11, "Shake128", lambda payload: hashlib.shake_128(payload).digest(32)),
    _pre_hash("SHAKE_256", "SHAKE256", 12, "Shake256", lambda payload: hashlib.shake_256(payload).digest(64)),
)
"""The hash functions with which the API names variants."""


def _context(options: SignOptions) -> bytes:
    """The context of a call, which has at most `MAX_CONTEXT` bytes: 600 `signature.context`."""
    context = options.context or b""
    if len(context) > MAX_CONTEXT:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"context: it has at most {MAX_CONTEXT} bytes, not {len(context)}.",
            refusal="signature.context",
        )
    return context


@dataclass(frozen=True, slots=True)
class MlDsa:
    """ML-DSA, pure, hedged (FIPS 204 algorithms 2 and 3)."""

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`. Such a signature has one form, whatever `form` says; so have all others here."""
        if not isinstance(key, MlDsaPrivateKey):
            wrong_key("ML-DSA", key)
        return key.sign(payload, _context(options))

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, MlDsaPublicKey):
            wrong_key("ML-DSA", key)
        key.verify(signature, payload, _context(options))


@dataclass(frozen=True, slots=True)
class MlDsaMu:
    """ML-DSA over `mu`, which the caller computed."""

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`; the registry has checked the length."""
        if not isinstance(key, MlDsaPrivateKey):
            wrong_key("ML-DSA", key)
        return key.sign_mu(payload)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, MlDsaPublicKey):
            wrong_key("ML-DSA", key)
        key.verify_mu(signature, payload)


@dataclass(frozen=True, slots=True)
class HashMlDsa:
    """HashML-DSA (FIPS 204 algorithms 4 and 5), by the library's signing of `mu`.

    Args:
        pre_hash: The hash function.
    """

    pre_hash: PreHash

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`."""
        if not isinstance(key, MlDsaPrivateKey):
            wrong_key("HashML-DSA", key)
        return key.sign_mu(self._mu(key.public_key(), payload, _context(options)))

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, MlDsaPublicKey):
            wrong_key("HashML-DSA", key)
        key.verify_mu(signature, self._mu(key, payload, _context(options)))

    def _mu(self, key: MlDsaPublicKey, payload: bytes, context: bytes) -> bytes:
        hashed_key = hashlib.shake_256(key.public_bytes_raw()).digest(MU_SIZE)
        message = b"".join([b"\1", bytes([len(context)]), context, self.pre_hash.oid, self.pre_hash.function(payload)])
        return hashlib.shake_256(hashed_key + message).digest(MU_SIZE)


@dataclass(frozen=True, slots=True)
class SlhDsa:
    """SLH-DSA, pure or of a digest, hedged (FIPS 205 algorithms 22 to 25). Signing takes up to two seconds.

    Args:
        pre_hash: The hash function; None for pure SLH-DSA.
    """

    pre_hash: PreHash | None = None

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`."""
        if not isinstance(key, SlhDsaPrivateKey):
            wrong_key("SLH-DSA", key)
        library = slh_dsa.library(key.algorithm)
        return bytes(library.sign(key.secret, payload, _context(options), self._function()))

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, SlhDsaPublicKey):
            wrong_key("SLH-DSA", key)
        library = slh_dsa.library(key.algorithm)
        if len(signature) != library.SIGNATURE_SIZE:
            raise InvalidSignature
        from pqcrypto import InvalidSignatureError  # type: ignore[import-untyped]  # Loaded by `library` anyway.

        try:
            library.verify(key.public_bytes, payload, signature, _context(options), self._function())
        except InvalidSignatureError:
            raise InvalidSignature from None

    def _function(self) -> Any:
        """What tells the library to hash, which it does itself (for ML-DSA it would want the digest)."""
        if self.pre_hash is None:
            return None
        from pqcrypto import HashAlgorithm

        return getattr(HashAlgorithm, self.pre_hash.library)


@dataclass(frozen=True, slots=True)
class Stateful:
    """LMS and XMSS: signs with the one index that the key was given for it.

    Args:
        kind: API name of the kind of key.
    """

    kind: str

    def sign(self, key: SigningKey, payload: bytes, form: Form, options: SignOptions = NO_OPTIONS) -> bytes:
        """See `Scheme`; 611 when the key has no index, because whoever signs keeps no account of it."""
        if not isinstance(key, StatefulPrivateKey) or key.algorithm != self.kind:
            wrong_key(self.kind, key)
        if key.index is None:
            raise KeyturnError(
                ErrorCode.UNSUPPORTED_OPERATION,
                f"A key of {self.kind} signs once with each of its indices, and only where these are accounted for: by "
                "/v1/sign and /v1/synchronousSign.",
                refusal="stateful.no-index",
            )
        return key.sign(payload, key.index)

    def verify(
        self, key: VerifyingKey, payload: bytes, signature: bytes, form: Form | None, options: SignOptions = NO_OPTIONS
    ) -> None:
        """See `Scheme`."""
        if not isinstance(key, StatefulPublicKey) or key.algorithm != self.kind:
            wrong_key(self.kind, key)
        if not key.verify(payload, signature):
            raise InvalidSignature
