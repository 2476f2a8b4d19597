"""Stored requests as calls of an HSM, and back: what stands beside payload and algorithm, as JSON.

What approvers approve stands in the payload (ska-wire-format.md section 7), or in the statement of a bound key. For an
unwrap the payload is the bytes that bind attributes, wrapped key and new label, for a bound key the wrapped key; here
stands what the call says beside it.
"""

from __future__ import annotations

import json
import uuid
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

import msgspec

from keyturn.broker.answers import Executed
from keyturn.broker.calls import CertifyCall, DecryptCall, RequestKind, RestoreCall, SignCall, UnwrapCall
from keyturn.crypto.schemes import API_OPTIONS, SignOptions
from keyturn.ska.messages import decode_unwrap_payload
from keyturn.ska.policy import decode_policy, encode_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.executor import Executor
    from keyturn.broker.storage.rows import RequestRow


async def execute(executor: Executor, request: RequestRow, approvals: Sequence[bytes]) -> Executed[bytes | None]:
    """Have a stored request executed, under its own id as operation id and as request id of the receipt.

    Args:
        executor: The side that acts.
        request: The request.
        approvals: Authorization blobs.

    Returns:
        What is kept as its result: a signature, a certificate, decrypted data, None where the change is the result.

    Raises:
        KeyturnError: What the executor raises.
    """
    operation_id = uuid.UUID(request.id).bytes
    label, password = request.key_label, request.sealed_password or b""
    match RequestKind(request.kind):
        case RequestKind.SIGN:
            signed = await executor.sign(operation_id, sign_call(request), approvals, request_id=request.id)
            return Executed(signed.value, signed.receipt, signed.receipt_signature)
        case RequestKind.DECRYPT:
            decrypted = await executor.decrypt(operation_id, decrypt_call(request), approvals, request_id=request.id)
            return Executed(decrypted.value, decrypted.receipt, decrypted.receipt_signature)
        case RequestKind.CSR | RequestKind.ISSUE | RequestKind.SELFSIGN:
            certified = await executor.certify(operation_id, certify_call(request), approvals, request_id=request.id)
            return Executed(certified.value, certified.receipt, certified.receipt_signature)
        case RequestKind.UNWRAP if (restore := restore_call(request)) is not None:
            done = await executor.restore_approver(
                operation_id, restore, unwrap_call(request), approvals, request_id=request.id
            )
        case RequestKind.UNWRAP:
            done = await executor.unwrap(operation_id, unwrap_call(request), approvals, request_id=request.id)
        case RequestKind.BLOCK:
            done = await executor.block(operation_id, label, approvals, request_id=request.id, sealed_password=password)
        case RequestKind.UNBLOCK:
            done = await executor.unblock(
                operation_id, label, approvals, request_id=request.id, sealed_password=password
            )
        case _:
            done = await executor.modify(
                operation_id, label, request.payload, approvals, request_id=request.id, sealed_password=password
            )
    return Executed(None, done.receipt, done.receipt_signature)


def sign_call(request: RequestRow) -> SignCall:
    """The call that a stored request for a signature makes."""
    return SignCall(
        payload=request.payload,
        key_name=request.key_label,
        algorithm=request.algorithm,
        signature_type=request.signature_type,
        payload_type=request.payload_type,
        sealed_password=request.sealed_password or b"",
        options=sign_options(request),
    )


def sign_parameters(call: SignCall) -> str | None:
    """What a request for a signature keeps in `parameters`; nothing where the call has none."""
    given = call.options.given
    return json.dumps({"options": {name: _text(value) for name, value in given.items()}}) if given else None


def sign_options(request: RequestRow) -> SignOptions:
    """Further parameters of a stored request for a signature."""
    kept = _kept(request).get("options", {})
    return SignOptions(**{field: _bytes(kept.get(name)) for field, name in API_OPTIONS.items()})


def decrypt_parameters(call: DecryptCall) -> str:
    """What a request to decrypt keeps in `parameters`."""
    return json.dumps({"iv": _text(call.iv), "aad": _text(call.aad), "tagLength": call.tag_length})


