"""`inputOfflineHsm`: a request as the body that the offline side takes as it is. Pure.

It carries the request's id, so that the HSM gives its receipt and knows what bound approvals name, and the approvals in
the order of the policy. While the request waits for signed time, it is a request for a timestamp instead.

Source: decisions 13 and 15; rest-api.md section 3.3; docs/security/rules.md R24.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from keyturn.broker.calls import RequestKind
from keyturn.broker.prediction import collected
from keyturn.broker.stored_calls import certify_call, decrypt_call, sign_options, unwrap_call
from keyturn.broker.timestamps import awaits_stamp, timestamp_request
from keyturn.ska.policy import decode_policy
from keyturn.ska.policy_json import policy_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.storage.rows import RequestRow, TaskRow


def offline_input(request: RequestRow, tasks: Sequence[TaskRow]) -> dict[str, Any]:
    """The body that the offline side takes as it is.

    Args:
        request: The request.
        tasks: All its tasks; their approvals go in, in the order of the policy.

    Returns:
        One object by the name of what is asked.
    """
    if awaits_stamp(request):
        return timestamp_request(request)
    name, inner = _inner(request)
    approvals = [_text(task.authorization or b"") for task in collected(tasks)]
    return {name: {**inner, "requestId": request.id, "signedApprovals": approvals}}


def _inner(request: RequestRow) -> tuple[str, dict[str, Any]]:
    label = request.key_label
    match RequestKind(request.kind):
        case RequestKind.SIGN:
            return "signRequest", _sign(request)
        case RequestKind.DECRYPT:
            return "decryptRequest", _decrypt(request)
        case RequestKind.CSR | RequestKind.ISSUE | RequestKind.SELFSIGN:
            return "certificateRequest", _certificate(request)
        case RequestKind.UNWRAP:
            return "unwrapKeyRequest", _unwrap(request)
        case RequestKind.BLOCK:
            return "blockRequest", {"blockKeyName": label}
        case RequestKind.UNBLOCK:
            return "unblockRequest", {"unblockKeyName": label}
        case RequestKind.MODIFY:
            policy = policy_to_json(decode_policy(request.payload), blocked=None)
            return "modifyRequest", {"modifyKeyName": label, "policy": policy}


def _sign(request: RequestRow) -> dict[str, Any]:
    payload = request.payload.hex() if request.payload_type == "HEX" else _text(request.payload)
    inner: dict[str, Any] = {
        "payload": payload,
        "payloadType": request.payload_type,
        "signKeyName": request.key_label,
        "signatureAlgorithm": request.algorithm,
    }
    if request.signature_type:
        inner["signatureType"] = request.signature_type
    inner |= {name: _text(value) for name, value in sign_options(request).given.items()}
    return inner


def _decrypt(request: RequestRow) -> dict[str, Any]:
    call = decrypt_call(request)
    inner: dict[str, Any] = {
        "encryptedPayload": _text(call.payload),
        "decryptKeyName": call.key_name,
        "cipherAlgorithm": call.algorithm,
    }
    if call.iv is not None:
        inner["initializationVector"] = _text(call.iv)
    if call.aad is not None:
        inner["additionalAuthenticationData"] = _text(call.aad)
    if call.tag_length:
        inner["tagLength"] = call.tag_length
    return inner


def _certificate(request: RequestRow) -> dict[str, Any]:
    """The very bytes that were approved: the documented body would have the offline side choose other ones."""
    call = certify_call(request)
    inner: dict[str, Any] = {
        "signKeyName": call.key_name,
        "kind": call.kind,
        "toBeSigned": _text(call.to_be_signed),
        "signatureAlgorithm": call.algorithm,
        "certificateAuthority": call.certificate_authority,
    }
    if call.attach_to:
        inner["keyName"] = call.attach_to
    return inner


def _unwrap(request: RequestRow) -> dict[str, Any]:
    call = unwrap_call(request)
    limits = {"allowedOperations": call.allowed_operations, "allowedAlgorithms": call.allowed_algorithms}
    inner: dict[str, Any] = {
        "wrappedKey": _text(call.wrapped_key),
        "label": call.new_label,
        "attributes": {**call.attributes, **{name: list(names) for name, names in limits.items() if names}},
        "unwrapKeyName": call.key_name,
        "wrapMethod": call.method,
    }
    if call.policy is not None:
        inner["policy"] = policy_to_json(call.policy, blocked=call.blocked)
    return inner


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")
