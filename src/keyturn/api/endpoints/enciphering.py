"""Encrypting, wrapping and MACs, all at once.

Source: rest-api.md section 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.api.answers import Encrypted, KeyedHash, WrappedKey
from keyturn.api.endpoints.parts import check_form, text
from keyturn.api.fields import optional_base64, payload_bytes, tag_length
from keyturn.api.http import Call, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.schemas.enciphering import EncryptBody, SynchronousHmacBody, WrapBody
from keyturn.broker.calls import SignCall
from keyturn.broker.enciphering import EncryptCall, WrapCall

if TYPE_CHECKING:
    from keyturn.broker.enciphering import EncryptedData

HMAC: Final = "HMAC_SHA256"
"""The one algorithm of `/v1/synchronousHmac` and `verifyHmacRequest`."""


async def encrypt(services: Services, call: Call, body: EncryptBody) -> Encrypted:
    """Encrypt. The HSM makes the initialization vector; with a key pair the public key encrypts, without approvals."""
    del call
    request = body.encrypt_request
    check_form(body.request_signature)
    made = await services.broker.enciphering.encrypt(
        EncryptCall(
            payload=payload_bytes("encryptRequest.payload", request.payload, "UNSPECIFIED"),
            key_name=request.encrypt_key_name,
            algorithm=request.cipher_algorithm,
            aad=optional_base64(
                "encryptRequest.additionalAuthenticationData", request.additional_authentication_data or None
            ),
            tag_length=tag_length("encryptRequest.tagLength", request.tag_length),
            sealed_password=await sealed_password(
                services, "encryptRequest.keyPassword", request.encrypt_key_name, request.key_password
            ),
        )
    )
    return _answer(made)


def _answer(made: EncryptedData) -> Encrypted:
    mac = made.mac or b""
    return Encrypted(
        encrypted_payload=text(made.ciphertext),
        encrypted_payload_without_message_authentication_code=text(made.ciphertext[: len(made.ciphertext) - len(mac)]),
        initialization_vector=None if made.iv is None else text(made.iv),
        message_authentication_code=None if made.mac is None else text(mac),
    )


async def wrap(services: Services, call: Call, body: WrapBody) -> WrappedKey:
    """Wrap a key with another. It must be extractable and have no policy (R4)."""
    del call
    request = body.wrap_key_request
    check_form(body.request_signature)
    wrapped = await services.broker.enciphering.wrap(
        WrapCall(
            wrapped_name=request.key_to_be_wrapped,
            key_name=request.wrap_key_name,
            method=request.wrap_method,
            wrapped_password=await sealed_password(
                services,
                "wrapKeyRequest.keyToBeWrappedPassword",
                request.key_to_be_wrapped,
                request.key_to_be_wrapped_password,
            ),
            sealed_password=await sealed_password(
                services, "wrapKeyRequest.wrapKeyPassword", request.wrap_key_name, request.wrap_key_password
            ),
        )
    )
    return WrappedKey(text(wrapped))


async def synchronous_hmac(services: Services, call: Call, body: SynchronousHmacBody) -> KeyedHash:
    """Make a MAC: HMAC with SHA-256, with a key of the kind HMACSHA256."""
    del call
    request = body.hmac_request
    check_form(body.request_signature)
    done = await services.broker.sign_now(
        SignCall(
            payload=payload_bytes("hmacRequest.payload", request.payload, "UNSPECIFIED"),
            key_name=request.key_name,
            algorithm=HMAC,
            sealed_password=await sealed_password(
                services, "hmacRequest.keyPassword", request.key_name, request.key_password
            ),
        ),
        approvals=(),
        request_id="",
    )
    return KeyedHash(text(done.value))


ROUTES: Final = (
    Route("POST", "/v1/encrypt", encrypt, EncryptBody, Encrypted, tag="operations"),
    Route("POST", "/v1/wrap", wrap, WrapBody, WrappedKey, tag="operations"),
    Route("POST", "/v1/synchronousHmac", synchronous_hmac, SynchronousHmacBody, KeyedHash, tag="operations"),
)