def decrypt_call(request: RequestRow) -> DecryptCall:
    """The call that a stored request to decrypt makes."""
    kept = _kept(request)
    return DecryptCall(
        payload=request.payload,
        key_name=request.key_label,
        algorithm=request.algorithm,
        iv=_bytes(kept["iv"]),
        aad=_bytes(kept["aad"]),
        tag_length=kept["tagLength"],
        sealed_password=request.sealed_password or b"",
    )


CERTIFICATE_KINDS: Final = {RequestKind.CSR: "csr", RequestKind.ISSUE: "issue", RequestKind.SELFSIGN: "selfsign"}
"""Kinds of requests whose result is a certificate or a request for one, and what the HSM and statements call them."""


def certify_parameters(call: CertifyCall) -> str:
    """What a request for a certificate keeps in `parameters`."""
    return json.dumps({"certificateAuthority": call.certificate_authority, "attachTo": call.attach_to})


def certify_call(request: RequestRow) -> CertifyCall:
    """The call that a stored request for a certificate makes: its bytes were fixed when it was opened."""
    kept = _kept(request)
    return CertifyCall(
        kind=CERTIFICATE_KINDS[RequestKind(request.kind)],
        to_be_signed=request.payload,
        key_name=request.key_label,
        algorithm=request.algorithm,
        certificate_authority=kept["certificateAuthority"],
        attach_to=kept["attachTo"],
        sealed_password=request.sealed_password or b"",
    )


def unwrap_parameters(call: UnwrapCall, restore: RestoreCall | None = None) -> str:
    """What a request to unwrap keeps in `parameters`, and one that restores an approver's file."""
    who = {} if restore is None else {"approver": restore.name, "purpose": restore.purpose}
    return json.dumps(
        who
        | {
            "method": call.method,
            "label": call.new_label,
            "attributes": dict(call.attributes),
            "policy": None if call.policy is None else _text(encode_policy(call.policy)),
            "blocked": call.blocked,
            "keyId": call.key_id,
            "allowedOperations": call.allowed_operations,
            "allowedAlgorithms": call.allowed_algorithms,
        }
    )


def unwrap_call(request: RequestRow) -> UnwrapCall:
    """The call that a stored request to unwrap makes."""
    kept = _kept(request)
    policy = _bytes(kept["policy"])
    bound = request.bound_statement is not None
    return UnwrapCall(
        wrapped_key=request.payload if bound else decode_unwrap_payload(request.payload).wrapped_key,
        key_name=request.key_label,
        method=kept["method"],
        new_label=kept["label"],
        attributes=kept["attributes"],
        policy=None if policy is None else decode_policy(policy),
        blocked=kept["blocked"],
        key_id=kept["keyId"],
        allowed_operations=tuple(kept.get("allowedOperations", ())),
        allowed_algorithms=tuple(kept.get("allowedAlgorithms", ())),
        sealed_password=request.sealed_password or b"",
    )


def restore_passwords(call: RestoreCall) -> bytes:
    """What a request that restores keeps of passwords, where others keep their key's; it goes when the request ends."""
    return msgspec.msgpack.encode([call.backup_password, call.old_backup_password])


def restore_call(request: RequestRow) -> RestoreCall | None:
    """What a stored request restores; None for any other request. Once it has ended, without the passwords."""
    kept = _kept(request)
    if request.kind != RequestKind.UNWRAP or "approver" not in kept:
        return None
    new, old = msgspec.msgpack.decode(request.sealed_password or restore_passwords(_NO_PASSWORDS), type=list[bytes])
    return RestoreCall(name=kept["approver"], purpose=kept["purpose"], backup_password=new, old_backup_password=old)


_NO_PASSWORDS: Final = RestoreCall(name="", purpose="")


def _kept(request: RequestRow) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(request.parameters or "{}")
    return kept


def _text(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode("ascii")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
