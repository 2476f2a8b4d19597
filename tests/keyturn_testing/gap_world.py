"""A vault, an office, and the courier between them: REST on both sides, a clock on each, and a real HSM service.

async with gap_of(tmp_path) as gap:
    await gap.key("treasury", policy)
    request_id = await gap.sign("treasury")
    await gap.office.approve(...)
    body = await gap.in_the_vault(request_id)
    await gap.bring_back(body)
"""

from __future__ import annotations

from base64 import b64decode
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keyturn.broker.airgapped import AirGappedExecutor
from keyturn.clock import ManualClock
from keyturn_testing.broker_world import opened
from keyturn_testing.rest_app import in_process
from keyturn_testing.rest_server import P256, b64, policy_json
from keyturn_testing.timely_world import TimelyWorld, timely_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

    from keyturn.ska.policy import Policy
    from keyturn_testing.officers import Officer

PAYLOAD = b"pay 100 to Alice"
ENDPOINTS = {
    "signRequest": ("/v1/synchronousSign", "signature"),
    "decryptRequest": ("/v1/synchronousDecrypt", "payload"),
    "unwrapKeyRequest": ("/v1/synchronousUnwrap", ""),
    "certificateRequest": ("/v1/certificate/synchronous/toBeSigned", "encoded"),
    "blockRequest": ("/v1/synchronousBlock", ""),
    "unblockRequest": ("/v1/synchronousUnblock", ""),
    "modifyRequest": ("/v1/synchronousModify", ""),
}


@dataclass
class Gap:
    """Both sides.

    Args:
        vault: Profile `local`, with the HSM; its clock is the HSM's.
        office: Profile `air-gapped`, with a clock of its own.
    """

    vault: TimelyWorld
    office: TimelyWorld

    # --- keys ---

    async def key(self, label: str, policy: Policy | None, **fields: Any) -> dict[str, Any]:
        """Create a key in the vault and register it in the office."""
        body = {
            "label": label,
            "algorithm": "EC",
            "curveOid": P256,
            "attributes": {"decrypt": False, "sign": True, "unwrap": False, "destroyable": True},
            "policy": None if policy is None else policy_json(policy, new=True),
        }
        await self.vault.post("/v1/key", {name: value for name, value in (body | fields).items() if value is not None})
        return await self.register(label)

    async def register(self, label: str) -> dict[str, Any]:
        """Carry the attested attributes of a key out."""
        attributes = await self.vault.post("/v1/key/attributes", {"label": label})
        await self.office.post("/v1/offlineKey", attributes)
        return attributes

    # --- requests ---

    async def sign(self, label: str, payload: bytes = PAYLOAD, **fields: Any) -> str:
        """Ask for a signature in the office."""
        inner = {"signKeyName": label, "payload": b64(payload), "signatureAlgorithm": "SHA256_WITH_ECDSA"}
        return str((await self.office.post("/v1/sign", {"signRequest": inner | fields}))["signRequestId"])

    async def modify(self, label: str, policy: Policy) -> str:
        """Ask for another policy in the office."""
        inner = {"modifyKeyName": label, "policy": policy_json(policy, new=False)}
        return str((await self.office.post("/v1/modify", {"modifyRequest": inner}))["modifyKeyRequestId"])

    async def status_change(self, word: str, label: str) -> str:
        """Ask for a block or its end in the office; `word` is `block` or `unblock`."""
        body = {f"{word}Request": {f"{word}KeyName": label}}
        return str((await self.office.post(f"/v1/{word}", body))[f"{word}KeyRequestId"])

    async def view(self, request_id: str) -> dict[str, Any]:
        """A request as the office shows it."""
        return await self.office.get(f"/v1/request/{request_id}")

    async def preflight(self, request_id: str) -> dict[str, Any]:
        """What the office predicts."""
        return await self.office.get(f"/v1/request/{request_id}/preflight")

    async def approve(self, request_id: str, *officers: Officer) -> None:
        """Officers fetch their one task and approve it."""
        for officer in officers:
            (task,) = await self.office.tasks(officer, request_id)
            await self.office.approve(officer, task)

    # --- the courier ---

    async def ask_the_time(self, request_id: str) -> dict[str, Any]:
        """Carry the request for a timestamp in and the answer out: the body of the import."""
        carried = (await self.view(request_id))["inputOfflineHsm"]
        assert set(carried) == {"timestampRequest"}
        return {"id": request_id, "timestampAnswer": await self.vault.post("/v1/synchronousTimestamp", carried)}

    async def in_the_vault(self, request_id: str) -> dict[str, Any]:
        """Carry a request into the vault and its outcome out: the body of the import, with the HSM's receipt."""
        return await self.execute(request_id, (await self.view(request_id))["inputOfflineHsm"])

    async def execute(self, request_id: str, carried: dict[str, Any]) -> dict[str, Any]:
        """Execute a carried body in the vault; a refusal is an outcome, too."""
        ((name, _),) = carried.items()
        path, field = ENDPOINTS[name]
        answer = await self.vault.http.post(path, json=carried)
        body = answer.json()
        receipt = {each: body.pop(each) for each in ("receipt", "receiptSignature") if each in body}
        if answer.status_code not in {200, 201}:
            return {"id": request_id, "refused": body, **receipt}
        if field:
            return {"id": request_id, "result": body[field], **receipt}
        return {"id": request_id, "keyAttributes": body, **receipt}

    async def bring_back(self, body: dict[str, Any]) -> None:
        """Import what the courier brought."""
        answer = await self._import(body)
        assert answer.status_code == 200, answer.text

    async def turned_away(self, body: dict[str, Any]) -> str:
        """Import what must be refused; the word."""
        answer = await self._import(body)
        assert 400 <= answer.status_code < 500, answer.text
        error = answer.json()
        assert error["message"]
        return str(error["refusal"])

    async def _import(self, body: dict[str, Any]) -> httpx.Response:
        return await self.office.http.put("/v1/resultFromOfflineHsm", json=body)

    def both_clocks(self, seconds: float) -> None:
        """Let time pass on both sides."""
        self.vault.clock.advance(seconds)
        self.office.clock.advance(seconds)


def flipped(text: str) -> str:
    """Base64 with one bit of the last byte changed."""
    data = bytearray(b64decode(text))
    data[-1] ^= 1
    return b64(bytes(data))


@asynccontextmanager
async def office_of(directory: Path, chain: list[str], clock: ManualClock) -> AsyncIterator[TimelyWorld]:
    """An air-gapped broker behind its REST application, with a clock of its own."""
    executor = AirGappedExecutor(["".join(chain)])
    async with (
        opened(directory / "broker", executor, clock) as world,
        in_process(world.broker, directory / "station") as http,
    ):
        yield TimelyWorld(http, world.broker, clock)


@asynccontextmanager
async def gap_of(directory: Path, *, office_behind: float = 0.0) -> AsyncIterator[Gap]:
    """A vault and an office that has pinned its device.

    Args:
        directory: Of the test.
        office_behind: Seconds by which the office's clock is behind the HSM's.
    """
    async with timely_world(directory / "vault") as vault:
        chain = (await vault.get("/v1/attestation"))["attestationCertificateChain"]
        clock = ManualClock(vault.clock.now() - office_behind)
        async with office_of(directory / "office", chain, clock) as office:
            yield Gap(vault, office)
