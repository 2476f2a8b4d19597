"""Decrypting, at once or as a request.

Source: rest-api.md sections 3.3, 3.4 and 4.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.api.answers import DecryptRequestId, Plaintext
from keyturn.api.codec import request_text
from keyturn.api.endpoints.parts import at_once, check_form, meta_fields, receipt_fields, text
from keyturn.api.fields import optional_base64, payload_bytes, tag_length
from keyturn.api.http import Call, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.schemas.decryption import DecryptBody, SynchronousDecryptBody
from keyturn.broker.calls import DecryptCall
from keyturn.crypto.ciphers import cipher_algorithm

if TYPE_CHECKING:
    from keyturn.api.schemas.decryption import DecryptRequest


async def _call(services: Services, request: DecryptRequest) -> DecryptCall:
    aad = optional_base64("decryptRequest.additionalAuthenticationData", request.additional_authentication_data)
    return DecryptCall(
        payload=payload_bytes("decryptRequest.encryptedPayload", request.encrypted_payload, "UNSPECIFIED"),
        key_name=request.decrypt_key_name,
        algorithm=request.cipher_algorithm,
        # Clients write "" for none, and no cipher knows an empty vector or empty data as something of its own.
        iv=optional_base64("decryptRequest.initializationVector", request.initialization_vector) or None,
        aad=aad or None,
        tag_length=tag_length("decryptRequest.tagLength", request.tag_length),
        sealed_password=await sealed_password(
            services, "decryptRequest.keyPassword", request.decrypt_key_name, request.key_password
        ),
        **meta_fields("decryptRequest", request),
    )


async def synchronous_decrypt(services: Services, call: Call, body: SynchronousDecryptBody) -> Plaintext:
    """Decrypt at once. A protected key needs `signedApprovals` over exactly this ciphertext."""
    del call
    request = body.decrypt_request
    check_form(body.request_signature)
    done = await services.broker.decrypt_now(await _call(services, request), **at_once("decryptRequest", request))
    return Plaintext(text(done.value), **receipt_fields(done.receipt, done.receipt_signature))


async def decrypt(services: Services, call: Call, body: DecryptBody) -> DecryptRequestId:
    """Open a request to decrypt. It is executed as soon as the key's policy is satisfied."""
    check_form(body.request_signature)
    # An unknown cipher is refused now, not after three people have approved it.
    cipher_algorithm(body.decrypt_request.cipher_algorithm)
    original = request_text(call.raw_body, "decryptRequest")
    asked = await _call(services, body.decrypt_request)
    return DecryptRequestId(await services.broker.open_decrypt(asked, original=original))


ROUTES: Final = (
    Route("POST", "/v1/decrypt", decrypt, DecryptBody, DecryptRequestId, 201, tag="operations"),
    Route("POST", "/v1/synchronousDecrypt", synchronous_decrypt, SynchronousDecryptBody, Plaintext, tag="operations"),
)
