"""Bodies for unwrapping keys.

Source: rest-api.md sections 3.3 and 3.4.
"""

from __future__ import annotations

from keyturn.api.schemas.common import (
    Approvals,
    Base64,
    Body,
    NonEmpty,
    Password,
    RequestId,
    RequiredBase64,
    SignableBody,
)
from keyturn.api.schemas.keys import KeyAttributes  # noqa: TC001 - Read with the fields.
from keyturn.api.schemas.policies import NewPolicy  # noqa: TC001 - Read with the fields.


class UnwrapKeyRequest(Body, frozen=True, rename="camel"):
    """A wrapped key, what unwraps it, and what the new key `label` shall be."""

    wrapped_key: RequiredBase64
    label: NonEmpty
    attributes: KeyAttributes
    unwrap_key_name: NonEmpty
    wrap_method: NonEmpty
    unwrap_key_password: Password = None
    meta_data: Base64 | None = None
    meta_data_signature: Base64 | None = None
    policy: NewPolicy | None = None


class SynchronousUnwrapKeyRequest(UnwrapKeyRequest, frozen=True, rename="camel"):
    """A wrapped key, with the approvals for unwrapping it."""

    signed_approvals: Approvals = None
    request_id: RequestId | None = None


class UnwrapBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/unwrap`."""

    unwrap_key_request: UnwrapKeyRequest


class SynchronousUnwrapBody(SignableBody, frozen=True, rename="camel"):
    """`POST /v1/synchronousUnwrap`."""

    unwrap_key_request: SynchronousUnwrapKeyRequest
