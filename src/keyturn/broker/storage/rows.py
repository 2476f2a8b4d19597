"""Rows as values: what statements return, in the order of their columns."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class TaskState(StrEnum):
    """What became of one approver's task."""

    OPEN = "OPEN"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"
    """Approved, and taken back before execution (R26)."""
    CLOSED = "CLOSED"
    """The request ended, or the policy changed, before the approver decided."""


class RequestRow(NamedTuple):
    """A request without its large, rarely needed columns."""

    id: str
    kind: str
    action: int
    status: str
    version: int
    created_at: float
    key_label: str
    key_uuid: str
    key_generation: int
    key_created: int
    key_public: bytes
    key_counter: int
    policy: bytes
    payload: bytes
    payload_type: str
    algorithm: str
    signature_type: str
    statement: bytes
    stamp: bytes | None
    due_at: float | None
    sent: str | None
    attempts: int
    executed_at: int | None
    result: bytes | None
    failure: str | None
    parameters: str | None = None
    receipt: bytes | None = None
    receipt_signature: bytes | None = None
    bound_statement: bytes | None = None
    sealed_password: bytes | None = None


class TaskRow(NamedTuple):
    """A task."""

    id: str
    request_id: str
    position: int
    signer: bytes
    spki: bytes
    state: str
    created_at: float
    fetched_at: float
    decided_at: float | None
    authorization: bytes | None
    marked: str


class OfflineKeyRow(NamedTuple):
    """A registered key: the signed text is the record, everything else is read out of it."""

    label: str
    xml: str
    signature: bytes
    attestation_key_name: str
    registered_at: float


class ApproverRow(NamedTuple):
    """An entry of the approver directory."""

    name: str
    certificate: bytes
    added_at: float


class WithdrawalRow(NamedTuple):
    """A withdrawal on its way to the HSM's ledger; kept until the HSM has it."""

    id: int
    key_label: str
    task_id: str
    statement: bytes
    signature: bytes
    spki: bytes | None
    certificate: bytes | None
    recorded_at: float


class FetchedRow(NamedTuple):
    """A task with what an approver is shown of its request; columns above the asked level are NULL."""

    id: str
    request_id: str
    spki: bytes
    created_at: float
    fetched_at: float
    marked: str
    kind: str
    action: int
    key_label: str
    statement: bytes
    meta_data: bytes | None
    meta_data_signature: bytes | None
    payload: bytes | None
    payload_type: str | None
    original: bytes | None
    stamp: bytes | None
    stamp_signature: bytes | None
    stamp_algorithm: str | None


EVIDENCE_REJECTION: Final = "rejection"
"""Evidence of a signed rejection (R26)."""
EVIDENCE_WITHDRAWAL: Final = "withdrawal"
"""Evidence of a signed withdrawal (R26)."""
EVIDENCE_REFUSED_APPROVAL: Final = "refused-approval"
"""Evidence of an approval the HSM did not count (R25)."""
