"""Approver management: approvers whose keys the HSM makes, and who get them for a one-time code (R23).

Off unless the configuration says otherwise. Passwords and codes come sealed to the HSM and pass through; what the HSM
answers to a code is encrypted by a password that was sealed, too. A restoration is a request to unwrap with the backup
key, so that key's policy decides, and officers see an unwrap. Where its policy needs no approvals it is done at once.

The code that a restoration leads to is not stored here: while it is good, the HSM tells it to whoever looks at the
request.

Source: rest-api.md section 3.8; docs/security/rules.md R22, R23, R27; docs/adr/0113, 0114.
"""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from keyturn.broker import checks
from keyturn.broker.bound import is_bound
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.restorations import CHANGE, FORGOT, RESTORE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from keyturn.broker.answers import AttestedKey, Executed
    from keyturn.broker.calls import RestoreCall, UnwrapCall
    from keyturn.broker.directory import Directory
    from keyturn.broker.executor import KeyRecord

_SAID: Final = {
    RESTORE: "Restore the file of the approver {} from the backup. Its backup password stays.",
    FORGOT: "Restore the file of the approver {} from the backup, with another backup password.",
    CHANGE: "Change the backup password of the approver {}.",
}
"""What the request tells people, who are shown it as a claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproverOrder:
    """An approver who is to be created.

    Args:
        name: Their name.
        key_size: 2048, 3072 or 4096.
        days: Validity of the certificate.
        backup_password: Sealed to the HSM.
    """

    name: str
    key_size: int
    days: int
    backup_password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedApprover:
    """An approver whose key the HSM made.

    Args:
        name: Their name.
        certificate: DER.
        onboarded: Whether their file was given to them.
    """

    name: str
    certificate: bytes
    onboarded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """An approver's file, encrypted by AES-GCM under the transport password.

    Args:
        initialization_vector: 12 bytes.
        payload: The encrypted file with its tag.
    """

    initialization_vector: bytes
    payload: bytes


class OnboardingExecutor(Protocol):
    """The side that makes approvers' keys; errors as in `Executor`."""

    async def create_approver(self, operation_id: bytes, order: ApproverOrder) -> str:
        """Make a key; the one-time code."""
        ...

    async def renew_approver_code(self, operation_id: bytes, name: str) -> str:
        """Another code."""
        ...

    async def onboard_approver(self, operation_id: bytes, name: str, code: bytes, transport_password: bytes) -> Package:
        """The file, for its code."""
        ...

    async def managed_approvers(self) -> list[ManagedApprover]:
        """All of them, by name."""
        ...

    async def delete_approver(self, operation_id: bytes, name: str) -> None:
        """Forget one."""
        ...

    async def restoration(self, call: RestoreCall) -> UnwrapCall:
        """What has to be unwrapped."""
        ...

    async def restore_approver(
        self,
        operation_id: bytes,
        restore: RestoreCall,
        call: UnwrapCall,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
    ) -> Executed[AttestedKey]:
        """Restore a file, at most once; attributes of the backup key."""
        ...

    async def restored_code(self, name: str, operation_id: bytes) -> str:
        """The code that a restoration made; empty once it is no longer good."""
        ...

    async def key(self, label: str) -> KeyRecord:
        """Look a key up."""
        ...


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a restoration.

    Args:
        code: The one-time code, empty where there is none.
        request_id: Id of the request that waits for approvals, empty where it was done at once.
    """

    code: str = field(default="", repr=False)
    request_id: str = ""


class Onboarding:
    """Approver management.

    Args:
        executor: The side that makes the keys.
        directory: Names that are taken otherwise.
        open_request: Opens a request to restore: what is asked, what is unwrapped, the request's text.
        enabled: Whether there is any (`approverManagement.enabled`).
    """

    def __init__(
        self,
        executor: OnboardingExecutor,
        directory: Directory,
        open_request: Callable[[RestoreCall, UnwrapCall, bytes], Awaitable[str]],
        *,
        enabled: bool,
    ) -> None:
        self._executor = executor
        self._directory = directory
        self._open_request = open_request
        self.enabled = enabled

    async def create(self, order: ApproverOrder) -> str:
        """Make an approver's key and file; the one-time code for it.

        Raises 632 for a name that is taken, here or in the directory, 600, 603, 611 where there is no approver
        management, 701 `backup-key.…`.
        """
        self.require_enabled()
        if any(entry.name == order.name for entry in await self._directory.entries()):
            raise _taken(order.name)
        return await self._executor.create_approver(uuid.uuid4().bytes, order)

    async def renew(self, name: str) -> str:
        """Another one-time code for a file that waits. Raises 654, 611 if none waits."""
        self.require_enabled()
        return await self._executor.renew_approver_code(uuid.uuid4().bytes, name)

    async def onboard(self, name: str, code: bytes, transport_password: bytes) -> Package:
        """Give the file for its code, once. Raises 654, 412, 600 for a transport password of another size."""
        self.require_enabled()
        return await self._executor.onboard_approver(uuid.uuid4().bytes, name, code, transport_password)

    async def approvers(self) -> list[ManagedApprover]:
        """All approvers whose keys the HSM made, by name."""
        self.require_enabled()
        return await self._executor.managed_approvers()

    async def delete(self, name: str) -> None:
        """Forget an approver: key, file and code. Policies that list them stay. Raises 654."""
        self.require_enabled()
        await self._executor.delete_approver(uuid.uuid4().bytes, name)

    async def restore(self, call: RestoreCall, *, as_request: bool = False) -> Restored:
        """Restore an approver's file, or change its backup password: at once, or when people have approved it.

        Args:
            call: What is asked for.
            as_request: Open a request also where no approvals are needed; then it is executed already.

        Raises:
            KeyturnError: 654, 414, 620, 611, 701 `backup-key.…`.
        """
        self.require_enabled()
        unwrap = await self._executor.restoration(call)
        key = await self._executor.key(unwrap.key_name)
        if as_request or checks.protected(key):
            return Restored(request_id=await self._open_request(call, unwrap, _request_text(unwrap)))
        operation = uuid.uuid4()
        # Statements of a bound key name a request, also where nobody has to approve them.
        request_id = str(operation) if is_bound(key) else ""
        await self._executor.restore_approver(operation.bytes, call, unwrap, (), request_id=request_id)
        if call.purpose == CHANGE:
            return Restored()
        return Restored(code=await self._executor.restored_code(call.name, operation.bytes))

    async def code_of(self, call: RestoreCall, request_id: str) -> str | None:
        """The code that an executed request led to; None where there is none, or none that is still good."""
        if call.purpose == CHANGE:
            return None
        try:
            return await self._executor.restored_code(call.name, uuid.UUID(request_id).bytes) or None
        except KeyturnError as error:
            # Deleted since, or an HSM that was started without a backup key: what became of the request stays known.
            if error.refusal not in {"approver.unknown", "approver-management.hsm-off"}:
                raise
            return None

    async def require_free(self, name: str) -> None:
        """Refuse a name for the directory that approver management has. Raises 632."""
        if self.enabled and any(one.name == name for one in await self._executor.managed_approvers()):
            raise _taken(name)

    async def certificates(self) -> Mapping[str, bytes | None]:
        """Certificates by name for policies, None for those who are not onboarded yet."""
        if not self.enabled:
            return {}
        try:
            found = await self._executor.managed_approvers()
        except KeyturnError as error:
            # An HSM that makes none has none, and policies that list others are made there all the same.
            if error.refusal != "approver-management.hsm-off":
                raise
            return {}
        return {one.name: one.certificate if one.onboarded else None for one in found}

    def require_enabled(self) -> None:
        """Refuse where there is no approver management.

        Raises:
            KeyturnError: 611 `approver-management.off`.
        """
        if not self.enabled:
            raise KeyturnError(
                ErrorCode.UNSUPPORTED_OPERATION,
                "This server has no approver management, which makes officers' keys on the server side. Officers make "
                "their own (keyturn approver keygen) and are entered with /v1/approverDirectory; or set "
                "approverManagement.enabled.",
                refusal="approver-management.off",
            )


def _request_text(unwrap: UnwrapCall) -> bytes:
    """The request in the documented form of an unwrap, which approvers' programs compare with what they sign."""
    inner: dict[str, Any] = {
        "wrappedKey": b64encode(unwrap.wrapped_key).decode("ascii"),
        "label": unwrap.new_label,
        "attributes": dict(unwrap.attributes),
        "unwrapKeyName": unwrap.key_name,
        "wrapMethod": unwrap.method,
        "metaData": b64encode(unwrap.meta_data or b"").decode("ascii"),
    }
    return json.dumps({"unwrapKeyRequest": inner, "requestSignature": None}).encode()


def said_of(call: RestoreCall) -> bytes:
    """What the request tells people about itself, as its `metaData`."""
    return _SAID[call.purpose].format(call.name).encode()


def _taken(name: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.APPROVER_ALREADY_EXISTING,
        f"There is an approver with name {name[:128]!a} already. Choose another name, or remove that one first.",
        refusal="approver.exists",
    )
