"""Approval tasks: fetch, approve, reject, withdraw.

Source: rest-api.md section 3.7; decisions 4; security rules R26, R27.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from keyturn.api.answers import Done, TaskList
from keyturn.api.codec import read_json
from keyturn.api.fields import from_base64, keyed_base64
from keyturn.api.http import AnyRoute, Call, Route, Services
from keyturn.api.schemas.approval import ApprovalBody, RejectBody, TaskQueryBody, WithdrawBody
from keyturn.broker.approver_calls import ApprovalCall, Page, RejectCall, Signer, SortOrder, TaskQuery, WithdrawCall
from keyturn.broker.calls import RequestKind
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keyturn.broker.answers import TaskView

_SIGNED_REQUESTS: Final = (
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
"""All present from level 3 on, all null but the fitting one."""
_SIGNED_REQUEST_OF: Final = {
    RequestKind.SIGN: ("signedSignRequest", "signRequest", "keyPassword"),
    RequestKind.MODIFY: ("signedModifyKeyRequest", "modifyRequest", "keyPassword"),
    RequestKind.BLOCK: ("signedBlockKeyRequest", "blockRequest", "keyPassword"),
    RequestKind.UNBLOCK: ("signedUnblockKeyRequest", "unblockRequest", "keyPassword"),
    RequestKind.DECRYPT: ("signedDecryptRequest", "decryptRequest", "keyPassword"),
    RequestKind.UNWRAP: ("signedUnwrapKeyRequest", "unwrapKeyRequest", "unwrapKeyPassword"),
    RequestKind.CSR: ("signedCertificateRequestRequest", "csrSignRequest", "keyPassword"),
    RequestKind.ISSUE: ("signedSignCertificateRequest", "signCertificateRequest", "keyPassword"),
    RequestKind.SELFSIGN: ("signedSelfSignCertificateRequestDto", "selfSignCertificateRequest", "keyPassword"),
}
"""Per kind: the member that holds the request, its inner object, and the password in it, which is always null here."""
_FILTERS: Final = {
    "All": None,
    "Sign": RequestKind.SIGN,
    "Decrypt": RequestKind.DECRYPT,
    "UnwrapKey": RequestKind.UNWRAP,
    "BlockKey": RequestKind.BLOCK,
    "UnblockKey": RequestKind.UNBLOCK,
    "ModifyKey": RequestKind.MODIFY,
}
"""The task endpoints: the middle part of their names, and what they fetch."""


def _signer(public_key: str | None, certificate: str | None) -> Signer:
    return Signer(
        spki=keyed_base64("approverPublicKey", public_key),
        certificate=keyed_base64("approverCertificate", certificate),
    )


def _fetch(kind: RequestKind | None) -> Callable[[Services, Call, TaskQueryBody], Awaitable[TaskList]]:
    async def fetch(services: Services, call: Call, body: TaskQueryBody) -> TaskList:
        del call
        service = keyed_base64("timestampSigningCertificate", body.timestamp_signing_certificate)
        named = body.approver_public_key or body.approver_certificate
        everybody = service is not None and not named
        # level6 is taken for level5: what it would add is not documented (decisions 28).
        level = min(int((body.detail_level or "level1")[-1]), 5)
        page = body.paging and Page(
            number=body.paging.page_number, size=body.paging.page_size, order=SortOrder(body.paging.sort_order)
        )
        views = await services.broker.fetch_tasks(
            TaskQuery(
                signer=None if everybody else _signer(body.approver_public_key, body.approver_certificate),
                service=service,
                timestamp=body.timestamp,
                timestamp_signature=from_base64("timestampSignature", body.timestamp_signature),
                digest=body.timestamp_digest_algorithm,
                kind=kind,
                task_id=body.id or None,
                request_id=body.request_id or None,
                detail_level=level,
                page=page or None,
            )
        )
        return TaskList([render_task(view, level) for view in views])

    what = "all kinds" if kind is None else f"the kind `{kind.value}`"
    fetch.__name__ = "fetch_tasks" if kind is None else f"fetch_{kind.value}_tasks"
    fetch.__doc__ = (
        f"Fetch the approval tasks of {what} that wait for an approver.\n\n"
        "The approver proves possession of their key by signing a fresh timestamp. A service whose certificate the\n"
        "server is configured with may sign in their place: for one approver, or for all."
    )
    return fetch


def render_task(view: TaskView, level: int) -> dict[str, Any]:
    """Render a task as the documented object.

    Args:
        view: As the broker gave it.
        level: 1 to 5; each includes the lower ones.
    """
    task: dict[str, Any] = {
        "detailLevel": f"level{level}",
        "id": view.task_id,
        "approvalToBeSigned": _text(view.approval_to_be_signed),
        "approverPublicKey": _text(view.approver_spki),
    }
    if level >= 2:
        task["metaData"] = _text(view.meta_data)
        task["metaDataSignature"] = _text(view.meta_data_signature)
        task["payload"] = _text(view.payload)
        task["payloadType"] = view.payload_type
    if level >= 3:
        name, inner, password = _SIGNED_REQUEST_OF[view.kind]
        original = view.request_json or b"null"
        # What a bound approval names (R7); an extension.
        task["requestId"] = view.request_id
        task["requestBase64"] = _text(original)
        task.update(dict.fromkeys(_SIGNED_REQUESTS))
        request = read_json(original)
        task[name] = {
            inner: request[inner] | {password: None},
            "requestSignature": request.get("requestSignature"),
        }
    if level >= 4:
        task["timestamp"] = _text(view.timestamp)
        task["timestampSignature"] = _text(view.timestamp_signature)
        task["timestampSignatureAlgorithm"] = view.timestamp_signature_algorithm
        task["timestampSignatureWithAlgorithm"] = _text(view.timestamp_signature_with_algorithm)
    if level >= 5:
        task["keyAttributes"] = view.key_attributes
        task["keyAttributesSignature"] = _text(view.key_attributes_signature)
    return task


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


async def approve(services: Services, call: Call, body: ApprovalBody) -> Done:
    """Send a signed approval; the last one needed executes the request.

    `approvalToBeSigned` may also be `REJECTED:` followed by the task's bytes: then this is a signed rejection.
    """
    del call
    await services.broker.approve(
        ApprovalCall(
            task_id=body.id,
            approval=from_base64("approvalToBeSigned", body.approval_to_be_signed),
            signature=from_base64("signature", body.signature),
            digest=body.approval_digest_algorithm,
            signer=_signer(body.approver_public_key, body.approver_certificate),
        )
    )
    return Done()


async def withdraw(services: Services, call: Call, body: WithdrawBody) -> Done:
    """Take an approval back, as long as the request has not been executed. It never counts again."""
    del call
    await services.broker.withdraw(
        WithdrawCall(
            task_id=body.id,
            approval=from_base64("approvalToBeSigned", body.approval_to_be_signed),
            signature=from_base64("signature", body.signature),
            digest=body.approval_digest_algorithm,
            signer=_signer(body.approver_public_key, body.approver_certificate),
        )
    )
    return Done()


async def reject_delete(services: Services, call: Call, body: RejectBody) -> Done:
    """Reject: give up the approver's own task. Others can still approve."""
    del call
    if body.timestamp_signing_certificate:
        raise KeyturnError(
            ErrorCode.TIMESTAMP_SIGNER_NOT_ALLOWED,
            "Field 'timestampSigningCertificate': a service may read tasks; only approvers themselves reject, with "
            "their own key.",
            refusal="timestamp.signer-not-allowed",
        )
    await services.broker.reject(
        RejectCall(
            task_id=body.id,
            signer=_signer(body.approver_public_key, body.approver_certificate),
            timestamp=body.timestamp,
            timestamp_signature=from_base64("timestampSignature", body.timestamp_signature),
            digest=body.timestamp_digest_algorithm,
        )
    )
    return Done()


async def reject_patch(services: Services, call: Call, body: RejectBody) -> Done:
    """Reject, for clients that send no body with DELETE; does what `DELETE /v1/task` does."""
    return await reject_delete(services, call, body)


ROUTES: Final[tuple[AnyRoute, ...]] = (
    *(
        Route("POST", f"/v1/filtered{name}ApprovalTask", _fetch(kind), TaskQueryBody, TaskList, tag="approval")
        for name, kind in _FILTERS.items()
    ),
    Route("POST", "/v1/approval", approve, ApprovalBody, Done, tag="approval"),
    Route("DELETE", "/v1/approval", withdraw, WithdrawBody, Done, tag="approval"),
    Route("DELETE", "/v1/task", reject_delete, RejectBody, Done, tag="approval"),
    Route("PATCH", "/v1/task", reject_patch, RejectBody, Done, tag="approval"),
)
