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

from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.bound_request import LIMITS
from keyturn.ska.messages import decode_timestamp
from keyturn.ska.policy_json import policy_from_json
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn.ska.words import checksum_words
from keyturn.transport.approval_views import Asked, statement_of, unreadable, view_approval
from keyturn.transport.bundle import KEY, REQUEST, Bundle
from keyturn.transport.operations import (
    ACTION_WORDS,
    ATTRIBUTES_FIELD,
    OPERATIONS,
    OUTCOMES,
    RECEIPT_FIELDS,
    REFUSED_FIELD,
    RESULT_FIELD,
    TIMESTAMP_FIELD,
    WITNESS_FIELD,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.messages import Timestamp
    from keyturn.ska.policy import Policy
    from keyturn.ska.statement import Statement
    from keyturn.transport.approval_views import ApprovalView
    from keyturn.transport.operations import Operation

BODY_WORDS_DOMAIN: Final = "bundle"
"""Domain of the eight words over a bundle's body."""

MAX_APPROVALS: Final = 1024
"""Most approvals decoded for showing; the HSM has its own, lower bound (R29)."""

_TIMESTAMP_ANSWER: Final = ("timestamp", "timestampSignature", "timestampSignatureAlgorithm", "timestampKeyName")


@dataclass(frozen=True, slots=True)
class RequestContents:
    """A request, decoded.

    Args:
        operation: What is asked.
        action: What approvals are for; for a timestamp, what it is asked for.
        body: The whole body, for the endpoint that executes it.
        key_label: Which key.
        algorithm: Signature or cipher algorithm or wrap method, empty where there is none.
        payload: What is to be signed, decrypted, unwrapped or stamped, None where there is nothing of the kind.
        policy: The new policy (for an unwrap, that of the new key), None where there is none.
        approvals: The signed approvals in it.
        statement: What its approvals are bound to, or what a timestamp is asked for; None for a key that is not (R7).
        others: Every other member that goes to the HSM's server, name and value as text: nothing is executed unseen.
        witness: What the offline HSM is shown before the request: something that it signed itself (R6); None if the
            bundle brings nothing.
    """

    operation: Operation
    action: Action
    body: dict[str, Any]
    key_label: str
    algorithm: str
    payload: bytes | None
    policy: Policy | None
    approvals: tuple[ApprovalView, ...]
    statement: Statement | None = None
    others: tuple[tuple[str, str], ...] = ()
    witness: dict[str, Any] | None = None

    @property
    def asks_for_time(self) -> bool:
        """Whether it is a request for a timestamp: nothing happens with the key, nothing has been approved yet."""
        return self.operation.action is None


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal by the offline HSM, as its server told it.

    Args:
        number: `errorCode`.
        word: The stable word, empty if there is none.
        message: For people.
    """

    number: int
    word: str
    message: str


@dataclass(frozen=True, slots=True)
class ResultContents:
    """A result, decoded; nothing in it is verified here.

    Args:
        body: The whole body, for `PUT /v1/resultFromOfflineHsm`.
        result: The signature, or what was decrypted; None if the result is another.
        attestation: The key after a change, or the unwrapped key; None if the result is another.
        stamp: The HSM's time; None if the result is another.
        refused: The refusal; None if the result is another.
        has_receipt: Whether the HSM's receipt is with it (R24).
    """

    body: dict[str, Any]
    result: bytes | None = None
    attestation: KeyAttestation | None = None
    stamp: Timestamp | None = None
    refused: Refused | None = None
    has_receipt: bool = False


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
    body = dict(body)
    witness = body.pop(WITNESS_FIELD, None)
    if witness is not None and not isinstance(witness, dict):
        raise FormatError(f"{WITNESS_FIELD} is not an object.", refusal="contents.json")
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
    action = _action(inner) if operation.action is None else operation.action
    shown = {"signedApprovals", operation.key, operation.algorithm}
    payload = policy = None
    if operation.payload and (action is Action.USE or (operation.action is None and operation.payload in inner)):
        payload = _payload(inner, operation.payload)
        shown.add(operation.payload)
    if action is Action.MODIFY or (operation.inner == "unwrapKeyRequest" and inner.get("policy") is not None):
        # Seconds are read here whatever the offline side allows: it judges, this shows.
        policy, _ = policy_from_json(inner.get("policy"), allow_seconds=True)
        shown.add("policy")
    asked = Asked(action, label, _approved_bytes(operation, inner, payload), policy, operation.inner, inner)
    approvals = inner.get("signedApprovals", [])
    if not isinstance(approvals, list) or len(approvals) > MAX_APPROVALS:
        raise FormatError("signedApprovals is not a list of approvals.", refusal="contents.json")
    views = tuple(_approval(item, asked) for item in approvals)
    statement = statement_of(payload) if operation.action is None else _common_statement(views)
    return RequestContents(
        operation=operation,
        action=action,
        body=body,
        key_label=label,
        algorithm=str(inner.get(operation.algorithm, "")) if operation.algorithm else "",
        payload=payload,
        policy=policy,
        approvals=views,
        statement=statement,
        others=tuple(_others(inner, shown)),
        witness=witness,
    )


def _common_statement(views: tuple[ApprovalView, ...]) -> Statement | None:
    """What approvals are bound to: the first statement that fits the request, else the first at all."""
    bound = [view for view in views if view.statement is not None]
    fitting = [view for view in bound if not view.problems]
    return next((view.statement for view in fitting + bound), None)


def _action(inner: dict[str, Any]) -> Action:
    """What a timestamp is asked for."""
    word = _text(inner, "operation")
    if word not in ACTION_WORDS:
        raise FormatError(
            f"A timestamp is asked for {word[:40]!a}; this release knows {', '.join(ACTION_WORDS)}.",
            refusal="contents.unknown",
        )
    return ACTION_WORDS[word]


def _approved_bytes(operation: Operation, inner: dict[str, Any], payload: bytes | None) -> bytes | None:
    """What approvals repeat: the payload, but for an unwrap its own structure (ska-wire-format.md section 7)."""
    if operation.inner != "unwrapKeyRequest" or payload is None:
        return payload
    attributes = inner.get("attributes")
    if not isinstance(attributes, dict):
        raise FormatError("attributes of the new key is not an object.", refusal="contents.json")
    # Lists that limit the new key stand only in statements.
    wanted = {name: value for name, value in attributes.items() if value is not None and name not in LIMITS}
    if not all(isinstance(value, bool) for value in wanted.values()):
        raise FormatError("attributes of the new key is not an object of true and false.", refusal="contents.json")
    return unwrap_payload_for(wanted, payload, _text(inner, "label"))


def _others(inner: dict[str, Any], shown: set[str]) -> Iterator[tuple[str, str]]:
    for name, value in inner.items():
        if name not in shown and value is not None:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _approval(item: object, asked: Asked) -> ApprovalView:
    try:
        data = _decoded(item, "an approval")
    except FormatError as error:
        return unreadable(error.message)
    return view_approval(data, asked)


def _result(body: dict[str, Any], request_id: str | None) -> ResultContents:
    if _text(body, "id") != request_id:
        raise FormatError("This result speaks of another request than its bundle does.", refusal="contents.mismatch")
    outcomes = [name for name in OUTCOMES if name in body]
    if len(outcomes) != 1 or set(body) - {"id", *outcomes, *RECEIPT_FIELDS}:
        raise FormatError(
            f"This result holds {', '.join(sorted(body))[:80]}; this release carries exactly one of "
            f"{', '.join(OUTCOMES)}, and the HSM's receipt beside it.",
            refusal="contents.unknown",
        )
    receipts = [name for name in RECEIPT_FIELDS if name in body]
    for name in receipts:
        _base64(body, name)
    if len(receipts) == 1:
        raise FormatError("A receipt and its signature come together.", refusal="contents.json")
    has_receipt = bool(receipts)
    if outcomes[0] == RESULT_FIELD:
        return ResultContents(body, result=_base64(body, RESULT_FIELD), has_receipt=has_receipt)
    inner = body[outcomes[0]]
    if not isinstance(inner, dict):
        raise FormatError(f"{outcomes[0]} is not an object.", refusal="contents.json")
    if outcomes[0] == ATTRIBUTES_FIELD:
        return ResultContents(body, attestation=parse_attestation(_text(inner, "xml")), has_receipt=has_receipt)
    if outcomes[0] == TIMESTAMP_FIELD:
        return ResultContents(body, stamp=_stamp(inner), has_receipt=has_receipt)
    return ResultContents(body, refused=_refused(inner), has_receipt=has_receipt)


def _stamp(inner: dict[str, Any]) -> Timestamp:
    for name in _TIMESTAMP_ANSWER:
        _text(inner, name)
    return decode_timestamp(_base64(inner, _TIMESTAMP_ANSWER[0]))


def _refused(inner: dict[str, Any]) -> Refused:
    number, word = inner.get("errorCode"), inner.get("refusal", "")
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(word, str):
        raise FormatError(f"{REFUSED_FIELD} is not an error body.", refusal="contents.json")
    return Refused(number, word, _text(inner, "message"))


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise FormatError(f"Field '{name}' is missing in what this bundle carries.", refusal="contents.json")
    return value


def _payload(inner: dict[str, Any], name: str) -> bytes:
    """The bytes to be used: base64, or hexadecimal text where `payloadType` is `HEX` (rest-api.md section 3.3)."""
    if inner.get("payloadType") != "HEX":
        return _base64(inner, name)
    try:
        return bytes.fromhex(_text(inner, name))
    except ValueError as error:
        raise FormatError(f"Field '{name}' is not hexadecimal text.", refusal="contents.json") from error


def _base64(body: dict[str, Any], name: str) -> bytes:
    return _decoded(body.get(name), f"Field '{name}'")


def _decoded(value: object, what: str) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"{what} is not a valid base64 encoded value.", refusal="contents.json") from error
