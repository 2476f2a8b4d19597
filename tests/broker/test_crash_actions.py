"""kill -9 of the broker around its commit, for every action but signing (test_crash.py): done once, with its result."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn.broker.calls import CreateCall, DecryptCall, StatusCall, UnwrapCall
from keyturn.broker.states import RequestStatus
from keyturn_testing import broker_world, dying_broker
from keyturn_testing.broker_world import local_world
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.broker.answers import RequestView
    from keyturn_testing.broker_world import World
    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN = Officer("ada", "P-256"), Officer("ben", "RSA")
BOTH = quorum(2, ADA, BEN)
SECRET = bytes(range(32))
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
OAEP_SHA1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - What the wrap method is.


async def open_request(world: World, action: str, label: str) -> str:
    """A key that needs both officers, and a request that waits for them."""
    made = await world.broker.create_key(
        CreateCall(
            label=label,
            algorithm="RSA",
            key_size=2048,
            attributes={"sign": False, "decrypt": True, "unwrap": True},
            policy=make_policy(use=BOTH, block=BOTH, unblock=BOTH),
            blocked=action == "unblock",
        )
    )
    public_key = load_der_public_key(made.attestation.public_key)
    assert isinstance(public_key, RSAPublicKey)
    call: Any = StatusCall(key_name=label)
    if action == "decrypt":
        payload = public_key.encrypt(SECRET, OAEP)
        call = DecryptCall(payload=payload, key_name=label, algorithm="RSA_PADDING_OAEP_WITH_SHA256")
    elif action == "unwrap":
        call = UnwrapCall(
            wrapped_key=public_key.encrypt(SECRET, OAEP_SHA1),
            key_name=label,
            method="RSA_WRAP_OAEP",
            new_label=f"{label}-new",
            attributes={"decrypt": True, "unwrap": False, "sign": False},
        )
    return str(await getattr(world.broker, f"open_{action}")(call, original=b"{}"))


async def settled(world: World, request_id: str) -> RequestView:
    """The request once it has left PENDING; the scheduler takes it up by itself."""
    for _ in range(500):
        view = await world.view(request_id)
        if view.status is not RequestStatus.PENDING:
            return view
        await asyncio.sleep(0.01)
    raise AssertionError("the request was not taken up")


@pytest.mark.parametrize("when", ["before-call", "after-answer"])
@pytest.mark.parametrize("action", ["decrypt", "unwrap", "block", "unblock"])
async def test_broker_killed_around_the_hsms_answer_has_the_action_done_once(
    hsm: HsmProcess, tmp_path: Path, action: str, when: str
) -> None:
    label = f"{action}-{when}"
    async with local_world(tmp_path, hsm) as world:
        request_id = await open_request(world, action, label)
        await world.approve(ADA, request_id)
        (task,) = await world.tasks(BEN, request_id=request_id)
        before = (await world.broker.attested_key(label)).attestation
    call = {
        "task_id": task.task_id,
        "approval": b64encode(task.approval_to_be_signed).decode(),
        "signature": b64encode(BEN.sign(task.approval_to_be_signed)).decode(),
        "digest": BEN.digest,
        "spki": b64encode(BEN.spki).decode(),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, dying_broker.__file__, str(tmp_path), hsm.address, when, json.dumps(call)),
        broker_world.url_of(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    assert bool(printed) is (when == "after-answer")
    given = b64decode(printed)

    async with local_world(tmp_path, hsm) as again:
        view = await settled(again, request_id)
        # The approval had been written down, although nobody was told so.
        assert (view.status, view.failure) == (RequestStatus.EXECUTED, None)
        assert view.approved_by == (ADA.spki, BEN.spki)
        after = (await again.broker.attested_key(label)).attestation
        if action in {"block", "unblock"}:
            assert (before.blocked, after.blocked) == (action == "unblock", action == "block")
        else:
            assert after.key_use_count == before.key_use_count + 1
        if action == "decrypt":
            assert b64decode(view.result or "") == SECRET
            assert given in {b"", SECRET}
        if action == "unwrap":
            made = (await again.broker.attested_key(f"{label}-new")).attestation
            assert given.decode() in {"", made.uuid}
    done = [
        line.get("note", "")
        for line in hsm.decisions()
        if line.get("operation")
        and (line.get("label"), line.get("kind"), line["outcome"]) == (label, action, "granted")
    ]
    assert done.count("stored result of a repeated call") == len(done) - 1
