"""Plain words for what programs count and what operating systems and libraries report.

Messages are read by people: `1 code`, not `1 codes`; `no such file or directory`, not `[Errno 2] …`.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Final

NO_TLS: Final = "what listens there speaks no TLS"
"""The reason when TLS is spoken to a port of plain HTTP."""

_OWN_WORDS: Final = {
    errno.ECONNREFUSED: "nothing listens there",
    errno.ENOENT: "there is no such file",
    errno.EACCES: "this user may not",
    errno.EPERM: "this user may not",
    errno.ETIMEDOUT: "nobody answered in time",
    errno.EHOSTUNREACH: "no way leads to that machine",
    errno.ENETUNREACH: "no way leads to that network",
    errno.ECONNRESET: "the other side hung up",
    errno.EPIPE: "the other side hung up",
}
"""What connecting runs into; other numbers are said in the system's words."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun.

    Args:
        number: How many.
        one: The noun for one.
        many: The noun for any other number; `one` with an s if left out.

    Returns:
        Such as `1 key`, `0 keys`, `2 keys`.
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def system_reason(error: OSError) -> str:
    """Why a connection or a file could not be had, without numbers and names of C constants.

    Args:
        error: As it was raised; one of several attempts (`Multiple exceptions: …`) has no number of its own.

    Returns:
        A part of a sentence, without a full stop.
    """
    if isinstance(error, ssl.SSLError):
        return tls_reason(error)
    if isinstance(error, socket.gaierror):
        return "no machine is known by that name"
    if isinstance(error, TimeoutError):
        return _OWN_WORDS[errno.ETIMEDOUT]
    if error.errno is None:
        # asyncio joins the failures of several addresses of one name into a text; the first number tells enough.
        number = next((number for number in _OWN_WORDS if f"[Errno {number}]" in str(error)), None)
        return "it cannot be reached" if number is None else _OWN_WORDS[number]
    if error.errno in _OWN_WORDS:
        return _OWN_WORDS[error.errno]
    words = error.strerror or os.strerror(error.errno)
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


def tls_reason(error: ssl.SSLError) -> str:
    """Why TLS was not agreed on, with the cure.

    Args:
        error: As it was raised.

    Returns:
        A part of a sentence, without a full stop.
    """
    text = str(error)
    if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in text:
        why = getattr(error, "verify_message", "") or "it is not vouched for"
        return f"its certificate is not trusted ({why})"
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return NO_TLS
    return f"TLS failed ({(error.reason or 'no reason given').replace('_', ' ').lower()})"
