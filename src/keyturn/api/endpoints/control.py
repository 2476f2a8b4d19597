"""What changes a key with a policy: replacing the policy, blocking, unblocking, at once or as requests.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.api.answers import BlockKeyRequestId, ModifyKeyRequestId, SignedKeyAttributes, UnblockKeyRequestId
from keyturn.api.codec import request_text
from keyturn.api.endpoints.parts import at_once, check_form, executed_attributes, meta_fields
from keyturn.api.http import Call, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.policies import other_policy
from keyturn.api.schemas.control import (
    BlockBody,
    ModifyBody,
    SynchronousBlockBody,
    SynchronousModifyBody,
    SynchronousUnblockBody,
    UnblockBody,
)
from keyturn.broker.calls import ModifyCall, StatusCall

if TYPE_CHECKING:
    from keyturn.api.schemas.control import BlockRequest, ModifyRequest, UnblockRequest


async def _modify_call(services: Services, request: ModifyRequest) -> ModifyCall:
    return ModifyCall(
        key_name=request.modify_key_name,
        policy=await other_policy(services, "modifyRequest.policy", request.policy),
        sealed_password=await sealed_password(
            services, "modifyRequest.keyPassword", request.modify_key_name, request.key_password
        ),
        **meta_fields("modifyRequest", request),
    )


async def _status_call(
    services: Services, inner: str, key_name: str, request: BlockRequest | UnblockRequest
) -> StatusCall:
    return StatusCall(
        key_name=key_name,
        sealed_password=await sealed_password(services, f"{inner}.keyPassword", key_name, request.key_password),
        **meta_fields(inner, request),
    )


async def synchronous_modify(services: Services, call: Call, body: SynchronousModifyBody) -> SignedKeyAttributes:
    """Replace a key's policy at once, with `signedApprovals` over exactly the new policy. Answers the attributes."""
    del call
    request = body.modify_request
    check_form(body.request_signature)
    done = await services.broker.modify_now(await _modify_call(services, request), **at_once("modifyRequest", request))
    return executed_attributes(done)


async def modify(services: Services, call: Call, body: ModifyBody) -> ModifyKeyRequestId:
    """Open a request to replace a key's policy. It is executed as soon as `ruleModify` is satisfied."""
    check_form(body.request_signature)
    original = request_text(call.raw_body, "modifyRequest")
    asked = await _modify_call(services, body.modify_request)
    return ModifyKeyRequestId(await services.broker.open_modify(asked, original=original))


async def synchronous_block(services: Services, call: Call, body: SynchronousBlockBody) -> SignedKeyAttributes:
    """Block a key at once: from the answer on nobody can use it. Answers the attributes."""
    del call
    request = body.block_request
    check_form(body.request_signature)
    done = await services.broker.block_now(
        await _status_call(services, "blockRequest", request.block_key_name, request),
        **at_once("blockRequest", request),
    )
    return executed_attributes(done)


async def block(services: Services, call: Call, body: BlockBody) -> BlockKeyRequestId:
    """Open a request to block a key. It is executed as soon as `ruleBlock` is satisfied."""
    check_form(body.request_signature)
    request = body.block_request
    asked = await _status_call(services, "blockRequest", request.block_key_name, request)
    original = request_text(call.raw_body, "blockRequest")
    return BlockKeyRequestId(await services.broker.open_block(asked, original=original))


async def synchronous_unblock(services: Services, call: Call, body: SynchronousUnblockBody) -> SignedKeyAttributes:
    """Unblock a key at once. Answers the attributes."""
    del call
    request = body.unblock_request
    check_form(body.request_signature)
    done = await services.broker.unblock_now(
        await _status_call(services, "unblockRequest", request.unblock_key_name, request),
        **at_once("unblockRequest", request),
    )
    return executed_attributes(done)


async def unblock(services: Services, call: Call, body: UnblockBody) -> UnblockKeyRequestId:
    """Open a request to unblock a key. It is executed as soon as `ruleUnblock` is satisfied."""
    check_form(body.request_signature)
    request = body.unblock_request
    asked = await _status_call(services, "unblockRequest", request.unblock_key_name, request)
    original = request_text(call.raw_body, "unblockRequest")
    return UnblockKeyRequestId(await services.broker.open_unblock(asked, original=original))


ROUTES: Final = (
    Route("POST", "/v1/modify", modify, ModifyBody, ModifyKeyRequestId, 201, tag="operations"),
    Route(
        "POST",
        "/v1/synchronousModify",
        synchronous_modify,
        SynchronousModifyBody,
        SignedKeyAttributes,
        tag="operations",
    ),
    Route("POST", "/v1/block", block, BlockBody, BlockKeyRequestId, 201, tag="operations"),
    Route(
        "POST", "/v1/synchronousBlock", synchronous_block, SynchronousBlockBody, SignedKeyAttributes, tag="operations"
    ),
    Route("POST", "/v1/unblock", unblock, UnblockBody, UnblockKeyRequestId, 201, tag="operations"),
    Route(
        "POST",
        "/v1/synchronousUnblock",
        synchronous_unblock,
        SynchronousUnblockBody,
        SignedKeyAttributes,
        tag="operations",
    ),
)
