"""Requests that restored an approver's file, looked at later: how they ended stays known (R23)."""

from __future__ import annotations

import uuid
from typing import Any, cast

import pytest

from keyturn.broker.calls import RestoreCall
from keyturn.broker.onboarding import Onboarding
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.restorations import CHANGE, RESTORE


class Hsm:
    """An HSM that is asked for a code.

    Args:
        answer: What it answers, or the refusal that it gives.
    """

    def __init__(self, answer: str | KeyturnError) -> None:
        self._answer = answer

    async def restored_code(self, name: str, operation_id: bytes) -> str:
        """The answer."""
        assert name == "phone"
        assert len(operation_id) == 16
        if isinstance(self._answer, KeyturnError):
            raise self._answer
        return self._answer


async def code(answer: str | KeyturnError, purpose: str = RESTORE) -> str | None:
    hsm = cast("Any", Hsm(answer))
    onboarding = Onboarding(hsm, cast("Any", None), cast("Any", None), enabled=True)
    return await onboarding.code_of(RestoreCall(name="phone", purpose=purpose), str(uuid.uuid4()))


@pytest.mark.rule("R23")
async def test_r23_a_request_whose_code_is_gone_is_still_shown() -> None:
    assert await code("123456") == "123456"
    assert await code("") is None
    assert await code("123456", CHANGE) is None
    deleted = KeyturnError(ErrorCode.APPROVER_NOT_EXISTENT, "gone", refusal="approver.unknown")
    off = KeyturnError(ErrorCode.UNSUPPORTED_OPERATION, "off", refusal="approver-management.hsm-off")
    assert await code(deleted) is None
    assert await code(off) is None
    # Where the HSM does not answer, nobody knows whether the code is still good.
    with pytest.raises(KeyturnError, match="down"):
        await code(KeyturnError(ErrorCode.IN_HSM, "down", refusal="hsm.unreachable"))
