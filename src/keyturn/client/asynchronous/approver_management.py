# Made by scripts/async_client.py of keyturn/client/approver_management.py: change that, then `make client`.
"""Approver management: approvers whose keys the HSM makes, and what they get for their one-time codes.

Off on servers that have not switched it on. Passwords and codes are told to the server: use TLS, or a server on this
machine.

Source: rest-api.md section 3.8.
"""

from __future__ import annotations

from keyturn.client.approver_management import _MANAGEMENT
from keyturn.client.asynchronous.connection import AsyncRestConnection
from keyturn.client.connection import JsonObject, path_part


class AsyncApproverManagementCalls(AsyncRestConnection):
    """Approvers whose keys the HSM makes."""

    async def create_approver(
        self, name: str, backup_password: str, *, key_size: int | None = None, validity: int | None = None
    ) -> str:
        """Have a key made for an approver: `POST /v1/approverManagement/create`.

        Args:
            name: The approver's name, unique.
            backup_password: Password of the file that they get.
            key_size: 2048, 3072 or 4096; the server's default if None.
            validity: Days; the server's default if None.

        Returns:
            The one-time code.
        """
        body: JsonObject = {"approverName": name, "algorithm": "RSA", "backupPassword": list(backup_password)}
        more = {"keySize": key_size, "validity": validity}
        body |= {field: value for field, value in more.items() if value is not None}
        return await self.ask_text("POST", f"{_MANAGEMENT}/create", body, "oneTimeCode")

    async def renew_one_time_code(self, name: str) -> str:
        """Another one-time code for a file that waits: `POST /v1/approverManagement/renewOneTimeCode`."""
        return await self.ask_text("POST", f"{_MANAGEMENT}/renewOneTimeCode", {"approverName": name}, "oneTimeCode")

    async def restore_approver(self, name: str) -> JsonObject:
        """Restore an approver's file: `POST /v1/approverManagement/restoreFromBackup`.

        Returns:
            `oneTimeCode`; or `unwrapRequestId` of the request whose result it will be, where people have to approve.
        """
        return await self.ask("POST", f"{_MANAGEMENT}/restoreFromBackup", {"approverName": name})

    async def restore_approver_with_new_password(self, name: str, new_backup_password: str) -> str:
        """Restore an approver's file under another password.

        Endpoint: `POST /v1/approverManagement/restoreFromBackup/forgotPassword`.

        Returns:
            Id of the request whose result is the one-time code.
        """
        body = {"approverName": name, "newBackupPassword": list(new_backup_password)}
        return await self.ask_text("POST", f"{_MANAGEMENT}/restoreFromBackup/forgotPassword", body, "unwrapRequestId")

    async def change_backup_password(self, name: str, backup_password: str, new_backup_password: str) -> JsonObject:
        """Change the password of an approver's file: `POST /v1/approverManagement/changeBackupPassword`.

        Returns:
            `unwrapRequestId` where people have to approve, else nothing.
        """
        body = {
            "approverName": name,
            "backupPassword": list(backup_password),
            "newBackupPassword": list(new_backup_password),
        }
        return await self.ask("POST", f"{_MANAGEMENT}/changeBackupPassword", body)

    async def onboarding_status(self) -> JsonObject:
        """Who has their file and who does not: `GET /v1/approverManagement/onboarding/status`.

        Returns:
            `onboarded` and `pending`, lists of `approverName` and `approverCertificate` (PEM).
        """
        return await self.ask("GET", f"{_MANAGEMENT}/onboarding/status")

    async def delete_approver(self, name: str) -> None:
        """Forget an approver, key and codes: `DELETE /v1/approverManagement/delete/{approverName}`."""
        await self.call("DELETE", f"{_MANAGEMENT}/delete/{path_part(name)}")

    async def onboard(self, name: str, one_time_code: str, transport_password: str) -> JsonObject:
        """Get one's file for the code, once: `POST /v1/approver/onboard`.

        Args:
            name: The approver's name.
            one_time_code: Six digits.
            transport_password: 16 or 32 bytes of UTF-8; the AES-GCM key of the answer.

        Returns:
            `encryptedPayload` and `initializationVector`, base64.
        """
        body = {"approverName": name, "oneTimeCode": list(one_time_code), "transportPassword": list(transport_password)}
        return await self.ask("POST", "/v1/approver/onboard", body)
