"""Bodies for what changes a key with a policy: its policy, and whether it is blocked.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from keyturn.api.schemas.common import Approvals, Base64, Body, NonEmpty, Password, RequestId, SignableBody
from keyturn.api.schemas.policies import OtherPolicy  # noqa: TC001 - Read with the fields.


class KeyChange(Body, frozen=True, rename="camel", kw_only=True):
    """Base of what changes a key: what may stand beside the key's name."""

    key_password: Password = None
    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None


class ModifyRequest(KeyChange, frozen=True, rename="camel"):
    """The policy that shall replace a key's policy."""

    modify_key_name: NonEmpty
    policy: OtherPolicy


class SynchronousModifyRequest(ModifyRequest, frozen=True, rename="camel", kw_only=True):
    """The policy that shall replace a key's policy, with the approvals for it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class ModifyBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/modify`."""

    modify_request: ModifyRequest


class SynchronousModifyBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/synchronousModify`."""

    modify_request: SynchronousModifyRequest


class BlockRequest(KeyChange, frozen=True, rename="camel"):
    """Which key shall act for nobody."""

    block_key_name: NonEmpty


class SynchronousBlockRequest(BlockRequest, frozen=True, rename="camel", kw_only=True):
    """Which key shall act for nobody, with the approvals for it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class BlockBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/block`."""

    block_request: BlockRequest


class SynchronousBlockBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/synchronousBlock`."""

    block_request: SynchronousBlockRequest


class UnblockRequest(KeyChange, frozen=True, rename="camel"):
    """Which key shall act again."""

    unblock_key_name: NonEmpty


class SynchronousUnblockRequest(UnblockRequest, frozen=True, rename="camel", kw_only=True):
    """Which key shall act again, with the approvals for it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class UnblockBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/unblock`."""

    unblock_request: UnblockRequest


class SynchronousUnblockBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/synchronousUnblock`."""

    unblock_request: SynchronousUnblockRequest
