"""The states of a request and the only transitions there are.

            +-----------> REJECTED    enough approvers rejected: no token of the rule can be reached any more
            |  +--------> CANCELLED   the request was deleted, or its key was
            |  |  +-----> EXPIRED     the window closed before it was executed
            |  |  |
  opened -> PENDING ---> APPROVED     complete, but its timelock has not passed yet
            |   ^  |      |  |  |  |
            |   |  |      |  |  |  +-> CANCELLED, REJECTED
            |   |  |      |  |  +----> EXPIRED
            |   +--|------+  |         the HSM did not count an approval: it is asked for again (R25)
            |      |         |
            |      +---------+------> EXECUTED   the HSM acted; its result is stored in the same commit
            +-----------------------> FAILED     the HSM refused for a reason that more approvals do not cure

| from     | to                                                                |
|----------|-------------------------------------------------------------------|
| PENDING  | APPROVED, EXECUTED, FAILED, EXPIRED, REJECTED, CANCELLED          |
| APPROVED | PENDING, EXECUTED, FAILED, EXPIRED, REJECTED, CANCELLED           |
| others   | none: they are final                                              |

`APPROVED` is seen only while a complete request waits for its timelock (decisions 10). Every change of a status
in the store names the status it leaves in its WHERE clause and passes `require_transition` first.

Source: rest-api.md sections 4.7 and 6.1; decisions 10, 14.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from keyturn.errors import ErrorCode, KeyturnError


class RequestStatus(StrEnum):
    """`status` of a request, as the API spells it."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    EXECUTED = "EXECUTED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"

    @property
    def is_open(self) -> bool:
        """Whether the request can still change: it waits for approvals, for time or for the HSM."""
        return self in OPEN


OPEN: Final = frozenset({RequestStatus.PENDING, RequestStatus.APPROVED})
"""The statuses a request can leave."""

_FINAL: Final = frozenset(RequestStatus) - OPEN

TRANSITIONS: Final[dict[RequestStatus, frozenset[RequestStatus]]] = {
    RequestStatus.PENDING: _FINAL | {RequestStatus.APPROVED},
    RequestStatus.APPROVED: _FINAL | {RequestStatus.PENDING},
    **{status: frozenset() for status in _FINAL},
}
"""From each status, where it may go."""


def require_transition(old: RequestStatus, new: RequestStatus) -> None:
    """Refuse a change of status that is not in the table.

    Args:
        old: Status the request has.
        new: Status it is to get.

    Raises:
        KeyturnError: 611 `request.closed` when `old` is final; `request.transition` for any other pair that is
            not in the table.
    """
    if new in TRANSITIONS[old]:
        return
    if not old.is_open:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"The request is {old}; that is final. Open a new request.",
            refusal="request.closed",
        )
    raise KeyturnError(
        ErrorCode.UNSUPPORTED_OPERATION,
        f"A request cannot go from {old} to {new}.",
        refusal="request.transition",
    )
