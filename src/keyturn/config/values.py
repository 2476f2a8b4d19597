"""From what stands in a file, a variable or a flag to the value of a setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from keyturn.config.refusing import refuse
from keyturn.config.settings import CHOICES, KINDS, RANGES

MAX_DIGITS: Final = 100
"""No whole number has so many digits; the interpreter refuses to read very long ones."""

_SIZE: Final = re.compile(r"([0-9]{1,20}) ?(B|KB|MB|GB|TB)?")
_UNITS: Final = {None: 0, "B": 0, "KB": 10, "MB": 20, "GB": 30, "TB": 40}
"""Units of sizes, each a power of two: as the documented settings count them."""


def from_text(field: str, text: str, where: str) -> object:
    """Read the text of an environment variable as its setting's kind.

    Args:
        field: Field of `Settings`.
        text: The variable's value; a list of paths is separated by `:`, one of texts by `,`.
        where: Names the variable.

    Returns:
        A value for `typed`.

    Raises:
        KeyturnError: 301 `config.wrong-type`.
    """
    kind = KINDS[field]
    if kind == "bool":
        words = {"true": True, "false": False}
        if text.strip().lower() not in words:
            raise refuse(f"{where}: must be true or false.", "config.wrong-type")
        return words[text.strip().lower()]
    if kind == "int":
        if not (text.strip().isascii() and text.strip().isdigit() and len(text) < MAX_DIGITS):
            raise refuse(f"{where}: must be a whole number.", "config.wrong-type")
        return int(text.strip())
    if kind.startswith("tuple"):
        return [part for part in text.split("," if "str" in kind else ":") if part]
    return text


def typed(field: str, value: object, where: str) -> object:
    """Check the kind and range of a value.

    Args:
        field: Field of `Settings`.
        value: As YAML or a flag gives it.
        where: Names the place and the setting.

    Returns:
        The value as the field holds it.

    Raises:
        KeyturnError: 301 `config.wrong-type`, `config.out-of-range`, `config.wrong-value`. It never repeats the value.
    """
    kind = KINDS[field]
    if kind == "bool":
        if not isinstance(value, bool):
            raise refuse(f"{where}: must be true or false.", "config.wrong-type")
        return value
    if kind == "int":
        return _number(field, value, where)
    if kind == "Size":
        return _number(field, _size(value, where), where)
    if kind.startswith("tuple[str"):
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple) or not all(isinstance(part, str) and part for part in value):
            raise refuse(f"{where}: must be a text or a list of texts, none of them empty.", "config.wrong-type")
        return tuple(value)
    if kind.startswith("tuple"):
        if not isinstance(value, list | tuple) or not all(isinstance(part, str | Path) for part in value):
            raise refuse(f"{where}: must be a list of paths.", "config.wrong-type")
        return tuple(Path(part) for part in value)
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise refuse(f"{where}: must be a text that is not empty.", "config.wrong-type")
    if kind.startswith("Path"):
        return Path(value)
    if field in CHOICES and value not in CHOICES[field]:
        raise refuse(f"{where}: must be one of {', '.join(CHOICES[field])}.", "config.wrong-value")
    return str(value)


def _size(value: object, where: str) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise refuse(f"{where}: must be a number of bytes, or one with a unit, such as 10MB.", "config.wrong-type")
    return int(match[1]) << _UNITS[match[2]]


def _number(field: str, value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise refuse(f"{where}: must be a whole number.", "config.wrong-type")
    least, most = RANGES[field]
    if not least <= value <= most:
        raise refuse(f"{where}: must lie between {least} and {most}.", "config.out-of-range")
    return value
