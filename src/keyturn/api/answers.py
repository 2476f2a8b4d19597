"""The bodies of answers: one struct per documented object. The OpenAPI document is made from these.

Source: rest-api.md sections 1.4, 3.1, 3.3, 3.4, 3.6 to 3.9; decisions 5, 6, 11, 12, 14, 15, 17, 30.
"""

from __future__ import annotations

from typing import Any

import msgspec

from keyturn.api.hiding import shown
from keyturn.api.schemas.common import RequestStatus


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """Base of all answers; none shows its secrets where it is printed."""

    __repr__ = shown


class ErrorBody(Answer, frozen=True, rename="camel", omit_defaults=True):
    """Why a call was refused. `refusal` is the stable word of the check, where there is one.

    Where the HSM refused a call that carried a `requestId`, its signed receipt says so, too.
    """

    error_code: int
    reason: str
    message: str
    refusal: str = ""
    receipt: str = ""
    receipt_signature: str = ""


class Done(Answer, frozen=True):
    """An empty object: it is done."""


class WithReceipt(Answer, frozen=True, rename="camel", kw_only=True):
    """An answer to a call that may carry a `requestId`: with it the HSM signs a receipt for what it did (R24)."""

    receipt: str | msgspec.UnsetType = msgspec.UNSET
    receipt_signature: str | msgspec.UnsetType = msgspec.UNSET


class SignedKeyAttributes(WithReceipt, frozen=True, rename="camel"):
    """Attested attributes of a key: `xmlSignature` covers exactly the UTF-8 bytes of `xml`; `json` says the same."""

    json: dict[str, Any]
    xml: str
    xml_signature: str
    attestation_key_name: str


class KeyAddress(Answer, frozen=True):
    """Bytes of a key's blockchain address, base64."""

    address: str


class SignRequestId(Answer, frozen=True, rename="camel"):
    """Id of an opened signing request."""

    sign_request_id: str


class ModifyKeyRequestId(Answer, frozen=True, rename="camel"):
    """Id of an opened request to replace a policy."""

    modify_key_request_id: str


class DecryptRequestId(Answer, frozen=True, rename="camel"):
    """Id of an opened request to decrypt."""

    decrypt_request_id: str


class DecapsulationRequestId(Answer, frozen=True, rename="camel"):
    """Id of an opened request to decapsulate; its result is the shared secret."""

    decapsulation_request_id: str


class UnwrapRequestId(Answer, frozen=True, rename="camel"):
    """Id of an opened request to unwrap a key."""

    unwrap_request_id: str


class BlockKeyRequestId(Answer, frozen=True, rename="camel"):
    """Id of an opened request to block a key."""

    block_key_request_id: str


class UnblockKeyRequestId(Answer, frozen=True, rename="camel"):
    """Id of an opened request to unblock a key."""

    unblock_key_request_id: str


class Signature(WithReceipt, frozen=True, rename="camel"):
    """A signature, base64."""

    signature: str


class Plaintext(WithReceipt, frozen=True, rename="camel"):
    """What was decrypted, base64."""

    payload: str


class SharedSecret(WithReceipt, frozen=True, rename="camel"):
    """The secret that a ciphertext of ML-KEM holds, 32 bytes, base64."""

    shared_secret: str


class Encapsulation(Answer, frozen=True, rename="camel"):
    """A new secret, 32 bytes, and the ciphertext from which the owner of the key gets it, base64."""

    shared_secret: str
    ciphertext: str


class SignedTimestamp(Answer, frozen=True, rename="camel"):
    """The HSM's signed time: `timestampSignature` covers exactly the bytes of `timestamp`; all base64 but the names."""

    timestamp: str
    timestamp_signature: str
    timestamp_signature_algorithm: str
    timestamp_key_name: str


class Encrypted(Answer, frozen=True, rename="camel"):
    """Encrypted data, base64. The message authentication code is the end of `encryptedPayload`, and null for none."""

    encrypted_payload: str
    encrypted_payload_without_message_authentication_code: str
    initialization_vector: str | None
    message_authentication_code: str | None


class WrappedKey(Answer, frozen=True, rename="camel"):
    """A wrapped key, base64."""

    wrapped_key: str


class KeyedHash(Answer, frozen=True, rename="camel"):
    """A MAC of 32 bytes, base64."""

    keyed_hash: str


class SignatureValid(Answer, frozen=True, rename="camel"):
    """Whether a signature is valid."""

    signature_valid: bool


