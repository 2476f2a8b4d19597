"""A broker that is killed at the worst moment: `python dying_broker.py DIRECTORY HSM WHEN ARGUMENTS [DATABASE]`.

WHEN is `before-call` (the approvals are written down, nothing is sent yet) or `after-answer` (the HSM has answered,
the broker has not committed). ARGUMENTS is a JSON object with what the last officer sends: the fields of an
`ApprovalCall`, bytes in base64; or `delete`, the label of a key whose deletion the HSM answers and the broker never
commits. What the HSM gave, a signature, data or the UUID of the key, is printed before the end.

It is the real broker with the real HSM; only the line between them is watched.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from keyturn.broker.approver_calls import ApprovalCall, Signer
from keyturn.broker.local import LocalExecutor
from keyturn.broker.service import Broker
from keyturn.broker.settings import BrokerSettings
from keyturn.clock import SystemClock
from keyturn.hsm.client import HsmClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from keyturn.broker.answers import AttestedKey, Executed
    from keyturn.broker.calls import DecryptCall, SignCall, UnwrapCall

T = TypeVar("T", bound="bytes | AttestedKey")


class WatchedExecutor(LocalExecutor):
    """Kills the process around the call.

    Args:
        client: The HSM.
        when: See the module.
    """

    def __init__(self, client: HsmClient, when: str) -> None:
        super().__init__(client)
        self._when = when

    async def sign(
        self, operation_id: bytes, call: SignCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        return await self._watched(super().sign(operation_id, call, approvals, request_id=request_id))

    async def decrypt(
        self, operation_id: bytes, call: DecryptCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        return await self._watched(super().decrypt(operation_id, call, approvals, request_id=request_id))

    async def unwrap(
        self, operation_id: bytes, call: UnwrapCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[AttestedKey]:
        return await self._watched(super().unwrap(operation_id, call, approvals, request_id=request_id))

    async def block(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        return await self._watched(
            super().block(operation_id, label, approvals, request_id=request_id, sealed_password=sealed_password)
        )

    async def unblock(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        return await self._watched(
            super().unblock(operation_id, label, approvals, request_id=request_id, sealed_password=sealed_password)
        )

    async def delete(self, operation_id: bytes, label: str, *, sealed_password: bytes = b"") -> None:
        await super().delete(operation_id, label, sealed_password=sealed_password)
        os.kill(os.getpid(), signal.SIGKILL)

    async def _watched(self, answer: Awaitable[Executed[T]]) -> Executed[T]:
        if self._when == "before-call":
            os.kill(os.getpid(), signal.SIGKILL)
        done = await answer
        found = done.value if isinstance(done.value, bytes) else done.value.attestation.uuid.encode()
        print(b64encode(found).decode(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        return done


async def main(directory: str, address: str, when: str, arguments: str, database_url: str = "") -> None:
    executor = WatchedExecutor(await HsmClient.connect(address), when)
    broker = await Broker.open(
        BrokerSettings(data_dir=Path(directory), database_url=database_url), executor, SystemClock()
    )
    fields = json.loads(arguments)
    if "delete" in fields:
        await broker.delete_key(fields["delete"])
    await broker.approve(
        ApprovalCall(
            task_id=fields["task_id"],
            approval=b64decode(fields["approval"]),
            signature=b64decode(fields["signature"]),
            digest=fields["digest"],
            signer=Signer(spki=b64decode(fields["spki"])),
        )
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6]))
