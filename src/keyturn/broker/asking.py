"""Asking the HSM: its answers and refusals become the broker's own kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.broker.answers import AttestedKey
from keyturn.broker.executor import ROLLED_BACK, ExecutionRefusedError
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.client import HsmRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    from keyturn.hsm.protocol import Attested

    T = TypeVar("T")

_NOT_A_REFUSAL = frozenset({ErrorCode.HSM_FAILURE, ErrorCode.CONNECTIVITY, ErrorCode.CREATION_INTEGRITY_KEY})
"""Codes with which the HSM says that it is unwell: sealed, not set up, its clock off, its store broken. They judge no
call."""


def as_attested(answer: Attested) -> AttestedKey:
    """Attested attributes as the broker hands them on.

    Args:
        answer: What the HSM answered.
    """
    return AttestedKey(xml=answer.xml, signature=answer.signature, attestation_key_name=answer.attestation_key_name)


async def asked(answer: Awaitable[T]) -> T:
    """Wait for an answer of the HSM.

    Args:
        answer: What it will answer.

    Returns:
        The answer.

    Raises:
        ExecutionRefusedError: It refused the call.
        KeyturnError: It is unwell, or does nothing that a policy governs before its administrator has looked (R6).
    """
    try:
        return await answer
    except HsmRefusedError as error:
        if error.code in _NOT_A_REFUSAL or error.refusal == ROLLED_BACK:
            raise KeyturnError(error.code, error.message, refusal=error.refusal) from error
        raise ExecutionRefusedError(
            error.code,
            error.message,
            refusal=error.refusal,
            bad_approvals=error.bad_approvals,
            receipt=error.receipt,
            receipt_signature=error.receipt_signature,
        ) from error
