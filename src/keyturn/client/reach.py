"""How a server is reached over TLS, and why it could not be, in words that a person can act on."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx

from keyturn.errors import FormatError
from keyturn.plain import NO_TLS, system_reason, tls_reason

if TYPE_CHECKING:
    from pathlib import Path


def trusting(ca_file: Path) -> ssl.SSLContext:
    """TLS that trusts certain certificates only.

    Args:
        ca_file: PEM certificates.

    Raises:
        FormatError: `tls.ca-file` when the file cannot be read or holds none.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError:
        raise FormatError(
            f"{ca_file} holds no PEM certificates that could vouch for a server.", refusal="tls.ca-file"
        ) from None
    except OSError as error:
        raise FormatError(
            f"The certificates in {ca_file} cannot be read: {system_reason(error)}.", refusal="tls.ca-file"
        ) from None


def why_unreachable(error: httpx.HTTPError, base_url: str) -> str:
    """What kept a request from being answered, and the cure.

    Args:
        error: As the HTTP library raised it.
        base_url: The server's address.

    Returns:
        Sentences that go on after a colon.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"{tls_reason(cause)}. Give the certificates that vouch for it with --ca-file."
    if isinstance(cause, ssl.SSLError):
        reason = tls_reason(cause)
        plain = reason == NO_TLS
        return f"{reason}. {'Take http:// instead of https://.' if plain else 'Look after its TLS.'}"
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time. Is the address right, and does the server run?"
    if isinstance(error, httpx.RemoteProtocolError):
        other = " It may expect https://." if base_url.startswith("http:") else ""
        return f"what answers there speaks no HTTP, or hung up.{other} Is the address right?"
    reason = system_reason(cause) if isinstance(cause, OSError) else str(error) or type(error).__name__
    return f"{reason}. Is the address right, and does the server run?"
