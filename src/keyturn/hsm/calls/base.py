"""What the calls of the HSM's client stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from keyturn.hsm import protocol

AnswerT = TypeVar("AnswerT")


class Calls:
    """Something that can call the HSM."""

    async def call(self, message: protocol.Call) -> protocol.Answer:
        """Send any call; see `keyturn.hsm.client.HsmClient.call`."""
        raise NotImplementedError

    async def ask(self, message: protocol.Call, expected: type[AnswerT]) -> AnswerT:
        """Send a call that has one kind of answer.

        Args:
            message: The call.
            expected: Struct of its answer.

        Returns:
            The answer.

        Raises:
            HsmRefusedError: The HSM refused.
            KeyturnError: CONNECTIVITY, when the line breaks; HSM_FAILURE `hsm.wrong-answer`.
        """
        answer = await self.call(message)
        if not isinstance(answer, expected):
            raise KeyturnError(
                ErrorCode.HSM_FAILURE,
                f"the HSM answered {type(answer).__name__} to {type(message).__name__}",
                refusal="hsm.wrong-answer",
            )
        return answer
