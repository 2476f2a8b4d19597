"""Who could reach a server with these settings, and what it would ask of them: known before anything is started."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from keyturn.config.settings import Settings


def asks_for(settings: Settings) -> list[str]:
    """What a client must show, in words; empty if nothing."""
    asked = ["API keys"] if settings.api_keys_enabled else []
    asked += ["bearer tokens"] if settings.jwks_file else []
    asked += ["client certificates"] if settings.tls_client_authentication != "none" else []
    return asked


def is_loopback(host: str) -> bool:
    """Whether a bind address is reachable from this machine only.

    Args:
        host: Address or `localhost`; other names are not looked up and count as reachable from elsewhere.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_loopback(host: str) -> None:
    """Refuse to bind anything but loopback while there is no authentication (decisions 3).

    Args:
        host: Address or name to be bound.

    Raises:
        KeyturnError: With 301.
    """
    if not is_loopback(host):
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"Will not listen on {host}: no authentication is configured, so whoever reaches that address could use "
            "every key. Listen on 127.0.0.1, or configure API keys, bearer tokens or client certificates "
            "(docs/configuration.md).",
            refusal="serve.public-without-authentication",
        )