class CertificateSigningRequest(Answer, frozen=True, rename="camel"):
    """A request for a certificate, PEM with the label `NEW CERTIFICATE REQUEST`."""

    label: str
    certificate_signing_request: str


class KeyCertificate(Answer, frozen=True):
    """A certificate of a key, PEM."""

    label: str
    certificate: str


class SignedToBeSigned(WithReceipt, frozen=True, rename="camel"):
    """A certificate or a request for one: base64 of DER, and PEM."""

    label: str
    encoded: str
    pem: str


class TaskList(Answer, frozen=True):
    """Approval tasks; which members an entry has depends on `detailLevel` (rest-api.md section 3.7)."""

    tasks: list[dict[str, Any]]


class RequestState(WithReceipt, frozen=True, rename="camel", kw_only=True):
    """State of a request. Key lists hold base64 of SubjectPublicKeyInfo.

    `inputOfflineHsm` is present where there is something to carry to an offline HSM; `failure` says why a request
    failed, expired, or waits for another approval; `withdrawnBy` is present when approvals were taken back; `receipt`
    is the HSM's signed word for the outcome, where there is one.
    """

    id: str
    status: RequestStatus
    execution_time: str | None
    approved_by: list[str]
    not_yet_approved_by: list[str]
    rejected_by: list[str]
    result: str | None
    input_offline_hsm: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    failure: str | msgspec.UnsetType = msgspec.UNSET
    withdrawn_by: list[str] | msgspec.UnsetType = msgspec.UNSET


class RequestSummary(Answer, frozen=True):
    """A request and its status."""

    id: str
    status: RequestStatus


class RequestList(Answer, frozen=True):
    """Requests, newest first."""

    requests: list[RequestSummary]


class Approver(Answer, frozen=True, rename="camel"):
    """An approver in the directory. The certificate is base64 of DER."""

    approver_name: str
    approver_certificate: str
    added_time: str


class ApproverList(Answer, frozen=True):
    """The directory of approvers, by name."""

    approvers: list[Approver]


class OneTimeCode(Answer, frozen=True, rename="camel"):
    """A code of six digits for which an approver is given a file once."""

    one_time_code: str

    def __repr__(self) -> str:
        return "OneTimeCode(…)"


class RestoredApprover(Answer, frozen=True, rename="camel", omit_defaults=True):
    """A code of six digits, or the id of the request whose result it will be."""

    one_time_code: str | msgspec.UnsetType = msgspec.UNSET
    unwrap_request_id: str | msgspec.UnsetType = msgspec.UNSET

    def __repr__(self) -> str:
        return "RestoredApprover(…)"


class Onboarded(Answer, frozen=True, rename="camel"):
    """An approver's PKCS#12 file, encrypted by AES-GCM under the transport password; both are base64."""

    encrypted_payload: str
    initialization_vector: str


class ManagedApprover(Answer, frozen=True, rename="camel"):
    """An approver whose key the HSM made. The certificate is PEM."""

    approver_name: str
    approver_certificate: str


class OnboardingStatus(Answer, frozen=True):
    """Approvers whose keys the HSM made, by name: those who have their file, and those who do not yet."""

    onboarded: list[ManagedApprover]
    pending: list[ManagedApprover]


class QrCodes(Answer, frozen=True, rename="camel"):
    """A sheet of QR codes: PNG images, base64, in order."""

    total: int
    qr_codes: list[str]


class ExportedKey(Answer, frozen=True, rename="camel"):
    """Key material in the clear, base64: of a key pair the first two, of a symmetric key the last."""

    private_key: str | None
    public_key: str | None
    secret_key: str | None


class AttestationChain(Answer, frozen=True, rename="camel"):
    """Certificates of the attesting device, PEM, device certificate first."""

    attestation_certificate_chain: list[str]


class DataObject(Answer, frozen=True):
    """A data object; its value is base64."""

    name: str
    value: str
    attributes: dict[str, bool]


class RandomBytes(Answer, frozen=True):
    """Random bytes, base64."""

    random: str


class LicenseInfo(Answer, frozen=True, rename="camel"):
    """What the server offers, by the names of licence flags."""

    client_flags: list[str]


class HsmLog(Answer, frozen=True):
    """The newest lines of the HSM's decision log, as text: one JSON object a line, oldest first."""

    log: str


class RfcTimestamp(Answer, frozen=True):
    """A TimeStampResp (RFC 3161), base64 of DER."""

    timestamp: str


class KeyStoreStatistics(Answer, frozen=True, rename="camel"):
    """Figures about the key store, as text."""

    key_store_statistics: str
