"""Unwrapping a key into a new one, at once or as a request.

Source: rest-api.md sections 3.3, 3.4 and 4.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.api.answers import SignedKeyAttributes, UnwrapRequestId
from keyturn.api.codec import request_text
from keyturn.api.endpoints.parts import (
    at_once,
    check_form,
    chosen_attributes,
    chosen_limits,
    executed_attributes,
    meta_fields,
)
from keyturn.api.fields import from_base64
from keyturn.api.http import Call, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.policies import new_policy
from keyturn.api.schemas.unwrapping import SynchronousUnwrapBody, UnwrapBody
from keyturn.broker.calls import UnwrapCall
from keyturn.crypto.wrapping import wrap_method

if TYPE_CHECKING:
    from keyturn.api.schemas.unwrapping import UnwrapKeyRequest
    from keyturn.ska.policy import Policy


async def _call(services: Services, request: UnwrapKeyRequest) -> UnwrapCall:
    policy: Policy | None = None
    blocked = False
    if request.policy is not None:
        policy, blocked = await new_policy(services, "unwrapKeyRequest.policy", request.policy)
    return UnwrapCall(
        wrapped_key=from_base64("unwrapKeyRequest.wrappedKey", request.wrapped_key),
        key_name=request.unwrap_key_name,
        method=request.wrap_method,
        new_label=request.label,
        attributes=chosen_attributes("unwrapKeyRequest.attributes", request.attributes),
        policy=policy,
        blocked=blocked,
        sealed_password=await sealed_password(
            services, "unwrapKeyRequest.unwrapKeyPassword", request.unwrap_key_name, request.unwrap_key_password
        ),
        **chosen_limits("unwrapKeyRequest.attributes", request.attributes),
        **meta_fields("unwrapKeyRequest", request),
    )


async def synchronous_unwrap(services: Services, call: Call, body: SynchronousUnwrapBody) -> SignedKeyAttributes:
    """Unwrap a key at once. Approvals cover the wrapped key with the new key's label and attributes.

    Answers the attested attributes of the new key.
    """
    del call
    request = body.unwrap_key_request
    check_form(body.request_signature)
    done = await services.broker.unwrap_now(await _call(services, request), **at_once("unwrapKeyRequest", request))
    return executed_attributes(done)


async def unwrap(services: Services, call: Call, body: UnwrapBody) -> UnwrapRequestId:
    """Open a request to unwrap a key. It is executed as soon as the unwrapping key's policy is satisfied."""
    check_form(body.request_signature)
    # An unknown method is refused now, not after three people have approved it.
    wrap_method(body.unwrap_key_request.wrap_method)
    original = request_text(call.raw_body, "unwrapKeyRequest")
    asked = await _call(services, body.unwrap_key_request)
    return UnwrapRequestId(await services.broker.open_unwrap(asked, original=original))


ROUTES: Final = (
    Route("POST", "/v1/unwrap", unwrap, UnwrapBody, UnwrapRequestId, 201, tag="operations"),
    Route(
        "POST",
        "/v1/synchronousUnwrap",
        synchronous_unwrap,
        SynchronousUnwrapBody,
        SignedKeyAttributes,
        201,
        tag="operations",
    ),
)
