# Made by scripts/async_client.py of keyturn/client/approval.py: change that, then `make client`.
"""What approvers do: tasks, approvals, rejections, withdrawals, and the directory of approvers.

Source: rest-api.md section 3.7; decisions 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, base64_text, path_part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.client.approval import TaskKind


class AsyncApprovalCalls(AsyncRestConnection):
    """Approval tasks and the directory of approvers."""

    async def tasks(self, query: Mapping[str, Any], kind: TaskKind = "All") -> list[JsonObject]:
        """Fetch approval tasks: `POST /v1/filtered…ApprovalTask`.

        Args:
            query: `timestamp`, `timestampSignature`, `timestampDigestAlgorithm`, the approver's key or certificate,
                `detailLevel`, … (rest-api.md section 3.7).
            kind: Which tasks.

        Returns:
            The task objects.
        """
        path = f"/v1/filtered{kind}ApprovalTask"
        return await self.ask_list("POST", path, dict(query), "tasks")

    async def approve(self, approval: Mapping[str, Any]) -> None:
        """Send a signed approval (or a signed rejection, `REJECTED:` form): `POST /v1/approval`.

        Args:
            approval: `id`, `approvalToBeSigned`, `signature`, `approvalDigestAlgorithm`, `approverPublicKey` or
                `approverCertificate`.
        """
        await self.call("POST", "/v1/approval", dict(approval))

    async def reject(self, rejection: Mapping[str, Any]) -> None:
        """Give up the approver's own task: `DELETE /v1/task`.

        Args:
            rejection: `id` of the task, `timestamp`, `timestampSignature`, `timestampDigestAlgorithm`, and the
                approver's key or certificate.
        """
        await self.call("DELETE", "/v1/task", dict(rejection))

    async def withdraw(self, withdrawal: Mapping[str, Any]) -> None:
        """Take an approval back before it has been used: `DELETE /v1/approval` (R26).

        Args:
            withdrawal: `id` of the task, `approvalToBeSigned` (the task's), `signature` over the ASCII bytes
                `WITHDRAW:`, the decoded `approvalToBeSigned` and the task id in ASCII, `approvalDigestAlgorithm`,
                `approverPublicKey` or `approverCertificate`.
        """
        await self.call("DELETE", "/v1/approval", dict(withdrawal))

    async def onboard_approver(self, name: str, certificate: bytes) -> None:
        """Enter an approver into the directory, for policies that name them: `POST /v1/approverDirectory`.

        Args:
            name: Name, unique in the directory.
            certificate: Their X.509 certificate, DER.
        """
        body = {"approverName": name, "approverCertificate": base64_text(certificate)}
        await self.call("POST", "/v1/approverDirectory", body)

    async def approvers(self) -> list[JsonObject]:
        """Names, certificates (base64 DER) and times of the directory: `GET /v1/approverDirectory`."""
        return await self.ask_list("GET", "/v1/approverDirectory", None, "approvers")

    async def remove_approver(self, name: str) -> None:
        """Take an approver out of the directory; no policy changes: `DELETE /v1/approverDirectory/{name}`."""
        await self.call("DELETE", f"/v1/approverDirectory/{path_part(name)}")
