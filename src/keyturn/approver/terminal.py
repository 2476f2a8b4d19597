"""Foreign text on an officer's screen.

Labels, names, payloads and claims come from people who may want the officer to see something else than what stands
there: escape sequences that repaint the screen, direction marks that reorder text, invisible characters that make two
names look alike. Everything foreign passes through here before it is shown.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Me", "Zl", "Zp"})
"""Unicode categories that move, hide, cover or have no agreed look: controls, formats (bidi, joiners), surrogates,
private use, unassigned, enclosing marks, line and paragraph separators."""
_BLANK_LOOKING: Final = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
)
"""Characters that count as letters or marks but look like nothing: fillers, joiners, variation selectors."""
_STRIKING: Final = frozenset(
    {*range(0x0334, 0x0339), 0x20D2, 0x20D3, 0x20D8, 0x20D9, 0x20DA, 0x20E5, 0x20E6, 0x20EA, 0x20EB}
)
"""Marks that are drawn across the letter before them, so that what is signed looks crossed out."""


def visible(text: str, *, lines: bool = False) -> str:
    """The text with every character that could deceive an eye or a terminal written out as `<U+202E>`.

    Args:
        text: Foreign text.
        lines: Keep line feeds and tabs, for text that is shown as a block of its own.

    Returns:
        Text that is safe to print; a second pass changes nothing.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character if character in kept or not _deceives(character) else f"<U+{ord(character):04X}>"
        for character in text
    )


def _deceives(character: str) -> bool:
    category = unicodedata.category(character)
    if category in _HIDDEN or (category == "Zs" and character != " "):
        return True
    return ord(character) in _BLANK_LOOKING or ord(character) in _STRIKING


def visible_bytes(data: bytes, *, lines: bool = False) -> str:
    """Foreign bytes as text where they are UTF-8, as hex where they are not.

    Args:
        data: For instance a key label from an approval.
        lines: As in `visible`.
    """
    try:
        return visible(data.decode("utf-8"), lines=lines)
    except UnicodeDecodeError:
        return f"0x{data.hex()} (not UTF-8 text)"


def has_lookalikes(text: str) -> bool:
    """Whether the text holds letters outside ASCII, which can look like others (Cyrillic a, Greek o)."""
    return not text.isascii()


def spaced_fingerprint(fingerprint: str) -> str:
    """A fingerprint in groups of four, the form people compare.

    Args:
        fingerprint: Hex digits.
    """
    return " ".join(fingerprint[start : start + 4] for start in range(0, len(fingerprint), 4))
