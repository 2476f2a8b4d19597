"""Signing, at once or as a request, and verifying.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.api.answers import Signature, SignatureValid, SignRequestId
from keyturn.api.codec import request_text
from keyturn.api.endpoints.enciphering import HMAC
from keyturn.api.endpoints.parts import at_once, check_form, meta_fields, receipt_fields, text
from keyturn.api.fields import (
    from_base64,
    not_available,
    optional_base64,
    payload_bytes,
)
from keyturn.api.http import Call, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.schemas.signing import SignBody, SynchronousSignBody, VerifyBody
from keyturn.broker.calls import SignCall
from keyturn.crypto.registry import signature_algorithm
from keyturn.crypto.schemes import NO_OPTIONS, SignOptions
from keyturn.errors import FormatError

if TYPE_CHECKING:
    from keyturn.api.schemas.signing import SignRequest


async def _call(services: Services, request: SignRequest) -> SignCall:
    not_available("signRequest.signKeyObject", request.sign_key_object)
    payload_type = request.payload_type or "UNSPECIFIED"
    return SignCall(
        payload=payload_bytes("signRequest.payload", request.payload, payload_type),
        key_name=request.sign_key_name,
        algorithm=request.signature_algorithm,
        signature_type=request.signature_type or "",
        payload_type=payload_type,
        options=_options(request),
        sealed_password=await sealed_password(
            services, "signRequest.keyPassword", request.sign_key_name, request.key_password
        ),
        **meta_fields("signRequest", request),
    )


def _options(request: SignRequest) -> SignOptions:
    # Clients send an empty text for an absent one.
    if not (request.context or request.auxiliary_random_data or request.taproot_tweak_data or request.merkle_root_data):
        return NO_OPTIONS
    return SignOptions(
        context=optional_base64("signRequest.context", request.context or None),
        auxiliary_random=optional_base64("signRequest.auxiliaryRandomData", request.auxiliary_random_data or None),
        taproot_tweak=optional_base64("signRequest.taprootTweakData", request.taproot_tweak_data or None),
        merkle_root=optional_base64("signRequest.merkleRootData", request.merkle_root_data or None),
    )


async def synchronous_sign(services: Services, call: Call, body: SynchronousSignBody) -> Signature:
    """Sign at once. A protected key needs `signedApprovals` that satisfy its policy over exactly this payload."""
    del call
    request = body.sign_request
    check_form(body.request_signature)
    done = await services.broker.sign_now(await _call(services, request), **at_once("signRequest", request))
    return Signature(text(done.value), **receipt_fields(done.receipt, done.receipt_signature))


async def sign(services: Services, call: Call, body: SignBody) -> SignRequestId:
    """Open a request for a signature. It is executed as soon as the key's policy is satisfied."""
    check_form(body.request_signature)
    # An unknown algorithm is refused now, not after three people have approved it.
    signature_algorithm(body.sign_request.signature_algorithm)
    original = request_text(call.raw_body, "signRequest")
    return SignRequestId(await services.broker.open_sign(await _call(services, body.sign_request), original=original))


async def verify(services: Services, call: Call, body: VerifyBody) -> SignatureValid:
    """Verify a signature with a key's public part, or a MAC with its key; EC signatures may be DER or raw."""
    del call
    request, mac = body.verify_signature_request, body.verify_hmac_request
    check_form(body.request_signature)
    if request is not None and mac is None:
        not_available("verifySignatureRequest.signKeyObject", request.sign_key_object)
        name = "verifySignatureRequest"
        password = await sealed_password(
            services, f"{name}.masterKeyPassword", request.sign_key_name, request.master_key_password
        )
        asked = request.sign_key_name, request.signature_algorithm, request.payload, request.signature
    elif mac is not None and request is None:
        name = "verifyHmacRequest"
        password = await sealed_password(services, f"{name}.keyPassword", mac.key_name, mac.key_password)
        asked = mac.key_name, HMAC, mac.payload, mac.signature
    else:
        raise FormatError(
            "Exactly one of the fields 'verifySignatureRequest' and 'verifyHmacRequest' must be given.",
            refusal="json.missing-field",
        )
    key_name, algorithm, payload, signature = asked
    valid = await services.broker.verify(
        key_name,
        algorithm,
        payload_bytes(f"{name}.payload", payload, "UNSPECIFIED"),
        from_base64(f"{name}.signature", signature),
        password,
    )
    return SignatureValid(valid)


ROUTES: Final = (
    Route("POST", "/v1/sign", sign, SignBody, SignRequestId, 201, tag="operations"),
    Route("POST", "/v1/synchronousSign", synchronous_sign, SynchronousSignBody, Signature, tag="operations"),
    Route("POST", "/v1/verify", verify, VerifyBody, SignatureValid, tag="operations"),
)
