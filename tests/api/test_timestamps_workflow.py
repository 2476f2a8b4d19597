"""The timestamps workflow, step by step: a rule with a timelock and a timeout, from the request to the signature.

    registered          opens                          closes
        | --- timelock --- | ------------------------- timeout -> | + one unit
        HSM stamps         the HSM signs                          EXPIRED

One clock rules server, broker and HSM, and the test moves it. A second test does the same with processes and real
seconds.
"""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyturn.approver.address_book import AddressBook
from keyturn.approver.review import review_task
from keyturn.approver.tasks import parse_task
from keyturn.client import ServerRefusedError
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.messages import decode_approval, decode_timestamp
from keyturn.ska.policy import TimeUnit
from keyturn_testing.actions import all_approve, ready_approvals
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.openssl import dgst_accepts
from keyturn_testing.rest_server import (
    P256,
    ServeProcess,
    approve,
    b64,
    create_ec_key,
    fetch,
    policy_json,
    signed_approval,
)
from keyturn_testing.timely_world import timely_world

if TYPE_CHECKING:
    from pathlib import Path

PAYLOAD = b"open the vault on Friday"
ALGORITHM = "SHA256_WITH_ECDSA"
MINUTE = 60


def sign_body(label: str, **more: Any) -> dict[str, Any]:
    inner = {"payload": b64(PAYLOAD), "signKeyName": label, "signatureAlgorithm": ALGORITHM}
    return {"signRequest": inner | more}


@pytest.mark.rule("R12")
async def test_r12_the_timestamps_workflow(tmp_path: Path) -> None:
    ada, ben, eve = Officer("Ada", "P-256"), Officer("Ben", "RSA"), Officer("Eve", "ED")
    async with timely_world(tmp_path) as world:
        # 1. A key: two of three may use it, not before one hour and not after two have passed.
        rule = quorum(2, ada, ben, eve, timelock=60 * MINUTE, timeout=120 * MINUTE)
        created = await world.post(
            "/v1/key",
            {
                "label": "vault",
                "algorithm": "EC",
                "curveOid": P256,
                "attributes": {"decrypt": False, "sign": True, "unwrap": False},
                "policy": policy_json(make_policy(rule), new=True),
            },
        )
        key = parse_attestation(created["xml"])

        # 2. A request is registered; the HSM signs the time and the payload with its integrity key.
        world.clock.advance(7)
        registered = int(world.clock.now())
        request = (await world.post("/v1/sign", sign_body("vault")))["signRequestId"]

        # 3. Level 4 shows the timestamp, and it is the one that the bytes to be signed bind. Lower levels do not.
        (task,) = await world.tasks(ada, request, level=4)
        stamp, signature = (base64.b64decode(task[name]) for name in ("timestamp", "timestampSignature"))
        token = decode_approval(base64.b64decode(task["approvalToBeSigned"]))
        assert token.timestamp == stamp
        assert token.timestamp_signature == base64.b64decode(task["timestampSignatureWithAlgorithm"])
        read = decode_timestamp(stamp)
        assert (read.seconds, read.key_name, read.action_payload) == (registered, key.integrity_key_name, PAYLOAD)
        assert task["timestampSignatureAlgorithm"] == "SHA256_WITH_ECDSA"
        assert dgst_accepts(key.integrity_key, signature, stamp, "sha256")
        assert not dgst_accepts(key.integrity_key, signature, stamp[:-1] + b"\1", "sha256")
        (lower,) = await world.tasks(ada, request, level=3)
        assert "timestamp" not in lower

        # 4. An officer's client verifies it by itself, from the pinned device certificate down, and says when.
        pem = (await world.get("/v1/attestation"))["attestationCertificateChain"][0]
        device = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
        (whole,) = await world.tasks(ada, request, level=5)
        review = review_task(
            parse_task(whole),
            own_spki=ada.spki,
            address_book=AddressBook.empty(),
            now=registered + 30,
            device_certificate=device,
        )
        assert review.stamp is not None
        assert (review.stamp.seconds, review.stamp.verified) == (registered, True)

        # 5. Two approve. The request is complete and waits for its time; nobody could hurry it.
        (of_ben,) = await world.tasks(ben, request)
        await world.approve(ada, whole)
        assert await world.status(request) == "PENDING"
        await world.approve(ben, of_ben)
        assert await world.status(request) == "APPROVED"
        preflight = await world.get(f"/v1/request/{request}/preflight")
        assert preflight["tokens"][0]["opensAt"] is not None

        # 6. One second before the timelock has passed: nothing, neither by the broker nor by the HSM itself.
        opens = registered + 60 * MINUTE
        stamped = {
            "timestamp": task["timestamp"],
            "timestampSignature": task["timestampSignature"],
            "timestampSignatureAlgorithm": task["timestampSignatureAlgorithm"],
        }
        kept = ready_approvals([ada, ben], token.action, "vault", PAYLOAD, stamped)
        await world.at(opens - 1)
        assert await world.status(request) == "APPROVED"
        early = await world.http.post("/v1/synchronousSign", json=sign_body("vault", signedApprovals=kept))
        assert (early.status_code, early.json()["errorCode"]) == (400, 701)

        # 7. The timelock has passed: executed at once, and the result is a signature that openssl accepts.
        await world.at(opens)
        state = await world.get(f"/v1/request/{request}")
        assert state["status"] == "EXECUTED"
        result = base64.b64decode(state["result"])
        assert key.public_key is not None
        assert dgst_accepts(key.public_key, result, PAYLOAD, "sha256")
        assert not dgst_accepts(key.public_key, result, PAYLOAD + b"!", "sha256")
        assert await world.tasks(eve, request) == []


