"""The roles, and which of them each endpoint takes: one table.

It is the published one with what real clients do otherwise: several send the key of key management to certificates and
requests, one that of service for random bytes. Endpoints that stand in no published table have the role of their
neighbours.

Source: rest-api.md section 1.5; decisions 28.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """A role; the value is its word in a bearer token's claim of roles."""

    KEY_MANAGEMENT = "keyManagement"
    KEY_OPERATION = "keyOperation"
    APPROVER = "approver"
    APPROVER_KEY_MANAGEMENT = "approverKeyManagement"
    SERVICE = "service"


_MANAGEMENT: Final = frozenset({Role.KEY_MANAGEMENT})
_OPERATION: Final = frozenset({Role.KEY_OPERATION})
_OPERATION_OR_MANAGEMENT: Final = _OPERATION | _MANAGEMENT
_APPROVER: Final = frozenset({Role.APPROVER})
_SERVICE: Final = frozenset({Role.SERVICE})

PUBLIC: Final = ("/", "/swagger-ui", "/swagger-ui.html", "/v3/api-docs")
"""What tells nothing but how the API is described. These, and what lies below them but for `/`."""

ROLES: Final[dict[str, frozenset[Role]]] = {
    "/v1/key": _MANAGEMENT,
    "/v1/importedKey": _MANAGEMENT,
    "/v1/derivedKey": _MANAGEMENT,
    "/v1/dataObject": _MANAGEMENT,
    "/v1/attestation": _MANAGEMENT,
    "/v1/modify": _MANAGEMENT,
    "/v1/synchronousModify": _MANAGEMENT,
    "/v1/offlineKey": _MANAGEMENT,
    "/v1/approverDirectory": _MANAGEMENT,
    "/v1/certificate": _OPERATION_OR_MANAGEMENT,
    "/v1/request": _OPERATION_OR_MANAGEMENT,
    "/v1/request/{id}": _OPERATION_OR_MANAGEMENT | {Role.APPROVER_KEY_MANAGEMENT},
    "/v1/request/{id}/preflight": _OPERATION_OR_MANAGEMENT,
    "/v1/filteredRequests": _OPERATION_OR_MANAGEMENT,
    "/v1/sign": _OPERATION,
    "/v1/decrypt": _OPERATION,
    "/v1/unwrap": _OPERATION,
    "/v1/block": _OPERATION,
    "/v1/unblock": _OPERATION,
    "/v1/decapsulate": _OPERATION,
    "/v1/synchronousSign": _OPERATION,
    "/v1/synchronousDecrypt": _OPERATION,
    "/v1/synchronousUnwrap": _OPERATION,
    "/v1/synchronousBlock": _OPERATION,
    "/v1/synchronousUnblock": _OPERATION,
    "/v1/synchronousHmac": _OPERATION,
    "/v1/synchronousFileDecrypt": _OPERATION,
    "/v1/synchronousDecapsulate": _OPERATION,
    "/v1/synchronousTimestamp": _OPERATION,
    "/v1/encapsulate": _OPERATION,
    "/v1/fileEncrypt": _OPERATION,
    "/v1/encrypt": _OPERATION,
    "/v1/wrap": _OPERATION,
    "/v1/verify": _OPERATION,
    "/v1/createRfcTimestamp": _OPERATION,
    "/v1/resultFromOfflineHsm": _OPERATION,
    "/v1/generateRandom": _OPERATION | _SERVICE,
    "/v1/hsmWitness": _OPERATION | _SERVICE,
    "/v1/approval": _APPROVER,
    "/v1/task": _APPROVER,
    "/v1/approver": _APPROVER,
    "/v1/filteredAllApprovalTask": _APPROVER,
    "/v1/filteredSignApprovalTask": _APPROVER,
    "/v1/filteredDecryptApprovalTask": _APPROVER,
    "/v1/filteredUnwrapKeyApprovalTask": _APPROVER,
    "/v1/filteredBlockKeyApprovalTask": _APPROVER,
    "/v1/filteredUnblockKeyApprovalTask": _APPROVER,
    "/v1/filteredModifyKeyApprovalTask": _APPROVER,
    "/v1/approverManagement/onboard": _APPROVER,
    "/v1/approverManagement": frozenset({Role.APPROVER_KEY_MANAGEMENT}),
    "/v1/versionInfo": _SERVICE,
    "/v1/licenseInfo": _SERVICE,
    "/v1/keystore": _SERVICE,
    "/v1/hsm": _SERVICE,
}
"""Path to the roles that may call it and everything below it; the longest path that fits counts."""

SIGNED_BY_APPROVERS: Final = ("/v1/filtered", "/v1/approver/onboard", "/v1/approverManagement/onboard")
"""Where no bearer token is looked at: these carry the approver's own signature or one-time code."""


def roles_of(path: str) -> frozenset[Role] | None:
    """The roles that may call an endpoint.

    Args:
        path: Its path as in the table of endpoints, open parts in braces.

    Returns:
        The roles; None if everybody may.

    Raises:
        LookupError: Nobody said whose it is.
    """
    if path in PUBLIC or any(path.startswith(f"{public}/") for public in PUBLIC[1:]):
        return None
    parts = path.split("/")
    for length in range(len(parts), 1, -1):
        roles = ROLES.get("/".join(parts[:length]))
        if roles is not None:
            return roles
    raise LookupError(f"{path} stands in no role; add it to ROLES")


def may_see_request(roles: frozenset[Role] | None, *, restoration: bool) -> bool:
    """Whether somebody whom the table lets look at a request may see this one.

    Args:
        roles: What they showed; None where no role is asked for.
        restoration: Whether it restores an approver's file; who manages approvers sees these and no others.
    """
    return roles is None or restoration or bool(roles & _OPERATION_OR_MANAGEMENT)


def may_see_code(roles: frozenset[Role] | None) -> bool:
    """Whether somebody may see the one-time code of a restoration: it gets an officer's file, as no other result does.

    Args:
        roles: As in `may_see_request`.
    """
    return roles is None or Role.APPROVER_KEY_MANAGEMENT in roles


def without_token(path: str) -> bool:
    """Whether bearer tokens are not looked at on this path (rest-api.md section 1.5)."""
    return path.startswith(SIGNED_BY_APPROVERS) and path != "/v1/filteredRequests"
