"""Checks that a listed public key is one for which only its holder can sign (rule R13).

These checks cost milliseconds (RSA of 8192 bits: a second, DSA: up to several), so they are done once per key:
`approver_keys` remembers, and `key_effort` bounds what one policy may ask for.
The Miller-Rabin bases are derived from the number itself, which keeps this module free of randomness; with the
number of rounds chosen here, searching for a composite that passes means about 2^48 attempts of many milliseconds.

Source: docs/security/rules.md R13; FIPS 186-4 sections 3.1, 4.2 and appendix C.3; RFC 8032 sections 5.1.2, 5.1.3;
RFC 8017 section 3.1.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from math import gcd, isqrt, prod
from typing import Final, NoReturn

from keyturn.errors import FormatError

RSA_MIN_BITS: Final = 2048
RSA_MAX_BITS: Final = 8192
RSA_MAX_EXPONENT: Final = 2**32 - 1
"""Largest RSA exponent: every exponent in use fits, and verification stays cheap. From 3 on they are sound with
PKCS#1 v1.5, whose padding is compared whole."""
SMALL_FACTOR_LIMIT: Final = 1 << 16
"""Prime factors below this are looked for."""
DSA_SIZES: Final = ((2048, 256), (3072, 256), (4096, 256))
"""Accepted bit lengths of p and q."""
MILLER_RABIN_ROUNDS: Final = 24

_P: Final = 2**255 - 19
_L: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_Point = tuple[int, int, int, int]


def check_rsa(n: int, e: int) -> None:
    """Check an RSA public key.

    Args:
        n: Modulus.
        e: Public exponent.

    Raises:
        FormatError: `approver.weak-key` if the modulus is not of 2048 to 8192 bits, has a factor below 65536, is a
            square, a prime or a power of one, or if the exponent is even, below 3 or above 2^32 - 1.
    """
    if not RSA_MIN_BITS <= n.bit_length() <= RSA_MAX_BITS:
        _weak(f"RSA approver keys have {RSA_MIN_BITS} to {RSA_MAX_BITS} bits; this one has {n.bit_length()}")
    if not e & 1 or not 3 <= e <= RSA_MAX_EXPONENT:
        _weak("the RSA exponent must be odd, at least 3 and at most 2^32 - 1; 65537 is usual")
    if gcd(n, _small_primes() % n) != 1:
        _weak("the RSA modulus has a small prime factor, so that anybody can sign with it")
    if isqrt(n) ** 2 == n:
        _weak("the RSA modulus is a square, so that anybody can sign with it")
    # A prime p divides 2^n - 2 when n is p or a power of p; when n is the product of two primes that somebody made,
    # no factor does.
    if gcd(pow(2, n, n) - 2, n) != 1:
        _weak("the RSA modulus is a prime or a power of one, so that anybody can sign with it")


def check_dsa(p: int, q: int, g: int, y: int) -> None:
    """Check a DSA public key and its domain parameters.

    Args:
        p: Field prime.
        q: Group order.
        g: Generator.
        y: Public value.

    Raises:
        FormatError: `approver.weak-key` if the sizes are too small, p or q is not prime, q does not divide p - 1, or
            g or y is not an element of order q.
    """
    _check_dsa_domain(p, q, g)
    if not 1 < y < p - 1 or pow(y, q, p) != 1:
        _weak("the DSA public value does not lie in the group of its parameters")


@lru_cache(maxsize=256)
def _check_dsa_domain(p: int, q: int, g: int) -> None:
    if (p.bit_length(), q.bit_length()) not in DSA_SIZES:
        _weak("DSA approver keys have 2048/256, 3072/256 or 4096/256 bits")
    if (p - 1) % q != 0:
        _weak("the DSA group order does not divide p - 1")
    if not 1 < g < p - 1 or pow(g, q, p) != 1:
        _weak("the DSA generator does not have the order q")
    if not _is_prime(q) or not _is_prime(p):
        _weak("the DSA parameters p and q must be prime")


def check_ed25519(encoded: bytes) -> None:
    """Check an Ed25519 public key.

    Args:
        encoded: 32 bytes.

    Raises:
        FormatError: `approver.weak-key` if the encoding is not canonical, is no point of the curve, or the point is
            not of the large prime order. That excludes the points of small order, for which anybody can sign, and
            mixed ones, which would give one private key several identities.
    """
    point = _decode_point(encoded)
    if point is None:
        _weak("the Ed25519 key is not the canonical encoding of a point")
    # The neutral element also vanishes under L; it is the one small-order point that the test below would pass.
    if _is_neutral(point) or not _is_neutral(_multiply(_L, point)):
        _weak("the Ed25519 key is a point of small or mixed order; generate a new key")


def _decode_point(encoded: bytes) -> _Point | None:
    """Decompress (RFC 8032 section 5.1.3), None where there is no such point or the encoding is not canonical."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if len(encoded) != 32 or y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if (v * x * x + u) % _P == 0:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if (v * x * x - u) % _P != 0 or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _add(a: _Point, b: _Point) -> _Point:
    """Add in extended coordinates (RFC 8032 section 5.1.4); complete, so it doubles, too."""
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    e = (y1 - x1) * (y2 - x2)
    f = (y1 + x1) * (y2 + x2)
    g = 2 * t1 * t2 * _D
    h = 2 * z1 * z2
    p, q, r, s = f - e, h - g, h + g, f + e
    return p * q % _P, r * s % _P, q * r % _P, p * s % _P


def _multiply(factor: int, point: _Point) -> _Point:
    result: _Point = (0, 1, 1, 0)
    for digit in bin(factor)[2:]:
        result = _add(result, result)
        if digit == "1":
            result = _add(result, point)
    return result


def _is_neutral(point: _Point) -> bool:
    return point[0] % _P == 0 and (point[1] - point[2]) % _P == 0


@lru_cache(maxsize=1)
def _small_primes() -> int:
    """The product of all primes below `SMALL_FACTOR_LIMIT`."""
    sieve = bytearray([1]) * SMALL_FACTOR_LIMIT
    for number in range(2, isqrt(SMALL_FACTOR_LIMIT) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, SMALL_FACTOR_LIMIT, number)))
    return prod(number for number in range(2, SMALL_FACTOR_LIMIT) if sieve[number])


def _is_prime(number: int) -> bool:
    """Miller-Rabin with bases derived from the number (FIPS 186-4 appendix C.3.1)."""
    if gcd(number, _small_primes() % number) != 1:
        return False
    twos = ((number - 1) & -(number - 1)).bit_length() - 1
    odd = (number - 1) >> twos
    size = (number.bit_length() + 7) // 8
    seed = number.to_bytes(size, "big")
    for round_number in range(MILLER_RABIN_ROUNDS):
        digest = hashlib.shake_256(bytes([round_number]) + seed).digest(size + 8)
        x = pow(2 + int.from_bytes(digest, "big") % (number - 3), odd, number)
        if x in (1, number - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % number
            if x == number - 1:
                break
        else:
            return False
    return True


def _weak(why: str) -> NoReturn:
    raise FormatError(f"This key cannot approve: {why}.", refusal="approver.weak-key")
