"""Bodies for encrypting, wrapping and MACs.

Source: rest-api.md section 3.3.
"""

from __future__ import annotations

from keyturn.api.schemas.common import Base64, Body, NonEmpty, Password, RequiredBase64, SignableBody


class EncryptRequest(Body, frozen=True, rename="camel"):
    """What is to be encrypted, with which key, how."""

    payload: Base64
    encrypt_key_name: NonEmpty
    cipher_algorithm: NonEmpty
    key_password: Password = None
    additional_authentication_data: Base64 | None = None
    tag_length: int | None = None


class EncryptBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/encrypt`."""

    encrypt_request: EncryptRequest


class WrapKeyRequest(Body, frozen=True, rename="camel"):
    """Which key is to be wrapped, with which, how."""

    key_to_be_wrapped: NonEmpty
    wrap_key_name: NonEmpty
    wrap_method: NonEmpty
    key_to_be_wrapped_password: Password = None
    wrap_key_password: Password = None


class WrapBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/wrap`."""

    wrap_key_request: WrapKeyRequest


class HmacRequest(Body, frozen=True, rename="camel"):
    """What is to be authenticated, with which key."""

    key_name: NonEmpty
    payload: RequiredBase64
    key_password: Password = None


class SynchronousHmacBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/synchronousHmac`."""

    hmac_request: HmacRequest
