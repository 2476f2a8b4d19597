"""Bodies that approvers send, and those of the directory of approvers.

Source: rest-api.md section 3.7; decisions 4; security rule R26.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from keyturn.api.schemas.common import Base64, Body, DigestAlgorithm, NonEmpty, RequiredBase64, Timestamp

DetailLevel = Literal["level1", "level2", "level3", "level4", "level5", "level6"]
SortOrder = Literal["CREATION_DATE_ASC", "CREATION_DATE_DESC", "LAST_FETCHED_DATE_ASC", "LAST_FETCHED_DATE_DESC"]


class Authenticated(Body, frozen=True, rename="camel"):
    """Proof that the caller holds an approver's key: a fresh timestamp, signed over its text as sent."""

    timestamp: Timestamp
    timestamp_signature: RequiredBase64
    timestamp_digest_algorithm: DigestAlgorithm
    approver_public_key: Base64 | None = None
    approver_certificate: Base64 | None = None
    timestamp_signing_certificate: Base64 | None = None


class Paging(Body, frozen=True, rename="camel"):
    """Which part of the tasks, in which order."""

    sort_order: SortOrder
    page_number: Annotated[int, Meta(ge=0, le=1 << 31)] = 0
    page_size: Annotated[int, Meta(ge=1, le=10_000)] = 100


class TaskQueryBody(Authenticated, frozen=True, rename="camel", kw_only=True):
    """`POST /v1/filtered…ApprovalTask`."""

    id: str | None = None
    request_id: str | None = None
    detail_level: DetailLevel | None = None
    paging: Paging | None = None


class ApprovalBody(Body, frozen=True, rename="camel"):
    """`POST /v1/approval`: an approval, or a rejection in the `REJECTED:` form (decisions 4)."""

    id: NonEmpty
    approval_to_be_signed: RequiredBase64
    signature: RequiredBase64
    approval_digest_algorithm: DigestAlgorithm
    approver_public_key: Base64 | None = None
    approver_certificate: Base64 | None = None


class RejectBody(Authenticated, frozen=True, rename="camel", kw_only=True):
    """`DELETE` or `PATCH /v1/task`."""

    id: NonEmpty


class WithdrawBody(ApprovalBody, frozen=True, rename="camel"):
    """`DELETE /v1/approval`: an approval is taken back.

    `signature` covers the ASCII bytes `WITHDRAW:`, the decoded `approvalToBeSigned`, and the task's `id` in ASCII.
    """


class ApproverBody(Body, frozen=True, rename="camel"):
    """`POST /v1/approverDirectory`: a name, unique in the directory, and a certificate, base64 of DER or PEM."""

    approver_name: NonEmpty
    approver_certificate: RequiredBase64
