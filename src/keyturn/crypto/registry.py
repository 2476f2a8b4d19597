"""The one place where a signature algorithm is one entry, and the functions that use it by its API name.

An entry says for which kind of key it is, whether the payload is data or a digest, which payload lengths it takes
for ordinary and for protected keys, and which scheme does the work. Nothing else in keyturn compares algorithm
names.

Source: rest-api.md section 4.3, decisions 24, 26, 31 and 33, docs/security/rules.md R8. What is documented and not
available is refused by name, with the reason (`REFUSED_ALGORITHMS`).
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature

from keyturn.crypto import classical_signatures, pq_signatures
from keyturn.crypto.classical_signatures import MAX_ECDSA_DIGEST
from keyturn.crypto.keys import CURVES, load_public_key
from keyturn.crypto.schemes import API_OPTIONS, NO_OPTIONS
from keyturn.crypto.single_meaning import require_single_meaning as _require_single_meaning
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from keyturn.crypto.keys import PublicKey, SecretKey
    from keyturn.crypto.schemes import Form, SigningKey, SignOptions
    from keyturn.crypto.signature_entry import SignatureAlgorithm

SIGNATURE_ALGORITHMS: Final = {
    entry.name: entry for entry in chain(classical_signatures.entries(), pq_signatures.entries())
}
"""All signature algorithms by their API name."""

_FORMS: Final[dict[str, Form]] = {"": "DER", "DER": "DER", "RAW": "RAW", "ETH": "ETH"}

_DRAFT: Final = "it is a draft of round 3 of the NIST competition that no standard describes; take {}"
REFUSED_ALGORITHMS: Final = {
    "DILITHIUM": _DRAFT.format("ML_DSA"),
    "SPHINCS_PLUS": _DRAFT.format("SLH_DSA"),
    "ISS_KERL": "its hash function was broken, and the ledger it was for was switched off; take EDDSA",
}
"""Documented signature algorithms that are refused, with the reason (docs/compatibility.md)."""


def signature_algorithm(name: str) -> SignatureAlgorithm:
    """Find a signature algorithm.

    Args:
        name: Its API name.

    Returns:
        Its entry.

    Raises:
        KeyturnError: 600 `signature.algorithm` when there is none of that name here, with a list of those there are;
            `signature.algorithm-refused` for a documented one that is not available, with the reason.
    """
    entry = SIGNATURE_ALGORITHMS.get(name)
    if name in REFUSED_ALGORITHMS:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"signatureAlgorithm: {name} is refused: {REFUSED_ALGORITHMS[name]}.",
            refusal="signature.algorithm-refused",
        )
    if entry is None:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"signatureAlgorithm: {name[:64]!a} is not available here; available are "
            f"{', '.join(sorted(SIGNATURE_ALGORITHMS))}.",
            refusal="signature.algorithm",
        )
    return entry


def _form(entry: SignatureAlgorithm, signature_type: str) -> Form:
    form = _FORMS.get(signature_type)
    if form in entry.forms:
        return form
    hint = " ETH (r, s, v) goes with KECCAK256_WITH_ECDSA." if signature_type == "ETH" else ""
    raise KeyturnError(
        ErrorCode.VALIDATION_FAILED,
        f"signatureType: {signature_type[:64]!a} is not available with {entry.name}; it is {' or '.join(entry.forms)}."
        f"{hint}",
        refusal="signature.type",
    )


def check_options(algorithm: str, options: SignOptions) -> None:
    """Refuse parameters that a signature algorithm does not take.

    Args:
        algorithm: API name of the signature algorithm.
        options: The parameters of the call.

    Raises:
        KeyturnError: 600 `signature.option`; unknown algorithm as `signature_algorithm`.
    """
    taken = {API_OPTIONS[name] for name in signature_algorithm(algorithm).options}
    for name in options.given:
        if name not in taken:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"{name}: {algorithm} takes no such parameter; leave it out.",
                refusal="signature.option",
            )


def require_no_options(options: SignOptions) -> None:
    """Refuse parameters beside the payload, where approvals cover the payload alone (R7, R8).

    Raises:
        KeyturnError: 600 `signature.unapproved-option`.
    """
    given = options.given
    if given:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"{', '.join(given)}: approvals for this protected key cover the payload and no such parameter. Leave it "
            "out, or take a key that was created with boundApprovals.",
            refusal="signature.unapproved-option",
        )


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


def sign(
    private_key: SigningKey,
    algorithm: str,
    payload: bytes,
    signature_type: str = "",
    options: SignOptions = NO_OPTIONS,
) -> bytes:
    """Sign.

    Args:
        private_key: The key.
        algorithm: API name of the signature algorithm.
        payload: What is to be signed, or its digest for `NONE…` algorithms.
        signature_type: For EC and DSA keys `DER` (also for "") or `RAW` (r and s, each as long as the order), for
            `KECCAK256_WITH_ECDSA` also `ETH`; signatures of other keys have one form, which both words name.
        options: Further parameters, for algorithms that take them.

    Returns:
        The signature. On secp256k1 `s` is the smaller one (decisions 24).

    Raises:
        KeyturnError: 600 unknown algorithm, type or parameter, 607 algorithm for another kind of key, 612 payload of a
            length that the algorithm or the key cannot take.
    """
    entry = SIGNATURE_ALGORITHMS.get(algorithm) or signature_algorithm(algorithm)
    form = _form(entry, signature_type)
    if entry.prehashed:
        _check_length(entry, payload)
    if options is not NO_OPTIONS:
        check_options(algorithm, options)
    return entry.scheme.sign(private_key, payload, form, options)


def verify(
    public_key: PublicKey | SecretKey | bytes,
    algorithm: str,
    payload: bytes,
    signature: bytes,
    *,
    signature_type: str | None = None,
    options: SignOptions = NO_OPTIONS,
) -> None:
    """Verify a signature; return only if it is valid.

    Args:
        public_key: The key, or its DER SubjectPublicKeyInfo; for HMAC the secret key.
        algorithm: API name of the signature algorithm.
        payload: What was signed, or its digest for `NONE…` algorithms.
        signature: The signature.
        signature_type: As in `sign`: exactly this form. None: EC signatures may be DER or raw, as `/v1/verify`
            must take them (rest-api.md section 3.3).
        options: As in `sign`.

    Raises:
        KeyturnError: 403 the signature is not valid; 600, 607, 612 as in `sign`.
        FormatError: 407 the key is not readable.
    """
    entry = signature_algorithm(algorithm)
    form = None if signature_type is None else _form(entry, signature_type)
    if entry.prehashed:
        _check_length(entry, payload)
    check_options(algorithm, options)
    key = load_public_key(public_key) if isinstance(public_key, bytes) else public_key
    try:
        entry.scheme.verify(key, payload, signature, form, options)
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
    if ("EC" in entry.key_types) != (curve_oid in CURVES):
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"{algorithm} does not go with this kind of key; choose one of its algorithms.",
            refusal="signature.wrong-key-type",
        )
    _require_single_meaning(entry, payload, curve_oid=curve_oid)
