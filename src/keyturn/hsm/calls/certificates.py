"""Calls about certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls

if TYPE_CHECKING:
    from collections.abc import Sequence


class CertificateCalls(Calls):
    """Calls about certificates."""

    async def sign_certificate(
        self,
        operation_id: bytes,
        label: str,
        kind: str,
        to_be_signed: bytes,
        algorithm: str,
        *,
        certificate_authority: bool = False,
        attach_to: str = "",
        approvals: Sequence[bytes] = (),
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> protocol.Certified:
        """Sign a request or a certificate; the arguments are those of `protocol.SignCertificate`."""
        message = protocol.SignCertificate(
            operation_id,
            label,
            kind,
            to_be_signed,
            algorithm,
            certificate_authority,
            attach_to,
            list(approvals),
            request_id,
            sealed_password,
        )
        return await self.ask(message, protocol.Certified)

    async def attach_certificate(self, operation_id: bytes, label: str, certificate: bytes) -> None:
        """Attach a certificate to its key; empty bytes take it off."""
        await self.ask(protocol.AttachCertificate(operation_id, label, certificate), protocol.Done)
