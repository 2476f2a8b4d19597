"""Which texts may be a key's label.

Labels are compared, approved, shown to people, printed and written into signed XML. So two labels that look alike
for invisible reasons must not both exist, and every label must survive each of these roads unchanged.

Source: docs/security/rules.md R18; ska-wire-format.md section 8 rule 3 (`/` separates a derivation path).
"""

from __future__ import annotations

import unicodedata
from typing import Final

from keyturn.errors import ErrorCode, FormatError

MAX_LABEL_BYTES: Final = 128
"""Longest label in bytes of UTF-8."""

_FORBIDDEN_CATEGORIES: Final = {
    "Cc": "a control character",
    "Cf": "a format or bidi character, which nobody can see",
    "Cs": "half of a surrogate pair",
    # Normalisation is stable for assigned characters only, and XML 1.0 forbids the non-characters among these.
    "Cn": "an unassigned character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}

_INVISIBLE: Final = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
)
"""Characters that show nothing although their category is that of letters, marks or symbols: joiners, fillers,
variation selectors (Unicode property Default_Ignorable_Code_Point) and the blank Braille pattern."""


def _refused(label: str, why: str, refusal: str) -> FormatError:
    shown = ascii(label if len(label) <= MAX_LABEL_BYTES else label[:MAX_LABEL_BYTES] + "…")
    return FormatError(f"The label {shown} {why}", code=ErrorCode.INVALID_KEY_NAME, refusal=refusal)


def check_label(label: str) -> str:
    """Check that a text may be a key's label (R18).

    Args:
        label: The label: Unicode NFC, 1 to 128 bytes of UTF-8, no control, format, bidi, invisible or unassigned
            characters, no `/`, no space at either end, neither `.` nor `..`.

    Returns:
        The same label. It is never repaired: what was approved or registered elsewhere has the caller's bytes.

    Raises:
        FormatError: 610 with a `label.…` word that says which condition failed.
    """
    if not label:
        raise _refused(label, "is empty; give 1 to 128 bytes.", "label.empty")
    for position, character in enumerate(label):
        what = _FORBIDDEN_CATEGORIES.get(unicodedata.category(character))
        if what is None and ord(character) in _INVISIBLE:
            what = "a character that nobody can see"
        if what is not None:
            raise _refused(
                label, f"contains {what} (U+{ord(character):04X} at position {position}); remove it.", "label.character"
            )
    size = len(label.encode())
    if size > MAX_LABEL_BYTES:
        raise _refused(label, f"has {size} bytes of UTF-8; at most {MAX_LABEL_BYTES} are allowed.", "label.too-long")
    if label in {".", ".."}:
        raise _refused(
            label, "is a step in a path, which programs take out of addresses; choose another.", "label.dots"
        )
    if "/" in label:
        raise _refused(label, "contains '/', which separates a derivation path; choose another sign.", "label.slash")
    if label != label.strip() or "Zs" in (unicodedata.category(label[0]), unicodedata.category(label[-1])):
        raise _refused(label, "begins or ends with a space; remove it.", "label.space")
    if not unicodedata.is_normalized("NFC", label):
        raise _refused(label, "is not in Unicode normal form NFC; send it composed.", "label.not-nfc")
    return label