@pytest.mark.parametrize("units_late", [0, 1])
async def test_in_the_last_unit_of_the_timeout_it_is_executed_and_one_unit_later_it_is_expired(
    tmp_path: Path, units_late: int
) -> None:
    ada, ben, eve = Officer("Ada", "P-256"), Officer("Ben", "RSA"), Officer("Eve", "ED")
    async with timely_world(tmp_path) as world:
        rule = quorum(2, ada, ben, eve, timelock=1 * MINUTE, timeout=5 * MINUTE)
        created = await world.post(
            "/v1/key",
            {
                "label": "vault",
                "algorithm": "EC",
                "curveOid": P256,
                "attributes": {"decrypt": False, "sign": True, "unwrap": False},
                "policy": policy_json(make_policy(rule), new=True),
            },
        )
        registered = int(world.clock.now())
        request = (await world.post("/v1/sign", sign_body("vault")))["signRequestId"]
        (of_ada,), (of_ben,) = await world.tasks(ada, request), await world.tasks(ben, request)
        await world.approve(ada, of_ada)

        # Elapsed time counts in whole units: the last good second is the one before timeout and one unit have passed.
        closes = registered + 5 * MINUTE + MINUTE
        await world.at(closes - 1 + units_late)
        answer = await world.http.post("/v1/approval", json=signed_approval(ben, of_ben))

        stamped = {
            "timestamp": of_ada["timestamp"],
            "timestampSignature": of_ada["timestampSignature"],
            "timestampSignatureAlgorithm": of_ada["timestampSignatureAlgorithm"],
        }
        action = decode_approval(base64.b64decode(of_ada["approvalToBeSigned"])).action
        kept = ready_approvals([ada, ben], action, "vault", PAYLOAD, stamped)
        direct = await world.http.post("/v1/synchronousSign", json=sign_body("vault", signedApprovals=kept))
        if units_late:
            # Too late by the first moment that is too late. The tasks are gone, and the HSM says the same.
            assert (answer.status_code, answer.json()["errorCode"]) == (404, 652)
            state = await world.get(f"/v1/request/{request}")
            assert (state["status"], state["result"]) == ("EXPIRED", None)
            assert state["failure"]
            assert await world.tasks(eve, request) == []
            assert (direct.status_code, direct.json()["errorCode"]) == (400, 701)
        else:
            assert answer.status_code == 200
            state = await world.get(f"/v1/request/{request}")
            assert state["status"] == "EXECUTED"
            public_key = base64.b64decode(created["json"]["publicKey"])
            assert dgst_accepts(public_key, base64.b64decode(state["result"]), PAYLOAD, "sha256")
            assert direct.status_code == 200


@pytest.mark.slow
def test_the_same_with_processes_and_real_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYTURN_GENERAL__ALLOWSECONDSINPOLICIES", "true")
    ada, ben, eve = Officer("Ada", "P-256"), Officer("Ben", "RSA"), Officer("Eve", "ED")
    with ServeProcess(tmp_path / "vault") as server, server.client() as rest:
        # From the first second on, for two of them: a slow machine has time to be late.
        rule = quorum(2, ada, ben, eve, timelock=1, timeout=2, unit=TimeUnit.SECONDS)
        created = create_ec_key(rest, "seconds", make_policy(rule))
        on_time = rest.sign(sign_body("seconds")["signRequest"])
        (task,) = fetch(rest, eve, requestId=on_time)
        opens = decode_timestamp(base64.b64decode(task["timestamp"])).seconds + 1
        all_approve(rest, on_time, [ada, ben])

        # The scheduler executes it without being asked, and not before.
        while rest.request(on_time)["status"] in {"PENDING", "APPROVED"}:
            assert time.time() < opens + 3
            time.sleep(0.02)
        assert time.time() >= opens
        state = rest.request(on_time)
        assert state["status"] == "EXECUTED"
        result = base64.b64decode(state["result"])
        assert dgst_accepts(base64.b64decode(created["json"]["publicKey"]), result, PAYLOAD, "sha256")

        # Another one lacks an approval when its time is over, and it ends by itself.
        too_late = rest.sign(sign_body("seconds")["signRequest"])
        (task,) = fetch(rest, ada, requestId=too_late)
        approve(rest, ada, task)
        closes = decode_timestamp(base64.b64decode(task["timestamp"])).seconds + 3
        while rest.request(too_late)["status"] == "PENDING":
            assert time.time() < closes + 2
            time.sleep(0.02)
        assert time.time() >= closes
        assert rest.request(too_late)["status"] == "EXPIRED"
        assert fetch(rest, eve, requestId=too_late) == []
        with pytest.raises(ServerRefusedError) as caught:
            rest.approve(signed_approval(ada, task))
        assert caught.value.code.number == 652
