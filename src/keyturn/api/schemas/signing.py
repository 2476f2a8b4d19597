"""Bodies for signing and verifying.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

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

PayloadType = Literal["UNSPECIFIED", "ISO_20022", "PDF", "BTC", "ETH", "HEX"]
SignatureType = Literal["DER", "ETH", "RAW"]


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
    context: Base64 | None = None
    auxiliary_random_data: Base64 | None = None
    taproot_tweak_data: Base64 | None = None
    merkle_root_data: Base64 | None = None


class SynchronousSignRequest(SignRequest, frozen=True, rename="camel"):
    """What is to be signed, with the approvals for it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class SignBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/sign`."""

    sign_request: SignRequest


class SynchronousSignBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/synchronousSign`."""

    sign_request: SynchronousSignRequest


class VerifySignatureRequest(Body, frozen=True, rename="camel"):
    """A signature and what it should belong to."""

    sign_key_name: NonEmpty
    signature_algorithm: NonEmpty
    payload: Base64
    signature: RequiredBase64
    sign_key_object: str | None = None
    master_key_password: Password = None


class VerifyHmacRequest(Body, frozen=True, rename="camel"):
    """A MAC and what it should belong to."""

    key_name: NonEmpty
    payload: Base64
    signature: RequiredBase64
    key_password: Password = None


class VerifyBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/verify`. One of the two."""

    verify_signature_request: VerifySignatureRequest | None = None
    verify_hmac_request: VerifyHmacRequest | None = None
