"""ML-KEM: encapsulating for a public key, and decapsulating with a key of the HSM, at once or as a request.

Decapsulation is a decryption by the cipher `ML_KEM` from here on (docs/adr/0095): officers see it as one, and it
crosses a gap as the body of a decryption.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from keyturn.api.answers import DecapsulationRequestId, Encapsulation, SharedSecret
from keyturn.api.endpoints.parts import at_once, check_form, meta_fields, receipt_fields, text
from keyturn.api.fields import keyed_base64, payload_bytes
from keyturn.api.http import Call, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.schemas.encapsulation import DecapsulateBody, EncapsulateBody, SynchronousDecapsulateBody
from keyturn.broker.calls import DecryptCall
from keyturn.crypto.ciphers import DECAPSULATION
from keyturn.crypto.kem import encapsulate as encapsulate_for

if TYPE_CHECKING:
    from keyturn.api.schemas.encapsulation import DecapsulationRequest


async def _call(services: Services, request: DecapsulationRequest) -> DecryptCall:
    name = request.decapsulation_key_name
    password = await sealed_password(services, "decapsulationRequest.keyPassword", name, request.key_password)
    return DecryptCall(
        payload=payload_bytes("decapsulationRequest.ciphertext", request.ciphertext, "UNSPECIFIED"),
        key_name=name,
        algorithm=DECAPSULATION,
        iv=None,
        aad=None,
        tag_length=0,
        sealed_password=password,
        **meta_fields("decapsulationRequest", request),
    )


async def encapsulate(services: Services, call: Call, body: EncapsulateBody) -> Encapsulation:
    """Make a secret for the owner of a public key. No key of the HSM is used."""
    del services, call
    made = encapsulate_for(keyed_base64("publicKey", body.public_key) or b"")
    return Encapsulation(text(made.shared_secret), text(made.ciphertext))


async def synchronous_decapsulate(services: Services, call: Call, body: SynchronousDecapsulateBody) -> SharedSecret:
    """Decapsulate at once. A protected key needs `signedApprovals` over exactly this ciphertext."""
    del call
    request = body.decapsulation_request
    check_form(body.request_signature)
    asked = await _call(services, request)
    done = await services.broker.decrypt_now(asked, **at_once("decapsulationRequest", request))
    return SharedSecret(text(done.value), **receipt_fields(done.receipt, done.receipt_signature))


async def decapsulate(services: Services, call: Call, body: DecapsulateBody) -> DecapsulationRequestId:
    """Open a request to decapsulate. Its result is the shared secret, as soon as the key's policy is satisfied."""
    del call
    check_form(body.request_signature)
    asked = await _call(services, body.decapsulation_request)
    # What officers are shown as the request: the decryption that it is, so that their programs can compare it.
    inner = {
        "encryptedPayload": text(asked.payload),
        "decryptKeyName": asked.key_name,
        "cipherAlgorithm": DECAPSULATION,
    }
    original = msgspec.json.encode({"decryptRequest": inner})
    return DecapsulationRequestId(await services.broker.open_decrypt(asked, original=original))


ROUTES: Final = (
    Route("POST", "/v1/encapsulate", encapsulate, EncapsulateBody, Encapsulation, tag="operations"),
    Route(
        "POST",
        "/v1/synchronousDecapsulate",
        synchronous_decapsulate,
        SynchronousDecapsulateBody,
        SharedSecret,
        tag="operations",
    ),
    Route("POST", "/v1/decapsulate", decapsulate, DecapsulateBody, DecapsulationRequestId, 201, tag="operations"),
)
