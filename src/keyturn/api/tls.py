"""TLS of the server: 1.2 and 1.3, and whether clients show a certificate.

Source: rest-api.md section 1.5; RFC 9325.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.plain import system_reason

if TYPE_CHECKING:
    from pathlib import Path

_CLIENTS: Final = {"none": ssl.CERT_NONE, "want": ssl.CERT_OPTIONAL, "need": ssl.CERT_REQUIRED}
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: forward secret and authenticated ones alone. Those of 1.3 are all such."""


def server_context(
    certificate: Path, key: Path, *, minimum_version: str, clients: str, client_ca: Path | None
) -> ssl.SSLContext:
    """Make the context of a server.

    Args:
        certificate: PEM file with the server's certificate, then those between it and its authority.
        key: PEM file with its key, without a passphrase.
        minimum_version: `TLSv1.2` or `TLSv1.3`.
        clients: `none`, `want` or `need`.
        client_ca: PEM file with the authorities that vouch for clients; None with `none`.

    Returns:
        The context.

    Raises:
        KeyturnError: 301 `config.tls`, naming the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if minimum_version == "TLSv1.3" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        # An empty passphrase instead of the question that OpenSSL would ask at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise _unusable("tls.certificate and tls.key", certificate, key, error=error) from None
    context.verify_mode = _CLIENTS[clients]
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise _unusable("tls.clientCa", client_ca, error=error) from None
    return context


def _unusable(setting: str, *files: Path, error: Exception) -> KeyturnError:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        why = system_reason(error)
    else:
        why = "not PEM, or the key has a passphrase or belongs to another certificate"
    return KeyturnError(
        ErrorCode.CONFIG_NOT_VALID,
        f"{setting}: {', '.join(map(str, files))}: {why}.",
        refusal="config.tls",
    )
