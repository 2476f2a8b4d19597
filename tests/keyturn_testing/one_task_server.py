"""A server with one task, for looking at what an officer's client does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class OneTaskServer:
    """Shows one task and keeps the approvals that it is sent.

    Args:
        task: The task object.
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.approved: list[Mapping[str, Any]] = []

    def tasks(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The task, whatever was asked for."""
        del query
        return [self.task]

    def approve(self, approval: Mapping[str, Any]) -> None:
        """Kept in `approved`."""
        self.approved.append(approval)

    def withdraw(self, withdrawal: Mapping[str, Any]) -> None:
        """No test asks for it."""
        raise AssertionError(withdrawal)

    def request(self, request_id: str) -> dict[str, Any]:
        """A request of which nothing is known."""
        return {"id": request_id}

    def filtered_requests(self, statuses: Sequence[str]) -> list[dict[str, Any]]:
        """No test asks for it."""
        raise AssertionError(statuses)
