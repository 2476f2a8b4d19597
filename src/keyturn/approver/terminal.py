"""Foreign text on an officer's screen.

Labels, names, payloads and claims come from people who may want the officer to see something else than what stands
there: escape sequences that repaint the screen, direction marks that reorder text, invisible characters that make two
names look alike. Everything foreign passes through here before it is shown.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that move, hide or have no agreed look: controls, formats (bidi, joiners), surrogates, private
use, unassigned, line and paragraph separators."""
_BLANK_LOOKING: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f")
"""Characters that count as letters or marks but look like nothing (Hangul fillers, braille blank, grapheme joiner)."""


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
    return category in _HIDDEN or character in _BLANK_LOOKING or (category == "Zs" and character != " ")


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
