"""DSA keys. FIPS 186-5 withdrew DSA for new signatures; it stays for those who must verify and sign old ones.

Source: FIPS 186-4 sections 4.2 (sizes) and 4.1 (numbers), RFC 3279 section 2.3.2, decisions 28.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPrivateKey, DSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from keyturn.crypto.kinds.base import KeySpec, KeyType, inconsistent, refuse_size, require_no_curve
from keyturn.crypto.kinds.pkcs8 import from_spki

DSA_BITS: Final = (2048, 3072)
WEAK_DSA_BITS: Final = 1024
"""Only where weak keys are allowed, as RSA 1024 is."""
ORDER_BITS: Final = {1024: (160,), 2048: (256,), 3072: (256,)}
"""Bits of `q` that go with those of `p`. 2048 with 224 is left out: one digest then fits every key uncut (R8)."""


def _check(curve_oid: str, bits: int, *, allow_weak: bool) -> KeySpec:
    require_no_curve("DSA", curve_oid)
    if bits == WEAK_DSA_BITS:
        if not allow_weak:
            refuse_size(
                "keySize: DSA 1024 is too weak; take 2048 or 3072, or set hsm.allowWeakKeys if you must.", "key.weak"
            )
    elif bits not in DSA_BITS:
        refuse_size(f"keySize: a DSA key has 2048 or 3072 bits, not {bits}.")
    return KeySpec("DSA", "", bits)


def _public(spki: bytes) -> DSAPublicKey:
    key = from_spki(spki)
    if not isinstance(key, DSAPublicKey) or key.key_size not in ORDER_BITS:
        raise ValueError("no DSA key of a size that can be used")
    return key


def _check_imported(key: DSAPrivateKey, *, allow_weak: bool) -> None:
    """That size and numbers belong together, and that the key signs what its public half verifies."""
    _check("", key.key_size, allow_weak=allow_weak)
    private = key.private_numbers()
    numbers = private.public_numbers
    p, q, g = numbers.parameter_numbers.p, numbers.parameter_numbers.q, numbers.parameter_numbers.g
    if q.bit_length() not in ORDER_BITS[key.key_size] or not p & q & 1 or (p - 1) % q:
        inconsistent("DSA", "its subgroup is of a size that does not belong to it")
    if not 1 < g < p - 1 or pow(g, q, p) != 1:
        inconsistent("DSA", "its generator does not generate the subgroup")
    if not 1 < private.x < q or pow(g, private.x, p) != numbers.y:
        inconsistent("DSA", "its private and its public number do not belong together")
    # A Fermat test of both, to a base that the maker can hardly choose.
    probe = int.from_bytes(hashlib.sha512(p.to_bytes(key.key_size // 8, "big")).digest(), "big")
    if pow(probe, p - 1, p) != 1 or pow(probe, q - 1, q) != 1:
        inconsistent("DSA", "the numbers that must be primes are none")
    try:
        signature = key.sign(b"keyturn", SHA256())
        key.public_key().verify(signature, b"keyturn", SHA256())
    except (InvalidSignature, ValueError):
        inconsistent("DSA", "it does not sign what its public half verifies")


DSA: Final = KeyType(
    name="DSA",
    oid="1.2.840.10040.4.1",
    slow=True,
    private_class=DSAPrivateKey,
    public_class=DSAPublicKey,
    check=_check,
    generate=lambda spec: generate_private_key(spec.key_size),
    from_spki=_public,
    spec_of=lambda key: KeySpec("DSA", "", key.key_size),
    spki_oids=("1.2.840.10040.4.1",),
    check_imported=_check_imported,
)
