"""REST server, broker and HSM on one clock that the test moves.

    async with timely_world(tmp_path) as world:
        request = await world.post("/v1/sign", {...})
        world.clock.advance(60)
        await world.broker.run_due()

The HSM is the real service with its sealed store, behind a real Unix socket and the real client; it only runs in the
test's event loop instead of a process of its own, because a process reads the machine's clock.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyturn.broker.local import LocalExecutor
from keyturn.broker.service import Broker
from keyturn.broker.settings import BrokerSettings
from keyturn.clock import ManualClock, iso
from keyturn.hsm.client import HsmClient
from keyturn.hsm.service import HsmService
from keyturn.hsm.settings import HsmSettings
from keyturn_testing.hsm_process import PASSPHRASE
from keyturn_testing.rest_app import in_process
from keyturn_testing.rest_server import proof, signed_approval

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from keyturn_testing.officers import Officer


@dataclass
class TimelyWorld:
    """A server and its clock.

    Args:
        http: Talks to the REST application.
        broker: The broker behind it.
        clock: The clock of all of them.
    """

    http: httpx.AsyncClient
    broker: Broker
    clock: ManualClock
    _ticks: int = 0

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make a call that must succeed."""
        answer = await self.http.post(path, json=body)
        assert answer.status_code in {200, 201}, answer.text
        value: dict[str, Any] = answer.json()
        return value

    async def get(self, path: str) -> dict[str, Any]:
        """Read something that must be there."""
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        value: dict[str, Any] = answer.json()
        return value

    async def status(self, request_id: str) -> str:
        """Status of a request."""
        return str((await self.get(f"/v1/request/{request_id}"))["status"])

    async def tasks(self, officer: Officer, request_id: str, level: int = 5) -> list[dict[str, Any]]:
        """An officer's tasks of one request."""
        self._ticks += 1
        moment = f"{iso(self.clock.now())[:-1]}.{self._ticks:06d}Z"
        query = proof(officer, moment) | {"requestId": request_id, "detailLevel": f"level{level}"}
        tasks: list[dict[str, Any]] = (await self.post("/v1/filteredAllApprovalTask", query))["tasks"]
        return tasks

    async def approve(self, officer: Officer, task: dict[str, Any]) -> None:
        """Approve a task."""
        await self.post("/v1/approval", signed_approval(officer, task))

    async def at(self, moment: float) -> None:
        """Let the time be `moment`, seconds since the epoch, and what is due then be done."""
        self.clock.set(moment)
        await self.broker.run_due()


@asynccontextmanager
async def timely_world(directory: Path) -> AsyncIterator[TimelyWorld]:
    """A server with its HSM on a clock of its own, in a directory of the test."""
    # Socket paths must be short, whatever the test is called.
    sockets = Path(tempfile.mkdtemp(prefix="kt-"))
    clock = ManualClock()
    settings = HsmSettings(
        data_dir=str(directory / "hsm"),
        listen=f"unix:{sockets}/hsm.sock",
        admin_socket=f"{sockets}/admin.sock",
        kdf_memory_kib=8192,
        workers=1,
    )
    settings.directory.mkdir(mode=0o700, parents=True)
    service = HsmService(settings, clock, [])
    try:
        service.unseal(PASSPHRASE, create=True)
        service.serve()
        client = await HsmClient.connect(str(service.address))
        broker = await Broker.open(BrokerSettings(data_dir=directory / "broker"), LocalExecutor(client), clock)
        try:
            async with in_process(broker, directory / "station") as http:
                yield TimelyWorld(http, broker, clock)
        finally:
            await broker.close()
    finally:
        await service.close()
        shutil.rmtree(sockets)
