"""What endpoints of several subjects do with bodies and answers.

Source: rest-api.md sections 1.6, 3.1 and 4.8; docs/security/rules.md R24; ADR 0061.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from keyturn.api.answers import SignedKeyAttributes
from keyturn.api.fields import base64_list, from_base64, keyed_base64, optional_base64, receipt_for
from keyturn.api.schemas.keys import KNOWN_ATTRIBUTES, MAX_LIMITS, REQUIRED_ATTRIBUTES
from keyturn.crypto.key_types import key_type_by_algorithm_oid
from keyturn.errors import ErrorCode, FormatError
from keyturn.hsm.protocol import MAX_APPROVALS
from keyturn.ska.attestation import attestation_to_json

if TYPE_CHECKING:
    from keyturn.api.schemas.common import RequestSignature
    from keyturn.api.schemas.keys import CreateKeyBody
    from keyturn.broker.answers import AttestedKey, Executed


class MetaFields(TypedDict):
    """Members of a call that are for people to read."""

    meta_data: bytes | None
    meta_data_signature: bytes | None


class Described(Protocol):
    """An inner object that may carry something for people to read."""

    @property
    def meta_data(self) -> str | None:
        """Base64."""

    @property
    def meta_data_signature(self) -> str | None:
        """Base64."""


class Synchronous(Protocol):
    """An inner object whose operation is done at once."""

    @property
    def signed_approvals(self) -> list[str] | None:
        """Base64 of authorization blobs."""

    @property
    def request_id(self) -> str | None:
        """The caller's id, which asks for a receipt."""


class AtOnce(TypedDict):
    """What the broker takes with an operation that is done at once."""

    approvals: list[bytes]
    request_id: str


class ReceiptFields(TypedDict, total=False):
    """Members that a receipt adds to an answer."""

    receipt: str
    receipt_signature: str


def text(data: bytes) -> str:
    """Base64 with padding, as everywhere in the API."""
    return base64.b64encode(data).decode("ascii")


def check_form(signature: RequestSignature | None) -> None:
    """Check the form of a request signature (rest-api.md section 1.6).

    Whether it verifies was checked before, where it is asked for (`api.access.request_signers`).
    """
    if signature is not None:
        from_base64("requestSignature.signature", signature.signature)
        keyed_base64("requestSignature.publicKey", signature.public_key)


def meta_fields(inner: str, request: Described) -> MetaFields:
    """Decode `metaData` and its signature.

    Args:
        inner: Name of the object they stand in, for messages.
        request: That object.
    """
    return {
        "meta_data": optional_base64(f"{inner}.metaData", request.meta_data),
        "meta_data_signature": optional_base64(f"{inner}.metaDataSignature", request.meta_data_signature),
    }


def at_once(inner: str, request: Synchronous) -> AtOnce:
    """Decode what comes with an operation that is done at once: its approvals and its `requestId`.

    Args:
        inner: Name of the object they stand in, for messages.
        request: That object.

    Raises:
        FormatError: If an approval is no base64 or there are too many, or if the id is not visible ASCII.
    """
    return {
        "approvals": base64_list(f"{inner}.signedApprovals", request.signed_approvals, most=MAX_APPROVALS),
        "request_id": receipt_for(f"{inner}.requestId", request.request_id),
    }


def receipt_fields(receipt: bytes, signature: bytes) -> ReceiptFields:
    """The members that a receipt adds to an answer; none without a receipt, which is asked for by `requestId`."""
    return {"receipt": text(receipt), "receipt_signature": text(signature)} if receipt else {}


def signed_attributes(key: AttestedKey, receipt: bytes = b"", receipt_signature: bytes = b"") -> SignedKeyAttributes:
    """Render attested attributes as the documented answer.

    Args:
        key: As the broker gave them.
        receipt: The HSM's receipt for the operation that led to them, empty for none.
        receipt_signature: Bare signature over it.
    """
    return SignedKeyAttributes(
        json=attestation_to_json(key.attestation),
        xml=key.xml,
        xml_signature=text(key.signature),
        attestation_key_name=key.attestation_key_name,
        **receipt_fields(receipt, receipt_signature),
    )


def executed_attributes(done: Executed[AttestedKey]) -> SignedKeyAttributes:
    """Render what an operation left behind: attested attributes, and the receipt where one was asked for."""
    return signed_attributes(done.value, done.receipt, done.receipt_signature)


def chosen_attributes(name: str, sent: dict[str, Any]) -> dict[str, bool]:
    """Check the attributes of a new key.

    Args:
        name: The field's dotted path, for messages.
        sent: What was sent; unknown names are ignored, null stands for absent.

    Raises:
        FormatError: If a required attribute is missing, or one is no boolean.
    """
    for required in REQUIRED_ATTRIBUTES:
        if sent.get(required) is None:
            raise FormatError(
                f"Field '{name}.{required}' must be given.",
                code=ErrorCode.VALIDATION_FAILED,
                refusal="json.missing-field",
            )
    return given_attributes(name, sent)


def given_attributes(name: str, sent: dict[str, Any]) -> dict[str, bool]:
    """Check attributes none of which is required; else as `chosen_attributes`."""
    chosen = {attribute: value for attribute, value in sent.items() if value is not None}
    chosen = {attribute: value for attribute, value in chosen.items() if attribute in KNOWN_ATTRIBUTES}
    for attribute, value in chosen.items():
        if not isinstance(value, bool):
            raise FormatError(
                f"A provided argument is of the wrong type. Field '{name}.{attribute}' must be true, false or null.",
                refusal="json.wrong-type",
            )
    return chosen


def key_algorithm(body: CreateKeyBody) -> str:
    """The kind of a new key, from `algorithm` or `algorithmOid`.

    Args:
        body: What was sent.

    Raises:
        KeyturnError: 600 `key.algorithm` if the OID is not known or stands for several kinds.
        FormatError: `key.algorithm` if the two disagree, `json.missing-field` if both are missing.
    """
    by_oid = key_type_by_algorithm_oid(body.algorithm_oid).name if body.algorithm_oid else ""
    if body.algorithm and by_oid and body.algorithm != by_oid:
        raise FormatError("Fields 'algorithm' and 'algorithmOid' name different algorithms.", refusal="key.algorithm")
    algorithm = body.algorithm or by_oid
    if not algorithm:
        raise FormatError("Field 'algorithm' must be given.", refusal="json.missing-field")
    return algorithm


class Limits(TypedDict):
    """What a new key is limited to (R9)."""

    allowed_operations: tuple[str, ...]
    allowed_algorithms: tuple[str, ...]


def chosen_limits(name: str, sent: dict[str, Any]) -> Limits:
    """Read the lists that limit a new key; which names there are, the HSM knows.

    Args:
        name: The dotted path of the attributes, for messages.
        sent: The attributes as they were sent.

    Returns:
        The limits, each empty for none.

    Raises:
        FormatError: If one is no list of texts.
    """
    return Limits(
        allowed_operations=_names(f"{name}.allowedOperations", sent.get("allowedOperations")),
        allowed_algorithms=_names(f"{name}.allowedAlgorithms", sent.get("allowedAlgorithms")),
    )


def _names(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_LIMITS or not all(isinstance(one, str) for one in value):
        raise FormatError(
            f"A provided argument is of the wrong type. Field '{name}' must be a list of at most {MAX_LIMITS} texts, "
            "or null.",
            refusal="json.wrong-type",
        )
    return tuple(value)
