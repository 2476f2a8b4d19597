"""What goes into the broker and what comes out: frozen values, already decoded from JSON and base64.

`api` builds the calls from request bodies and renders the views as answers; nothing here knows JSON names. All
`bytes` are raw. Times are seconds since the Unix epoch.

Source: rest-api.md sections 3.3 to 3.7 (fields), 4 (enumerations).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from keyturn.crypto.schemes import NO_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from keyturn.broker.states import RequestStatus
    from keyturn.crypto.schemes import SignOptions
    from keyturn.ska.actions import Action
    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.policy import Policy

T = TypeVar("T")

OFFLINE_RESULT: Final = "Execution shall be made with offline HSM"
"""`result` of an air-gapped request from its first approval on (decisions 13)."""


class Profile(StrEnum):
    """How this installation reaches an HSM."""

    LOCAL = "local"
    """Broker and HSM are connected."""
    AIR_GAPPED = "air-gapped"
    """There is no HSM at all: requests are carried to an offline installation."""


class RequestKind(StrEnum):
    """What is asked for (rest-api.md section 4.12); later kinds are appended."""

    SIGN = "sign"
    MODIFY = "modify"
    BLOCK = "block"
    UNBLOCK = "unblock"
    DECRYPT = "decrypt"
    UNWRAP = "unwrap"
    CSR = "csrsign"
    ISSUE = "crtsign"
    SELFSIGN = "selfsign"


class SortOrder(StrEnum):
    """Order of fetched tasks, as the API spells it."""

    CREATION_DATE_ASC = "CREATION_DATE_ASC"
    CREATION_DATE_DESC = "CREATION_DATE_DESC"
    LAST_FETCHED_DATE_ASC = "LAST_FETCHED_DATE_ASC"
    LAST_FETCHED_DATE_DESC = "LAST_FETCHED_DATE_DESC"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """What the broker must be told, read once.

    Args:
        data_dir: Directory of the broker's database; created with mode 0700 if absent.
        database_url: `postgresql://…` as libpq reads it, `sqlite:////path`, or empty for `broker.db` in `data_dir`. It
            may hold a password and is therefore not shown.
        max_timestamp_age: How old the timestamp of a task query may be, in seconds
            (`general.maxTimestampDiffApprovalClient`).
        max_timestamp_ahead: How far it may lie ahead of the broker's clock, in seconds
            (`general.maxFutureTimestampDiffApprovalClient`; the documented default of 0 refuses honest clocks).
        timestamp_services: SHA-256 of the certificates (DER) of services that may read the tasks of all approvers
            (`general.allowedTimestampSigningCertificates`).
    """

    data_dir: Path
    database_url: str = field(default="", repr=False)
    max_timestamp_age: int = 600
    max_timestamp_ahead: int = 5
    timestamp_services: frozenset[bytes] = frozenset()


# --- calls -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SignCall:
    """A request for a signature: `signRequest`.

    Args:
        payload: Bytes to be signed, at most 64 KiB, decoded (from hexadecimal text for payload type `HEX`).
        key_name: Label of the key.
        algorithm: API name of the signature algorithm.
        signature_type: `DER`, `RAW`, `ETH` or empty (the algorithm's own form).
        payload_type: One of rest-api.md section 4.6; a claim shown to approvers.
        meta_data: Free information for approvers, a claim.
        meta_data_signature: Relayed with it, never checked here.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
        options: Further parameters, for algorithms that take them.
    """

    payload: bytes
    key_name: str
    algorithm: str
    signature_type: str = ""
    payload_type: str = "UNSPECIFIED"
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)
    options: SignOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyCall:
    """A request to replace a key's policy: `modifyRequest`.

    Args:
        key_name: Label of the key.
        policy: The new policy, all four rules.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    key_name: str
    policy: Policy
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecryptCall:
    """A request to decrypt: `decryptRequest`.

    Args:
        payload: Ciphertext, its MAC included, at most 64 KiB.
        key_name: Label of the key.
        algorithm: API name of the cipher (rest-api.md section 4.4).
        iv: Initialization vector, or None where the cipher has none.
        aad: Additional authenticated data, or None.
        tag_length: Bits of the MAC, 0 for the cipher's own.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    payload: bytes
    key_name: str
    algorithm: str
    iv: bytes | None = None
    aad: bytes | None = None
    tag_length: int = 0
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnwrapCall:
    """A request to unwrap a key into a new one: `unwrapKeyRequest`.

    Args:
        wrapped_key: The wrapped key, at most 64 KiB.
        key_name: Label of the unwrapping key.
        method: Wrap method (rest-api.md section 4.11).
        new_label: Label of the new key.
        attributes: Attribute names of the new key as in the API to booleans.
        policy: The new key's policy, or None for an ordinary key.
        blocked: Whether the new key starts blocked.
        key_id: The API's `id` of the new key, or None.
        allowed_operations: The new key's limits, empty for none (R9).
        allowed_algorithms: Likewise, API names.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    wrapped_key: bytes
    key_name: str
    method: str
    new_label: str
    attributes: Mapping[str, bool]
    policy: Policy | None = None
    blocked: bool = False
    key_id: str | None = None
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateOrder:
    """A request for a certificate, or a certificate, to be made: what is asked, not yet the bytes to be signed.

    Args:
        kind: `csr` (a request for the key itself), `issue` (a certificate for another key) or `selfsign`.
        key_name: Label of the key that signs.
        algorithm: API name of the signature algorithm.
        subject: Members of `standardCertificateAttributes`; empty where the request to be answered says it.
        request: For `issue`: the request that is answered, DER.
        days: How long the certificate is valid.
        certificate_authority: Whether the subject may issue certificates.
        key_usages: API names.
        extended_key_usages: API names.
        names: Alternative names, pairs of type and value.
        copy_extensions: For `issue`: whether harmless extensions of the request are taken over.
        attach_to: For `issue`: label of the key that the certificate is for, in the same HSM; empty for none.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    kind: str
    key_name: str
    algorithm: str
    subject: Mapping[str, str] = field(default_factory=dict)
    request: bytes = b""
    days: int = 0
    certificate_authority: bool = False
    key_usages: tuple[str, ...] = ()
    extended_key_usages: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    copy_extensions: bool = False
    attach_to: str = ""
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyCall:
    """A request for a certificate, or a certificate, to be signed: the exact bytes (R17).

    Args:
        kind: As in `CertificateOrder`.
        to_be_signed: CertificationRequestInfo or TBSCertificate, DER.
        key_name: Label of the key that signs.
        algorithm: API name of the signature algorithm.
        certificate_authority: Whether the subject is made an authority.
        attach_to: As in `CertificateOrder`.
        sealed_password: The key's password, sealed to the HSM; empty for none.
    """

    kind: str
    to_be_signed: bytes
    key_name: str
    algorithm: str
    certificate_authority: bool = False
    attach_to: str = ""
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCall:
    """A request to block or unblock a key with a policy: `blockRequest`, `unblockRequest`.

    Args:
        key_name: Label of the key.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    key_name: str
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCall:
    """A key to be created.

    Args:
        label: Its label.
        algorithm: `RSA`, `EC` or `ED`.
        curve_oid: Dotted OID for EC and ED, else empty.
        key_size: Bits for RSA, else 0.
        attributes: Attribute names as in the API to booleans.
        policy: Its policy, or None for an ordinary key.
        blocked: Whether it starts blocked (`keyStatus.blocked`).
        key_id: The API's `id`, or None.
        allowed_operations: The only uses, among sign, decrypt and unwrap; empty for no limit (R9).
        allowed_algorithms: API names of the only algorithms; empty for no limit.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
        address_format: `BTC`, `ETH`, `XRP` or `XLM`; empty for none.
    """

    label: str
    algorithm: str
    address_format: str = ""
    curve_oid: str = ""
    key_size: int = 0
    attributes: Mapping[str, bool] = field(default_factory=dict)
    policy: Policy | None = None
    blocked: bool = False
    key_id: str | None = None
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()
    sealed_password: bytes = field(default=b"", repr=False)


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


# --- answers -----------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCall:
    """What was made elsewhere and is to be taken in.

    Args:
        label: Its label.
        algorithm: API name of the kind of key.
        private_key: PKCS#8, DER; empty for none.
        public_key: SPKI, DER; empty for none.
        secret_key: Bytes of a symmetric key; empty for none.
        certificate: X.509, DER; empty for none.
        attributes: As in `CreateCall`; None where there is neither private nor secret key.
        policy: As in `CreateCall`.
        blocked: As in `CreateCall`.
        key_id: As in `CreateCall`.
        allowed_operations: As in `CreateCall`.
        allowed_algorithms: As in `CreateCall`.
        sealed_password: As in `CreateCall`.
        address_format: As in `CreateCall`.
    """

    label: str
    algorithm: str
    private_key: bytes = field(default=b"", repr=False)
    public_key: bytes = b""
    secret_key: bytes = field(default=b"", repr=False)
    certificate: bytes = b""
    attributes: Mapping[str, bool] | None = None
    policy: Policy | None = None
    blocked: bool = False
    key_id: str | None = None
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()
    sealed_password: bytes = field(default=b"", repr=False)
    address_format: str = ""


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
