"""The TLV framing of every SKA structure: one strict writer, one strict reader.

A blob is a little-endian u32 body length and then elements; an element is a u16 tag, a u16 length, the value and
zero bytes up to the next multiple of four. The reader accepts exactly what the writer writes: zero padding, no
trailing bytes, and no long length form, which no blob within the size limit needs. It knows no tags; which tags
may stand where is the business of `policy` and `messages`.

Source: ska-wire-format.md sections 1, 2 and 10; decisions 21.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from keyturn.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BLOB: Final = 65536
"""Largest blob in bytes, header included: the documented size of one HSM command (rest-api.md section 1.3)."""
MAX_DEPTH: Final = 5
"""Deepest nesting that the grammar has: authorization, approval, timestamp, policy, rule. Our decoders follow the
grammar and cannot go deeper; a generic walker, such as `inspect`, stops here."""
LONG_FORM: Final = 0xFFFF
"""Value of the u16 length that announces a u32 length. An element that needs it (65535 bytes and more) cannot fit
into `MAX_BLOB`, so the size limit refuses every one of them, and shorter ones must use the short form."""

_U32: Final = struct.Struct("<I")
_SHORT: Final = struct.Struct("<HH")
_PADDING: Final = (b"", b"\x00\x00\x00", b"\x00\x00", b"\x00")


class Tag(IntEnum):
    """All tags (ska-wire-format.md section 2)."""

    APPROVER_COUNT = 0x0003
    UNWRAP_CLASS = 0x0007
    """Constant 3 in the unwrap payloads that are known."""
    ACCESS_FLAGS = 0x001B
    CAPABILITY_FLAGS = 0x001C
    OPERATION = 0x003B
    MINUTES = 0x0055
    SECONDS = 0x0056
    TOKEN_COUNT = 0x0059
    GROUP_COUNT = 0x005A
    QUORUM = 0x005B
    EPOCH_SECONDS = 0x0107
    NAME = 0x1002
    CERTIFICATE = 0x1009
    WRAPPED_KEY = 0x100C
    RULE_USE = 0x104E
    RULE_BLOCK = 0x104F
    RULE_UNBLOCK = 0x1050
    RULE_MODIFY = 0x1051
    PUBLIC_KEY = 0x1052
    TIMESTAMP = 0x1054
    APPROVAL = 0x1055
    SIGNATURE = 0x1056
    USE_PAYLOAD = 0x1057
    MODIFY_PAYLOAD = 0x1058


class Element(NamedTuple):
    """One element; a tuple, because every approval is a dozen of them and a frozen dataclass takes twice as long.

    Args:
        tag: Number from 0 to 65535, usually a `Tag`.
        value: The value without padding; a nested blob keeps its header.
    """

    tag: int
    value: bytes


def u32(value: int) -> bytes:
    """Encode `value` as a little-endian u32.

    Raises:
        FormatError: If it does not fit.
    """
    if not 0 <= value <= 0xFFFF_FFFF:
        raise FormatError(f"The number {value} does not fit into 32 bits.", refusal="format.number")
    return _U32.pack(value)


def encode_body(elements: Iterable[Element]) -> bytes:
    """Encode elements without the outer header.

    Args:
        elements: The elements in wire order.

    Returns:
        Their bytes, a multiple of four.

    Raises:
        FormatError: If a tag does not fit into 16 bits or the result is larger than `MAX_BLOB` less the header.
    """
    parts: list[bytes] = []
    for element in elements:
        if not 0 <= element.tag <= 0xFFFF:
            raise FormatError(f"The tag {element.tag} does not fit into 16 bits.")
        size = len(element.value)
        if size >= LONG_FORM:
            raise FormatError(_too_large(size))
        parts.append(_SHORT.pack(element.tag, size))
        parts.append(element.value)
        parts.append(_PADDING[size % 4])
    body = b"".join(parts)
    if len(body) > MAX_BLOB - 4:
        raise FormatError(_too_large(len(body) + 4))
    return body


def encode_blob(elements: Iterable[Element]) -> bytes:
    """Encode elements as a blob with its u32 header.

    Args:
        elements: The elements in wire order.

    Returns:
        The blob, at most `MAX_BLOB` bytes.

    Raises:
        FormatError: If a tag or the blob is too large.
    """
    body = encode_body(elements)
    return _U32.pack(len(body)) + body


def decode_blob(data: bytes) -> tuple[Element, ...]:
    """Decode a blob strictly.

    Args:
        data: The whole blob with its u32 header, at most `MAX_BLOB` bytes.

    Returns:
        Its elements in order. Whatever is returned encodes to the same bytes again.

    Raises:
        FormatError: If the length disagrees, the blob is too large, an element is cut off, a length uses the wrong
            form or padding is not zero.
    """
    size = len(data)
    if size > MAX_BLOB:
        raise FormatError(_too_large(size))
    if size < 4:
        raise FormatError(f"A blob starts with a length of four bytes; only {size} are there.")
    if _U32.unpack_from(data)[0] != size - 4:
        announced = _U32.unpack_from(data)[0]
        raise FormatError(f"The blob announces {announced} bytes but holds {size - 4}; it must be sent complete.")
    return _elements(data, 4, size)


def decode_body(data: bytes) -> tuple[Element, ...]:
    """Decode elements that stand without an outer header, as some samples do; for `inspect` only (decisions 21).

    Args:
        data: Elements only, at most `MAX_BLOB` bytes.

    Returns:
        The elements in order.

    Raises:
        FormatError: As `decode_blob`.
    """
    if len(data) > MAX_BLOB:
        raise FormatError(_too_large(len(data)))
    return _elements(data, 0, len(data))


def _elements(data: bytes, offset: int, end: int) -> tuple[Element, ...]:
    found: list[Element] = []
    while offset < end:
        if end - offset < 4:
            raise FormatError(f"An element is cut off at byte {offset}.")
        tag, size = _SHORT.unpack_from(data, offset)
        if size == LONG_FORM:
            raise FormatError(f"Element 0x{tag:04X} at byte {offset} uses the long length form, which no blob needs.")
        start = offset + 4
        stop = start + size
        padding = _PADDING[size % 4]
        offset = stop + len(padding)
        if offset > end:
            raise FormatError(f"Element 0x{tag:04X} of {size} bytes runs past the end of its blob.")
        if data[stop:offset] != padding:
            raise FormatError(f"The padding behind element 0x{tag:04X} at byte {stop} is not zero.")
        found.append(Element(tag, data[start:stop]))
    return tuple(found)


def _too_large(size: int) -> str:
    return f"{size} bytes are more than the {MAX_BLOB} bytes that one HSM command takes."


class Reader:
    """Takes elements in their one order and refuses everything else.

    Args:
        elements: What `decode_blob` returned.
        what: Name of the structure, for messages.
    """

    __slots__ = ("_elements", "_position", "_what")

    def __init__(self, elements: tuple[Element, ...], what: str) -> None:
        self._elements = elements
        self._position = 0
        self._what = what

    def next_is(self, tag: Tag) -> bool:
        """Whether the next element has this tag."""
        return self._position < len(self._elements) and self._elements[self._position].tag == tag

    def take(self, tag: Tag) -> bytes:
        """Take the next element, which must have this tag.

        Raises:
            FormatError: If it has another tag or is missing.
        """
        value = self.take_if(tag)
        if value is None:
            raise FormatError(f"The {self._what} has {self._here()} where {_named(tag)} must stand.")
        return value

    def take_if(self, tag: Tag) -> bytes | None:
        """Take the next element if it has this tag, else return None."""
        position = self._position
        if position == len(self._elements) or self._elements[position].tag != tag:
            return None
        self._position = position + 1
        return self._elements[position].value

    def take_u32(self, tag: Tag) -> int:
        """Take the next element, which must have this tag and four bytes.

        Raises:
            FormatError: If it has another tag or length.
        """
        value = self.take(tag)
        if len(value) != 4:
            raise FormatError(f"{_named(tag)} in the {self._what} has {len(value)} bytes instead of 4.")
        number: int = _U32.unpack(value)[0]
        return number

    def take_count(self, tag: Tag) -> int:
        """Take a count; it cannot be larger than the number of elements that follow.

        Raises:
            FormatError: If it is, so that nobody can make us loop for nothing.
        """
        count = self.take_u32(tag)
        if count > len(self._elements) - self._position:
            raise FormatError(f"{_named(tag)} in the {self._what} announces {count} entries that are not there.")
        return count

    def finish(self) -> None:
        """Check that nothing is left.

        Raises:
            FormatError: If something is.
        """
        if self._position != len(self._elements):
            raise FormatError(f"The {self._what} has {self._here()} where it must end.")

    def _here(self) -> str:
        if self._position >= len(self._elements):
            return "its end"
        return _named(self._elements[self._position].tag)


def _named(tag: int) -> str:
    try:
        return f"element 0x{tag:04X} ({Tag(tag).name.lower()})"
    except ValueError:
        return f"the unknown element 0x{tag:04X}"
