"""The one place where a signature algorithm is one entry, and the functions that use it by its API name.

An entry says for which kind of key it is, whether the payload is data or a digest, which payload lengths it takes
for ordinary and for protected keys, and which scheme does the work. Nothing else in keyturn compares algorithm
names.

Source: rest-api.md section 4.3, decisions 24, 26, 31 and 33, docs/security/rules.md R8. Algorithms for kinds of keys
that keyturn cannot make (DSA, BLS, PQC, …) and BIP 340 are not registered, and refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import (
    SHA1,
    SHA3_224,
    SHA3_256,
    SHA3_384,
    SHA3_512,
    SHA224,
    SHA256,
    SHA384,
    SHA512,
    HashAlgorithm,
)

from keyturn.crypto.keys import CURVES, load_public_key
from keyturn.crypto.schemes import (
    Ecdsa,
    EcdsaOverBytes,
    EdDsa,
    RsaPkcs1,
    RsaPkcs1OverBytes,
    RsaPssByLength,
    Scheme,
    keccak,
    rsa_pss,
    sha256,
)
from keyturn.crypto.single_meaning import DIGEST_LENGTHS
from keyturn.crypto.single_meaning import require_single_meaning as _require_single_meaning
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.crypto.keys import PrivateKey, PublicKey
    from keyturn.crypto.schemes import Form

ANY_LENGTH: Final[frozenset[int]] = frozenset()
MAX_ECDSA_DIGEST: Final = 64


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """A signature algorithm.

    Args:
        name: Its API name.
        key_type: Kind of key it is for: `RSA`, `EC` or `ED`.
        digest: Hash function as rest-api.md section 4.5 spells it, or `SHA-1`; "" where the algorithm names none.
        prehashed: Whether the payload is a digest (or, for `NONE_WITH_RSA`, whatever is to be padded).
        digest_size: Bytes of that digest, 0 where the algorithm names none.
        lengths: Payload lengths it takes, in bytes; `ANY_LENGTH` for all.
        scheme: What does the work.
    """

    name: str
    key_type: str
    digest: str
    prehashed: bool
    digest_size: int
    lengths: frozenset[int]
    scheme: Scheme


def _hashing(name: str, key_type: str, digest: str, size: int, scheme: Scheme) -> SignatureAlgorithm:
    return SignatureAlgorithm(
        name, key_type, digest, prehashed=False, digest_size=size, lengths=ANY_LENGTH, scheme=scheme
    )


def _digest(name: str, key_type: str, digest: str, size: int, scheme: Scheme) -> SignatureAlgorithm:
    return SignatureAlgorithm(
        name, key_type, digest, prehashed=True, digest_size=size, lengths=frozenset({size}), scheme=scheme
    )


_SHA_2: Final[dict[str, tuple[str, HashAlgorithm]]] = {
    "SHA1": ("SHA-1", SHA1()),  # noqa: S303 - Documented for ordinary keys (decisions 26).
    "SHA224": ("SHA-224", SHA224()),
    "SHA256": ("SHA-256", SHA256()),
    "SHA384": ("SHA-384", SHA384()),
    "SHA512": ("SHA-512", SHA512()),
}
_SHA_3: Final[dict[str, tuple[str, HashAlgorithm]]] = {
    "SHA3224": ("SHA3-224", SHA3_224()),
    "SHA3256": ("SHA3-256", SHA3_256()),
    "SHA3384": ("SHA3-384", SHA3_384()),
    "SHA3512": ("SHA3-512", SHA3_512()),
}


def _entries() -> Iterator[SignatureAlgorithm]:
    for word, (digest, function) in _SHA_2.items():
        size = function.digest_size
        yield _hashing(f"{word}_WITH_RSA", "RSA", digest, size, RsaPkcs1(function))
        yield _digest(f"NONE{word}_WITH_RSA", "RSA", digest, size, RsaPkcs1(Prehashed(function)))
        yield _hashing(f"{word}_WITH_RSA_PSS", "RSA", digest, size, rsa_pss(function))
        if word != "SHA1":  # The API has no NONESHA1_WITH_RSA_PSS.
            yield _digest(f"NONE{word}_WITH_RSA_PSS", "RSA", digest, size, rsa_pss(function, prehashed=True))
    yield SignatureAlgorithm(
        "NONE_WITH_RSA", "RSA", "", prehashed=True, digest_size=0, lengths=ANY_LENGTH, scheme=RsaPkcs1OverBytes()
    )
    yield SignatureAlgorithm(
        "NONE_WITH_RSA_PSS",
        "RSA",
        "",
        prehashed=True,
        digest_size=0,
        lengths=DIGEST_LENGTHS | {SHA1.digest_size},
        scheme=RsaPssByLength(),
    )
    for word, (digest, function) in (_SHA_2 | _SHA_3).items():
        yield _hashing(f"{word}_WITH_ECDSA", "EC", digest, function.digest_size, Ecdsa(ECDSA(function)))
    yield _hashing(
        "SHA256_WITH_ECDSA_DETERMINISTIC", "EC", "SHA-256", 32, Ecdsa(ECDSA(SHA256(), deterministic_signing=True))
    )
    yield _hashing("DOUBLE_SHA256_WITH_ECDSA", "EC", "SHA-256", 32, Ecdsa(ECDSA(SHA256()), before=sha256))
    for same_size in (SHA224(), SHA256(), SHA384(), SHA512()):
        bits = 8 * same_size.digest_size
        scheme = Ecdsa(ECDSA(Prehashed(same_size)), before=keccak(bits))
        yield _hashing(f"KECCAK{bits}_WITH_ECDSA", "EC", f"KECCAK-{bits}", same_size.digest_size, scheme)
    yield SignatureAlgorithm(
        "NONE_WITH_ECDSA",
        "EC",
        "",
        prehashed=True,
        digest_size=0,
        lengths=frozenset(range(1, MAX_ECDSA_DIGEST + 1)),
        scheme=EcdsaOverBytes(),
    )
    yield _hashing("EDDSA", "ED", "", 0, EdDsa())


SIGNATURE_ALGORITHMS: Final = {entry.name: entry for entry in _entries()}
"""All signature algorithms by their API name."""

_FORMS: Final[dict[str, Form]] = {"": "DER", "DER": "DER", "RAW": "RAW"}


def signature_algorithm(name: str) -> SignatureAlgorithm:
    """Find a signature algorithm.

    Args:
        name: Its API name.

    Returns:
        Its entry.

    Raises:
        KeyturnError: 600 when there is none of that name here; the message lists those there are.
    """
    entry = SIGNATURE_ALGORITHMS.get(name)
    if entry is None:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"signatureAlgorithm: {name[:64]!a} is not available here; available are "
            f"{', '.join(sorted(SIGNATURE_ALGORITHMS))}.",
            refusal="signature.algorithm",
        )
    return entry


def _form(signature_type: str) -> Form:
    form = _FORMS.get(signature_type)
    if form is None:
        hint = " The form ETH (r, s, v) is not available yet; take RAW." if signature_type == "ETH" else ""
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"signatureType: {signature_type[:64]!a} is not available here; it is DER or RAW.{hint}",
            refusal="signature.type",
        )
    return form


def _check_length(entry: SignatureAlgorithm, payload: bytes) -> None:
    if entry.lengths:
        if len(payload) in entry.lengths:
            return
        lengths = "1 to 64" if len(entry.lengths) == MAX_ECDSA_DIGEST else _any_of(entry.lengths)
    elif payload or not entry.prehashed:
        return
    else:
        lengths = "at least 1"
    raise KeyturnError(
        ErrorCode.INVALID_PAYLOAD,
        f"{entry.name} takes {lengths} bytes of payload, not {len(payload)}: hash the data first.",
        refusal="payload.digest-length",
    )


def _any_of(lengths: frozenset[int]) -> str:
    *others, last = (str(length) for length in sorted(lengths))
    return f"{', '.join(others)} or {last}" if others else f"exactly {last}"


def sign(private_key: PrivateKey, algorithm: str, payload: bytes, signature_type: str = "") -> bytes:
    """Sign.

    Args:
        private_key: The key.
        algorithm: API name of the signature algorithm.
        payload: What is to be signed, or its digest for `NONE…` algorithms.
        signature_type: For EC keys `DER` (also for "") or `RAW` (r and s, each as long as the order); signatures of
            other keys have one form, which both words name.

    Returns:
        The signature. On secp256k1 `s` is the smaller one (decisions 24).

    Raises:
        KeyturnError: 600 unknown algorithm or type, 607 algorithm for another kind of key, 612 payload of a length
            that the algorithm or the key cannot take.
    """
    entry = SIGNATURE_ALGORITHMS.get(algorithm) or signature_algorithm(algorithm)
    form = _FORMS.get(signature_type) or _form(signature_type)
    if entry.prehashed:
        _check_length(entry, payload)
    return entry.scheme.sign(private_key, payload, form)


def verify(
    public_key: PublicKey | bytes,
    algorithm: str,
    payload: bytes,
    signature: bytes,
    *,
    signature_type: str | None = None,
) -> None:
    """Verify a signature; return only if it is valid.

    Args:
        public_key: The key, or its DER SubjectPublicKeyInfo.
        algorithm: API name of the signature algorithm.
        payload: What was signed, or its digest for `NONE…` algorithms.
        signature: The signature.
        signature_type: As in `sign`: exactly this form. None: EC signatures may be DER or raw, as `/v1/verify`
            must take them (rest-api.md section 3.3).

    Raises:
        KeyturnError: 403 the signature is not valid; 600, 607, 612 as in `sign`.
        FormatError: 407 the key is not readable.
    """
    entry = signature_algorithm(algorithm)
    form = None if signature_type is None else _form(signature_type)
    if entry.prehashed:
        _check_length(entry, payload)
    key = load_public_key(public_key) if isinstance(public_key, bytes) else public_key
    try:
        entry.scheme.verify(key, payload, signature, form)
    except (InvalidSignature, ValueError):
        # The library's other word: a digest too large for a small key, which no signature can have.
        raise KeyturnError(
            ErrorCode.INVALID_SIGNATURE,
            f"The signature does not verify with {algorithm} under this key over this payload.",
            refusal="signature.invalid",
        ) from None


def require_single_meaning(algorithm: str, payload: bytes, *, curve_oid: str) -> None:
    """Refuse what a protected key must not sign even with approvals (R8); see `single_meaning`.

    Args:
        algorithm: API name of the signature algorithm.
        payload: What is to be signed.
        curve_oid: Curve of an EC key, "" for other keys: it says how long a digest the key signs whole.

    Raises:
        KeyturnError: 612 `payload.digest-length` or `payload.double-meaning`; 607 `algorithm.sha-1`, or the
            algorithm is not for keys with this curve; 600 unknown algorithm.
    """
    entry = signature_algorithm(algorithm)
    if (entry.key_type == "EC") != (curve_oid in CURVES):
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"{algorithm} does not go with this kind of key; choose one of its algorithms.",
            refusal="signature.wrong-key-type",
        )
    _require_single_meaning(entry, payload, curve_oid=curve_oid)
