"""Listening sockets, who is at their other end, and how far away that is."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from keyturn.hsm.addresses import Address

BACKLOG: Final = 64
"""Connections that may wait to be accepted."""

_PEER_CREDENTIALS: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """Who is at the other end of a Unix socket, as the kernel noted it at `connect`."""

    pid: int
    uid: int
    gid: int


def peer_credentials(connection: socket.socket) -> PeerCredentials:
    """Read SO_PEERCRED (unix(7)) of a connected Unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    return PeerCredentials(*_PEER_CREDENTIALS.unpack(raw))


def bind_unix(path: Path, mode: int) -> socket.socket:
    """Bind a Unix socket, taking the place of one that a killed process left behind.

    Args:
        path: Its path.
        mode: File mode it gets.

    Returns:
        The listening socket.

    Raises:
        KeyturnError: `address.in-use` when a living process listens there, `address.invalid`.
    """
    if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            except OSError:
                pass
            else:
                raise KeyturnError(
                    ErrorCode.CONFIG_NOT_VALID,
                    f"another process listens on {path}; stop it first or choose another socket",
                    refusal="address.in-use",
                )
    listener = socket.socket(socket.AF_UNIX)
    try:
        # The mode is right from the first moment on: the umask covers the time before chmod.
        previous = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(previous)
        path.chmod(mode)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID, f"cannot listen on {path}: {error.strerror}", refusal="address.invalid"
        ) from None
    return listener


def bind_tcp(host: str, port: int) -> socket.socket:
    """Bind a TCP socket.

    Args:
        host: Name or address.
        port: Port, 0 for any free one.

    Returns:
        The listening socket.

    Raises:
        KeyturnError: `address.in-use`.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"cannot listen on {host} port {port}: {error.strerror}",
            refusal="address.in-use",
        ) from None


def isolation(address: Address, allowed_uids: Collection[int], own_uid: int) -> str:
    """How far the broker is from the HSM's files and memory (R1).

    A broker under the HSM's own user, or under root, reaches both: `none`. So does one that comes over this
    machine's loopback, as far as we can know.

    Args:
        address: Where the broker's protocol is served.
        allowed_uids: Users that may connect over a Unix socket.
        own_uid: User id of the HSM.

    Returns:
        `none`, `user` or `machine`.
    """
    if address.path is not None:
        return "none" if {0, own_uid} & set(allowed_uids) else "user"
    try:
        loopback = ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        loopback = address.host == "localhost"
    return "none" if loopback else "machine"
