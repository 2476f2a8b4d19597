"""The request inside a task (level 3), held against the bytes to be signed.

A bound approval holds all that a request asks for, and every member of it is compared (R7). What any other approval
binds (operation, key label, payload, policy, what a new key may do) must be the same in the request; what it does not
bind (kind of use, algorithm, form of the signature, payload type, metadata) is returned as claims, to be shown as such.

Source: rest-api.md sections 3.3, 3.4 and 3.7; docs/security/rules.md R7, R11, R16, R22.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from keyturn.approver.onboarded import same_policy
from keyturn.approver.tasks import decode_base64, disagrees
from keyturn.errors import KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.bound_request import (
    BOUND_MEMBERS,
    CERTIFICATE_REQUESTS,
    differing_certificate,
    differing_members,
    statement_kind,
)
from keyturn.ska.unwrap_flags import unwrap_payload_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from keyturn.approver.tasks import Task
    from keyturn.ska.messages import ApprovalToken
    from keyturn.ska.statement import Statement


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the server says that the signature will not cover.

    Args:
        name: What it is said to be, in words.
        text: What is said; foreign text.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class RequestSaid:
    """What the task's request says, where it does not disagree with the approval.

    Args:
        kind: `sign`, `decrypt`, `unwrap`, `block`, `unblock` or `modify`; empty when the task carries no request.
            For a use of the key it is a claim: an approval does not say which use.
        claims: What it says beyond what the approval binds, each claim once.
        onboarded: Names by which a modify lists approvers, with the fingerprints that they stand for in the approval.
    """

    kind: str = ""
    claims: tuple[Claim, ...] = ()
    onboarded: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of request names what an approval binds."""

    name: str
    action: Action
    signed_field: str
    key_field: str
    compare: Callable[[str, str, dict[str, Any], ApprovalToken], Mapping[str, str]]
    covered: frozenset[str]
    """Members whose content the approval binds, so that they were compared."""


def check_request(task: Task, token: ApprovalToken, statement: Statement | None = None) -> RequestSaid:
    """Compare every form of the request in the task with the approval.

    Args:
        task: The task as received.
        token: The approval decoded from the bytes to be signed.
        statement: The statement in it, for a key with bound approvals: then it binds algorithm, form and kind, too.

    Returns:
        What the request says beyond what the approval binds.

    Raises:
        KeyturnError: `review.request` (field `requestBase64`) or `review.signed-request` (field `signed…`), naming
            the field and what differs.
    """
    found: dict[str, RequestSaid] = {}
    encoded = task.data("requestBase64")
    if encoded is not None:
        found["requestBase64"] = _compare("requestBase64", "request", _parse(encoded), task, token, statement)
    for name in _SIGNED_FIELDS:
        value = task.fields.get(name)
        if value is not None:
            found[name] = _compare(name, "signed-request", value, task, token, statement)
    kinds = {said.kind for said in found.values()}
    if len(kinds) > 1:
        last = list(found)[-1]
        raise disagrees(
            last, "signed-request", f"The task holds requests of several kinds: {', '.join(sorted(kinds))}."
        )
    return RequestSaid(
        kind=kinds.pop() if kinds else "",
        claims=tuple(dict.fromkeys(claim for said in found.values() for claim in said.claims)),
        onboarded={name: known for said in found.values() for name, known in said.onboarded.items()},
    )


