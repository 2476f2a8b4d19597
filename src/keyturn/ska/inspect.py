"""Tell what some bytes are, and show everything in them. For eyes only: nothing that this accepts authorises anything.

The kinds have the names under which the public samples are known. Structures that only a lenient reading can decode
(headerless policies, single rules, quorum 0, attributes of other products) are shown with `"strict": false` and a
note; the HSM takes none of them.

Source: ska-wire-format.md sections 4 to 7; rest-api.md section 1.2; decisions 4 and 21.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.attestation import attestation_to_json, parse_attestation
from keyturn.ska.inspect_fields import (
    OPERATIONS,
    Fields,
    approver_fields,
    base64_text,
    label_fields,
    payload_fields,
    policy_fields,
    rule_fields,
    timestamp_fields,
    unwrap_fields,
)
from keyturn.ska.messages import (
    ApprovalToken,
    Authorization,
    decode_approval,
    decode_authorization,
    decode_timestamp,
    decode_unwrap_payload,
)
from keyturn.ska.policy import Approver, Rule, decode_any_policy, decode_policy
from keyturn.ska.signatures import split_wrapper, unwrap_signature, verify
from keyturn.ska.tlv import Tag, decode_blob
from keyturn.ska.words import APPROVAL_DOMAIN, checksum_words
from keyturn.ska.xml_tree import MAX_XML, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.ska.xml_tree import Node

MAX_INPUT: Final = MAX_XML
"""Most bytes that are looked at: the largest attested attributes; every other structure is smaller."""

_FETCH_TIME: Final = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_REFUSALS: Final = {b"REJECTED:": "rejection", b"WITHDRAW:": "withdrawal"}
_TASK_ID: Final = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_HEADERLESS: Final = "The policy stands without its outer header, as in a dump of key attributes."
_LAX: Final = "The policy has a form that samples show but the HSM does not accept."
_RULE: Final = "This is a single rule; the HSM accepts whole policies only."


def inspect_blob(data: bytes) -> dict[str, object]:
    """Tell what `data` is and decode it.

    Args:
        data: Any structure of ska-wire-format.md, a DER-wrapped signature, the text of attested attributes, or the
            text whose signature fetches approval tasks; at most `MAX_INPUT` bytes.

    Returns:
        `kind`, `fields` (ready for a JSON writer), and `signatureValid`: whether the signature in it is valid for the
        signer in it, None where there is no signature or the signer's key is not in it.

    Raises:
        FormatError: `inspect.unknown` when it is nothing of that, another word when it begins like one of them and
            then goes wrong.
    """
    if len(data) > MAX_INPUT:
        raise FormatError(
            f"{len(data)} bytes are more than any structure has ({MAX_INPUT}).", refusal="inspect.unknown"
        )
    if data.startswith(b"<?xml"):
        return _attributes(data)
    if _FETCH_TIME.fullmatch(data):
        return _found("task_fetch_timestamp", {"timestamp": data.decode()})
    if data[:9] in _REFUSALS:
        return _refusal(data)
    wrapped = _wrapped_signature(data)
    if wrapped is not None:
        return wrapped
    return _blob(data)


def _found(kind: str, fields: Fields, *, valid: bool | None = None, note: str | None = None) -> dict[str, object]:
    shown = {"strict": note is None, **fields}
    if note is not None:
        shown["note"] = note
    return {"kind": kind, "fields": shown, "signatureValid": valid}


def _blob(data: bytes) -> dict[str, object]:
    try:
        elements = decode_blob(data)
    except FormatError as error:
        return _without_header(data, error)
    reader = _READERS.get(elements[0].tag) if elements else None
    if reader is None:
        raise FormatError(
            "The bytes are a well-formed blob, but it does not begin like any known structure.",
            refusal="inspect.unknown",
        )
    return reader(data)


def _without_header(data: bytes, why: FormatError) -> dict[str, object]:
    try:
        policy = decode_any_policy(data)
    except FormatError:
        raise FormatError(
            f"The bytes are no structure that is known here. Read as a blob: {why.message}", refusal="inspect.unknown"
        ) from None
    if isinstance(policy, Rule):
        return _found("rule_blob", rule_fields(policy), note=_RULE)
    return _found("policy_elements_without_total_header", policy_fields(policy), note=_HEADERLESS)


def _policy(data: bytes) -> dict[str, object]:
    try:
        return _found("policy_blob", policy_fields(decode_policy(data)))
    except FormatError as error:
        policy = decode_any_policy(data)
        if isinstance(policy, Rule):
            raise
        return _found("policy_blob", policy_fields(policy), note=f"{_LAX} {error.message}")


def _rule(data: bytes) -> dict[str, object]:
    rule = decode_any_policy(data)
    if not isinstance(rule, Rule):
        raise FormatError("The bytes begin like a rule and go on otherwise.")
    return _found("rule_blob", rule_fields(rule), note=_RULE)


def _authorization(data: bytes) -> dict[str, object]:
    authorization = decode_authorization(data)
    fields = _approval_fields(authorization.approval, decode_approval(authorization.approval))
    fields |= _signature_fields("signature", authorization.signature)
    valid, problem = _verified(authorization)
    if problem is not None:
        fields["signatureProblem"] = problem
    try:
        fields["approver"] = approver_fields(_signer(authorization))
    except FormatError as error:
        fields["approver"] = {"problem": error.message}
    return _found("authorization_token", fields, valid=valid)


def _signer(authorization: Authorization) -> Approver:
    if authorization.certificate is not None:
        return Approver.of_certificate(authorization.certificate)
    return Approver(authorization.spki or b"")


def _verified(authorization: Authorization) -> tuple[bool | None, str | None]:
    """Whether the signature is valid; None with the reason where that cannot be found out."""
    try:
        scheme, bare = unwrap_signature(authorization.signature)
        key = load_approver_key(_signer(authorization).spki)
    except FormatError as error:
        return None, error.message
    try:
        verify(key, scheme, bare, authorization.approval)
    except KeyturnError as error:
        return False, error.message
    return True, None


def _approval(data: bytes) -> dict[str, object]:
    return _found("approval_token", _approval_fields(data, decode_approval(data)))


def _approval_fields(data: bytes, token: ApprovalToken) -> Fields:
    fields: Fields = {"operation": OPERATIONS[token.action], **label_fields("keyLabel", token.label)}
    if token.payload is not None and token.action is Action.MODIFY:
        fields["policy"] = _inner_policy(token.payload)
    elif token.payload is not None:
        fields |= payload_fields(token.payload)
    if token.timestamp is not None and token.timestamp_signature is not None:
        fields["timestamp"] = _inner_timestamp(token.timestamp, token.timestamp_signature, token.payload)
    fields["approvalSha256"] = hashlib.sha256(data).hexdigest()
    fields["checksumWords"] = " ".join(checksum_words(data, domain=APPROVAL_DOMAIN))
    return fields


def _inner_policy(blob: bytes) -> Fields:
    try:
        return policy_fields(decode_policy(blob))
    except FormatError as error:
        return {"problem": error.message, "base64": base64_text(blob)}


def _inner_timestamp(blob: bytes, signature: bytes, payload: bytes | None) -> Fields:
    """The HSM's stamp in an approval; its payload is not repeated, only compared."""
    try:
        timestamp = decode_timestamp(blob)
    except FormatError as error:
        return {"problem": error.message, "base64": base64_text(blob)}
    return {
        **timestamp_fields(timestamp),
        "payloadIsTheApproved": timestamp.action_payload == payload,
        **_signature_fields("timestampSignature", signature),
        "timestampSha256": hashlib.sha256(blob).hexdigest(),
    }


