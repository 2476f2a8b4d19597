"""What comes out of the broker: frozen values, which `api` renders as answers.

All `bytes` are raw. Times are seconds since the Unix epoch.

Source: rest-api.md sections 3.3 to 3.7 (fields).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from keyturn.broker.calls import RequestKind
    from keyturn.broker.states import RequestStatus
    from keyturn.ska.actions import Action
    from keyturn.ska.attestation import KeyAttestation

T = TypeVar("T")

OFFLINE_RESULT: Final = "Execution shall be made with offline HSM"
"""`result` of an air-gapped request from its first approval on (decisions 13)."""


@dataclass(frozen=True, slots=True)
class Executed(Generic[T]):
    """What the HSM did, with its word for it (R24).

    Args:
        value: The result.
        receipt: Receipt of the HSM; empty where the call carried no request id.
        receipt_signature: Bare signature of the receipt key over it.
    """

    value: T
    receipt: bytes = b""
    receipt_signature: bytes = b""


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """An approver in the directory.

    Args:
        name: Name, unique, in Unicode NFC.
        certificate: X.509 certificate, DER.
        added_at: Seconds since the epoch.
    """

    name: str
    certificate: bytes
    added_at: float


@dataclass(frozen=True)
class AttestedKey:
    """Attested attributes of a key as the HSM gave them.

    Args:
        xml: The signed text.
        signature: Bare signature over its UTF-8 bytes.
        attestation_key_name: Name of the attestation key.
    """

    xml: str
    signature: bytes
    attestation_key_name: str

    @cached_property
    def attestation(self) -> KeyAttestation:
        """What the text says, parsed. `ska.attestation.attestation_to_json` makes the API's `json` of it."""
        from keyturn.ska.attestation import parse_attestation

        return parse_attestation(self.xml)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedKey:
    """Key material in the clear, on its way to whoever may have it.

    Args:
        private_key: PKCS#8, DER; empty for a symmetric key.
        public_key: SPKI, DER; empty for a symmetric key.
        secret_key: Bytes of a symmetric key; empty for others.
    """

    private_key: bytes = field(repr=False)
    public_key: bytes
    secret_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """How a request stands.

    Args:
        id: UUID text.
        kind: What was asked for.
        status: See `states`.
        execution_time: When the HSM acted (or its result was accepted), or None.
        approved_by: SPKI of the approvers who approved.
        not_yet_approved_by: SPKI of those who still can.
        rejected_by: SPKI of those who rejected.
        result: The `result` text: base64 of a signature or of decrypted data, PEM of a certificate or of a request for
            one, `OFFLINE_RESULT`, or None.
        input_offline_hsm: Ready JSON body for the offline side (decisions 13), or None.
        failure: Why it failed, expired or went back to waiting, in a sentence; None where nothing went wrong.
        withdrawn_by: SPKI of those who took their approval back (R26); they stand in none of the other lists.
        receipt: The HSM's receipt for its outcome, empty where there is none.
        receipt_signature: Bare signature over it.
        restoration: Whether it restores an approver's file (R23); the result is its one-time code then.
    """

    id: str
    kind: RequestKind
    status: RequestStatus
    execution_time: int | None
    approved_by: tuple[bytes, ...]
    not_yet_approved_by: tuple[bytes, ...]
    rejected_by: tuple[bytes, ...]
    result: str | None
    input_offline_hsm: dict[str, Any] | None
    failure: str | None = None
    withdrawn_by: tuple[bytes, ...] = ()
    receipt: bytes = b""
    receipt_signature: bytes = b""
    restoration: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """One task, with everything up to the level that was asked for; what is above it is None.

    Args:
        task_id: UUID text.
        request_id: UUID text of its request.
        kind: What was asked for.
        action: Operation code.
        key_name: Label of the key.
        approval_to_be_signed: Level 1: the approval blob the approver signs.
        approver_spki: Level 1: the approver's SPKI as the policy has it.
        created_at: When the request was opened.
        last_fetched_at: When the task was last fetched, before this query; its creation if never.
        marked: The word with which the HSM refused an earlier approval of this task, empty if none.
        meta_data: Level 2.
        meta_data_signature: Level 2.
        payload: Level 2: bytes to be signed, or the new policy's blob.
        payload_type: Level 2.
        request_json: Level 3: the inner request object as it was received.
        timestamp: Level 4: timestamp blob, None for a request without one.
        timestamp_signature: Level 4: bare signature.
        timestamp_signature_algorithm: Level 4: API name.
        timestamp_signature_with_algorithm: Level 4: the signature in its DER wrapper.
        key_attributes: Level 5: attested XML.
        key_attributes_signature: Level 5: bare signature over it.
    """

    task_id: str
    request_id: str
    kind: RequestKind
    action: Action
    key_name: str
    approval_to_be_signed: bytes
    approver_spki: bytes
    created_at: float
    last_fetched_at: float
    marked: str = ""
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    payload: bytes | None = None
    payload_type: str | None = None
    request_json: bytes | None = None
    timestamp: bytes | None = None
    timestamp_signature: bytes | None = None
    timestamp_signature_algorithm: str | None = None
    timestamp_signature_with_algorithm: bytes | None = None
    key_attributes: str | None = None
    key_attributes_signature: bytes | None = None
