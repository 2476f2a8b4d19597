"""The signed messages: approval, timestamp, authorization, and the unwrap payload.

All are read strictly, in their one order, and what is read encodes to the same bytes again. Nothing is verified
here; `decision` does that.

Source: ska-wire-format.md sections 4 and 7; decisions 4, 21; docs/security/rules.md R8.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.policy import decode_policy
from keyturn.ska.statement import is_statement
from keyturn.ska.tlv import Element, Reader, Tag, decode_blob, encode_blob, u32

if TYPE_CHECKING:
    from collections.abc import Callable

_U64: Final = struct.Struct("<Q")
_HEAD: Final = struct.Struct("<IH")


@dataclass(frozen=True, slots=True)
class ApprovalToken:
    """What an approver signs: the complete encoded blob, header included.

    Args:
        action: What is approved.
        label: Name of the key, UTF-8 bytes as they stand; empty for "any key that lists the signer" (decisions 29).
        timestamp: Timestamp blob, or None.
        timestamp_signature: DER-wrapped signature of the HSM over it; there exactly when the timestamp is.
        payload: For use the bytes to be processed, for modify the new policy blob. Block and unblock have none; one
            that is present is tolerated and means nothing (ska-wire-format.md section 7).
    """

    action: Action
    label: bytes
    timestamp: bytes | None = None
    timestamp_signature: bytes | None = None
    payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class Timestamp:
    """What the HSM signs to fix the moment at which an approval's clock starts.

    Args:
        seconds: Seconds since the epoch.
        key_name: Name of the integrity key that signs it.
        action_payload: The payload it is for, or None.
        is_policy: Whether the payload is a policy blob (0x1058) and not a use payload (0x1057).
    """

    seconds: int
    key_name: str
    action_payload: bytes | None = None
    is_policy: bool = False


@dataclass(frozen=True, slots=True)
class Authorization:
    """An approval with its signature and signer; an entry of `signedApprovals`.

    Args:
        approval: The approval blob, exactly the bytes that were signed.
        signature: DER-wrapped signature.
        spki: The signer's public key, or None if `certificate` is given.
        certificate: The signer's certificate, or None if `spki` is given.
    """

    approval: bytes
    signature: bytes
    spki: bytes | None = None
    certificate: bytes | None = None


@dataclass(frozen=True, slots=True)
class UnwrapPayload:
    """What is approved for an unwrap: itself a blob, carried as a use payload.

    Args:
        capability_flags: Flags of element 0x001C.
        access_flags: Flags of element 0x001B.
        wrapped_key: The wrapped key.
        label: Name of the new key, UTF-8 bytes.
    """

    capability_flags: int
    access_flags: int
    wrapped_key: bytes
    label: bytes


UNWRAP_CLASS: Final = 3
"""The constant of element 0x0007 (ska-wire-format.md 9.15)."""


def encode_approval(token: ApprovalToken) -> bytes:
    """Encode an approval.

    Args:
        token: The approval.

    Returns:
        The blob to be signed.

    Raises:
        FormatError: If it is too large, a timestamp stands without its signature, or use or modify has no payload.
    """
    if (token.timestamp is None) != (token.timestamp_signature is None):
        raise FormatError("A timestamp and its signature stand in an approval together or not at all.")
    elements = [Element(Tag.OPERATION, u32(token.action)), Element(Tag.NAME, token.label)]
    if token.timestamp is not None and token.timestamp_signature is not None:
        elements.append(Element(Tag.TIMESTAMP, token.timestamp))
        elements.append(Element(Tag.SIGNATURE, token.timestamp_signature))
    if token.payload is not None:
        elements.append(Element(_payload_tag(is_policy=token.action is Action.MODIFY), token.payload))
    elif token.action in (Action.USE, Action.MODIFY):
        raise FormatError(f"An approval to {token.action.name.lower()} names what it is for: its payload is missing.")
    return encode_blob(elements)


def decode_approval(data: bytes) -> ApprovalToken:
    """Decode an approval.

    Args:
        data: The blob, header included.

    Returns:
        The approval. Its timestamp and policy are not decoded.

    Raises:
        FormatError: If it has any other form.
    """
    reader = Reader(decode_blob(data), "approval")
    number = reader.take_u32(Tag.OPERATION)
    if number not in _ACTIONS:
        raise FormatError(f"The approval names operation {number}; 1 use, 2 block, 3 unblock and 4 modify exist.")
    action = _ACTIONS[number]
    label = reader.take(Tag.NAME)
    timestamp = reader.take_if(Tag.TIMESTAMP)
    signature = reader.take(Tag.SIGNATURE) if timestamp is not None else None
    payload: bytes | None
    if action is Action.USE:
        payload = reader.take(Tag.USE_PAYLOAD)
    elif action is Action.MODIFY:
        payload = reader.take(Tag.MODIFY_PAYLOAD)
    else:
        payload = reader.take_if(Tag.USE_PAYLOAD)
    reader.finish()
    return ApprovalToken(action, label, timestamp, signature, payload)


def encode_timestamp(timestamp: Timestamp) -> bytes:
    """Encode a timestamp.

    Args:
        timestamp: The timestamp.

    Returns:
        The blob that the HSM signs.

    Raises:
        FormatError: If it is too large or the time does not fit into 64 bits.
    """
    if not 0 <= timestamp.seconds < 2**64:
        raise FormatError("The time of a timestamp does not fit into 64 bits.")
    elements = []
    if timestamp.action_payload is not None:
        elements.append(Element(_payload_tag(is_policy=timestamp.is_policy), timestamp.action_payload))
    elements.append(Element(Tag.EPOCH_SECONDS, _U64.pack(timestamp.seconds)))
    elements.append(Element(Tag.NAME, timestamp.key_name.encode()))
    return encode_blob(elements)


def decode_timestamp(data: bytes) -> Timestamp:
    """Decode a timestamp.

    Args:
        data: The blob, header included.

    Returns:
        The timestamp; a policy in it is not decoded.

    Raises:
        FormatError: If it has any other form.
    """
    reader = Reader(decode_blob(data), "timestamp")
    policy = reader.take_if(Tag.MODIFY_PAYLOAD)
    payload = policy if policy is not None else reader.take_if(Tag.USE_PAYLOAD)
    seconds = reader.take(Tag.EPOCH_SECONDS)
    if len(seconds) != 8:
        raise FormatError(f"The time of a timestamp has 8 bytes; this one has {len(seconds)}.")
    try:
        name = reader.take(Tag.NAME).decode()
    except UnicodeDecodeError:
        raise FormatError("The key name in the timestamp is not UTF-8.") from None
    reader.finish()
    return Timestamp(_U64.unpack(seconds)[0], name, payload, policy is not None)


def encode_authorization(authorization: Authorization) -> bytes:
    """Encode an authorization.

    Args:
        authorization: The authorization; exactly one of public key and certificate.

    Returns:
        The blob.

    Raises:
        FormatError: If it is too large, or has both or none of public key and certificate.
    """
    if (authorization.spki is None) == (authorization.certificate is None):
        raise FormatError("An authorization carries either the signer's public key or their certificate.")
    elements = [
        Element(Tag.APPROVAL, authorization.approval),
        Element(Tag.SIGNATURE, authorization.signature),
    ]
    if authorization.spki is not None:
        elements.append(Element(Tag.PUBLIC_KEY, authorization.spki))
    elif authorization.certificate is not None:
        elements.append(Element(Tag.CERTIFICATE, authorization.certificate))
    return encode_blob(elements)


def decode_authorization(data: bytes) -> Authorization:
    """Decode an authorization.

    Args:
        data: The blob, header included.

    Returns:
        The authorization. The approval in it is not decoded.

    Raises:
        FormatError: If it has any other form.
    """
    reader = Reader(decode_blob(data), "authorization")
    approval = reader.take(Tag.APPROVAL)
    signature = reader.take(Tag.SIGNATURE)
    certificate = reader.take_if(Tag.CERTIFICATE)
    spki = reader.take(Tag.PUBLIC_KEY) if certificate is None else None
    reader.finish()
    return Authorization(approval, signature, spki, certificate)


def encode_unwrap_payload(payload: UnwrapPayload) -> bytes:
    """Encode the payload of an unwrap.

    Args:
        payload: Flags, wrapped key and name of the new key.

    Returns:
        The blob.

    Raises:
        FormatError: If it is too large or a flag does not fit into 32 bits.
    """
    return encode_blob(
        (
            Element(Tag.UNWRAP_CLASS, u32(UNWRAP_CLASS)),
            Element(Tag.CAPABILITY_FLAGS, u32(payload.capability_flags)),
            Element(Tag.ACCESS_FLAGS, u32(payload.access_flags)),
            Element(Tag.WRAPPED_KEY, payload.wrapped_key),
            Element(Tag.NAME, payload.label),
        )
    )


def decode_unwrap_payload(data: bytes) -> UnwrapPayload:
    """Decode the payload of an unwrap.

    Args:
        data: The blob, header included.

    Returns:
        Flags, wrapped key and name of the new key.

    Raises:
        FormatError: If it has any other form.
    """
    reader = Reader(decode_blob(data), "unwrap payload")
    if reader.take_u32(Tag.UNWRAP_CLASS) != UNWRAP_CLASS:
        raise FormatError(f"The unwrap payload does not start with the constant {UNWRAP_CLASS}.")
    capability_flags = reader.take_u32(Tag.CAPABILITY_FLAGS)
    access_flags = reader.take_u32(Tag.ACCESS_FLAGS)
    wrapped_key = reader.take(Tag.WRAPPED_KEY)
    label = reader.take(Tag.NAME)
    reader.finish()
    return UnwrapPayload(capability_flags, access_flags, wrapped_key, label)


def looks_like_own_structure(payload: bytes) -> str | None:
    """Tell whether bytes that a key is asked to sign would also be one of our own structures (rule R8).

    Cheap for all other payloads: the first bytes (magic, or length and first tag) decide.

    Args:
        payload: The bytes.

    Returns:
        `approval`, `timestamp`, `policy`, `unwrap blob`, `authorization`, `bound statement` for anything that begins as
        one, or for the signed refusals of decisions 4 `rejection` or `withdrawal`; None if it is none of them.
    """
    if is_statement(payload):
        return "bound statement"
    if payload.startswith(_REFUSAL_WORDS):
        word, _, rest = payload.partition(b":")
        # The token may be followed by the task's id, so its own length says where it ends.
        if len(rest) >= _HEAD.size and _HEAD.unpack_from(rest)[1] == Tag.OPERATION:
            return "rejection" if word == b"REJECTED" else "withdrawal"
        return None
    if len(payload) < _HEAD.size:
        return None
    size, tag = _HEAD.unpack_from(payload)
    if size != len(payload) - 4 or tag not in _STRUCTURES:
        return None
    name, decode = _STRUCTURES[tag]
    try:
        decode(payload)
    except FormatError:
        return None
    return name


_ACTIONS: Final = {int(action): action for action in Action}
_REFUSAL_WORDS: Final = (b"REJECTED:", b"WITHDRAW:")
_STRUCTURES: Final[dict[int, tuple[str, Callable[[bytes], object]]]] = {
    Tag.OPERATION: ("approval", decode_approval),
    Tag.USE_PAYLOAD: ("timestamp", decode_timestamp),
    Tag.MODIFY_PAYLOAD: ("timestamp", decode_timestamp),
    Tag.EPOCH_SECONDS: ("timestamp", decode_timestamp),
    Tag.RULE_USE: ("policy", decode_policy),
    Tag.UNWRAP_CLASS: ("unwrap blob", decode_unwrap_payload),
    Tag.APPROVAL: ("authorization", decode_authorization),
}


def _payload_tag(*, is_policy: bool) -> Tag:
    return Tag.MODIFY_PAYLOAD if is_policy else Tag.USE_PAYLOAD
