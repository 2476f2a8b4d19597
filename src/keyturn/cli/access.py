"""From the settings to what decides who may call: one place, so that nothing is configured and not in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256

from keyturn.api.access.api_keys import ApiKeys
from keyturn.api.access.certificates import load_certificates
from keyturn.api.access.gate import Gate
from keyturn.api.access.request_signers import RequestSigners
from keyturn.api.access.roles import Role
from keyturn.api.endpoints import ROUTES
from keyturn.api.guard import SameOriginGuard, guard_for

if TYPE_CHECKING:
    import ssl

    from keyturn.api.guard import HostGuard
    from keyturn.clock import Clock
    from keyturn.config import Settings


@dataclass(frozen=True, slots=True)
class Access:
    """What stands between the network and the endpoints.

    Args:
        guard: Checks address and origin (R30).
        gate: Checks keys, tokens and roles; None if TLS alone decides, or nobody.
        request_signers: Check signatures of requests; None if none are asked for.
        tls: Protects connections; None for plain HTTP.
        timestamp_services: SHA-256 of the certificates of services that may read all approval tasks.
    """

    guard: HostGuard | SameOriginGuard | None
    gate: Gate | None
    request_signers: RequestSigners | None
    tls: ssl.SSLContext | None
    timestamp_services: frozenset[bytes]


def make_access(settings: Settings, port: int, clock: Clock) -> Access:
    """Put the parts together.

    Args:
        settings: The settings in force.
        port: The port the server is bound to.
        clock: The time, for bearer tokens.

    Returns:
        The parts.

    Raises:
        KeyturnError: 301: a file that a setting names cannot be used.
    """
    api_keys = bearer = gate = tls = None
    guard: HostGuard | SameOriginGuard | None = None
    if settings.api_keys_enabled:
        api_keys = ApiKeys(
            {
                Role.KEY_MANAGEMENT: settings.key_management_keys,
                Role.KEY_OPERATION: settings.key_operation_keys,
                Role.APPROVER: settings.approver_keys,
                Role.APPROVER_KEY_MANAGEMENT: settings.approver_key_management_keys,
                Role.SERVICE: settings.service_keys,
            }
        )
    if settings.jwks_file is not None:
        from keyturn.api.access.bearer import BearerTokens, load_jwks

        bearer = BearerTokens(
            load_jwks(settings.jwks_file),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            role_claim=settings.jwt_role_claim,
            clock=clock,
        )
    clients = settings.tls_client_authentication
    if api_keys is not None or bearer is not None:
        paths = {route.path for route in ROUTES}
        gate = Gate(paths, api_keys=api_keys, bearer=bearer, certificate_is_enough=clients == "want")
    if settings.tls_certificate is not None and settings.tls_key is not None:
        from keyturn.api.tls import server_context

        tls = server_context(
            settings.tls_certificate,
            settings.tls_key,
            minimum_version=settings.tls_minimum_version,
            clients=clients,
            client_ca=settings.tls_client_ca,
        )
    if clients != "none":
        guard = SameOriginGuard()
    elif gate is None:
        guard = guard_for([settings.host], port, tls=tls is not None)
    signers = load_certificates(settings.request_certificates, "general.allowedRequestCertificates")
    services = load_certificates(settings.timestamp_signing_certificates, "general.allowedTimestampSigningCertificates")
    digests = frozenset(one.fingerprint(SHA256()) for one in services)
    return Access(guard, gate, RequestSigners(signers) if signers else None, tls, digests)
