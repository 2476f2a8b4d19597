"""What approvers ask of the broker, and what they decide: frozen values, already decoded from JSON and base64.

All `bytes` are raw. Who an approver says they are is checked by `signers`.

Source: rest-api.md sections 3.6 and 3.7 (fields), 4.12 (enumerations).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyturn.broker.calls import RequestKind


class SortOrder(StrEnum):
    """Order of fetched tasks, as the API spells it."""

    CREATION_DATE_ASC = "CREATION_DATE_ASC"
    CREATION_DATE_DESC = "CREATION_DATE_DESC"
    LAST_FETCHED_DATE_ASC = "LAST_FETCHED_DATE_ASC"
    LAST_FETCHED_DATE_DESC = "LAST_FETCHED_DATE_DESC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who an approver says they are: a public key or a certificate, exactly one of the two.

    Args:
        spki: SubjectPublicKeyInfo, DER.
        certificate: X.509 certificate, DER.
    """

    spki: bytes | None = None
    certificate: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list.

    Args:
        number: From 0.
        size: Tasks per page, at least 1.
        order: Sort order.
    """

    number: int
    size: int
    order: SortOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """An approver's question for their tasks.

    Args:
        kind: Only tasks of this kind; None for all.
        signer: Whose tasks; None for those of all approvers, with `service` alone.
        timestamp: ISO-8601 text exactly as sent: the signature covers its ASCII characters.
        timestamp_signature: Bare signature over them.
        digest: Digest name of rest-api.md section 4.5.
        task_id: Only this task.
        request_id: Only tasks of this request; ignored where `task_id` is set.
        detail_level: 1 to 5; decides what is read (`TaskView` says which fields).
        page: One page, or None for all tasks, oldest first.
        service: Certificate (DER) of the service that signed the timestamp in the approver's place; None where the
            approver did.
    """

    signer: Signer | None
    timestamp: str
    timestamp_signature: bytes
    digest: str
    kind: RequestKind | None = None
    task_id: str | None = None
    request_id: str | None = None
    detail_level: int = 1
    page: Page | None = None
    service: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalCall:
    """An approval, or a signed rejection (decisions 4), of one task.

    Args:
        task_id: The task.
        approval: The bytes that were signed (`approvalToBeSigned`): the task's own, or `REJECTED:` and them,
            optionally followed by the task id in ASCII (R26).
        signature: Bare signature over exactly these bytes.
        digest: Digest name of rest-api.md section 4.5.
        signer: The approver.
    """

    task_id: str
    approval: bytes
    signature: bytes
    digest: str
    signer: Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectCall:
    """The rejection of one task with a signed timestamp (`DELETE` or `PATCH /v1/task`).

    The pair of signer and timestamp must not have served to fetch tasks (R26).

    Args:
        task_id: The task.
        signer: The approver.
        timestamp: As in `TaskQuery`.
        timestamp_signature: As in `TaskQuery`.
        digest: As in `TaskQuery`.
    """

    task_id: str
    signer: Signer
    timestamp: str
    timestamp_signature: bytes
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawCall:
    """The withdrawal of an approval before execution (`DELETE /v1/approval`, R26).

    Args:
        task_id: The task that was approved.
        approval: The task's token, `approvalToBeSigned`, as it was approved.
        signature: Bare signature over `WITHDRAW:`, these bytes and the task id in ASCII.
        digest: Digest name of rest-api.md section 4.5.
        signer: The approver.
    """

    task_id: str
    approval: bytes
    signature: bytes
    digest: str
    signer: Signer
