"""Bytewords in minimal form: bytes as pairs of letters with a check sum (BCR-2020-012).

Each byte becomes the first and last letter of its word; the CRC-32 of the bytes follows in the same form. The result is
safe in the alphanumeric mode of QR codes. The words themselves live in `ska.words`, their only home.
"""

from __future__ import annotations

import zlib
from typing import Final

from keyturn.errors import FormatError
from keyturn.ska.words import BYTEWORDS

CHECKSUM_SIZE: Final = 4

_PAIRS: Final = tuple(word[0] + word[-1] for word in BYTEWORDS)
_VALUES: Final = {pair: value for value, pair in enumerate(_PAIRS)}


def encode(data: bytes) -> str:
    """Render `data` and its CRC-32 as lower-case letter pairs."""
    return "".join(_PAIRS[value] for value in data + _checksum(data))


def decode(text: str) -> bytes:
    """Read what `encode` rendered, in either case.

    Args:
        text: Letter pairs; its length was bounded by the caller.

    Raises:
        FormatError: `ur.bytewords` if a pair is none, `ur.checksum` if the check sum does not fit.
    """
    lower = text.lower()
    if len(lower) % 2 or len(lower) <= 2 * CHECKSUM_SIZE:
        raise FormatError("This part is cut: its letters do not come in pairs. Scan it again.", refusal="ur.bytewords")
    try:
        data = bytes(_VALUES[lower[at : at + 2]] for at in range(0, len(lower), 2))
    except KeyError as error:
        raise FormatError(
            f"This part is not written in bytewords: {error.args[0]!r} is no pair of letters. Scan it again.",
            refusal="ur.bytewords",
        ) from error
    content, checksum = data[:-CHECKSUM_SIZE], data[-CHECKSUM_SIZE:]
    if checksum != _checksum(content):
        raise FormatError(
            "This part was read wrongly: its check sum does not fit. Scan it again.", refusal="ur.checksum"
        )
    return content


def words(data: bytes) -> str:
    """The full words of a few bytes, separated by spaces, for captions and messages."""
    return " ".join(BYTEWORDS[value] for value in data)


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(CHECKSUM_SIZE, "big")
