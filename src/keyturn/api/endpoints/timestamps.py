"""Signed time: what the offline side gives the courier before approvers can be asked (an extension).

Source: decisions 15; ADR 0066.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.api.answers import SignedTimestamp
from keyturn.api.endpoints.parts import text
from keyturn.api.fields import payload_bytes
from keyturn.api.http import Call, Route, Services
from keyturn.api.policies import other_policy
from keyturn.api.schemas.timestamps import SynchronousTimestampBody
from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.policy import encode_policy

if TYPE_CHECKING:
    from keyturn.api.schemas.timestamps import TimestampRequest

_BOUND: Final = {Action.USE: "payload", Action.MODIFY: "policy"}
"""Which field holds what the time is signed with. The other two actions have it for a key with bound approvals only."""
_WITH_STATEMENT: Final = frozenset({Action.BLOCK, Action.UNBLOCK})


async def _bound_bytes(services: Services, action: Action, request: TimestampRequest) -> bytes:
    for name, value in (("payload", request.payload), ("policy", request.policy)):
        wanted = _BOUND.get(action) == name
        if wanted and not value:
            raise FormatError(
                f"Field 'timestampRequest.{name}' must be given for the operation {request.operation}.",
                refusal="json.missing-field",
            )
        if value and not wanted and not (name == "payload" and action in _WITH_STATEMENT):
            raise FormatError(
                f"Field 'timestampRequest.{name}' has no place in the operation {request.operation}; leave it out.",
                refusal="timestamp.ambiguous",
            )
    if request.payload:
        return payload_bytes("timestampRequest.payload", request.payload, "UNSPECIFIED")
    if request.policy:
        return encode_policy(await other_policy(services, "timestampRequest.policy", request.policy))
    return b""


async def synchronous_timestamp(services: Services, call: Call, body: SynchronousTimestampBody) -> SignedTimestamp:
    """Sign the present time, bound to what shall be done. Nothing is done with the key.

    Approvals of a key whose rule has time limits carry this timestamp; the HSM measures the limits from it.
    """
    del call
    request = body.timestamp_request
    action = Action[request.operation.upper()]
    stamp = await services.broker.stamp_now(request.key_name, action, await _bound_bytes(services, action, request))
    return SignedTimestamp(
        timestamp=text(stamp.timestamp),
        timestamp_signature=text(stamp.signature),
        timestamp_signature_algorithm=stamp.algorithm,
        timestamp_key_name=stamp.key_name,
    )


ROUTES: Final = (
    Route(
        "POST",
        "/v1/synchronousTimestamp",
        synchronous_timestamp,
        SynchronousTimestampBody,
        SignedTimestamp,
        tag="operations",
    ),
)
