"""A strict DER reader and writer, as small as approver keys and signature wrappers need.

Only definite, minimal lengths and single-byte tags. Everything the reader accepts has one encoding, so that two
spellings of one key or signature cannot pass.

Source: ITU-T X.690 section 10 (distinguished encoding rules).
"""

from __future__ import annotations

from typing import Final

from keyturn.errors import FormatError

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
NULL: Final = 0x05
OID: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31


class DERReader:
    """Reads one value after the other.

    Args:
        data: The DER bytes.
        what: Name of the structure, for messages.
    """

    __slots__ = ("_data", "_offset", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._offset = 0
        self._what = what

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._offset == len(self._data)

    def peek(self) -> int | None:
        """The next tag, None at the end."""
        return None if self.at_end() else self._data[self._offset]

    def take_any(self) -> tuple[int, bytes, bytes]:
        """Take the next value.

        Returns:
            Tag, content, and the complete encoding.

        Raises:
            FormatError: If it is cut off, its length is not minimal or its tag has several bytes.
        """
        data, start = self._data, self._offset
        if len(data) - start < 2:
            raise FormatError(f"The {self._what} is cut off.")
        tag, size = data[start], data[start + 1]
        offset = start + 2
        if tag & 0x1F == 0x1F:
            raise FormatError(f"The {self._what} holds a tag of several bytes, which has no place there.")
        if size >= 0x80:
            count = size & 0x7F
            digits = data[offset : offset + count]
            size = int.from_bytes(digits, "big")
            offset += count
            if not 1 <= count <= 4 or len(digits) != count or digits[0] == 0 or size < 0x80:
                raise FormatError(f"The {self._what} holds a length that is not in its minimal form.")
        end = offset + size
        if end > len(data):
            raise FormatError(f"The {self._what} is cut off.")
        self._offset = end
        return tag, data[offset:end], data[start:end]

    def take(self, tag: int) -> bytes:
        """Take the content of the next value, which must have this tag.

        Raises:
            FormatError: If it has another tag or is malformed.
        """
        found, content, _ = self.take_any()
        if found != tag:
            raise FormatError(f"The {self._what} holds tag 0x{found:02X} where 0x{tag:02X} must stand.")
        return content

    def take_unsigned(self) -> int:
        """Take a non-negative INTEGER in minimal form.

        Raises:
            FormatError: If it is negative, not minimal, or no INTEGER.
        """
        content = self.take(INTEGER)
        if not content or content[0] & 0x80 or (len(content) > 1 and content[0] == 0 and not content[1] & 0x80):
            raise FormatError(f"The {self._what} holds a number that is negative or not in its minimal form.")
        return int.from_bytes(content, "big")

    def take_bits(self) -> bytes:
        """Take a BIT STRING of whole bytes.

        Raises:
            FormatError: If it has unused bits or is no BIT STRING.
        """
        content = self.take(BIT_STRING)
        if not content or content[0] != 0:
            raise FormatError(f"The {self._what} holds a bit string that does not consist of whole bytes.")
        return content[1:]

    def finish(self) -> None:
        """Check that nothing is left.

        Raises:
            FormatError: If something is.
        """
        if not self.at_end():
            raise FormatError(f"The {self._what} has {len(self._data) - self._offset} bytes too many at its end.")


def sequence_of(data: bytes, what: str) -> DERReader:
    """Open a SEQUENCE that fills `data` exactly.

    Args:
        data: DER bytes.
        what: Name of the structure, for messages.

    Returns:
        A reader of its content.

    Raises:
        FormatError: If `data` is anything else.
    """
    outer = DERReader(data, what)
    content = outer.take(SEQUENCE)
    outer.finish()
    return DERReader(content, what)


def encode(tag: int, content: bytes) -> bytes:
    """Encode one value.

    Args:
        tag: Single-byte tag.
        content: Content bytes.

    Returns:
        Tag, minimal length, content.
    """
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


def encode_unsigned(value: int) -> bytes:
    """Encode a non-negative INTEGER."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encode_bits(content: bytes) -> bytes:
    """Encode whole bytes as a BIT STRING."""
    return encode(BIT_STRING, b"\x00" + content)


def encode_oid(dotted: str) -> bytes:
    """Encode a dotted object identifier.

    Args:
        dotted: For example `1.2.840.10045.4.3.2`.

    Returns:
        The complete OID value with tag and length.
    """
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = bytearray()
    for arc in (first * 40 + second, *rest):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        content += bytes(reversed(digits))
    return encode(OID, bytes(content))
