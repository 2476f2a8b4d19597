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


def trusting_nobody() -> ssl.SSLContext:
    """TLS that takes no server, for connections without it: to read the system's certificates takes longer than a call.

    Should such a connection ever be led to a server with TLS, it fails.
    """
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def presenting(context: ssl.SSLContext, certificate: Path, key: Path) -> ssl.SSLContext:
    """Let TLS show a client certificate.

    Args:
        context: How servers are trusted.
        certificate: PEM, the client's certificate first, its issuers behind it.
        key: PEM, its private key without a password.

    Returns:
        The same context.

    Raises:
        FormatError: `tls.client-certificate` when the files cannot be read, hold none, or do not belong together.
    """
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, _PasswordNeededError):
        reason = "they hold no PEM certificate and private key that belong together, or the key has a password"
    except OSError as error:
        reason = system_reason(error)
    else:
        return context
    raise FormatError(
        f"{certificate} and {key} cannot be shown to a server: {reason}.", refusal="tls.client-certificate"
    )


class _PasswordNeededError(Exception):
    """The library wants a password; without this it would ask at the terminal."""


def _no_password() -> str:
    raise _PasswordNeededError


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
