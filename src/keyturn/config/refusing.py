"""How a setting is refused."""

from __future__ import annotations

import difflib

from keyturn.config.settings import ALIASES, NAMES
from keyturn.errors import ErrorCode, KeyturnError


def refuse(message: str, refusal: str) -> KeyturnError:
    """The error that stops the start: 301, with a message that says where and what."""
    return KeyturnError(ErrorCode.CONFIG_NOT_VALID, message, refusal=refusal)


def unknown(where: str, name: str) -> KeyturnError:
    """The error for a setting that there is not.

    Args:
        where: Where it stands, its name included.
        name: Its dotted name.
    """
    by_lower = {known.lower(): known for known in (*NAMES, *ALIASES)}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1)
    hint = f"did you mean '{by_lower[near[0]]}'?" if near else f"known are: {', '.join(sorted(NAMES))}."
    return refuse(f"{where} is not a setting of this version; {hint}", "config.unknown-setting")
