"""The bodies of requests: one struct per documented object. The OpenAPI document is made from these.

Unknown properties are refused at the top level and in request objects and ignored inside `attributes` (decisions 9).
`None` stands for absent and for null, which clients mix freely.

Source: rest-api.md sections 3.1, 3.3, 3.4, 3.7; decisions 4, 9, 11, 14.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from keyturn.hsm.protocol import MAX_APPROVALS

PayloadType = Literal["UNSPECIFIED", "ISO_20022", "PDF", "BTC", "ETH", "HEX"]
SignatureType = Literal["DER", "RAW"]
DetailLevel = Literal["level1", "level2", "level3", "level4", "level5", "level6"]
SortOrder = Literal["CREATION_DATE_ASC", "CREATION_DATE_DESC", "LAST_FETCHED_DATE_ASC", "LAST_FETCHED_DATE_DESC"]
DigestAlgorithm = Literal[
    "SHA-224", "SHA-256", "SHA-384", "SHA-512", "SHA3-224", "SHA3-256", "SHA3-384", "SHA3-512", "EdDSA"
]

NonEmpty = Annotated[str, Meta(min_length=1)]
Base64 = Annotated[
    str, Meta(description="base64, standard alphabet, padded, no line breaks", extra_json_schema={"format": "byte"})
]
RequiredBase64 = Annotated[
    str,
    Meta(
        min_length=1,
        description="base64, standard alphabet, padded, no line breaks",
        extra_json_schema={"format": "byte"},
    ),
]
Timestamp = Annotated[str, Meta(description="ISO-8601 with date, time, and `Z` or an offset")]
Password = Annotated[
    list[str] | str | None,
    Meta(description="Keys have no passwords in this version: absent, null and empty are accepted."),
]
Approvals = Annotated[
    list[str] | None, Meta(description=f"Signed approvals, base64 of authorization blobs; at most {MAX_APPROVALS}")
]


class Body(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Base of all request objects: strict."""


# --- policy, as documentation: the real reader is `keyturn.ska.policy_json` -------------------------------


class PolicyApproval(msgspec.Struct, frozen=True):
    """One approver of a group.

    `public_key`: `value` is base64 of a SubjectPublicKeyInfo, `name` is free. `certificate`: `value` is base64 of a
    DER certificate, whose subject's common name is the name.
    """

    type: Literal["public_key", "certificate", "onboarded_approver_certificate"]
    name: str | None = None
    value: Base64 | None = None


class PolicyGroup(msgspec.Struct, frozen=True):
    """`quorum` approvers out of `approvals` must approve."""

    name: str
    quorum: Annotated[int, Meta(ge=1)]
    approvals: list[PolicyApproval]


class PolicyToken(msgspec.Struct, frozen=True):
    """All groups must be satisfied, not before `timelock` and not after `timeout` seconds (0: never ends)."""

    name: str | None = None
    timelock: Annotated[int, Meta(ge=0)] = 0
    timeout: Annotated[int, Meta(ge=0)] = 0
    groups: list[PolicyGroup] | None = None


class PolicyRule(msgspec.Struct, frozen=True):
    """One complete token is enough; `tokens: null` means that the rule can never be satisfied."""

    tokens: list[PolicyToken] | None = None


class KeyStatus(msgspec.Struct, frozen=True):
    """Whether the key is blocked."""

    blocked: bool


class ModifiedPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """The four rules; a rule that is null needs no approval. All four must be written out."""

    rule_use: PolicyRule | None
    rule_block: PolicyRule | None
    rule_unblock: PolicyRule | None
    rule_modify: PolicyRule | None


class Policy(ModifiedPolicy, frozen=True, rename="camel"):
    """The policy of a new key: the four rules and whether the key starts blocked."""

    key_status: KeyStatus


