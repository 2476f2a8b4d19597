"""Names of derived keys: the label of a master key, a stroke, and a path.

A path has one spelling, so that approvals, which name `master/path`, can be compared byte by byte, and a derived key
has one name: decimal numbers without leading zeros, `'` behind those that are hardened, `/` between them. No `m/`, no
`h`, no stroke in front.

Source: rest-api.md section 3.2; ska-wire-format.md section 8, rule 3; SLIP-0010; docs/security/rules.md R21.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from keyturn.errors import ErrorCode, FormatError
from keyturn.ska.labels import check_label

HARDENED: Final = 1 << 31
"""Added to the index of a hardened element (BIP 32)."""
MAX_DEPTH: Final = 16
"""Most elements of a path. BIP 44 uses five; the form of an extended key allows 255, which nobody could read."""
SEPARATOR: Final = "/"

_NUMBER: Final = re.compile("[0-9]+")
_SHOWN: Final = 64


@dataclass(frozen=True, slots=True)
class KeyName:
    """A key's name, taken apart.

    Args:
        label: Label of the key, or of the master key.
        path: Indexes of the path, `HARDENED` added to hardened ones; empty for a key that is named by its label.
    """

    label: str
    path: tuple[int, ...] = ()

    @property
    def path_text(self) -> str:
        """The path as it is written."""
        return format_path(self.path)

    @property
    def text(self) -> str:
        """The whole name."""
        return f"{self.label}{SEPARATOR}{self.path_text}" if self.path else self.label


def parse_path(text: str) -> tuple[int, ...]:
    """Read a derivation path.

    Args:
        text: Such as `44'/0'/0'/0/1`: 1 to `MAX_DEPTH` numbers from 0 to 2^31-1.

    Returns:
        The indexes, `HARDENED` added to hardened ones. Writing them gives the same text.

    Raises:
        FormatError: 610 `path.empty`; 606 `path.element`, `path.spelling`, `path.range` or `path.depth`.
    """
    if not text:
        raise FormatError(
            "The name of a derived key is the label of its master, a stroke and a path, such as master/44'/0'/0'.",
            code=ErrorCode.INVALID_KEY_NAME,
            refusal="path.empty",
        )
    elements = text.split(SEPARATOR)
    if len(elements) > MAX_DEPTH:
        raise _refused(f"The derivation path has {len(elements)} elements; at most {MAX_DEPTH} are taken.", "depth")
    return tuple(_index(element) for element in elements)


def _index(element: str) -> int:
    digits = element.removesuffix("'")
    if not _NUMBER.fullmatch(digits):
        raise _refused(
            f"{_show(element)} is no element of a derivation path: each is a number, with ' behind it where it is "
            "hardened, such as 44'/0'/0'/0/1, without m/ or a stroke in front.",
            "element",
        )
    if digits != "0" and digits.startswith("0"):
        raise _refused(f"{_show(element)} has a leading zero; a derivation path has one spelling.", "spelling")
    if len(digits) > 10 or int(digits) >= HARDENED:
        raise _refused(f"{_show(element)} is too large: an index is 0 to {HARDENED - 1}, hardened with '.", "range")
    return int(digits) + (HARDENED if digits != element else 0)


def format_path(path: tuple[int, ...]) -> str:
    """Write a derivation path.

    Args:
        path: Its indexes, as `parse_path` gives them.
    """
    return SEPARATOR.join(f"{index - HARDENED}'" if index >= HARDENED else str(index) for index in path)


def parse_key_name(name: str) -> KeyName:
    """Take apart what may name a key in an operation: a label, or the name of a derived key.

    Args:
        name: The name.

    Returns:
        Label and path. For a name without a stroke the label is not checked: whether there is such a key says the
        store.

    Raises:
        FormatError: 610 `label.…` for the master's label, and what `parse_path` raises.
    """
    label, stroke, path = name.partition(SEPARATOR)
    if not stroke:
        return KeyName(name)
    return KeyName(check_label(label), parse_path(path))


def check_key_name(name: str) -> str:
    """Check that a text may name a key: as `check_label` for a label, with a path as `parse_path` reads it.

    Args:
        name: A label, or `master/path`.

    Returns:
        The same name.

    Raises:
        FormatError: 610 `label.…` or `path.empty`, 606 `path.…`.
    """
    if SEPARATOR in name:
        parse_key_name(name)
        return name
    return check_label(name)


def master_label(name: str) -> str:
    """The label in front of the first stroke; the whole name if there is none. Checks nothing."""
    return name.partition(SEPARATOR)[0]


def _show(element: str) -> str:
    return ascii(element if len(element) <= _SHOWN else element[:_SHOWN] + "…")


def _refused(message: str, word: str) -> FormatError:
    return FormatError(message, code=ErrorCode.KEY_ATTRIBUTES_INVALID, refusal=f"path.{word}")
