"""A request as the API writes it, held against the statement that approvals for it cover.

Whoever sees both (an approver's client, the courier at the gap) compares them here: with a statement nothing of the
request is left that could say something else.

Source: rest-api.md sections 3.3 and 3.4; docs/security/rules.md R7, R11; docs/formats/statements.md.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

from keyturn.errors import FormatError
from keyturn.ska.key_attributes import filled_in
from keyturn.ska.statement import SIGN_PARAMETERS
from keyturn.ska.to_be_signed import read_to_be_signed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.ska.statement import Statement

KIND_OF: Final = {
    "signRequest": "sign",
    "decryptRequest": "decrypt",
    "unwrapKeyRequest": "unwrap",
    "blockRequest": "block",
    "unblockRequest": "unblock",
}
"""Names of the API's request objects, and what a statement calls them."""
CERTIFICATE_REQUESTS: Final = {
    "csrSignRequest": "csr",
    "signCertificateRequest": "issue",
    "selfSignCertificateRequest": "selfsign",
}
"""The same for certificates, as they are asked for; what they become is in the bytes to be signed (R17)."""
FIXED_CERTIFICATE: Final = "certificateRequest"
"""Name of the request object that carries these bytes across a gap; it says of which kind they are."""
CERTIFICATE_KINDS: Final = frozenset(CERTIFICATE_REQUESTS.values())
BOUND_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "sign": frozenset({"payload", "signatureAlgorithm", "signatureType"}) | SIGN_PARAMETERS,
    "decrypt": frozenset(
        {"encryptedPayload", "cipherAlgorithm", "initializationVector", "additionalAuthenticationData", "tagLength"}
    ),
    "unwrap": frozenset({"wrappedKey", "wrapMethod", "label", "attributes", "policy"}),
    "block": frozenset(),
    "unblock": frozenset(),
    **dict.fromkeys(
        ("csr", "issue", "selfsign"),
        frozenset({"signatureAlgorithm", "toBeSigned", "certificateAuthority", "keyName", "kind"}),
    ),
}
"""Members of a request whose content a statement of its kind holds."""
LIMITS: Final = ("allowedOperations", "allowedAlgorithms")
"""Attributes that are lists of names (R9)."""


def statement_kind(name: str, inner: Mapping[str, Any]) -> str | None:
    """What a statement for a request is about.

    Args:
        name: The API's name of the request object.
        inner: The object, as decoded JSON; foreign.

    Returns:
        The kind of statement, None for requests that have none.
    """
    if name == FIXED_CERTIFICATE:
        kind = inner.get("kind")
        return kind if kind in CERTIFICATE_KINDS else None
    return KIND_OF.get(name) or CERTIFICATE_REQUESTS.get(name)


def differing_members(statement: Statement, inner: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the members of a request that say something else than the statement.

    Args:
        statement: What approvals cover.
        inner: The request object of the statement's kind, as decoded JSON; foreign.

    Returns:
        Names of the API, sorted; empty when all of it agrees. The policy of a new key is left to the caller, who knows
        how to look up its approvers, and so are the key's label and the request's id.
    """
    compared: dict[str, bool] = {}
    match statement.kind:
        case "sign":
            compared["payload"] = _payload(inner) == statement.data
            compared["signatureAlgorithm"] = inner.get("signatureAlgorithm") == statement.algorithm
            compared["signatureType"] = (inner.get("signatureType") or None) == statement.signature_type
            for name in SIGN_PARAMETERS:
                compared[name] = _same_parameter(inner, name, (statement.sign_parameters or {}).get(name))
        case "csr" | "issue" | "selfsign":
            compared["signatureAlgorithm"] = inner.get("signatureAlgorithm") == statement.algorithm
            compared["keyName"] = (inner.get("keyName") or None) == statement.new_label
            if "toBeSigned" in inner:
                compared["toBeSigned"] = _bytes(inner, "toBeSigned") == statement.data
            compared |= dict.fromkeys(differing_certificate(statement.data, statement.kind, inner), False)
        case "decrypt":
            compared["encryptedPayload"] = _bytes(inner, "encryptedPayload") == statement.data
            compared["cipherAlgorithm"] = inner.get("cipherAlgorithm") == statement.algorithm
            compared["initializationVector"] = _same_bytes(inner, "initializationVector", statement.iv)
            compared["additionalAuthenticationData"] = _same_bytes(inner, "additionalAuthenticationData", statement.aad)
            bits = inner.get("tagLength")
            compared["tagLength"] = not isinstance(bits, bool) and (bits or None) == statement.tag_length
        case "unwrap":
            compared["wrappedKey"] = _bytes(inner, "wrappedKey") == statement.data
            compared["wrapMethod"] = inner.get("wrapMethod") == statement.wrap_method
            compared["label"] = inner.get("label") == statement.new_label
            compared["id"] = inner.get("id") == statement.new_key_id
            compared["attributes"] = _same_attributes(statement, inner.get("attributes"))
    return tuple(sorted(name for name, same in compared.items() if not same))


def _same_parameter(inner: Mapping[str, Any], name: str, told: bytes | None) -> bool:
    """Whether a parameter is the same; here, unlike elsewhere, an empty value is not an absent one."""
    given = inner.get(name)
    return told is None if given is None else told is not None and _bytes(inner, name) == told


def differing_certificate(to_be_signed: bytes, kind: str, inner: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the members of a request for a certificate that say something else than the bytes to be signed.

    Args:
        to_be_signed: What approvals cover.
        kind: `csr`, `issue` or `selfsign`.
        inner: The request object, as decoded JSON; foreign. Names in it are left to people: how they become those in
            the bytes depends on the issuer.

    Returns:
        Names of the API, sorted; `toBeSigned` when the bytes are of another kind.
    """
    try:
        told = read_to_be_signed(to_be_signed)
    except FormatError:
        return ("toBeSigned",)
    found = []
    if told.is_request is not (kind == "csr") or (kind == "selfsign" and told.issuer != told.subject):
        found.append("toBeSigned")
    if (inner.get("certificateAuthority") or False) is not told.certificate_authority:
        found.append("certificateAuthority")
    return tuple(found)


def _same_attributes(statement: Statement, given: object) -> bool:
    if not isinstance(given, dict):
        return False
    said = {name: value for name, value in given.items() if value is not None}
    limits = [_names(said.pop(name, None)) for name in LIMITS]
    if not all(isinstance(value, bool) for value in said.values()):
        return False
    return filled_in(said) == dict(statement.new_attributes or {}) and limits == [
        statement.new_allowed_operations,
        statement.new_allowed_algorithms,
    ]


def _names(value: object) -> tuple[str, ...] | None:
    """A list of names in the form in which a statement holds it; what is none becomes one that no statement holds."""
    if value is None or value == []:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return ()
    return tuple(sorted(set(value)))


def _payload(inner: Mapping[str, Any]) -> bytes | None:
    if inner.get("payloadType") != "HEX":
        return _bytes(inner, "payload")
    text = inner.get("payload")
    try:
        return bytes.fromhex(text) if isinstance(text, str) and not any(map(str.isspace, text)) else None
    except ValueError:
        return None


def _same_bytes(inner: Mapping[str, Any], name: str, wanted: bytes | None) -> bool:
    return wanted is None if inner.get(name) is None else _bytes(inner, name) == wanted


def _bytes(inner: Mapping[str, Any], name: str) -> bytes | None:
    """Bytes of a base64 member in its one form, None for anything else."""
    text = inner.get(name)
    if not isinstance(text, str):
        return None
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    return data if b64encode(data).decode("ascii") == text else None
