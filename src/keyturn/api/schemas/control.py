"""Bodies for what changes a key with a policy: its policy, and whether it is blocked.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from keyturn.api.schemas.common import Approvals, Base64, Body, NonEmpty, Password, RequestId, RequestSignature
from keyturn.api.schemas.policies import OtherPolicy  # noqa: TC001 - Read with the fields.


class ModifyRequest(Body, frozen=True, rename="camel"):
    """The policy that shall replace a key's policy."""

    modify_key_name: NonEmpty
    policy: OtherPolicy
    key_password: Password = None
    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None


class SynchronousModifyRequest(ModifyRequest, frozen=True, rename="camel"):
    """The policy that shall replace a key's policy, with the approvals for it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class ModifyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/modify`."""

    modify_request: ModifyRequest
    request_signature: RequestSignature | None = None


class SynchronousModifyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/synchronousModify`."""

    modify_request: SynchronousModifyRequest
    request_signature: RequestSignature | None = None


class BlockRequest(Body, frozen=True, rename="camel"):
    """Which key shall act for nobody."""

    block_key_name: NonEmpty
    key_password: Password = None
    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None


class SynchronousBlockRequest(BlockRequest, frozen=True, rename="camel"):
    """Which key shall act for nobody, with the approvals for it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class BlockBody(Body, frozen=True, rename="camel"):
    """`POST /v1/block`."""

    block_request: BlockRequest
    request_signature: RequestSignature | None = None


class SynchronousBlockBody(Body, frozen=True, rename="camel"):
    """`POST /v1/synchronousBlock`."""

    block_request: SynchronousBlockRequest
    request_signature: RequestSignature | None = None


class UnblockRequest(Body, frozen=True, rename="camel"):
    """Which key shall act again."""

    unblock_key_name: NonEmpty
    key_password: Password = None
    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None


class SynchronousUnblockRequest(UnblockRequest, frozen=True, rename="camel"):
    """Which key shall act again, with the approvals for it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class UnblockBody(Body, frozen=True, rename="camel"):
    """`POST /v1/unblock`."""

    unblock_request: UnblockRequest
    request_signature: RequestSignature | None = None


class SynchronousUnblockBody(Body, frozen=True, rename="camel"):
    """`POST /v1/synchronousUnblock`."""

    unblock_request: SynchronousUnblockRequest
    request_signature: RequestSignature | None = None
