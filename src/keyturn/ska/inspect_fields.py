"""How the parts of SKA structures are shown: names as the REST API has them, bytes as text only where they are text.

Nothing here judges. Whatever cannot be shown as meant (a key that is no key, a time beyond all years) is shown as it
stands, with a `problem` that says why.

Source: rest-api.md sections 3.7 and 5 (names); ska-wire-format.md section 4.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_name, load_approver_key
from keyturn.ska.iso_time import format_time
from keyturn.ska.key_effort import KeyEffort
from keyturn.ska.messages import decode_unwrap_payload, looks_like_own_structure
from keyturn.ska.policy import Approver, Policy, Rule, encode_policy
from keyturn.ska.policy_rules import RULE_NAMES

if TYPE_CHECKING:
    from keyturn.ska.messages import Timestamp, UnwrapPayload
    from keyturn.ska.policy import Group, Token

Fields = dict[str, object]

OPERATIONS: Final = {Action.USE: "use", Action.BLOCK: "block", Action.UNBLOCK: "unblock", Action.MODIFY: "modify"}


def base64_text(data: bytes) -> str:
    """Bytes as base64."""
    return b64encode(data).decode()


def clean_text(data: bytes) -> str | None:
    """Bytes as text when they are UTF-8 and show all they are: printable characters, spaces, line ends, tabs."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\n\r\t" for character in text) else None


def label_fields(name: str, label: bytes) -> Fields:
    """A label or name; its bytes too when it is not clean text."""
    text = clean_text(label)
    return {name: text} if text is not None else {name: None, f"{name}Hex": label.hex()}


def payload_fields(payload: bytes) -> Fields:
    """A use payload: as text when it is clean, always as hex and base64, decoded when it is an unwrap payload."""
    fields: Fields = {
        "payload": clean_text(payload),
        "payloadHex": payload.hex(),
        "payloadBase64": base64_text(payload),
        "payloadSize": len(payload),
        "payloadSha256": hashlib.sha256(payload).hexdigest(),
    }
    structure = looks_like_own_structure(payload)
    if structure is not None:
        fields["payloadIsAlso"] = structure
    if structure == "unwrap blob":
        fields["payloadDecoded"] = unwrap_fields(decode_unwrap_payload(payload))
    return fields


def unwrap_fields(payload: UnwrapPayload) -> Fields:
    """The payload of an unwrap."""
    return {
        **label_fields("newKeyLabel", payload.label),
        "accessFlags": payload.access_flags,
        "capabilityFlags": payload.capability_flags,
        "wrappedKey": base64_text(payload.wrapped_key),
    }


def timestamp_fields(timestamp: Timestamp) -> Fields:
    """A timestamp without its payload."""
    try:
        time: str | None = format_time(timestamp.seconds)
    except FormatError:
        time = None
    return {"time": time, "secondsSinceEpoch": timestamp.seconds, "integrityKeyName": timestamp.key_name}


def policy_fields(policy: Policy) -> Fields:
    """A policy with its digest."""
    effort = KeyEffort()
    fields: Fields = {name: rule_fields(policy.rule(action), effort) for action, name in RULE_NAMES.items()}
    return {**fields, "policySha256": hashlib.sha256(encode_policy(policy)).hexdigest()}


def rule_fields(rule: Rule, effort: KeyEffort | None = None) -> Fields:
    """A rule; unlike in the REST API nothing is abbreviated to null.

    Args:
        rule: The rule.
        effort: What the keys of other rules of the same policy have cost.
    """
    effort = effort or KeyEffort()
    if not rule.tokens:
        meaning = "never"
    elif rule == Rule.ALWAYS:
        meaning = "always"
    else:
        meaning = "one of the tokens"
    return {"fulfilled": meaning, "tokens": [_token_fields(token, effort) for token in rule.tokens]}


def _token_fields(token: Token, effort: KeyEffort) -> Fields:
    return {
        "name": token.name,
        "timelock": token.timelock,
        "timeout": token.timeout,
        "unit": token.unit.name.lower(),
        "groups": [_group_fields(group, effort) for group in token.groups],
    }


def _group_fields(group: Group, effort: KeyEffort) -> Fields:
    return {
        "name": group.name,
        "quorum": group.quorum,
        "approvals": [approver_fields(approver, effort) for approver in group.approvers],
    }


def approver_fields(approver: Approver, effort: KeyEffort | None = None) -> Fields:
    """A listed approver or a signer, with the fingerprint by which people know them.

    Args:
        approver: Who.
        effort: What the keys before this one have cost; one for which nothing is left is shown with that problem.
    """
    kind = "public_key" if approver.certificate is None else "certificate"
    value = approver.spki if approver.certificate is None else approver.certificate
    fields: Fields = {"type": kind, "name": approver.name, "value": base64_text(value)}
    try:
        (effort or KeyEffort()).add(approver.spki)
        key = load_approver_key(approver.spki)
        if approver.certificate is not None:
            fields["name"] = certificate_name(approver.certificate)
    except FormatError as error:
        return {**fields, "problem": error.message}
    return {**fields, "keyType": key.kind, "fingerprint": key.fingerprint}
