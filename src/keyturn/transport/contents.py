"""What is in a bundle, decoded for people before anything happens with it.

Nothing here authorises or refuses an operation: that is the HSM's alone. But what disagrees is said (an approval for
another key, a payload that nobody approved), so that the person at the offline side sees it before the HSM does. Pure:
no network, no clock, no terminal.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_name, load_approver_certificate, load_approver_key
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.messages import decode_approval, decode_authorization, decode_timestamp
from keyturn.ska.policy import decode_policy
from keyturn.ska.policy_json import policy_from_json
from keyturn.ska.signatures import unwrap_signature, verify
from keyturn.ska.words import APPROVAL_DOMAIN, checksum_words
from keyturn.transport.bundle import KEY, REQUEST, Bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.messages import ApprovalToken
    from keyturn.ska.policy import Policy

BODY_WORDS_DOMAIN: Final = "bundle"
"""Domain of the eight words over a bundle's body."""

MAX_APPROVALS: Final = 1024
"""Most approvals decoded for showing; the HSM has its own, lower bound (R29)."""


@dataclass(frozen=True, slots=True)
class Operation:
    """How one kind of offline input is read.

    Args:
        inner: Name of the object in the body.
        key: Name of its field with the key's label.
        action: What the approvals in it must be for.
        verb: What the operation does, for people.
    """

    inner: str
    key: str
    action: Action
    verb: str


OPERATIONS: Final = {
    operation.inner: operation
    for operation in (
        Operation("signRequest", "signKeyName", Action.USE, "sign with the key"),
        Operation("modifyRequest", "modifyKeyName", Action.MODIFY, "replace the key's policy"),
    )
}
"""Every kind of `inputOfflineHsm` this release carries (decisions 13)."""

_SHOWN: Final = frozenset({"signatureAlgorithm", "signedApprovals"})
"""Members of a request that every view shows in their own place."""


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """One signed approval inside a request.

    Args:
        token: What was signed, None if it cannot be decoded.
        words: Eight words over the signed bytes; the approvers saw the same.
        signer: Fingerprint of the signer's key (hex SHA-256), empty if unknown.
        signer_name: Name in the signer's certificate, empty without one.
        stamp: The HSM's time in it, seconds since the epoch; not verified here.
        problems: What is wrong with it, in sentences; empty if nothing is.
    """

    token: ApprovalToken | None
    words: tuple[str, ...]
    signer: str
    signer_name: str
    stamp: int | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestContents:
    """A request, decoded.

    Args:
        operation: What is asked.
        body: The whole body, for the endpoint that executes it.
        key_label: Which key.
        algorithm: Signature algorithm, empty for a modify.
        payload: What is to be signed, None for a modify.
        policy: The new policy, None for a signature.
        approvals: The signed approvals in it.
        others: Every other member that goes to the HSM's server, name and value as text: nothing is executed unseen.
    """

    operation: Operation
    body: dict[str, Any]
    key_label: str
    algorithm: str
    payload: bytes | None
    policy: Policy | None
    approvals: tuple[ApprovalView, ...]
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ResultContents:
    """A result, decoded.

    Args:
        body: The whole body, for `PUT /v1/resultFromOfflineHsm`.
        result: The signature, None if the result is another.
        attestation: The key after a change, None if the result is another; its signature is not verified here.
    """

    body: dict[str, Any]
    result: bytes | None
    attestation: KeyAttestation | None


@dataclass(frozen=True, slots=True)
class KeyContents:
    """A key to be registered, decoded.

    Args:
        body: The whole body, for `POST /v1/offlineKey`.
        attestation: What the XML says; its signature is verified by the broker, not here.
    """

    body: dict[str, Any]
    attestation: KeyAttestation


Contents = RequestContents | ResultContents | KeyContents


def read_contents(bundle: Bundle) -> Contents:
    """Decode the body of an opened bundle.

    Raises:
        FormatError: `contents.json` if it is no JSON object (or names a member twice), `contents.unknown` if it is for
            no endpoint known here, `contents.mismatch` if it speaks of another request than the bundle, or what the
            decoders of keys, policies and attestations say.
    """
    body = strict_json(bundle.body)
    if bundle.kind == REQUEST:
        return _request(body)
    if bundle.kind == KEY:
        return KeyContents(body, parse_attestation(_text(body, "xml")))
    return _result(body, bundle.request_id)


def body_words(bundle: Bundle) -> tuple[str, ...]:
    """Eight words over the body: both sides of the gap show the same."""
    return checksum_words(bundle.body, domain=BODY_WORDS_DOMAIN)


def strict_json(text: bytes) -> dict[str, Any]:
    """Read one JSON object: UTF-8, no member twice, nothing that could not be written again as it was read.

    What is shown is this value, and what is executed is this value written again; so numbers without an end (`1e999`)
    and halves of characters (lone surrogates), for which JSON writers have other ideas, are refused.

    Raises:
        FormatError: `contents.json`.
    """

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a member is given twice")
        return found

    def constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=members, parse_constant=constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The body of this bundle is not JSON: {error}", refusal="contents.json") from error
    if not isinstance(value, dict):
        raise FormatError("The body of this bundle is not a JSON object.", refusal="contents.json")
    return value


