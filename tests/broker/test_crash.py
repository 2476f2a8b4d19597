"""kill -9 of broker and HSM around the moment of execution: once, with its result (law 3). Real processes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest

from keyturn.broker import cancelling
from keyturn.broker.local import LocalExecutor
from keyturn.broker.states import RequestStatus
from keyturn.clock import SystemClock
from keyturn.crypto.registry import verify
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.client import HsmClient
from keyturn_testing import dying_broker
from keyturn_testing.broker_world import local_world, opened
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import create_ec
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from keyturn.broker.answers import Executed, RequestView
    from keyturn.broker.calls import SignCall
    from keyturn_testing.broker_world import World

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
TWO_OF_THREE = make_policy(use=quorum(2, ADA, BEN, EVE))


async def settled(world: World, request_id: str) -> RequestView:
    """The request once it has left PENDING; the scheduler takes it up by itself."""
    for _ in range(500):
        view = await world.view(request_id)
        if view.status is not RequestStatus.PENDING:
            return view
        await asyncio.sleep(0.01)
    raise AssertionError("the request was not taken up")


@pytest.mark.parametrize("when", ["before-call", "after-answer"])
async def test_broker_killed_around_the_hsms_answer_ends_executed_once_with_its_result(
    hsm: HsmProcess, tmp_path: Path, when: str
) -> None:
    label = f"killed-{when}"
    async with local_world(tmp_path, hsm) as world:
        await world.create(label, TWO_OF_THREE)
        request_id = await world.ask_signature(label, b"pay")
        await world.approve(ADA)
        (task,) = await world.tasks(BEN)
    call = {
        "task_id": task.task_id,
        "approval": b64encode(task.approval_to_be_signed).decode(),
        "signature": b64encode(BEN.sign(task.approval_to_be_signed)).decode(),
        "digest": BEN.digest,
        "spki": b64encode(BEN.spki).decode(),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, dying_broker.__file__, str(tmp_path), hsm.address, when, json.dumps(call)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    printed, errors = await process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    async with local_world(tmp_path, hsm) as again:
        view = await settled(again, request_id)
        # The approval had been written down, although nobody was told so.
        assert (view.status, view.approved_by) == (RequestStatus.EXECUTED, (ADA.spki, BEN.spki))
        attestation = (await again.broker.attested_key(label)).attestation
        assert attestation.key_use_count == 1
        assert view.result is not None
        verify(attestation.public_key, "SHA256_WITH_ECDSA", b"pay", b64decode(view.result))
        if when == "after-answer":
            # ECDSA is randomised: the very same signature can only be the stored one.
            assert view.result == printed.decode().strip()


async def delete_and_die(directory: Path, hsm: HsmProcess, label: str) -> None:
    """A broker that has the HSM delete a key, and is killed before it cancels the key's requests."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, dying_broker.__file__, str(directory), hsm.address, "", json.dumps({"delete": label})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == -signal.SIGKILL, errors


async def test_broker_killed_after_a_deletion_cancels_the_requests_of_the_key_when_it_starts(
    hsm: HsmProcess, tmp_path: Path
) -> None:
    async with local_world(tmp_path, hsm) as world:
        for label in ("gone", "made-anew", "kept"):
            await world.create(label, TWO_OF_THREE, destroyable=True)
        asked = {label: await world.ask_signature(label, b"pay") for label in ("gone", "made-anew", "kept")}
    await delete_and_die(tmp_path, hsm, "gone")
    await delete_and_die(tmp_path, hsm, "made-anew")
    client = await HsmClient.connect(hsm.address)
    await create_ec(client, "made-anew", TWO_OF_THREE)
    await client.close()
    async with local_world(tmp_path, hsm) as again:
        for label in ("gone", "made-anew"):
            view = await settled(again, asked[label])
            assert (view.status, view.failure) == (RequestStatus.CANCELLED, "Its key was deleted.")
        # The request of a key that is there waits on, and so does one for the new key of an old name.
        newer = await again.ask_signature("made-anew", b"pay")
        await again.broker._cancelling.cancel_keyless()
        for request_id in (asked["kept"], newer):
            assert (await again.view(request_id)).status is RequestStatus.PENDING
        assert {task.request_id for task in await again.tasks(ADA)} == {asked["kept"], newer}


