"""The bare RSA operation, which the library offers only inside a padding.

Python's numbers do not compute in constant time. So base and exponents are blinded with fresh randomness: what takes
longer or shorter has nothing to do with the ciphertext, nor twice with the same exponent. The result is checked with
the public exponent before it leaves, because one wrong half of a CRT computation gives the primes away.

Source: RFC 8017 sections 5.1.1 and 5.1.2; Kocher 1996 (blinding); Boneh, DeMillo, Lipton 1997 (faults);
docs/adr/0049.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

EXPONENT_BLINDING: Final = 8
"""Bytes by which the secret exponents are lengthened."""
BASE_SURPLUS: Final = 8
"""Random bytes beyond the modulus, so that the blinding factor is as good as uniform."""


def public_operation(key: RSAPublicKey, block: bytes) -> bytes:
    """RSAEP: a block to the public exponent.

    Args:
        key: The key.
        block: As many bytes as the modulus, and as a number below it.

    Returns:
        As many bytes.

    Raises:
        ValueError: When the block does not fit.
    """
    numbers = key.public_numbers()
    return _bytes(pow(_number(block, numbers.n), numbers.e, numbers.n), numbers.n)


def private_operation(key: RSAPrivateKey, block: bytes, random: Callable[[int], bytes]) -> bytes:
    """RSADP: a block to the private exponent, by the Chinese remainder theorem.

    Args:
        key: The key. RSA 2048 takes about 10 ms, 8192 half a second.
        block: As many bytes as the modulus, and as a number below it.
        random: Returns that many random bytes.

    Returns:
        As many bytes.

    Raises:
        ValueError: When the block does not fit.
        KeyturnError: 700 `rsa.fault` when the computation went wrong; nothing of its result leaves.
    """
    private = key.private_numbers()
    n, e = private.public_numbers.n, private.public_numbers.e
    size = (n.bit_length() + 7) // 8
    number = _number(block, n)
    factor = int.from_bytes(random(size + BASE_SURPLUS), "big") % (n - 2) + 2
    # Invertible unless it is a multiple of a prime of this very key.
    inverse = pow(factor, -1, n)
    blinded = number * pow(factor, e, n) % n
    p, q = private.p, private.q
    of_p = pow(blinded % p, private.dmp1 + (p - 1) * _odd(random), p)
    of_q = pow(blinded % q, private.dmq1 + (q - 1) * _odd(random), q)
    result = of_q + (of_p - of_q) * private.iqmp % p * q
    if pow(result, e, n) != blinded:
        raise KeyturnError(
            ErrorCode.HSM_FAILURE,
            "An RSA computation gave a wrong result, which was withheld. Check the machine and the key store.",
            refusal="rsa.fault",
        )
    return _bytes(result * inverse % n, n)


def _odd(random: Callable[[int], bytes]) -> int:
    return int.from_bytes(random(EXPONENT_BLINDING), "big") | 1


def _number(block: bytes, n: int) -> int:
    number = int.from_bytes(block, "big")
    if len(block) != (n.bit_length() + 7) // 8 or number >= n:
        raise ValueError("The block does not fit the modulus.")
    return number


def _bytes(number: int, n: int) -> bytes:
    return number.to_bytes((n.bit_length() + 7) // 8, "big")
