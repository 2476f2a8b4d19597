"""Operations with keys: sign and modify, at once or as a request, and verify.

Source: rest-api.md sections 1.6, 3.3 and 3.4.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from keyturn.api.answers import ModifyKeyRequestId, Signature, SignatureValid, SignedKeyAttributes, SignRequestId
from keyturn.api.codec import request_text
from keyturn.api.endpoints.keys import signed_attributes
from keyturn.api.fields import (
    base64_list,
    from_base64,
    keyed_base64,
    no_password,
    not_available,
    optional_base64,
    payload_bytes,
)
from keyturn.api.http import Call, Route, Services
from keyturn.api.policies import other_policy
from keyturn.api.schemas import (
    ModifyBody,
    SignBody,
    SynchronousModifyBody,
    SynchronousSignBody,
    VerifyBody,
)
from keyturn.broker.model import ModifyCall, SignCall
from keyturn.crypto.registry import signature_algorithm
from keyturn.hsm.protocol import MAX_APPROVALS

if TYPE_CHECKING:
    from keyturn.api.schemas import ModifyRequest, RequestSignature, SignRequest


def _sign_call(request: SignRequest) -> SignCall:
    no_password("signRequest.keyPassword", request.key_password)
    not_available("signRequest.signKeyObject", request.sign_key_object)
    not_available("signRequest.context", request.context)
    not_available("signRequest.auxiliaryRandomData", request.auxiliary_random_data)
    not_available("signRequest.taprootTweakData", request.taproot_tweak_data)
    not_available("signRequest.merkleRootData", request.merkle_root_data)
    payload_type = request.payload_type or "UNSPECIFIED"
    return SignCall(
        payload=payload_bytes("signRequest.payload", request.payload, payload_type),
        key_name=request.sign_key_name,
        algorithm=request.signature_algorithm,
        signature_type=request.signature_type or "",
        payload_type=payload_type,
        meta_data=optional_base64("signRequest.metaData", request.meta_data),
        meta_data_signature=optional_base64("signRequest.metaDataSignature", request.meta_data_signature),
    )


def _modify_call(request: ModifyRequest, services: Services) -> ModifyCall:
    no_password("modifyRequest.keyPassword", request.key_password)
    return ModifyCall(
        key_name=request.modify_key_name,
        policy=other_policy("modifyRequest.policy", request.policy, allow_seconds=services.allow_seconds),
        meta_data=optional_base64("modifyRequest.metaData", request.meta_data),
        meta_data_signature=optional_base64("modifyRequest.metaDataSignature", request.meta_data_signature),
    )


def _check_form(signature: RequestSignature | None) -> None:
    if signature is not None:
        from_base64("requestSignature.signature", signature.signature)
        keyed_base64("requestSignature.publicKey", signature.public_key)


async def synchronous_sign(services: Services, call: Call, body: SynchronousSignBody) -> Signature:
    """Sign at once. A protected key needs `signedApprovals` that satisfy its policy over exactly this payload."""
    del call
    request = body.sign_request
    _check_form(body.request_signature)
    approvals = base64_list("signRequest.signedApprovals", request.signed_approvals, most=MAX_APPROVALS)
    signature = (await services.broker.sign_now(_sign_call(request), approvals)).value
    return Signature(base64.b64encode(signature).decode("ascii"))


async def sign(services: Services, call: Call, body: SignBody) -> SignRequestId:
    """Open a request for a signature. It is executed as soon as the key's policy is satisfied."""
    _check_form(body.request_signature)
    # An unknown algorithm is refused now, not after three people have approved it.
    signature_algorithm(body.sign_request.signature_algorithm)
    original = request_text(call.raw_body, "signRequest")
    return SignRequestId(await services.broker.open_sign(_sign_call(body.sign_request), original=original))


async def synchronous_modify(services: Services, call: Call, body: SynchronousModifyBody) -> SignedKeyAttributes:
    """Replace a key's policy at once, with `signedApprovals` over exactly the new policy. Answers the attributes."""
    del call
    request = body.modify_request
    _check_form(body.request_signature)
    approvals = base64_list("modifyRequest.signedApprovals", request.signed_approvals, most=MAX_APPROVALS)
    return signed_attributes((await services.broker.modify_now(_modify_call(request, services), approvals)).value)


async def modify(services: Services, call: Call, body: ModifyBody) -> ModifyKeyRequestId:
    """Open a request to replace a key's policy. It is executed as soon as `ruleModify` is satisfied."""
    _check_form(body.request_signature)
    original = request_text(call.raw_body, "modifyRequest")
    request_id = await services.broker.open_modify(_modify_call(body.modify_request, services), original=original)
    return ModifyKeyRequestId(request_id)


async def verify(services: Services, call: Call, body: VerifyBody) -> SignatureValid:
    """Verify a signature with a key's public part; for EC keys DER and raw signatures are both read."""
    del call
    request = body.verify_signature_request
    _check_form(body.request_signature)
    no_password("verifySignatureRequest.masterKeyPassword", request.master_key_password)
    not_available("verifySignatureRequest.signKeyObject", request.sign_key_object)
    payload = payload_bytes("verifySignatureRequest.payload", request.payload, "UNSPECIFIED")
    signature = from_base64("verifySignatureRequest.signature", request.signature)
    valid = await services.broker.verify(request.sign_key_name, request.signature_algorithm, payload, signature)
    return SignatureValid(valid)


ROUTES: Final = (
    Route("POST", "/v1/sign", sign, SignBody, SignRequestId, 201, tag="operations"),
    Route("POST", "/v1/modify", modify, ModifyBody, ModifyKeyRequestId, 201, tag="operations"),
    Route("POST", "/v1/synchronousSign", synchronous_sign, SynchronousSignBody, Signature, tag="operations"),
    Route(
        "POST",
        "/v1/synchronousModify",
        synchronous_modify,
        SynchronousModifyBody,
        SignedKeyAttributes,
        tag="operations",
    ),
    Route("POST", "/v1/verify", verify, VerifyBody, SignatureValid, tag="operations"),
)