def _documented_as(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


NewPolicy = Annotated[dict[str, Any], Meta(extra_json_schema=_documented_as("Policy"))]
OtherPolicy = Annotated[dict[str, Any], Meta(extra_json_schema=_documented_as("ModifiedPolicy"))]


# --- keys -------------------------------------------------------------------------------------------------


REQUIRED_ATTRIBUTES: Final = ("decrypt", "sign", "unwrap")
KNOWN_ATTRIBUTES: Final = (
    *REQUIRED_ATTRIBUTES,
    "encrypt",
    "verify",
    "wrap",
    "derive",
    "bip32",
    "slip10",
    "extractable",
    "modifiable",
    "destroyable",
    "sensitive",
    "copyable",
    "boundApprovals",
    "singleUse",
)
"""What may be chosen at creation; the rest is answered only, and ignored when sent (decisions 9)."""
LIMITS_TO_COME: Final = ("allowedOperations", "allowedAlgorithms")
"""Limits that a later version will keep (R9). Whoever asks for one must not get a key without it."""
_ATTRIBUTES_SCHEMA: Final = {
    "required": list(REQUIRED_ATTRIBUTES),
    "properties": {
        name: {"type": "boolean" if name in REQUIRED_ATTRIBUTES else ["boolean", "null"]} for name in KNOWN_ATTRIBUTES
    },
}


class CreateKeyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/key`. `algorithm` or `algorithmOid`, `curveOid` for EC and ED, `keySize` for RSA."""

    label: NonEmpty
    attributes: Annotated[
        dict[str, Any],
        Meta(
            description="Unknown names are ignored, whatever they hold.",
            extra_json_schema=_ATTRIBUTES_SCHEMA,
        ),
    ]
    password: Password = None
    id: str | None = None
    algorithm: str | None = None
    algorithm_oid: str | None = None
    curve_oid: str | None = None
    key_size: Annotated[int, Meta(ge=0, le=1 << 20)] | None = None
    address_format: dict[str, Any] | None = None
    policy: NewPolicy | None = None


class KeyLabelBody(Body, frozen=True, rename="camel"):
    """A key named by its label."""

    label: NonEmpty
    password: Password = None


# --- operations -------------------------------------------------------------------------------------------


class RequestSignature(Body, frozen=True, rename="camel"):
    """A signature of the business application over the inner object, compacted. Its form is checked, nothing more."""

    signature: RequiredBase64
    digest_algorithm: NonEmpty
    public_key: RequiredBase64


class SignRequest(Body, frozen=True, rename="camel"):
    """What is to be signed, with which key, how."""

    payload: Annotated[str, Meta(min_length=1, description="base64; hexadecimal text where payloadType is HEX")]
    sign_key_name: NonEmpty
    signature_algorithm: NonEmpty
    payload_type: PayloadType | None = None
    sign_key_object: str | None = None
    key_password: Password = None
    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None
    signature_type: SignatureType | None = None
    context: str | None = None
    auxiliary_random_data: str | None = None
    taproot_tweak_data: str | None = None
    merkle_root_data: str | None = None


class SynchronousSignRequest(SignRequest, frozen=True, rename="camel"):
    """What is to be signed, with the approvals for it."""

    signed_approvals: Approvals = None


class SignBody(Body, frozen=True, rename="camel"):
    """`POST /v1/sign`."""

    sign_request: SignRequest
    request_signature: RequestSignature | None = None


class SynchronousSignBody(Body, frozen=True, rename="camel"):
    """`POST /v1/synchronousSign`."""

    sign_request: SynchronousSignRequest
    request_signature: RequestSignature | None = None


class ModifyRequest(Body, frozen=True, rename="camel"):
    """The policy that shall replace a key's policy."""

    modify_key_name: NonEmpty
    policy: OtherPolicy
    key_password: Password = None
    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None


class SynchronousModifyRequest(ModifyRequest, frozen=True, rename="camel"):
    """The policy that shall replace a key's policy, with the approvals for it."""

    signed_approvals: Approvals = None


class ModifyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/modify`."""

    modify_request: ModifyRequest
    request_signature: RequestSignature | None = None


class SynchronousModifyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/synchronousModify`."""

    modify_request: SynchronousModifyRequest
    request_signature: RequestSignature | None = None


class VerifySignatureRequest(Body, frozen=True, rename="camel"):
    """A signature and what it should belong to."""

    sign_key_name: NonEmpty
    signature_algorithm: NonEmpty
    payload: Base64
    signature: RequiredBase64
    sign_key_object: str | None = None
    master_key_password: Password = None


class VerifyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/verify`."""

    verify_signature_request: VerifySignatureRequest
    request_signature: RequestSignature | None = None


# --- approval tasks ---------------------------------------------------------------------------------------


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


# --- the air-gapped side ----------------------------------------------------------------------------------


class OfflineKeyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/offlineKey`: the offline side's answer to `POST /v1/key/attributes`, unchanged."""

    xml: NonEmpty
    xml_signature: RequiredBase64
    attestation_key_name: NonEmpty
    json: dict[str, Any]


class OfflineResultBody(Body, frozen=True, rename="camel"):
    """`PUT /v1/resultFromOfflineHsm`: exactly one of `result`, `keyAttributes`, `refused`, `timestampAnswer`."""

    id: NonEmpty
    result: str | None = None
    key_attributes: dict[str, Any] | None = None
    refused: dict[str, Any] | None = None
    timestamp_answer: dict[str, Any] | None = None
    receipt: str | None = None
    receipt_signature: str | None = None
