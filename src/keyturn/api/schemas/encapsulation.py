"""Bodies for ML-KEM.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from keyturn.api.schemas.common import (
    Approvals,
    Base64,
    Body,
    NonEmpty,
    Password,
    RequestId,
    RequiredBase64,
    SignableBody,
)


class EncapsulateBody(Body, frozen=True, rename="camel"):
    """`POST /v1/encapsulate`: for whom, by the SubjectPublicKeyInfo of an ML-KEM key, anybody's."""

    public_key: RequiredBase64


class DecapsulationRequest(Body, frozen=True, rename="camel"):
    """Which ciphertext is to be opened, with which key."""

    decapsulation_key_name: NonEmpty
    ciphertext: RequiredBase64
    key_password: Password = None
    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None


class SynchronousDecapsulationRequest(DecapsulationRequest, frozen=True, rename="camel"):
    """Which ciphertext is to be opened, with the approvals for it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class DecapsulateBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/decapsulate`."""

    decapsulation_request: DecapsulationRequest


class SynchronousDecapsulateBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/synchronousDecapsulate`."""

    decapsulation_request: SynchronousDecapsulationRequest
