"""Complete 2-of-3 flows per second: request, two task fetches, two approvals, result; every step durable.

Three officers with keys of three types; the two who approve change from flow to flow. Their approvals are signed
before the clock starts (the bytes to sign are known: operation, label, payload), so that the figure is the
broker's and the HSM's, not the officers'.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from datetime import UTC, datetime
from itertools import combinations, cycle
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, encode_approval


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


async def flows_per_second(url: str, count: int, at_once: int, label: str) -> float:
    """Run `count` flows, `at_once` of them at a time; returns flows per second."""
    officers = [
        Officer(ec.generate_private_key(ec.SECP256R1())),
        Officer(ed25519.Ed25519PrivateKey.generate()),
        Officer(rsa.generate_private_key(65537, 2048)),
    ]
    setup = await Http(url).open()
    await setup.call(
        "POST",
        "/v1/key",
        {
            "label": label,
            "algorithm": "EC",
            "curveOid": "1.2.840.10045.3.1.7",
            "attributes": {"sign": True, "decrypt": False, "unwrap": False, "destroyable": True},
            "policy": policy(officers),
        },
    )
    pairs = cycle(combinations(officers, 2))
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    proofs = {officer.spki: officer.sign(stamp.encode()) for officer in officers}
    work: asyncio.Queue[tuple[bytes, bytes, list[tuple[Officer, str]]]] = asyncio.Queue()
    for number in range(count):
        payload = f"flow {number}".encode()
        token = ApprovalToken(
            action=Action.USE, label=label.encode(), timestamp=None, timestamp_signature=None, payload=payload
        )
        approval = encode_approval(token)
        work.put_nowait((payload, approval, [(officer, officer.sign(approval)) for officer in next(pairs)]))

    async def run() -> None:
        http = await Http(url).open()
        while not work.empty():
            payload, approval, signers = work.get_nowait()
            request = {"payload": b64(payload), "signKeyName": label, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
            identity = (await http.call("POST", "/v1/sign", {"signRequest": request}))["signRequestId"]
            for officer, signature in signers:
                proof = {
                    "timestamp": stamp,
                    "timestampSignature": proofs[officer.spki],
                    "timestampDigestAlgorithm": officer.digest,
                    "approverPublicKey": officer.spki,
                }
                query = {**proof, "requestId": identity, "detailLevel": "level2"}
                tasks = (await http.call("POST", "/v1/filteredAllApprovalTask", query))["tasks"]
                assert tasks[0]["approvalToBeSigned"] == b64(approval)
                await http.call(
                    "POST",
                    "/v1/approval",
                    {
                        "id": tasks[0]["id"],
                        "approvalToBeSigned": b64(approval),
                        "signature": signature,
                        "approvalDigestAlgorithm": officer.digest,
                        "approverPublicKey": officer.spki,
                    },
                )
            view = await http.call("GET", f"/v1/request/{identity}")
            assert view["status"] == "EXECUTED", view

    start = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(at_once)))
    return count / (time.perf_counter() - start)
