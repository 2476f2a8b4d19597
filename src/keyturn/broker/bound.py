"""What approvals for a request cover: its payload, or for a key with `boundApprovals` the statement of all it means.

The statement is made once, when the request is opened, from the call that will be made, with the request's own id, the
key's uuid and public key, and the policy in force; it is kept with the request. The HSM builds its own and compares.

Source: docs/security/rules.md R7; docs/formats/statements.md; ADR 0083.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.broker.calls import RequestKind
from keyturn.broker.stored_calls import certify_call, decrypt_call, sign_call, unwrap_call
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.policy import encode_policy
from keyturn.ska.statement import encode_statement

if TYPE_CHECKING:
    from keyturn.broker.executor import KeyRecord
    from keyturn.broker.storage.rows import RequestRow
    from keyturn.ska.statement import Statement

BOUND: Final = "boundApprovals"
"""The attribute, by its API name."""


def is_bound(key: KeyRecord) -> bool:
    """Whether approvals for a key cover a statement; a change of its policy aside, which is approved as such."""
    return bool(key.policy) and key.attributes.get(BOUND) is True


def covered_by_approvals(request: RequestRow) -> bytes:
    """What approvals for a request, and timestamps in them, cover.

    Args:
        request: The request.

    Returns:
        The statement; without one the payload, the new policy, or nothing for block and unblock.
    """
    return request.payload if request.bound_statement is None else request.bound_statement


def with_statement(request: RequestRow) -> RequestRow:
    """Give a request for a key with `boundApprovals` its statement.

    Args:
        request: The request, with its id, its key and the policy in force.

    Returns:
        The request with it; unchanged for a change of the policy, whose approvals cover the new policy itself.

    Raises:
        KeyturnError: 612 `payload.too-large`.
    """
    if request.kind == RequestKind.MODIFY:
        return request
    try:
        # Its payload is read as that of a bound key from here on.
        return request._replace(bound_statement=encode_statement(_statement(request._replace(bound_statement=b""))))
    except FormatError as error:
        if error.refusal != "statement.size":
            raise
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            f"With its {len(request.payload)} bytes the statement that approvals for the key {request.key_label} cover "
            "does not fit into 64 KiB. Sign a digest with a NONE… algorithm instead.",
            refusal="payload.too-large",
        ) from None


def _statement(request: RequestRow) -> Statement:
    key = BoundKey(request.key_uuid, request.key_public, request.policy)
    match RequestKind(request.kind):
        case RequestKind.SIGN:
            sign = sign_call(request)
            return key.sign(request.id, sign.payload, sign.algorithm, sign.signature_type, sign.options.given)
        case RequestKind.DECRYPT:
            decrypt = decrypt_call(request)
            return key.decrypt(
                request.id,
                decrypt.payload,
                decrypt.algorithm,
                iv=decrypt.iv,
                aad=decrypt.aad,
                tag_length=decrypt.tag_length,
            )
        case RequestKind.CSR | RequestKind.ISSUE | RequestKind.SELFSIGN:
            certify = certify_call(request)
            return key.certify(
                request.id,
                certify.kind,
                certify.to_be_signed,
                certify.algorithm,
                attach_to=certify.attach_to or None,
            )
        case RequestKind.UNWRAP:
            unwrap = unwrap_call(request)
            return key.unwrap(
                request.id,
                unwrap.wrapped_key,
                unwrap.method,
                unwrap.new_label,
                unwrap.attributes,
                policy=b"" if unwrap.policy is None else encode_policy(unwrap.policy),
                blocked=unwrap.blocked,
                key_id=unwrap.key_id,
                allowed_operations=unwrap.allowed_operations,
                allowed_algorithms=unwrap.allowed_algorithms,
            )
        case RequestKind.BLOCK:
            return key.block(request.id)
        case _:
            return key.unblock(request.id)