def _timestamp(data: bytes) -> dict[str, object]:
    timestamp = decode_timestamp(data)
    fields = timestamp_fields(timestamp)
    if timestamp.action_payload is not None:
        if timestamp.is_policy:
            fields["policy"] = _inner_policy(timestamp.action_payload)
        else:
            fields |= payload_fields(timestamp.action_payload)
    return _found("hsm_timestamp", fields)


def _unwrap(data: bytes) -> dict[str, object]:
    return _found("unwrap_payload", unwrap_fields(decode_unwrap_payload(data)))


def _signature_fields(name: str, wrapped: bytes) -> Fields:
    try:
        oid, bare = split_wrapper(wrapped)
    except FormatError as error:
        return {name: None, f"{name}Problem": error.message, f"{name}Der": base64_text(wrapped)}
    try:
        algorithm: str | None = unwrap_signature(wrapped)[0].name
    except FormatError:
        algorithm = None
    return {name: base64_text(bare), f"{name}Algorithm": algorithm, f"{name}AlgorithmOidDer": oid.hex()}


def _wrapped_signature(data: bytes) -> dict[str, object] | None:
    try:
        _, bare = split_wrapper(data)
    except FormatError:
        return None
    fields = _signature_fields("signature", data)
    try:
        stamp = decode_timestamp(bare)
    except FormatError:
        return _found("der_signature", fields)
    # A defect of one release of the documented server: the wrapper holds what was signed instead of the signature.
    fields["timestamp"] = timestamp_fields(stamp)
    note = "The wrapper holds a timestamp where its signature belongs."
    return _found("der_signature_anomaly", fields, valid=False, note=note)


