"""Two real brokers on one PostgreSQL and one HSM: each survives the other's kill -9, and nothing runs twice.

What ran is counted in the HSM's own decision log, by request.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.broker import withdrawals
from keyturn.broker.approver_calls import Signer, WithdrawCall
from keyturn.broker.states import RequestStatus
from keyturn.client.connection import ServerRefusedError
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.policy import TimeUnit
from keyturn_testing import broker_world, dying_broker
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, approve, b64, create_ec_key, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keyturn.client import RestClient
    from keyturn_testing.hsm_process import HsmProcess
    from keyturn_testing.postgres import PostgresServer

    Connect = Callable[[ServeProcess], RestClient]

ADA, BEN = Officer("ada", "P-256"), Officer("ben", "ED")
PATIENCE = 60.0
"""Seconds after which a test gives up on a loaded machine; nothing is measured by it."""


@contextmanager
def brokers(directory: Path, postgres: PostgresServer, hsm: HsmProcess) -> Iterator[tuple[ServeProcess, ServeProcess]]:
    """Two brokers that share nothing but the database and the HSM."""
    config = directory / "keyturn.yaml"
    general = {"databaseUrl": postgres.new_schema(), "allowSecondsInPolicies": True}
    config.write_text(json.dumps({"general": general}))
    options = ["--config", str(config), "--hsm", hsm.address]
    first, second = (ServeProcess(directory / name, options=options) for name in ("first", "second"))
    # Both start on the empty database.
    starting = threading.Thread(target=second.start)
    starting.start()
    with first:
        starting.join()
        try:
            yield first, second
        finally:
            second.__exit__(None, None, None)


@pytest.fixture
def client() -> Iterator[Connect]:
    """Makes clients, and closes them at the end."""
    with ExitStack() as stack:
        yield lambda server: stack.enter_context(server.client())


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def ask(rest: RestClient, label: str, payload: str) -> str:
    return rest.sign(
        {"payload": b64(payload.encode()), "signKeyName": label, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    )


def executions(hsm: HsmProcess, label: str) -> Counter[str]:
    """How often the HSM acted, by request id: the operation id of a call is the request's uuid.

    A broker that takes over what another one sent may be given the stored result; then nothing was done.
    """
    return Counter(
        str(uuid.UUID(line["operation"]))
        for line in hsm.decisions()
        if (line.get("label"), line.get("kind"), line["outcome"]) == (label, "sign", "granted")
        and line.get("note") != "stored result of a repeated call"
    )


def statuses(rest: RestClient, request_ids: list[str]) -> set[str]:
    return {rest.request(request_id)["status"] for request_id in request_ids}


@pytest.mark.parametrize("killed", ["the-one-that-had-them-due", pytest.param("both", marks=pytest.mark.slow)])
def test_what_a_dead_broker_had_due_is_released_by_the_other_or_at_the_next_start(
    tmp_path: Path, postgres: PostgresServer, hsm: HsmProcess, client: Connect, killed: str
) -> None:
    label = f"timed-{killed}"
    with brokers(tmp_path, postgres, hsm) as (first, second):
        alive = client(second)
        create_ec_key(alive, label, make_policy(use=quorum(1, ADA, timelock=3, timeout=600, unit=TimeUnit.SECONDS)))
        # Opened on one, so that it knows the closing time; completed on the other, which alone knows the earlier
        # opening time, and dies.
        requests = [ask(alive, label, f"payment {number}") for number in range(24)]
        opens = time.time() + 3
        doomed = client(first)
        for task in fetch(doomed, ADA, level=2):
            approve(doomed, ADA, task)
        assert statuses(alive, requests) <= {"APPROVED", "EXECUTED"}
        first.end(signal.SIGKILL)
        if killed == "both":
            second.end(signal.SIGKILL)
            until(lambda: time.time() > opens + 1, "the clock stands still")
            second.start()
            alive = client(second)
        until(lambda: statuses(alive, requests) == {"EXECUTED"}, "not released")
    assert executions(hsm, label) == dict.fromkeys(requests, 1)


def test_requests_worked_on_by_both_are_executed_once_each_when_one_is_killed_in_the_middle(
    tmp_path: Path, postgres: PostgresServer, hsm: HsmProcess, client: Connect
) -> None:
    """Two officers at two brokers, racing for the same requests; one broker is killed in the thick of it."""
    with brokers(tmp_path, postgres, hsm) as (first, second):
        rest = client(second)
        create_ec_key(rest, "raced", make_policy(use=quorum(2, ADA, BEN)))
        requests = [ask(rest, "raced", f"payment {number}") for number in range(60)]
        acknowledged = itertools.count()
        kill_now = threading.Event()
        faults: list[str] = []

        def work(server: ServeProcess, officer: Officer) -> None:
            rest_of_one = client(server)
            try:
                for task in fetch(rest_of_one, officer, level=2):
                    approve(rest_of_one, officer, task)
                    if next(acknowledged) == 50:
                        kill_now.set()
            except KeyturnError as error:
                if server is second or isinstance(error, ServerRefusedError):
                    faults.append(str(error))

        people = [
            threading.Thread(target=work, args=(first, ADA)),
            threading.Thread(target=work, args=(second, BEN)),
        ]
        for person in people:
            person.start()
        assert kill_now.wait(PATIENCE)
        first.end(signal.SIGKILL)
        for person in people:
            person.join()
        assert faults == []
        # Ada does the rest at the broker that lives.
        for task in fetch(rest, ADA, level=2):
            approve(rest, ADA, task)
        until(lambda: statuses(rest, requests) == {"EXECUTED"}, "not executed")
        results = {rest.request(each)["result"] for each in requests}
        assert len(results) == len(requests)
    assert executions(hsm, "raced") == dict.fromkeys(requests, 1)


@pytest.mark.slow
def test_one_task_decided_at_both_brokers_at_once_counts_once(
    tmp_path: Path, postgres: PostgresServer, hsm: HsmProcess, client: Connect
) -> None:
    with brokers(tmp_path, postgres, hsm) as (first, second):
        clients = (client(first), client(second))
        create_ec_key(clients[0], "twice", make_policy(use=quorum(1, ADA)))
        requests = [ask(clients[number % 2], "twice", f"payment {number}") for number in range(12)]
        outcomes: list[Any] = []

        def decide(rest: RestClient, task: dict[str, Any]) -> None:
            try:
                approve(rest, ADA, task)
                outcomes.append("taken")
            except ServerRefusedError as error:
                outcomes.append(error.code)

        for task in fetch(clients[0], ADA, level=2):
            both = [threading.Thread(target=decide, args=(rest, task)) for rest in clients]
            for one in both:
                one.start()
            for one in both:
                one.join()
        # The second hears that the task is finished.
        assert Counter(outcomes) == {"taken": 12, ErrorCode.TASK_NOT_EXISTENT: 12}
        until(lambda: statuses(clients[1], requests) == {"EXECUTED"}, "not executed")
    assert executions(hsm, "twice") == dict.fromkeys(requests, 1)


@pytest.mark.rule("R26")
async def test_r26_a_living_broker_brings_the_withdrawals_that_a_dead_one_owed(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_schema()
    monkeypatch.setattr(broker_world, "url_of", lambda _: url)
    monkeypatch.setattr(withdrawals, "LOOK_EVERY", 0.05)
    async with broker_world.memory_world(tmp_path / "living") as (living, hsm):
        away = broker_world.MemoryHsm(living.clock, keys=hsm.keys)
        async with broker_world.opened(tmp_path / "dying", away, living.clock) as dying:
            await dying.create("treasury", make_policy(use=quorum(2, ADA, BEN, timelock=600)))
            task = await dying.approve(ADA, await dying.ask_signature("treasury"))
            approval = task.approval_to_be_signed
            await living.broker._withdrawals.stop()
            away.unreachable = True
            await dying.broker.withdraw(
                WithdrawCall(
                    task_id=task.task_id,
                    approval=approval,
                    signature=ADA.sign(b"WITHDRAW:" + approval + task.task_id.encode()),
                    digest=ADA.digest,
                    signer=Signer(spki=ADA.spki),
                )
            )
            assert (away.withdrawn, hsm.withdrawn) == ([], [])
        # It is gone, and nothing tells the living one; that was up all the time, but its first look came before.
        living.broker._withdrawals._courier = asyncio.create_task(living.broker._withdrawals._run())
        deadline = time.monotonic() + PATIENCE
        while not hsm.withdrawn:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert [each.task_id for each in hsm.withdrawn] == [task.task_id]


@pytest.mark.parametrize("when", ["before-call", "after-answer"])
async def test_a_living_broker_finishes_what_another_was_sending_when_it_was_killed(
    tmp_path: Path, postgres: PostgresServer, hsm: HsmProcess, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Killed between its commit and the HSM, or between the HSM and its commit, while the other one runs."""
    url, label = postgres.new_schema(), f"sending-{when}"
    monkeypatch.setattr(broker_world, "url_of", lambda _: url)
    async with broker_world.local_world(tmp_path / "living", hsm) as world:
        await world.create(label, make_policy(use=quorum(1, ADA)))
        request_id = await world.ask_signature(label, b"pay")
        (task,) = await world.tasks(ADA)
        call = {
            "task_id": task.task_id,
            "approval": b64(task.approval_to_be_signed),
            "signature": b64(ADA.sign(task.approval_to_be_signed)),
            "digest": ADA.digest,
            "spki": b64(ADA.spki),
        }
        dying = await asyncio.create_subprocess_exec(
            *(sys.executable, dying_broker.__file__, str(tmp_path / "dying"), hsm.address, when, json.dumps(call), url),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await dying.communicate()
        assert dying.returncode == -signal.SIGKILL
        deadline = time.monotonic() + PATIENCE
        while (view := await world.view(request_id)).status is RequestStatus.PENDING:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert view.status is RequestStatus.EXECUTED
        if when == "after-answer":
            # ECDSA is randomised: the very same signature can only be the stored one.
            assert view.result == printed.decode().strip()
        assert (await world.broker.attested_key(label)).attestation.key_use_count == 1
    assert executions(hsm, label) == {request_id: 1}
