"""Signatures that are accepted as they are, and refused with one bit of them changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.crypto import registry
from keyturn.crypto.schemes import NO_OPTIONS, SignOptions
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from keyturn.crypto.keys import PublicKey


def one_bit_less(data: bytes, place: int = 100) -> bytes:
    """`data` with one bit changed, at this place or, where it is shorter, at its end."""
    place = min(place, len(data) - 1)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def flipped(data: bytes, position: int = -1) -> bytes:
    """`data` with the lowest bit of the byte at this position changed, by default of the last."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


def accepts(
    key: PublicKey, algorithm: str, payload: bytes, signature: bytes, options: SignOptions = NO_OPTIONS
) -> bool:
    """Whether the registry takes a signature; what it says otherwise than by 403 is an error."""
    try:
        registry.verify(key, algorithm, payload, signature, options=options)
    except KeyturnError as error:
        if error.code is not ErrorCode.INVALID_SIGNATURE:
            raise
        return False
    return True


def only_accepts(
    key: PublicKey, algorithm: str, payload: bytes, signature: bytes, options: SignOptions = NO_OPTIONS
) -> None:
    """Accepted as it is, refused with one bit of it or of the payload changed, or with a byte more or less."""
    assert accepts(key, algorithm, payload, signature, options)
    assert not accepts(key, algorithm, one_bit_less(payload), signature, options)
    for place in (0, 40, len(signature) // 2, len(signature) - 1):
        assert not accepts(key, algorithm, payload, one_bit_less(signature, place), options)
    assert not accepts(key, algorithm, payload, signature + b"\0", options)
    assert not accepts(key, algorithm, payload, signature[:-1], options)
    assert not accepts(key, algorithm, payload, b"", options)