def _request(body: dict[str, Any]) -> RequestContents:
    known = [OPERATIONS[name] for name in body if name in OPERATIONS]
    if len(body) != 1 or not known:
        raise FormatError(
            f"This request holds {', '.join(sorted(body))[:80] or 'nothing'}; this release executes one of "
            f"{', '.join(OPERATIONS)}. Use the same release on both sides.",
            refusal="contents.unknown",
        )
    operation = known[0]
    inner = body[operation.inner]
    if not isinstance(inner, dict):
        raise FormatError(f"{operation.inner} is not an object.", refusal="contents.json")
    label = _text(inner, operation.key)
    payload = policy = None
    if operation.action is Action.USE:
        payload = _payload(inner)
    else:
        # Seconds are read here whatever the offline side allows: it judges, this shows.
        policy, _ = policy_from_json(inner.get("policy"), allow_seconds=True)
    approvals = inner.get("signedApprovals", [])
    if not isinstance(approvals, list) or len(approvals) > MAX_APPROVALS:
        raise FormatError("signedApprovals is not a list of approvals.", refusal="contents.json")
    return RequestContents(
        operation=operation,
        body=body,
        key_label=label,
        algorithm=str(inner.get("signatureAlgorithm", "")),
        payload=payload,
        policy=policy,
        approvals=tuple(_approval(item, operation, label, payload, policy) for item in approvals),
        others=tuple(_others(inner, {*_SHOWN, operation.key, "policy" if payload is None else "payload"})),
    )


def _others(inner: dict[str, Any], shown: set[str]) -> Iterator[tuple[str, str]]:
    for name, value in inner.items():
        if name not in shown and value is not None:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _approval(
    item: object, operation: Operation, label: str, payload: bytes | None, policy: Policy | None
) -> ApprovalView:
    try:
        authorization = decode_authorization(_decoded(item, "an approval"))
    except FormatError as error:
        return ApprovalView(None, (), "", "", None, (error.message,))
    words = checksum_words(authorization.approval, domain=APPROVAL_DOMAIN)
    problems: list[str] = []
    signer = name = ""
    try:
        if authorization.certificate is not None:
            key = load_approver_certificate(authorization.certificate)
            name = certificate_name(authorization.certificate)
        else:
            key = load_approver_key(authorization.spki or b"")
        signer = key.fingerprint
        scheme, bare = unwrap_signature(authorization.signature)
        verify(key, scheme, bare, authorization.approval)
    except KeyturnError as error:
        problems.append(error.message)
    token = stamp = None
    try:
        token = decode_approval(authorization.approval)
        stamp = None if token.timestamp is None else decode_timestamp(token.timestamp).seconds
        problems.extend(_disagreements(token, operation, label, payload, policy))
    except FormatError as error:
        problems.append(error.message)
    return ApprovalView(token, words, signer, name, stamp, tuple(problems))


def _disagreements(
    token: ApprovalToken, operation: Operation, label: str, payload: bytes | None, policy: Policy | None
) -> list[str]:
    """What the signed bytes say differently from the request around them."""
    found = []
    if token.action is not operation.action:
        found.append(f"It approves another operation ({token.action.name.lower()}).")
    if token.label != label.encode():
        found.append("It is for another key." if token.label else "It names no key.")
    if operation.action is Action.USE and token.payload != payload:
        found.append("It is for another payload.")
    if operation.action is Action.MODIFY and token.action is Action.MODIFY and token.payload is not None:
        try:
            same = decode_policy(token.payload) == policy
        except FormatError:
            same = False
        if not same:
            found.append("It is for another policy.")
    return found


def _result(body: dict[str, Any], request_id: str | None) -> ResultContents:
    if _text(body, "id") != request_id:
        raise FormatError("This result speaks of another request than its bundle does.", refusal="contents.mismatch")
    if set(body) == {"id", "result"}:
        return ResultContents(body, _base64(body, "result"), None)
    if set(body) == {"id", "keyAttributes"} and isinstance(body["keyAttributes"], dict):
        return ResultContents(body, None, parse_attestation(_text(body["keyAttributes"], "xml")))
    raise FormatError(
        "This result holds neither a signature nor key attributes; this release carries no other.",
        refusal="contents.unknown",
    )


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise FormatError(f"Field '{name}' is missing in what this bundle carries.", refusal="contents.json")
    return value


def _payload(inner: dict[str, Any]) -> bytes:
    """The bytes to be signed: base64, or hexadecimal text where `payloadType` is `HEX` (rest-api.md section 3.3)."""
    if inner.get("payloadType") != "HEX":
        return _base64(inner, "payload")
    try:
        return bytes.fromhex(_text(inner, "payload"))
    except ValueError as error:
        raise FormatError("Field 'payload' is not hexadecimal text.", refusal="contents.json") from error


def _base64(body: dict[str, Any], name: str) -> bytes:
    return _decoded(body.get(name), f"Field '{name}'")


def _decoded(value: object, what: str) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"{what} is not a valid base64 encoded value.", refusal="contents.json") from error
