"""Private keys that were made elsewhere: read and checked before they are believed.

A key that comes out of a wrapping is authentic at best; that its numbers belong together, its size is one that keyturn
would make and its file holds no surprise has to be checked. Everything is bounded: the size is looked at before
anything is computed, no number is searched for primes (the largest key takes tens of milliseconds), and a key under a
password (PBES2, whose work factor the sender chooses) is not PKCS#8 as it is meant here.

Source: RFC 5958 section 2 (OneAsymmetricKey), RFC 8017 section 3.2 (what RSA private keys must satisfy),
NIST SP 800-56B section 6.4.1 (checks of RSA keys), docs/adr/0050.
"""

from __future__ import annotations

import hashlib
from math import gcd
from typing import TYPE_CHECKING, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from keyturn.crypto.keys import make_spec, private_key_from_der
from keyturn.crypto.schemes import RsaPkcs1OverBytes
from keyturn.errors import ErrorCode, FormatError
from keyturn.ska.der import INTEGER, SEQUENCE, sequence_of

if TYPE_CHECKING:
    from keyturn.crypto.keys import PrivateKey

MAX_PKCS8: Final = 8192
"""Largest PKCS#8 in bytes; RSA 8192 takes about 4 700."""
MAX_RSA_EXPONENT: Final = 2**32 - 1
"""Largest public exponent, as for approvers' keys: every exponent in use fits, and verification stays cheap."""
OCTET_STRING: Final = 0x04


def checked_private_key(der: bytes, *, allow_weak: bool = False) -> PrivateKey:
    """Read a private key that was made elsewhere.

    Args:
        der: PKCS#8, unencrypted, nothing behind it.
        allow_weak: Whether RSA 1024 is taken too (`hsm.allowWeakKeys`).

    Returns:
        The key.

    Raises:
        FormatError: 407 `key.unreadable` when it is no such PKCS#8 or no kind of key that is available here,
            `key.curve` when its curve is not, `key.inconsistent` when its numbers do not belong together.
        KeyturnError: 603 `key.size` or `key.weak` when keyturn would not make a key of that size.
    """
    if len(der) > MAX_PKCS8:
        _unreadable()
    _require_plain_pkcs8(der)
    key = private_key_from_der(der)
    if isinstance(key, RSAPrivateKey):
        make_spec("RSA", "", key.key_size, allow_weak=allow_weak)
        _check_rsa(key)
    return key


def _require_plain_pkcs8(der: bytes) -> None:
    """Version, algorithm, key: what tells it from RSA and EC keys of older forms and from a key under a password."""
    try:
        reader = sequence_of(der, "PKCS#8")
        version = reader.take(INTEGER)
        reader.take(SEQUENCE)
        reader.take(OCTET_STRING)
    except FormatError:
        _unreadable()
    if version not in (b"\0", b"\1"):
        _unreadable()


def _check_rsa(key: RSAPrivateKey) -> None:
    """That all numbers of the key say the same, and that it signs what its public half verifies.

    Primes are not proven: who made the key knows it anyhow. Signing a digest of the modulus is a Fermat test of both
    to a base that the maker can hardly choose, which finds whatever is damaged.
    """
    private = key.private_numbers()
    n, e = private.public_numbers.n, private.public_numbers.e
    p, q, d = private.p, private.q, private.d
    if not e & 1 or not 3 <= e <= MAX_RSA_EXPONENT:
        _inconsistent("its public exponent is even, below 3 or above 2^32 - 1")
    balanced = 2 * p.bit_length() == 2 * q.bit_length() == n.bit_length()
    if p * q != n or p == q or not p & q & 1 or not balanced:
        _inconsistent("its modulus is not the product of two different odd primes of half its size")
    common = (p - 1) * (q - 1) // gcd(p - 1, q - 1)
    fits = d * e % common == 1 and private.dmp1 == d % (p - 1) and private.dmq1 == d % (q - 1)
    if not fits or not 1 < d < n or d.bit_length() <= n.bit_length() // 2 or private.iqmp * q % p != 1:
        _inconsistent("its private exponent and the numbers derived from it do not belong to its modulus")
    probe = hashlib.sha512(n.to_bytes(n.bit_length() // 8, "big")).digest()
    scheme = RsaPkcs1OverBytes()
    try:
        scheme.verify(key.public_key(), probe, scheme.sign(key, probe, "DER"), None)
    except (InvalidSignature, ValueError):
        _inconsistent("it does not sign what its public half verifies")


def _unreadable() -> NoReturn:
    raise FormatError(
        f"A private key arrives as PKCS#8 without a password, nothing behind it, at most {MAX_PKCS8} bytes; "
        "this is none.",
        code=ErrorCode.PARSING_KEY,
        refusal="key.unreadable",
    )


def _inconsistent(why: str) -> NoReturn:
    raise FormatError(
        f"The RSA key is damaged: {why}. Export it again where it was made.",
        code=ErrorCode.PARSING_KEY,
        refusal="key.inconsistent",
    )
