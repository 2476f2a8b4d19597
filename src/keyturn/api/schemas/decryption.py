"""Bodies for decrypting.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import Annotated

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

TagLength = Annotated[
    int,
    Meta(
        ge=-(1 << 31),
        lt=1 << 31,
        description="Bits of the message authentication code: 0, 64, 96, 104, 112, 120 or 128; 0 stands for 128.",
    ),
]


class DecryptRequest(Body, frozen=True, rename="camel"):
    """What is to be decrypted, with which key, how. `encryptedPayload` ends in its message authentication code."""

    encrypted_payload: RequiredBase64
    decrypt_key_name: NonEmpty
    cipher_algorithm: NonEmpty
    key_password: Password = None
    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None
    initialization_vector: Base64 | None = None
    additional_authentication_data: Base64 | None = None
    tag_length: TagLength | None = None


class SynchronousDecryptRequest(DecryptRequest, frozen=True, rename="camel"):
    """What is to be decrypted, with the approvals for it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class DecryptBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/decrypt`."""

    decrypt_request: DecryptRequest


class SynchronousDecryptBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/synchronousDecrypt`."""

    decrypt_request: SynchronousDecryptRequest
