"""Where an HSM listens: `unix:/path/to.sock` or `tcp://host:port`, and the files of mutual TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.plain import system_reason

MAX_UNIX_PATH: Final = 107
"""Longest path of a Unix socket in bytes (unix(7): sun_path holds 108 with the final zero)."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files of one end of a mutual TLS connection.

    Args:
        certificate: Own certificate chain, PEM.
        key: Its private key, PEM, not encrypted.
        ca: PEM certificates; the other end must present one issued by these.
    """

    certificate: Path
    key: Path
    ca: Path

    def server_context(self) -> ssl.SSLContext:
        """Context for the HSM: TLS 1.2 or newer, a client without a certificate of the CA is turned away."""
        context = self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """Context for the broker: TLS 1.2 or newer, the HSM's certificate must bear the name connected to."""
        return self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
            context.load_verify_locations(self.ca)
        except (OSError, ssl.SSLError) as error:
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"the TLS files {self.certificate}, {self.key}, {self.ca} cannot be used: {system_reason(error)}",
                refusal="tls.files",
            ) from None
        return context


@dataclass(frozen=True, slots=True)
class Address:
    """One parsed address: either `path` or `host` and `port` are set."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read an address.

    Args:
        text: `unix:/absolute/or/relative.sock` or `tcp://host:port`.

    Returns:
        The parsed address.

    Raises:
        KeyturnError: `address.invalid`, when it is neither, or the path is too long for a socket.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "unix" and rest:
        if len(rest.encode()) > MAX_UNIX_PATH:
            raise _invalid(text, f"a Unix socket's path has at most {MAX_UNIX_PATH} bytes; choose a shorter one")
        return Address(path=Path(rest))
    if scheme == "tcp":
        parts = urlsplit(text)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host and port is not None and not parts.path and not parts.query and not parts.username:
            return Address(host=host, port=port)
    raise _invalid(text, "write unix:/path/hsm.sock or tcp://host:port")


def _invalid(text: str, cure: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.CONFIG_NOT_VALID, f"{text!r} is no address of an HSM: {cure}", refusal="address.invalid"
    )