def _parse(encoded: bytes) -> Any:
    """The request's JSON, without members that stand twice: one reader takes the first, another the last."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise ValueError("a member stands twice")
        return members

    try:
        return json.loads(encoded.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise disagrees("requestBase64", "request", "It is not JSON in which every member stands once.") from None


def _compare(
    place: str, word: str, value: object, task: Task, token: ApprovalToken, statement: Statement | None
) -> RequestSaid:
    name, inner = _inner(place, word, value)
    kind = _KINDS[name]
    label = token.label.decode("utf-8", errors="surrogateescape")
    if place not in {"requestBase64", kind.signed_field}:
        raise disagrees(place, word, f"It holds a `{name}`, which belongs into `{kind.signed_field}`.")
    if kind.action is not token.action:
        raise disagrees(place, word, f"It asks for {kind.action.name}, the approval is for {token.action.name}.")
    if inner.get(kind.key_field) != label:
        raise disagrees(place, word, f"Its `{kind.key_field}` is another key than the one in the approval.")
    if statement is None:
        onboarded = kind.compare(place, word, inner, token)
    else:
        onboarded = _same_statement(place, word, name, inner, statement)
    try:
        claims = tuple(_claims(kind, inner, bound=statement is not None))
    except RecursionError:
        raise disagrees(place, word, "It is nested too deep to be shown.") from None
    outer_metadata, inner_metadata = task.fields.get("metaData"), inner.get("metaData")
    if outer_metadata is not None and outer_metadata != inner_metadata:
        raise disagrees("metaData", "meta-data", f"It differs from the metadata in `{place}`.")
    return RequestSaid(kind.name, claims, onboarded)


def _claims(kind: _Kind, inner: dict[str, Any], *, bound: bool) -> list[Claim]:
    """Every member that the approval does not bind and that says something."""
    claims = [] if bound or kind.action is not Action.USE else [Claim("kind of use", kind.name)]
    covered = BOUND_MEMBERS.get(kind.name, kind.covered) if bound else kind.covered
    for member, value in inner.items():
        if member == kind.key_field or member in covered or member in _NOT_SHOWN or value in _SAYS_NOTHING:
            continue
        words = _CLAIMED.get(member, f"member `{member}` of the request")
        claims.append(Claim(words, value if isinstance(value, str) else json.dumps(value)))
    return claims


def _inner(place: str, word: str, value: object) -> tuple[str, dict[str, Any]]:
    """The request object and its kind; the outer object around it is optional (its siblings sign it)."""
    if isinstance(value, dict):
        named = [name for name in value if name in _KINDS]
        if len(named) == 1 and isinstance(value[named[0]], dict) and set(value) <= {named[0], "requestSignature"}:
            return named[0], value[named[0]]
        by_key = [name for name, kind in _KINDS.items() if kind.key_field in value]
        if len(by_key) > 1:  # Requests for certificates name the key as those to sign do, but have no payload.
            by_key = [name for name in by_key if (name == "signRequest") is ("payload" in value)]
        if not named and len(by_key) == 1:
            return by_key[0], value
    raise disagrees(place, word, "It is no request of a kind that this client can compare with the approval.")


def _same_payload(place: str, word: str, inner: dict[str, Any], token: ApprovalToken) -> Mapping[str, str]:
    payload = inner.get("payload")
    decoded = None
    if isinstance(payload, str):
        decoded = _from_hex(payload) if inner.get("payloadType") == "HEX" else decode_base64(payload)
    if decoded is None or decoded != token.payload:
        raise disagrees(place, word, "Its `payload` is not the payload in the approval.")
    return {}


def _same_ciphertext(place: str, word: str, inner: dict[str, Any], token: ApprovalToken) -> Mapping[str, str]:
    ciphertext = inner.get("encryptedPayload")
    if not isinstance(ciphertext, str) or decode_base64(ciphertext) != token.payload:
        raise disagrees(place, word, "Its `encryptedPayload` is not the payload in the approval.")
    return {}


def _same_certificate(name: str) -> Callable[[str, str, dict[str, Any], ApprovalToken], Mapping[str, str]]:
    kind = CERTIFICATE_REQUESTS[name]

    def compare(place: str, word: str, inner: dict[str, Any], token: ApprovalToken) -> Mapping[str, str]:
        differing = differing_certificate(token.payload or b"", kind, inner)
        if "toBeSigned" in differing:
            raise disagrees(place, word, f"It holds a `{name}`, but the bytes in the approval are not that.")
        if differing:
            raise disagrees(place, word, f"Its `{differing[0]}` is not what the bytes in the approval say.")
        return {}

    return compare


def _same_unwrap(place: str, word: str, inner: dict[str, Any], token: ApprovalToken) -> Mapping[str, str]:
    wrapped, label, attributes = inner.get("wrappedKey"), inner.get("label"), inner.get("attributes")
    wrapped_key = decode_base64(wrapped) if isinstance(wrapped, str) else None
    if wrapped_key is None or not isinstance(label, str) or not isinstance(attributes, dict):
        raise disagrees(place, word, "It is no complete unwrap: `wrappedKey`, `label` and `attributes` are needed.")
    if inner.get("policy") is not None:
        raise disagrees(place, word, "It asks for a policy of the new key, which the approval does not cover.")
    try:
        asked = unwrap_payload_for(_booleans(attributes), wrapped_key, label)
    except (KeyturnError, ValueError):
        asked = b""
    if asked != token.payload:
        raise disagrees(
            place, word, "The new key's name, its attributes or the wrapped key are not those in the approval."
        )
    return {}


def _same_statement(place: str, word: str, name: str, inner: dict[str, Any], statement: Statement) -> Mapping[str, str]:
    """Every member of the request that the statement holds is the same there."""
    if statement_kind(name, inner) != statement.kind:
        raise disagrees(place, word, f"It holds a `{name}`, but the statement to be signed is to {statement.kind}.")
    differing = differing_members(statement, inner)
    if differing:
        raise disagrees(place, word, f"Its `{differing[0]}` is not the one in the statement to be signed.")
    policy = inner.get("policy")
    if statement.kind != "unwrap" or (policy is None and statement.new_policy is None and not statement.new_blocked):
        return {}
    status = policy.get("keyStatus") if isinstance(policy, dict) else None
    blocked = status.get("blocked") if isinstance(status, dict) else None
    if policy is None or statement.new_policy is None or bool(blocked) is not statement.new_blocked:
        raise disagrees(place, word, "Its `policy` is not the one in the statement to be signed.")
    return same_policy(place, word, policy, statement.new_policy)


def _booleans(attributes: dict[str, Any]) -> dict[str, bool]:
    """Attributes that are said; null says nothing."""
    if not all(value is None or isinstance(value, bool) for value in attributes.values()):
        raise ValueError("attributes are true, false or null")
    return {name: value for name, value in attributes.items() if value is not None}


def _same_nothing(place: str, word: str, inner: dict[str, Any], token: ApprovalToken) -> Mapping[str, str]:
    """Block and unblock bind operation and key, which were compared already."""
    del place, word, inner, token
    return {}


def _same_policy(place: str, word: str, inner: dict[str, Any], token: ApprovalToken) -> Mapping[str, str]:
    return same_policy(place, word, inner.get("policy"), token.payload or b"")


def _from_hex(text: str) -> bytes | None:
    """The bytes of hex text (payload type HEX), or None."""
    try:
        return bytes.fromhex(text) if not any(character.isspace() for character in text) else None
    except ValueError:
        return None


_KINDS: Final = {
    "signRequest": _Kind("sign", Action.USE, "signedSignRequest", "signKeyName", _same_payload, frozenset({"payload"})),
    "decryptRequest": _Kind(
        "decrypt",
        Action.USE,
        "signedDecryptRequest",
        "decryptKeyName",
        _same_ciphertext,
        frozenset({"encryptedPayload"}),
    ),
    "unwrapKeyRequest": _Kind(
        "unwrap",
        Action.USE,
        "signedUnwrapKeyRequest",
        "unwrapKeyName",
        _same_unwrap,
        frozenset({"wrappedKey", "label", "attributes", "policy"}),
    ),
    "csrSignRequest": _Kind(
        "csr",
        Action.USE,
        "signedCertificateRequestRequest",
        "signKeyName",
        _same_certificate("csrSignRequest"),
        frozenset(),
    ),
    "signCertificateRequest": _Kind(
        "issue",
        Action.USE,
        "signedSignCertificateRequest",
        "signKeyName",
        _same_certificate("signCertificateRequest"),
        frozenset({"certificateAuthority"}),
    ),
    "selfSignCertificateRequest": _Kind(
        "selfsign",
        Action.USE,
        "signedSelfSignCertificateRequestDto",
        "signKeyName",
        _same_certificate("selfSignCertificateRequest"),
        frozenset({"certificateAuthority"}),
    ),
    "blockRequest": _Kind("block", Action.BLOCK, "signedBlockKeyRequest", "blockKeyName", _same_nothing, frozenset()),
    "unblockRequest": _Kind(
        "unblock", Action.UNBLOCK, "signedUnblockKeyRequest", "unblockKeyName", _same_nothing, frozenset()
    ),
    "modifyRequest": _Kind(
        "modify", Action.MODIFY, "signedModifyKeyRequest", "modifyKeyName", _same_policy, frozenset({"policy"})
    ),
}
"""Kinds of requests this client can compare. A kind that is not here is refused, never waved through."""

_SIGNED_FIELDS: Final = (
    "signedSignRequest",
    "signedModifyKeyRequest",
    "signedBlockKeyRequest",
    "signedUnblockKeyRequest",
    "signedDecryptRequest",
    "signedUnwrapKeyRequest",
    "signedCertificateRequestRequest",
    "signedSignCertificateRequest",
    "signedSelfSignCertificateRequestDto",
)
_CLAIMED: Final = {
    "signatureAlgorithm": "signature algorithm",
    "signatureType": "form of the signature",
    "payloadType": "payload type",
    "cipherAlgorithm": "cipher algorithm",
    "initializationVector": "initialization vector",
    "additionalAuthenticationData": "additional authentication data",
    "tagLength": "tag length in bits",
    "wrapMethod": "wrap method",
}
_NOT_SHOWN: Final = frozenset(
    {"metaData", "metaDataSignature", "keyPassword", "unwrapKeyPassword", "signedApprovals", "requestId"}
)
"""Shown elsewhere (metadata), or nothing that an officer decides by; a password is nobody's to read."""
_SAYS_NOTHING: Final[tuple[object, ...]] = (None, "UNSPECIFIED", "", [], {})
