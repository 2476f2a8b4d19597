"""Who may talk to a server that asks for no authentication (R30): loopback is not a wall.

A page in a browser on the same machine can reach a loopback server: with a form, or by making its own name resolve to
127.0.0.1. So the `Host` header must name the address the server is bound to, an `Origin` header must be the
server's own, and bodies must be `application/json`, which a foreign page cannot send without asking first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyturn.api.errors import HttpError
from keyturn.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class HostGuard:
    """The names under which the server may be addressed.

    Args:
        hosts: Allowed values of `Host`, lower case.
        origins: Allowed values of `Origin`.
    """

    hosts: frozenset[bytes]
    origins: frozenset[bytes]

    def check(self, host: bytes | None, origin: bytes | None) -> None:
        """Refuse a request that does not address this server, or comes from a foreign page.

        Args:
            host: The `Host` header, None if absent.
            origin: The `Origin` header, None if absent.

        Raises:
            HttpError: 403 with code 400.
        """
        if host not in self.hosts and (host is None or host.lower() not in self.hosts):
            shown = "missing" if host is None else f"'{host[:80].decode('ascii', 'replace')}'"
            raise HttpError(
                403,
                ErrorCode.SECURITY_NOT_ALLOWED,
                f"The Host header is {shown}, which is not the address this server is bound to. Without "
                f"authentication it answers only to {self._names()}.",
                refusal="http.host",
            )
        if origin is not None and origin.lower() not in self.origins:
            raise HttpError(
                403,
                ErrorCode.SECURITY_NOT_ALLOWED,
                f"Requests made by pages of '{origin[:80].decode('ascii', 'replace')}' are refused; without "
                "authentication only this server's own pages may call it.",
                refusal="http.origin",
            )

    def _names(self) -> str:
        return ", ".join(sorted(host.decode("ascii") for host in self.hosts))


class SameOriginGuard:
    """For servers that browsers identify themselves to, with a certificate: pages of others may not use it.

    Under which names the server is reached is its certificate's business.
    """

    def check(self, host: bytes | None, origin: bytes | None) -> None:
        """Refuse a request that a page of another server makes.

        Args:
            host: The `Host` header, None if absent.
            origin: The `Origin` header, None if absent.

        Raises:
            HttpError: 403 with code 400.
        """
        if origin is not None and (host is None or origin.lower() != b"https://" + host.lower()):
            raise HttpError(
                403,
                ErrorCode.SECURITY_NOT_ALLOWED,
                f"Requests made by pages of '{origin[:80].decode('ascii', 'replace')}' are refused; this server counts "
                "the client's certificate, which a browser shows for any page.",
                refusal="http.origin",
            )


def guard_for(bound: Iterable[str], port: int, *, tls: bool = False) -> HostGuard:
    """The guard of a server.

    Args:
        bound: Addresses or names it was told to bind; the usual loopback names are added.
        port: The port it is bound to.
        tls: Whether it speaks TLS.
    """
    names = {*bound, "localhost", "127.0.0.1", "::1"}
    texts = {f"[{name}]" if ":" in name else name for name in names}
    hosts = {f"{text}:{port}" for text in texts}
    if port == (443 if tls else 80):
        hosts |= texts
    return HostGuard(
        hosts=frozenset(host.lower().encode() for host in hosts),
        origins=frozenset(f"{'https' if tls else 'http'}://{host.lower()}".encode() for host in hosts),
    )
