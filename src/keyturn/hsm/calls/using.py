"""Calls that use keys, or the public part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.crypto.schemes import NO_OPTIONS
from keyturn.hsm import protocol
from keyturn.hsm.calls.base import Calls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keyturn.crypto.schemes import SignOptions


class UseCalls(Calls):
    """Calls that use keys, or the public part of one."""

    async def sign(
        self,
        operation_id: bytes,
        label: str,
        payload: bytes,
        algorithm: str,
        *,
        signature_type: str = "",
        approvals: Sequence[bytes] = (),
        request_id: str = "",
        sealed_password: bytes = b"",
        options: SignOptions = NO_OPTIONS,
    ) -> bytes:
        """Sign; the arguments are those of `protocol.Sign`. The signature alone."""
        signed = await self.sign_with_receipt(
            operation_id,
            label,
            payload,
            algorithm,
            signature_type=signature_type,
            approvals=approvals,
            request_id=request_id,
            sealed_password=sealed_password,
            options=options,
        )
        return signed.signature

    async def sign_with_receipt(
        self,
        operation_id: bytes,
        label: str,
        payload: bytes,
        algorithm: str,
        *,
        signature_type: str = "",
        approvals: Sequence[bytes] = (),
        request_id: str = "",
        sealed_password: bytes = b"",
        options: SignOptions = NO_OPTIONS,
    ) -> protocol.Signed:
        """Sign; the arguments are those of `protocol.Sign`. The signature with its receipt."""
        message = protocol.Sign(
            operation_id,
            label,
            payload,
            algorithm,
            signature_type,
            list(approvals),
            request_id,
            sealed_password,
            options.context,
            options.auxiliary_random,
            options.taproot_tweak,
            options.merkle_root,
        )
        return await self.ask(message, protocol.Signed)

    async def decrypt(
        self,
        operation_id: bytes,
        label: str,
        payload: bytes,
        algorithm: str,
        *,
        iv: bytes | None = None,
        aad: bytes | None = None,
        tag_length: int = 0,
        approvals: Sequence[bytes] = (),
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> protocol.Decrypted:
        """Decrypt; the arguments are those of `protocol.Decrypt`."""
        message = protocol.Decrypt(
            operation_id,
            label,
            payload,
            algorithm,
            iv,
            aad,
            tag_length,
            list(approvals),
            request_id,
            sealed_password=sealed_password,
        )
        return await self.ask(message, protocol.Decrypted)

    async def unwrap(
        self,
        operation_id: bytes,
        label: str,
        wrapped_key: bytes,
        method: str,
        new_label: str,
        *,
        attributes: Mapping[str, bool],
        approvals: Sequence[bytes] = (),
        policy: bytes = b"",
        blocked: bool = False,
        key_id: str | None = None,
        request_id: str = "",
        allowed_operations: Sequence[str] = (),
        allowed_algorithms: Sequence[str] = (),
        sealed_password: bytes = b"",
    ) -> protocol.Attested:
        """Unwrap a key and keep it; the arguments are those of `protocol.Unwrap`. Attests the new key."""
        message = protocol.Unwrap(
            operation_id,
            label,
            wrapped_key,
            method,
            new_label,
            dict(attributes),
            list(approvals),
            policy,
            blocked,
            key_id,
            request_id,
            list(allowed_operations),
            list(allowed_algorithms),
            sealed_password=sealed_password,
        )
        return await self.ask(message, protocol.Attested)

    async def verify(
        self, label: str, payload: bytes, algorithm: str, signature: bytes, *, sealed_password: bytes = b""
    ) -> bool:
        """Verify a signature with a key's public part, or a MAC with the key."""
        message = protocol.Verify(label, payload, algorithm, signature, sealed_password)
        return (await self.ask(message, protocol.Verdict)).valid
