"""Bodies for signed time.

Source: decisions 15.
"""

from __future__ import annotations

from typing import Literal

from keyturn.api.schemas.common import Base64, Body, NonEmpty
from keyturn.api.schemas.policies import OtherPolicy  # noqa: TC001 - Read with the fields.

OperationWord = Literal["use", "block", "unblock", "modify"]


class TimestampRequest(Body, frozen=True, rename="camel"):
    """What the time is signed for. `payload` for `use`, `policy` for `modify`, neither for the other two.

    For an unwrap `payload` is the structure that approvals cover, not the wrapped key alone. For a key with bound
    approvals it is the statement, for `block` and `unblock`, too.
    """

    key_name: NonEmpty
    operation: OperationWord
    payload: Base64 | None = None
    policy: OtherPolicy | None = None


class SynchronousTimestampBody(Body, frozen=True, rename="camel"):
    """`POST /v1/synchronousTimestamp`."""

    timestamp_request: TimestampRequest
