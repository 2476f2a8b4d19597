"""Complete 2-of-3 flows per second: request, two task fetches, two approvals, result; every step durable.

Three officers with keys of three types; the two who approve change from flow to flow. They sign between the requests
and the rest, while the clock stands, so that the figure is the broker's and the HSM's, not the officers'. With bound
approvals the bytes to sign are known only when there is a request.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations, cycle
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Officer:
    def __init__(self, key: Any) -> None:
        self.key = key
        self.spki = b64(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        self.digest = "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "SHA-256"

    def sign(self, data: bytes) -> str:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return b64(self.key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return b64(self.key.sign(data, ec.ECDSA(hashes.SHA256())))
        return b64(self.key.sign(data))


class Http:
    """One keep-alive connection; just enough HTTP for a benchmark."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 0

    async def open(self) -> Http:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
        self.writer.write(head.encode() + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        status = int((await self.reader.readline()).split()[1])
        length = 0
        while (line := await self.reader.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        answer = await self.reader.readexactly(length)
        if status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {status} {answer.decode()}")
        return json.loads(answer) if answer else None


def policy(officers: list[Officer]) -> dict[str, Any]:
    approvals = [{"type": "public_key", "name": f"officer {n}", "value": o.spki} for n, o in enumerate(officers)]
    group = {"name": "officers", "quorum": 2, "approvals": approvals}
    rule = {"tokens": [{"name": "two of three", "timelock": 0, "timeout": 0, "groups": [group]}]}
    return {
        "ruleUse": rule, "ruleBlock": None, "ruleUnblock": rule, "ruleModify": rule, "keyStatus": {"blocked": False},
    }  # fmt: skip


@dataclass
class Flow:
    """One request and what its officers send."""

    payload: bytes
    signers: tuple[Officer, Officer]
    identity: str = ""
    approval: str = ""
    signatures: list[str] = field(default_factory=list)


async def flows_per_second(url: str, count: int, at_once: int, label: str, *, bound: bool = False) -> float:
    """Run `count` flows, `at_once` of them at a time; returns flows per second."""
    officers = [
        Officer(ec.generate_private_key(ec.SECP256R1())),
        Officer(ed25519.Ed25519PrivateKey.generate()),
        Officer(rsa.generate_private_key(65537, 2048)),
    ]
    attributes = {"sign": True, "decrypt": False, "unwrap": False, "destroyable": True}
    key = {
        "label": label,
        "algorithm": "EC",
        "curveOid": "1.2.840.10045.3.1.7",
        "attributes": attributes | ({"boundApprovals": True} if bound else {}),
        "policy": policy(officers),
    }
    connections = [await Http(url).open() for _ in range(at_once)]
    await connections[0].call("POST", "/v1/key", key)
    pairs = cycle(combinations(officers, 2))
    flows = [Flow(f"flow {number}".encode(), next(pairs)) for number in range(count)]
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    proofs = {officer.spki: officer.sign(stamp.encode()) for officer in officers}

    async def ask(http: Http, flow: Flow) -> None:
        request = {"payload": b64(flow.payload), "signKeyName": label, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
        flow.identity = (await http.call("POST", "/v1/sign", {"signRequest": request}))["signRequestId"]

    async def task(http: Http, flow: Flow, officer: Officer) -> dict[str, Any]:
        query = {
            "timestamp": stamp,
            "timestampSignature": proofs[officer.spki],
            "timestampDigestAlgorithm": officer.digest,
            "approverPublicKey": officer.spki,
            "requestId": flow.identity,
            "detailLevel": "level2",
        }
        found: dict[str, Any] = (await http.call("POST", "/v1/filteredAllApprovalTask", query))["tasks"][0]
        return found

    async def sign(http: Http, flow: Flow) -> None:
        flow.approval = (await task(http, flow, flow.signers[0]))["approvalToBeSigned"]
        flow.signatures = [officer.sign(base64.b64decode(flow.approval)) for officer in flow.signers]

    async def approve(http: Http, flow: Flow) -> None:
        for officer, signature in zip(flow.signers, flow.signatures, strict=True):
            mine = await task(http, flow, officer)
            assert mine["approvalToBeSigned"] == flow.approval
            approval = {
                "id": mine["id"],
                "approvalToBeSigned": flow.approval,
                "signature": signature,
                "approvalDigestAlgorithm": officer.digest,
                "approverPublicKey": officer.spki,
            }
            await http.call("POST", "/v1/approval", approval)
        view = await http.call("GET", f"/v1/request/{flow.identity}")
        assert view["status"] == "EXECUTED", view

    async def all_flows(step: Callable[[Http, Flow], Awaitable[None]]) -> float:
        left = iter(flows)

        async def run(http: Http) -> None:
            for flow in left:
                await step(http, flow)

        start = time.perf_counter()
        await asyncio.gather(*(run(http) for http in connections))
        return time.perf_counter() - start

    asking = await all_flows(ask)
    await all_flows(sign)
    approving = await all_flows(approve)
    for http in connections:
        http.writer.close()
    return count / (asking + approving)
