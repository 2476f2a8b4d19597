"""The request inside a task (level 3), held against the bytes to be signed.

What the approval binds (operation, key label, payload or policy) must be the same in the request; what it does not
bind (algorithm, form of the signature, payload type, metadata) is returned as claims, to be shown as such.

Source: rest-api.md sections 3.3, 3.4 and 3.7; docs/security/rules.md R11.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from keyturn.approver.tasks import decode_base64, disagrees
from keyturn.errors import KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.policy import encode_policy
from keyturn.ska.policy_json import policy_from_json

if TYPE_CHECKING:
    from keyturn.approver.tasks import Task
    from keyturn.ska.messages import ApprovalToken


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
class _Kind:
    """How one kind of request names what an approval binds."""

    action: Action
    key_field: str


_KINDS: Final = {
    "signRequest": _Kind(Action.USE, "signKeyName"),
    "modifyRequest": _Kind(Action.MODIFY, "modifyKeyName"),
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
}


def check_request(task: Task, token: ApprovalToken) -> tuple[Claim, ...]:
    """Compare every form of the request in the task with the approval.

    Args:
        task: The task as received.
        token: The approval decoded from the bytes to be signed.

    Returns:
        What the request says beyond what the approval binds, each claim once.

    Raises:
        KeyturnError: `review.request` (field `requestBase64`) or `review.signed-request` (field `signed…`), naming
            the field and what differs.
    """
    claims: dict[Claim, None] = {}
    encoded = task.data("requestBase64")
    if encoded is not None:
        for claim in _compare("requestBase64", "request", _parse(encoded), task, token):
            claims[claim] = None
    for name in _SIGNED_FIELDS:
        value = task.fields.get(name)
        if value is not None:
            for claim in _compare(name, "signed-request", value, task, token):
                claims[claim] = None
    return tuple(claims)


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


def _compare(field: str, word: str, value: object, task: Task, token: ApprovalToken) -> list[Claim]:
    name, inner = _inner(field, word, value)
    kind = _KINDS[name]
    label = token.label.decode("utf-8", errors="surrogateescape")
    if kind.action is not token.action:
        raise disagrees(field, word, f"It asks for {kind.action.name}, the approval is for {token.action.name}.")
    if inner.get(kind.key_field) != label:
        raise disagrees(field, word, f"Its `{kind.key_field}` is another key than the one in the approval.")
    if kind.action is Action.MODIFY:
        _same_policy(field, word, inner.get("policy"), token)
    else:
        _same_payload(field, word, inner, token)
    outer_metadata, inner_metadata = task.fields.get("metaData"), inner.get("metaData")
    if outer_metadata is not None and outer_metadata != inner_metadata:
        raise disagrees("metaData", "meta-data", f"It differs from the metadata in `{field}`.")
    return [
        Claim(words, text)
        for member, words in _CLAIMED.items()
        if isinstance(text := inner.get(member), str) and text != "UNSPECIFIED"
    ]


def _inner(field: str, word: str, value: object) -> tuple[str, dict[str, Any]]:
    """The request object and its kind; the outer object around it is optional (its siblings sign it)."""
    if isinstance(value, dict):
        named = [name for name in value if name in _KINDS]
        if len(named) == 1 and isinstance(value[named[0]], dict) and set(value) <= {named[0], "requestSignature"}:
            return named[0], value[named[0]]
        by_key = [name for name, kind in _KINDS.items() if kind.key_field in value]
        if not named and len(by_key) == 1:
            return by_key[0], value
    raise disagrees(field, word, "It is no request of a kind that this client can compare with the approval.")


def _same_payload(field: str, word: str, inner: dict[str, Any], token: ApprovalToken) -> None:
    payload = inner.get("payload")
    decoded = None
    if isinstance(payload, str):
        decoded = _from_hex(payload) if inner.get("payloadType") == "HEX" else decode_base64(payload)
    if decoded is None or decoded != token.payload:
        raise disagrees(field, word, "Its `payload` is not the payload in the approval.")


def _from_hex(text: str) -> bytes | None:
    """The bytes of hex text (payload type HEX), or None."""
    try:
        return bytes.fromhex(text) if not any(character.isspace() for character in text) else None
    except ValueError:
        return None


def _same_policy(field: str, word: str, policy: object, token: ApprovalToken) -> None:
    try:
        asked, _ = policy_from_json(policy, allow_seconds=True)
        same = encode_policy(asked) == token.payload
    except KeyturnError as error:
        raise disagrees(field, word, f"Its `policy` cannot be read: {error.message}") from None
    if not same:
        raise disagrees(field, word, "Its `policy` is not the policy in the approval.")
