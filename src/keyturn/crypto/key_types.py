"""The registry of the kinds of keys: one entry carries all that a kind needs (`keyturn.crypto.kinds.base`).

A further kind is one entry in `_KINDS` or in `SECRET_KEY_TYPES`. What is documented and not available stands in
`REFUSED_KINDS` with the reason.

Source: rest-api.md section 4.1, decisions 28 and 34.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from keyturn.crypto.kinds.base import KeySpec, KeyType, SecretKeyType, shown
from keyturn.crypto.kinds.bls import BLS
from keyturn.crypto.kinds.dsa import DSA
from keyturn.crypto.kinds.ec import EC, ED
from keyturn.crypto.kinds.ml_dsa import ML_DSA
from keyturn.crypto.kinds.ml_kem import ML_KEM
from keyturn.crypto.kinds.rsa import RSA
from keyturn.crypto.kinds.secret import SECRET_KEY_TYPES, SecretKey
from keyturn.crypto.kinds.slh_dsa import SLH_DSA
from keyturn.crypto.kinds.stateful import STATEFUL
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "KEY_TYPES",
    "REFUSED_KINDS",
    "SECRET_KEY_TYPES",
    "KeySpec",
    "KeyType",
    "SecretKey",
    "SecretKeyType",
    "key_type",
    "key_type_by_algorithm_oid",
    "key_type_by_spki_oid",
    "kind_of",
    "make_spec",
]

_KINDS: Final[tuple[KeyType, ...]] = (RSA, EC, ED, DSA, BLS, *ML_DSA, *ML_KEM, *SLH_DSA, *STATEFUL)

KEY_TYPES: Final = {kind.name: kind for kind in _KINDS}
"""Kinds of keys that have a public part, by their API name."""

_DRAFT: Final = "it is a draft of round 3 of the NIST competition that no standard describes; take {}"
REFUSED_KINDS: Final = {
    "ISS": "its signatures are those of a ledger that was switched off, and each key may sign once only; take ED",
    **dict.fromkeys(("DILITHIUM_L2", "DILITHIUM_L3", "DILITHIUM_L5"), _DRAFT.format("ML-DSA-44, -65 or -87")),
    **{f"SPHINCS_PLUS_SHAKE_L{level}": _DRAFT.format("SLH-DSA") for level in (1, 3, 5)},
    **{
        f"KYBER{bits}_WITH_{function}": _DRAFT.format(f"ML-KEM-{bits}")
        for bits in (512, 768, 1024)
        for function in ("SHAKE", "SHA2_AES")
    },
}
"""Documented kinds that are refused, by API name, with the reason (docs/compatibility.md)."""


def key_type(name: str) -> KeyType | SecretKeyType:
    """Find a kind of key.

    Args:
        name: Its API name.

    Returns:
        Its entry.

    Raises:
        KeyturnError: 600 `key.algorithm-refused` for a documented kind that is not available, with the reason; 600
            `key.algorithm` for any other word, with a list of what is.
    """
    kind = KEY_TYPES.get(name) or SECRET_KEY_TYPES.get(name)
    if kind is not None:
        return kind
    if name in REFUSED_KINDS:
        raise _refused(f"algorithm: {name} is refused: {REFUSED_KINDS[name]}.", "key.algorithm-refused")
    raise _refused(
        f"algorithm: {shown(name)} keys are not available here; available are {_available()}.", "key.algorithm"
    )


def _refused(message: str, refusal: str) -> KeyturnError:
    return KeyturnError(ErrorCode.VALIDATION_FAILED, message, refusal=refusal)


def _available() -> str:
    return ", ".join([*KEY_TYPES, *SECRET_KEY_TYPES])


def key_type_by_algorithm_oid(oid: str) -> KeyType | SecretKeyType:
    """Find a kind of key by the API's `algorithmOid`.

    Args:
        oid: Dotted OID.

    Returns:
        Its entry.

    Raises:
        KeyturnError: 600 `key.algorithm` when no kind has it, or several.
    """
    kinds: Iterable[KeyType | SecretKeyType] = (*KEY_TYPES.values(), *SECRET_KEY_TYPES.values())
    found = [kind for kind in kinds if kind.oid == oid]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(kind.name for kind in found)
        raise _refused(
            f"algorithmOid: {oid} stands for several kinds; set algorithm to one of {names}.", "key.algorithm"
        )
    raise _refused(
        f"algorithmOid: there is no kind of key with {shown(oid)} here; set algorithm to one of {_available()}.",
        "key.algorithm",
    )


_BY_SPKI_OID: Final = {oid: kind for kind in _KINDS for oid in kind.spki_oids}


def key_type_by_spki_oid(oid: str) -> KeyType | None:
    """The kind of key that has this algorithm OID in SubjectPublicKeyInfo and PKCS#8; None when there is none."""
    return _BY_SPKI_OID.get(oid)


_BY_CLASS: Final[dict[type, KeyType]] = {}


def kind_of(key: Any) -> KeyType:
    """The kind of an asymmetric key, private or public.

    Args:
        key: An object of the library, or one of ours with `algorithm`.

    Returns:
        Its entry.

    Raises:
        TypeError: When it is no key of any kind here, which is a mistake of the caller.
    """
    name = getattr(key, "algorithm", None)
    if isinstance(name, str):
        return KEY_TYPES[name]
    found = _BY_CLASS.get(type(key))
    if found is None:
        # The library's classes are hidden behind abstract ones: asked once for each.
        found = next((kind for kind in _KINDS if isinstance(key, kind.private_class | kind.public_class)), None)
        if found is None:
            raise TypeError(type(key).__name__)
        _BY_CLASS[type(key)] = found
    return found


def make_spec(algorithm: str, curve_oid: str, key_size: int, *, allow_weak: bool = False) -> KeySpec:
    """Check what a key to be made is to be like.

    Args:
        algorithm: API name of the kind of key, such as `RSA`, `EC`, `ED` or `AES`.
        curve_oid: Dotted OID; required for EC (see `CURVES`) and ED (1.3.101.112), "" for the others.
        key_size: Bits where the kind has a choice: RSA (2048 to 8192 in steps of 256), DSA (2048, 3072), AES and
            Camellia (128, 192, 256), ChaCha20 (256); 0 for the others.
        allow_weak: Whether RSA 1024 and DSA 1024 are taken too (`hsm.allowWeakKeys`).

    Returns:
        The checked description.

    Raises:
        KeyturnError: 600 when the kind or curve is unknown, refused or missing, 603 when the size does not fit.

    Source: rest-api.md section 3.1 (POST /v1/key) and 4.1, decisions 28.
    """
    return key_type(algorithm).check(curve_oid, key_size, allow_weak=allow_weak)
