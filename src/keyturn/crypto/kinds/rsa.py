"""RSA keys.

Source: RFC 8017 section 3, NIST SP 800-56B section 6.4.1 (checks of keys made elsewhere), decisions 28,
docs/adr/0050.
"""

from __future__ import annotations

import hashlib
from math import gcd
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

from keyturn.crypto.kinds.base import KeySpec, KeyType, inconsistent, refuse_size, require_no_curve
from keyturn.crypto.kinds.pkcs8 import from_spki

MIN_RSA_BITS: Final = 2048
WEAK_RSA_BITS: Final = 1024
"""Smallest RSA key, and only where weak keys are allowed (decisions 28)."""
MAX_RSA_BITS: Final = 8192
RSA_BITS_STEP: Final = 256
"""RSA sizes go in steps of this: all sizes in use (2048, 3072, 4096, 6144, 7680, 8192) are such, others help nobody."""
RSA_EXPONENT: Final = 65537
MAX_RSA_EXPONENT: Final = 2**32 - 1
"""Largest public exponent, as for approvers' keys: every exponent in use fits, and verification stays cheap."""


def _check(curve_oid: str, bits: int, *, allow_weak: bool) -> KeySpec:
    require_no_curve("RSA", curve_oid)
    if bits == WEAK_RSA_BITS:
        if not allow_weak:
            refuse_size(
                "keySize: RSA 1024 is too weak; take 2048 or more, or set hsm.allowWeakKeys if you must.", "key.weak"
            )
    elif not MIN_RSA_BITS <= bits <= MAX_RSA_BITS or bits % RSA_BITS_STEP:
        refuse_size(
            f"keySize: an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits in steps of {RSA_BITS_STEP}, not {bits}."
        )
    return KeySpec("RSA", "", bits)


def _public(spki: bytes) -> RSAPublicKey:
    key = from_spki(spki)
    if not isinstance(key, RSAPublicKey) or key.key_size > MAX_RSA_BITS:
        raise ValueError("no RSA key of a size that can be used")
    numbers = key.public_numbers()
    if not numbers.n & numbers.e & 1 or not 3 <= numbers.e <= MAX_RSA_EXPONENT:
        # The library takes it, and fails when it is used.
        raise ValueError("no RSA key: modulus or exponent is even, or the exponent too small or too large")
    return key


def _check_imported(key: RSAPrivateKey, *, allow_weak: bool) -> None:
    """That all numbers of the key say the same, and that it signs what its public half verifies.

    Primes are not proven: who made the key knows it anyhow. Signing a digest of the modulus is a Fermat test of both
    to a base that the maker can hardly choose, which finds whatever is damaged.
    """
    _check("", key.key_size, allow_weak=allow_weak)
    private = key.private_numbers()
    n, e = private.public_numbers.n, private.public_numbers.e
    p, q, d = private.p, private.q, private.d
    if not e & 1 or not 3 <= e <= MAX_RSA_EXPONENT:
        inconsistent("RSA", "its public exponent is even, below 3 or above 2^32 - 1")
    balanced = 2 * p.bit_length() == 2 * q.bit_length() == n.bit_length()
    if p * q != n or p == q or not p & q & 1 or not balanced:
        inconsistent("RSA", "its modulus is not the product of two different odd primes of half its size")
    common = (p - 1) * (q - 1) // gcd(p - 1, q - 1)
    fits = d * e % common == 1 and private.dmp1 == d % (p - 1) and private.dmq1 == d % (q - 1)
    if not fits or not 1 < d < n or d.bit_length() <= n.bit_length() // 2 or private.iqmp * q % p != 1:
        inconsistent("RSA", "its private exponent and the numbers derived from it do not belong to its modulus")
    probe = hashlib.sha512(n.to_bytes(n.bit_length() // 8, "big")).digest()
    try:
        signature = key.sign(probe, PKCS1v15(), NoDigestInfo())
        found = key.public_key().recover_data_from_signature(signature, PKCS1v15(), None)
    except (InvalidSignature, ValueError):
        found = b""
    if found != probe:
        inconsistent("RSA", "it does not sign what its public half verifies")


RSA: Final = KeyType(
    name="RSA",
    oid="1.2.840.113549.1.1.1",
    slow=True,
    private_class=RSAPrivateKey,
    public_class=RSAPublicKey,
    check=_check,
    generate=lambda spec: generate_private_key(RSA_EXPONENT, spec.key_size),
    from_spki=_public,
    spec_of=lambda key: KeySpec("RSA", "", key.key_size),
    # The second is RSASSA-PSS (RFC 4055), under which some programs write the same numbers.
    spki_oids=("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10"),
    check_imported=_check_imported,
)
