"""Take the address, before anything else is loaded or started.

A taken port is found out at once, and port 0 can be told. The socket listens only when everything behind it is ready.
"""

from __future__ import annotations

import socket

from keyturn.errors import ErrorCode, KeyturnError


def bind(host: str, port: int) -> socket.socket:
    """Take an address.

    Args:
        host: Address or name; names are looked up.
        port: TCP port, 0 for any free one.

    Returns:
        A bound socket that does not listen yet.

    Raises:
        KeyturnError: With 301, if it cannot be taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _cannot_listen(host, port, error) from error
    return bound


def _cannot_listen(host: str, port: int, error: OSError) -> KeyturnError:
    return KeyturnError(
        ErrorCode.CONFIG_NOT_VALID,
        f"Cannot listen on {host} port {port}: {error.strerror or error}. Choose another with --host and --port.",
        refusal="serve.address",
    )
