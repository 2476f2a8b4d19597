"""What approvals for a call must cover: for keys with `boundApprovals` one statement of everything in the call (R7).

The statement is built here from the call and the key as stored, never taken from anybody. Nothing with the start of
a statement is ever data for a key, so that no approval, and no signature, can be taken for one.

Source: docs/security/rules.md R7; docs/formats/statements.md; docs/adr/0075.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.crypto.schemes import NO_OPTIONS, SignOptions
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.statement import decode_statement, encode_statement, is_bound_request_id, is_statement

if TYPE_CHECKING:
    from keyturn.hsm.records import KeyRecord
    from keyturn.ska.statement import Statement

BoundCall = (
    protocol.Sign | protocol.SignCertificate | protocol.Decrypt | protocol.Unwrap | protocol.Block | protocol.Unblock
)
"""Calls for which there is a statement; a modify is approved by its policy, as documented."""

_KINDS: Final = {
    Action.USE: frozenset({"sign", "csr", "issue", "selfsign", "decrypt", "unwrap"}),
    Action.BLOCK: frozenset({"block"}),
    Action.UNBLOCK: frozenset({"unblock"}),
}


def statement_for(call: BoundCall, record: KeyRecord) -> bytes | None:
    """The bytes that approvals for a call with a bound key must cover.

    Args:
        call: The call.
        record: The key as stored now.

    Returns:
        The statement; None for a key without `boundApprovals`, whose approvals cover what is documented.

    Raises:
        KeyturnError: 600 `request-id.missing`, `request-id.form`.
        FormatError: `statement.…`: what the call says has no place in a statement.
    """
    if not record.bound:
        return None
    if not call.request_id:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"the key {record.label!r} takes bound approvals: they are for one request, so that the call needs its id. "
            "Give it as `requestId`, as it stands in `inputOfflineHsm`",
            refusal="request-id.missing",
        )
    if not is_bound_request_id(call.request_id):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"the key {record.label!r} takes bound approvals: they name the request by a UUID in lower case",
            refusal="request-id.form",
        )
    return encode_statement(_statement(call, BoundKey(record.uuid, record.public_key, record.policy)))


def _statement(call: BoundCall, key: BoundKey) -> Statement:
    match call:
        case protocol.Sign():
            return key.sign(
                call.request_id, call.payload, call.algorithm, call.signature_type, sign_options(call).given
            )
        case protocol.Decrypt():
            return key.decrypt(
                call.request_id,
                call.payload,
                call.algorithm,
                iv=call.iv,
                aad=call.aad,
                tag_length=call.tag_length,
            )
        case protocol.Unwrap():
            return key.unwrap(
                call.request_id,
                call.wrapped_key,
                call.method,
                call.new_label,
                call.attributes,
                policy=call.policy,
                blocked=call.blocked,
                key_id=call.key_id,
                allowed_operations=call.allowed_operations,
                allowed_algorithms=call.allowed_algorithms,
            )
        case protocol.SignCertificate():
            return key.certify(
                call.request_id, call.kind, call.payload, call.algorithm, attach_to=call.attach_to or None
            )
        case protocol.Block():
            return key.block(call.request_id)
        case protocol.Unblock():
            return key.unblock(call.request_id)


def sign_options(call: protocol.Sign) -> SignOptions:
    """The parameters of a signature beside payload, algorithm and form; `NO_OPTIONS` itself where there are none."""
    if call.context is call.auxiliary_random is call.taproot_tweak is call.merkle_root is None:
        return NO_OPTIONS
    return SignOptions(call.context, call.auxiliary_random, call.taproot_tweak, call.merkle_root)


def require_no_statement(payload: bytes) -> None:
    """Refuse data that begin as a statement, whatever key they are for.

    Args:
        payload: What a key is to process.

    Raises:
        KeyturnError: 612 `payload.double-meaning`.
    """
    if is_statement(payload):
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            "The payload could be taken for something else: it begins as a statement of a bound approval, which no key "
            "processes as data.",
            refusal="payload.double-meaning",
        )


def require_statement_about(record: KeyRecord, action: Action, payload: bytes) -> None:
    """Make sure that a timestamp for a bound key is asked for with a statement that it could serve.

    Args:
        record: The key.
        action: Use, block or unblock.
        payload: What the timestamp is to be for.

    Raises:
        KeyturnError: 612 `stamp.payload`.
    """
    try:
        statement = decode_statement(payload)
        if statement.key_uuid == record.uuid and statement.kind in _KINDS[action]:
            return
        why = "this one is about another key or another operation"
    except FormatError as error:
        why = error.message
    raise KeyturnError(
        ErrorCode.INVALID_PAYLOAD,
        f"the key {record.label!r} takes bound approvals: a timestamp for them is for a statement. {why}",
        refusal="stamp.payload",
    )
