"""Whether somebody could take bytes for those that a certificate's signature covers.

Strict reading (`keyturn.ska.to_be_signed`) says what is signed as a certificate. What must not be signed as anything
else is more: verifiers are lax in many ways. They take version 1, long serial numbers, lengths that are not minimal or
not given, unsorted sets, structures of any size. So here only the outer shape counts, in BER, not what the parts say.

Source: RFC 5280 section 4.1, RFC 2986 section 4.1, ITU-T X.690 section 8.1; docs/security/rules.md R7, R17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.ska import der

_MAX_NESTING: Final = 32
"""How deep values without a length may lie in each other; OpenSSL takes 30."""
_VERSION: Final = 0xA0
_CERTIFICATE: Final = (der.INTEGER, *[der.SEQUENCE] * 5)
"""Serial, algorithm, issuer, validity, subject, public key; the version may stand before them, anything behind."""
_REQUEST: Final = (der.INTEGER, der.SEQUENCE, der.SEQUENCE)
"""Version, subject, public key."""
_PUBLIC_KEY: Final = (der.SEQUENCE, der.BIT_STRING)
_LONG_TAG, _LONG_LENGTH, _NO_LENGTH, _END = 0x1F, 0x80, 0x80, b"\0\0"


@dataclass(frozen=True, slots=True)
class _Value:
    """A value in BER: its tag, where its content is, and where the next one begins."""

    tag: int
    start: int
    end: int
    behind: int


def looks_like_certificate(data: bytes) -> bool:
    """Whether a signature over bytes could pass for a certificate, or a request for one, with some verifier.

    Args:
        data: Any bytes.
    """
    if not data.startswith(b"\x30"):
        return False
    try:
        whole = _value(data, 0, len(data), 0)
        if whole.behind != len(data):
            return False
        parts = _parts(data, whole)
        tags = tuple(part.tag for part in parts)
        if tags[:1] == (_VERSION,):
            parts, tags = parts[1:], tags[1:]
        if tags[: len(_CERTIFICATE)] == _CERTIFICATE:
            return True
        if tags[: len(_REQUEST)] != _REQUEST:
            return False
        return tuple(part.tag for part in _parts(data, parts[2])) == _PUBLIC_KEY
    except ValueError:
        return False


def _parts(data: bytes, whole: _Value) -> list[_Value]:
    found = []
    offset = whole.start
    while offset < whole.end:
        found.append(_value(data, offset, whole.end, 0))
        offset = found[-1].behind
    return found


def _value(data: bytes, start: int, limit: int, depth: int) -> _Value:
    """The value that begins at `start`; ValueError where none does."""
    offset = start + 1
    if offset < limit and data[start] & _LONG_TAG == _LONG_TAG:
        while offset < limit and data[offset] & 0x80:
            offset += 1
        offset += 1
    if offset >= limit or depth > _MAX_NESTING:
        raise ValueError
    tag, size = data[start], data[offset]
    offset += 1
    if size == _NO_LENGTH:
        inside = offset
        while data[inside : inside + 2] != _END:
            inside = _value(data, inside, limit, depth + 1).behind
        return _checked(_Value(tag, offset, inside, inside + 2), limit)
    if size > _LONG_LENGTH:
        count = size & 0x7F
        size = int.from_bytes(data[offset : offset + count], "big")
        offset += count
    return _checked(_Value(tag, offset, offset + size, offset + size), limit)


def _checked(value: _Value, limit: int) -> _Value:
    if value.behind > limit:
        raise ValueError
    return value
