"""What a payload looks like to a person: text, JSON, hex, or a digest that says nothing.

Nothing is left out and nothing is reformatted into something else: JSON keeps the numbers as they are written, an
object that names a member twice is not shown as JSON at all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from keyturn.approver.terminal import visible

DIGEST_SIZES: Final = {20: "SHA-1", 28: "SHA-224", 32: "SHA-256", 48: "SHA-384", 64: "SHA-512"}
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
MAX_JSON_DEPTH: Final = 64
"""Deeper JSON is shown as plain text; no document an officer can judge is nested so."""
BYTES_PER_ROW: Final = 16


@dataclass(frozen=True, slots=True)
class PayloadView:
    """A payload, ready to be shown.

    Args:
        kind: `empty`, `digest`, `json`, `text` or `binary`.
        size: Bytes.
        sha256: Hex digest of the payload.
        shown: What to print, already escaped; the whole payload.
        note: A sentence the officer must read beside it, or empty.
    """

    kind: str
    size: int
    sha256: str
    shown: str
    note: str


class _Number(str):
    """A JSON number exactly as it was written."""

    __slots__ = ()


def view_payload(payload: bytes) -> PayloadView:
    """Find the most readable faithful view of a payload.

    Args:
        payload: Bytes as they stand in the approval.
    """
    sha256 = hashlib.sha256(payload).hexdigest()
    if not payload:
        return PayloadView("empty", 0, sha256, "", "The payload is empty.")
    text = _readable_text(payload)
    shown = None if text is None else visible(text, lines=True)
    if len(payload) in DIGEST_SIZES and (text is None or shown != text):
        return PayloadView("digest", len(payload), sha256, payload.hex(), _digest_note(len(payload)))
    if text is None or shown is None:
        note = "These bytes are not text. Approve only if you know how to read them."
        return PayloadView("binary", len(payload), sha256, hex_dump(payload), note)
    if len(payload) % 2 == 0 and len(payload) // 2 in DIGEST_SIZES and set(text) <= _HEX_DIGITS:
        return PayloadView("digest", len(payload), sha256, text, _digest_note(len(payload) // 2))
    pretty = _pretty_json(text)
    if pretty is not None:
        note = "Shown indented; what is signed are the bytes with this SHA-256."
        return PayloadView("json", len(payload), sha256, pretty, note)
    unix_text = text.replace("\r\n", "\n")
    unix_shown = visible(unix_text, lines=True)
    if unix_shown != unix_text:
        note = "It holds invisible or control characters, written here as <U+…>. Ask why."
        return PayloadView("text", len(payload), sha256, shown, note)
    note = "" if unix_text == text else "Its lines end with CR LF."
    return PayloadView("text", len(payload), sha256, unix_shown, note)


def _digest_note(size: int) -> str:
    return (
        f"This looks like a digest ({DIGEST_SIZES[size]} has {size} bytes): you cannot see what it stands for. "
        "Approve only if you have computed the same digest yourself, from a document you have read."
    )


def hex_dump(data: bytes) -> str:
    """Offset, sixteen bytes and their ASCII per row.

    Args:
        data: Any bytes.
    """
    rows = []
    for start in range(0, len(data), BYTES_PER_ROW):
        row = data[start : start + BYTES_PER_ROW]
        ascii_text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        rows.append(f"{start:08x}  {row.hex(' '):<47}  {ascii_text}")
    return "\n".join(rows)


def _readable_text(payload: bytes) -> str | None:
    """The payload as text, or None when it is not UTF-8 or holds NUL, which text never does."""
    if b"\0" in payload:
        return None
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _pretty_json(text: str) -> str | None:
    """The text as indented JSON, or None when it is no object or list, or would not be shown faithfully."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_members,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_no_constant,
        )
        return "\n".join(_render(value, ""))
    except (ValueError, RecursionError):
        return None


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _render(value: Any, indent: str) -> list[str]:
    """Lines of a JSON value; the first has no indent, it follows its member's name."""
    deeper = indent + "  "
    if len(deeper) > 2 * MAX_JSON_DEPTH:
        raise ValueError("too deep to be read")
    match value:
        case _Number():
            return [str(value)]
        case dict() if value:
            entries = [(f"{_quoted(name)}: ", member) for name, member in value.items()]
            opening, closing = "{", "}"
        case list() if value:
            entries = [("", member) for member in value]
            opening, closing = "[", "]"
        case str():
            return [_quoted(value)]
        case _:
            return [json.dumps(value)]
    lines = [opening]
    for position, (name, member) in enumerate(entries):
        first, *rest = _render(member, deeper)
        body = [f"{deeper}{name}{first}", *rest]
        body[-1] += "," if position + 1 < len(entries) else ""
        lines += body
    return [*lines, indent + closing]


def _quoted(text: str) -> str:
    """A JSON string literal; what could move the cursor or reorder text stands as a JSON escape."""
    literal = json.dumps(text, ensure_ascii=False)
    return "".join(one if visible(one) == one else json.dumps(one)[1:-1] for one in literal)