async def test_a_broker_whose_hsm_is_away_at_its_start_cancels_them_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "FIRST_DELAY", 0.01)
    with HsmProcess(tmp_path / "hsm") as own:
        async with local_world(tmp_path, own) as world:
            await world.create("gone", TWO_OF_THREE, destroyable=True)
            request_id = await world.ask_signature("gone", b"pay")
        await delete_and_die(tmp_path, own, "gone")
        executor = LocalExecutor(await HsmClient.connect(own.address))
        own.kill()
        async with opened(tmp_path, executor, SystemClock()) as again:
            assert (await again.view(request_id)).status is RequestStatus.PENDING
            own.start()
            assert (await settled(again, request_id)).status is RequestStatus.CANCELLED


class CutExecutor(LocalExecutor):
    """Kills the HSM when it has committed and answered, and loses the answer."""

    hsm: HsmProcess | None = None
    lost: bytes = b""

    async def sign(
        self, operation_id: bytes, call: SignCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        signed = await super().sign(operation_id, call, approvals, request_id=request_id)
        if self.hsm is None:
            return signed
        self.hsm.kill()
        self.hsm, self.lost = None, signed.value
        raise KeyturnError(ErrorCode.CONNECTIVITY, "the line broke", refusal="hsm.line-broken")


async def test_hsm_killed_between_its_commit_and_the_brokers_ends_executed_once_with_its_result(
    tmp_path: Path,
) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        executor = CutExecutor(await HsmClient.connect(hsm.address))
        async with opened(tmp_path / "broker", executor, SystemClock()) as world:
            await world.create("cut", TWO_OF_THREE)
            request_id = await world.ask_signature("cut", b"pay")
            await world.approve(ADA)
            executor.hsm = hsm
            await world.approve(BEN)
            view = await world.view(request_id)
            assert (view.status, view.approved_by) == (RequestStatus.PENDING, (ADA.spki, BEN.spki))
            # A third approval must not change what is asked again under the same operation id.
            await world.approve(EVE)
            await asyncio.to_thread(hsm.start)
            view = await settled(world, request_id)
            assert view.status is RequestStatus.EXECUTED
            assert b64decode(view.result or "") == executor.lost
            assert (await world.broker.attested_key("cut")).attestation.key_use_count == 1


async def test_hsm_killed_before_it_acts_ends_executed_once(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        async with local_world(tmp_path / "broker", hsm) as world:
            await world.create("away", make_policy(use=quorum(1, ADA)))
            request_id = await world.ask_signature("away", b"pay")
            hsm.kill()
            await world.approve(ADA)
            assert (await world.view(request_id)).status is RequestStatus.PENDING
            await asyncio.to_thread(hsm.start)
            assert (await settled(world, request_id)).status is RequestStatus.EXECUTED
            assert (await world.broker.attested_key("away")).attestation.key_use_count == 1


async def test_the_whole_journey_on_a_real_hsm_with_time_limits_and_a_second_generation(
    hsm: HsmProcess, tmp_path: Path
) -> None:
    async with local_world(tmp_path, hsm) as world:
        await world.create("journey", make_policy(use=quorum(2, ADA, BEN, EVE, timeout=600)))
        for officers in ((ADA, BEN), (EVE, ADA)):
            request_id = await world.ask_signature("journey")
            for officer in officers:
                await world.approve(officer)
            assert (await world.view(request_id)).status is RequestStatus.EXECUTED
        change = await world.ask_change("journey", make_policy(use=quorum(1, EVE)))
        for officer in (ADA, EVE):
            await world.approve(officer)
        assert (await world.view(change)).status is RequestStatus.EXECUTED
        await world.broker.delete_key("journey")
        await world.create("journey", make_policy(use=quorum(1, ADA)))
        request_id = await world.ask_signature("journey")
        await world.approve(ADA)
        view = await world.view(request_id)
        assert (view.status, view.failure) == (RequestStatus.EXECUTED, None)
        assert (await world.broker.info())["profile"] == "local"
        assert "requests.EXECUTED" in await world.broker.statistics()
