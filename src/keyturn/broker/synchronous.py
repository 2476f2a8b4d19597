"""Calls that are executed at once, with ready-made approvals or on keys that need none. Nothing is stored here.

The offline side of an air gap lives on these. A caller that gives a request id gets the HSM's receipt for it (R24).
"""

from __future__ import annotations

import secrets
import uuid
from typing import TYPE_CHECKING, Final, TypeVar

from keyturn.broker.certificates import ENDPOINTS, RANDOM_SIZE, to_be_signed
from keyturn.broker.checks import protected
from keyturn.broker.executor import ExecutionRefusedError
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.policy import encode_policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from keyturn.broker.answers import AttestedKey, Executed
    from keyturn.broker.calls import (
        CertificateOrder,
        CertifyCall,
        DecryptCall,
        ModifyCall,
        SignCall,
        StatusCall,
        UnwrapCall,
    )
    from keyturn.broker.execution import Execution
    from keyturn.broker.executor import Executor

    T = TypeVar("T")

MOST_REMEMBERED_KEYS: Final = 4096
"""Labels of keys with a policy that are remembered."""


class Synchronous:
    """Executes calls at once.

    Args:
        executor: The side that acts.
        execution: Lets open requests follow what a call changed.
    """

    def __init__(self, executor: Executor, execution: Execution) -> None:
        self._executor = executor
        self._execution = execution
        self._with_policy: set[str] = set()

    async def sign(self, call: SignCall, approvals: Sequence[bytes], request_id: str) -> Executed[bytes]:
        """Sign; arguments and errors as `Broker.sign_now`."""
        return await self._used(
            call.key_name,
            lambda operation_id: self._executor.sign(operation_id, call, approvals, request_id=request_id),
            identified=bool(approvals or request_id),
        )

    async def decrypt(self, call: DecryptCall, approvals: Sequence[bytes], request_id: str) -> Executed[bytes]:
        """Decrypt; arguments and errors as `Broker.decrypt_now`."""
        return await self._used(
            call.key_name,
            lambda operation_id: self._executor.decrypt(operation_id, call, approvals, request_id=request_id),
            identified=bool(approvals or request_id),
        )

    async def certify(self, call: CertifyCall, approvals: Sequence[bytes], request_id: str) -> Executed[bytes]:
        """Sign a certificate or a request for one; arguments and errors as `Broker.certify_now`."""
        return await self._executor.certify(uuid.uuid4().bytes, call, approvals, request_id=request_id)

    async def order(self, order: CertificateOrder, now: float) -> bytes:
        """Make and sign what is ordered; arguments and errors as `Broker.certificate_now`."""
        key = await self._executor.key(order.key_name)
        if self._executor.connected and protected(key):
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"The key {key.label} needs approvals, and nobody can have approved bytes with a serial number that is "
                f"chosen only now. Open a request with POST /v1/certificate/{ENDPOINTS[order.kind]}.",
                refusal="approvals.missing",
            )
        call = to_be_signed(order, key, now=int(now), random=secrets.token_bytes(RANDOM_SIZE))
        return (await self.certify(call, (), "")).value

    async def _used(self, label: str, use: Callable[[bytes], Awaitable[T]], *, identified: bool) -> T:
        # A key with a policy is used with an operation id, an ordinary one needs none, and then the HSM writes nothing.
        # Which it is, is learnt from the HSM's answer instead of asking before every call.
        if identified or label in self._with_policy:
            return await use(uuid.uuid4().bytes)
        try:
            return await use(b"")
        except ExecutionRefusedError as error:
            if error.refusal != "operation.id-missing":
                raise
        if len(self._with_policy) >= MOST_REMEMBERED_KEYS:
            self._with_policy.clear()
        self._with_policy.add(label)
        return await use(uuid.uuid4().bytes)

    async def unwrap(self, call: UnwrapCall, approvals: Sequence[bytes], request_id: str) -> Executed[AttestedKey]:
        """Unwrap; arguments and errors as `Broker.unwrap_now`."""
        return await self._executor.unwrap(uuid.uuid4().bytes, call, approvals, request_id=request_id)

    async def block(self, call: StatusCall, approvals: Sequence[bytes], request_id: str) -> Executed[AttestedKey]:
        """Block; arguments and errors as `Broker.block_now`."""
        operation_id = uuid.uuid4().bytes
        done = await self._executor.block(
            operation_id,
            call.key_name,
            approvals,
            request_id=request_id,
            sealed_password=call.sealed_password,
        )
        await self._follow(call.key_name)
        return done

    async def unblock(self, call: StatusCall, approvals: Sequence[bytes], request_id: str) -> Executed[AttestedKey]:
        """Unblock; arguments and errors as `Broker.unblock_now`."""
        operation_id = uuid.uuid4().bytes
        return await self._executor.unblock(
            operation_id,
            call.key_name,
            approvals,
            request_id=request_id,
            sealed_password=call.sealed_password,
        )

    async def modify(self, call: ModifyCall, approvals: Sequence[bytes], request_id: str) -> Executed[AttestedKey]:
        """Replace a policy; arguments and errors as `Broker.modify_now`."""
        policy = encode_policy(call.policy)
        operation_id = uuid.uuid4().bytes
        done = await self._executor.modify(
            operation_id,
            call.key_name,
            policy,
            approvals,
            request_id=request_id,
            sealed_password=call.sealed_password,
        )
        await self._follow(call.key_name)
        return done

    async def _follow(self, label: str) -> None:
        """Let the key's open requests follow the change."""
        try:
            key = await self._executor.key(label)
        except KeyturnError:
            # The change is made; open requests learn of it from the HSM's next answer.
            return
        await self._execution.follow(key)