def _refusal(data: bytes) -> dict[str, object]:
    word, rest = data[:9], data[9:]
    size = int.from_bytes(rest[:4], "little") + 4
    approval, task_id = rest[:size], rest[size:]
    fields = _approval_fields(approval, decode_approval(approval))
    if task_id and not _TASK_ID.fullmatch(task_id):
        raise FormatError("What follows the approval is no task id.")
    fields["taskId"] = task_id.decode() or None
    return _found(_REFUSALS[word], fields)


def _attributes(data: bytes) -> dict[str, object]:
    try:
        attestation = parse_attestation(data)
    except KeyturnError as error:
        note = f"These attributes are not in the form that keyturn writes: {error.message}"
        root = read_tree(data)
        return _found("key_attributes_xml", {root.tag: _node(root)}, note=note)
    own: Fields = {
        "generation": attestation.generation,
        "creation": attestation.creation,
        "instanceId": attestation.instance_id,
        "restoreEpoch": attestation.restore_epoch,
        "stateCounter": attestation.state_counter,
        "openModify": attestation.open_modify,
        "openUnblock": attestation.open_unblock,
        "isolation": attestation.isolation,
        "switches": list(attestation.switches),
        "integrityKeyName": attestation.integrity_key_name,
        "integrityKey": base64_text(attestation.integrity_key),
    }
    return _found("key_attributes_xml", {**attestation_to_json(attestation), "keyturn": own})


def _node(node: Node) -> object:
    """An element of another product's attributes, as plain as it goes; children of one name become a list."""
    if not node.children and not node.attributes:
        return node.text
    shown: Fields = {f"@{name}": value for name, value in node.attributes.items()}
    if not node.children:
        return {**shown, "text": node.text}
    grouped: dict[str, list[object]] = {}
    for child in node.children:
        grouped.setdefault(child.tag, []).append(_node(child))
    return {**shown, **{tag: found[0] if len(found) == 1 else found for tag, found in grouped.items()}}


_READERS: Final[dict[int, Callable[[bytes], dict[str, object]]]] = {
    Tag.APPROVAL: _authorization,
    Tag.OPERATION: _approval,
    Tag.USE_PAYLOAD: _timestamp,
    Tag.MODIFY_PAYLOAD: _timestamp,
    Tag.EPOCH_SECONDS: _timestamp,
    Tag.RULE_USE: _policy,
    Tag.TOKEN_COUNT: _rule,
    Tag.UNWRAP_CLASS: _unwrap,
}
