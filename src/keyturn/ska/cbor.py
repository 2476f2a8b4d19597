"""CBOR, written and read strictly: one value has exactly one encoding here (decisions 14 and 35).

Writer and reader are our own and small, because what must be refused is most of CBOR: everything that is not the
deterministic form of RFC 8949 section 4.2.1 (shortest arguments, definite lengths, map keys in bytewise order, none
twice), and every tag, float and simple value but null. A reader that knows no tags cannot be led into the date,
pattern or fraction parsers that a general one brings along. Bundles and receipts are written in it; `cbor2` judges in
the tests.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from keyturn.errors import FormatError

CborValue: TypeAlias = "int | bytes | str | list[CborValue] | dict[CborValue, CborValue] | None"
"""What a value in this form can be."""

MAX_DEPTH: Final = 4
"""Deepest nesting read unless told otherwise: a bundle is a flat map inside a COSE array, a receipt a flat map."""

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP = range(6)
_NULL: Final = 0xF6
_ARGUMENT_SIZES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_SMALLEST_ARGUMENTS: Final = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}


def encode(value: object) -> bytes:
    """Write a value in deterministic form.

    Args:
        value: Made of int (64 bits and a sign), bytes, str, None, list, tuple, dict.

    Returns:
        The one encoding that `decode` accepts for it.

    Raises:
        TypeError: It holds anything else, a truth value included; a mistake of the program.
        ValueError: A number has more than 64 bits.
    """
    if value is None:
        return bytes([_NULL])
    if isinstance(value, bytes):
        return _write_head(_BYTES, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _write_head(_TEXT, len(text)) + text
    if isinstance(value, int) and not isinstance(value, bool):
        return _write_head(_UNSIGNED, value) if value >= 0 else _write_head(_NEGATIVE, -1 - value)
    if isinstance(value, list | tuple):
        return _write_head(_ARRAY, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        entries = sorted((encode(key), encode(content)) for key, content in value.items())
        return _write_head(_MAP, len(entries)) + b"".join(key + content for key, content in entries)
    raise TypeError(f"{type(value).__name__} has no form here")


def _write_head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    for low, size in _ARGUMENT_SIZES.items():
        if argument < 1 << 8 * size:
            return bytes([major << 5 | low]) + argument.to_bytes(size, "big")
    raise ValueError("a number of more than 64 bits has no form here")


def decode(data: bytes, *, what: str, max_depth: int = MAX_DEPTH) -> CborValue:
    """Read one value that fills `data` exactly.

    Args:
        data: The encoding, already bounded in size by the caller.
        what: Name of the thing for messages and refusal words, such as `bundle`.
        max_depth: How many arrays and maps may lie inside each other.

    Returns:
        The value.

    Raises:
        FormatError: `<what>.malformed` if it is cut, too deep, followed by other bytes or not of the few types known
            here; `<what>.not-deterministic` if it is CBOR but not in the one form of RFC 8949 section 4.2.1.
    """
    reader = _Reader(data, what)
    value = reader.item(max_depth)
    if reader.position != len(data):
        raise reader.malformed(f"{len(data) - reader.position} bytes follow its end")
    return value


class _Reader:
    """A position in a buffer, moving only forward."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self.position = 0

    def malformed(self, why: str) -> FormatError:
        return FormatError(
            f"This is not a whole {self._what}: {why} (at byte {self.position}). Carry it again.",
            refusal=f"{self._what}.malformed",
        )

    def _not_deterministic(self, why: str) -> FormatError:
        return FormatError(
            f"This {self._what} is not in deterministic form: {why} (at byte {self.position}). "
            "Keyturn never writes that; it was changed or made by another program.",
            refusal=f"{self._what}.not-deterministic",
        )

    def _take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._data):
            raise self.malformed(f"it ends {end - len(self._data)} bytes too early")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def _head(self) -> tuple[int, int]:
        """Read a major type and its argument, which must be in the shortest form."""
        first = self._take(1)[0]
        major, low = first >> 5, first & 0x1F
        if major > _MAP:
            raise self.malformed("a tag, float or simple value stands where none belongs")
        if low < 24:
            return major, low
        if low == 31:
            raise self._not_deterministic("a length is indefinite")
        if low not in _ARGUMENT_SIZES:
            raise self.malformed("a reserved length form")
        argument = int.from_bytes(self._take(_ARGUMENT_SIZES[low]), "big")
        if argument < _SMALLEST_ARGUMENTS[low]:
            raise self._not_deterministic("a number is longer than needed")
        return major, argument

    def item(self, depth: int) -> CborValue:
        """Read one value with at most `depth` further levels of nesting."""
        if self._data[self.position : self.position + 1] == bytes([_NULL]):
            self.position += 1
            return None
        major, argument = self._head()
        if major == _UNSIGNED:
            return argument
        if major == _NEGATIVE:
            return -1 - argument
        if major == _BYTES:
            return self._take(argument)
        if major == _TEXT:
            return self._text(argument)
        if depth == 0:
            raise self.malformed("it is nested too deeply")
        # A claimed count is never allocated: each element takes at least one byte, so the loop ends with the data.
        if major == _ARRAY:
            return [self.item(depth - 1) for _ in range(argument)]
        return self._map(argument, depth - 1)

    def _text(self, length: int) -> str:
        raw = self._take(length)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.malformed("a text is not UTF-8") from error

    def _map(self, count: int, depth: int) -> dict[CborValue, CborValue]:
        found: dict[CborValue, CborValue] = {}
        last = b""
        for _ in range(count):
            start = self.position
            key = self.item(0)
            encoded = self._data[start : self.position]
            if encoded <= last:
                raise self._not_deterministic("map keys are out of order or given twice")
            last = encoded
            found[key] = self.item(depth)
        return found
