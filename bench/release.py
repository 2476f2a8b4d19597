"""How late a request is released, and what one decision costs.

Lateness: a broker on its real HSM process, the default store, ten thousand requests that wait; some hundreds more are
opened and approved over ten seconds and come out of their timelock in the same rhythm. Late is the time from a
request's opening second to the moment at which it is stored as executed.

Decision: `ska.decide()`, which the HSM enforces with, for a rule that needs 1, 10 and 100 approvals with P-256, all of
them given; beside it the library's verification alone, in the same run.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.broker.approver_calls import ApprovalCall, Signer, TaskQuery
from keyturn.broker.calls import CreateCall, SignCall
from keyturn.broker.local import LocalExecutor
from keyturn.broker.service import Broker
from keyturn.broker.settings import BrokerSettings
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.rows import RequestRow
from keyturn.broker.storage.tables import requests as request_table
from keyturn.clock import SystemClock, iso
from keyturn.hsm.client import HsmClient
from keyturn.hsm.embedded import start_embedded
from keyturn.ska.actions import Action
from keyturn.ska.decision import Question, decide
from keyturn.ska.messages import ApprovalToken, Authorization, decode_timestamp, encode_approval, encode_authorization
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token
from keyturn.ska.signatures import wrap_signature

if TYPE_CHECKING:
    from pathlib import Path

WAITING = 10_000
OPENING = 400
SPREAD = 10.0
"""Seconds over which requests are opened, and later come out of their timelock."""
TIMELOCK = 15
LOOK = 0.002
"""Seconds between two looks whether a request that the HSM has executed is stored as such."""
_DIGEST = ec.ECDSA(hashes.SHA256())


class Officer:
    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data, _DIGEST)


def policy(officers: list[Officer], *, timelock: int = 0) -> Policy:
    listed = tuple(Approver(name=f"officer {n}", spki=each.spki) for n, each in enumerate(officers))
    group = Group(name="officers", quorum=len(officers), approvers=listed)
    token = Token(name="all of them", timelock=timelock, timeout=0, groups=(group,), unit=TimeUnit.SECONDS)
    rule = Rule(tokens=(token,))
    return Policy(use=rule, block=rule, unblock=rule, modify=rule)


def lateness(scratch: Path) -> list[float]:
    """Seconds by which each of `OPENING` requests was late, shortest first."""
    return asyncio.run(_lateness(scratch))


async def _lateness(scratch: Path) -> list[float]:
    hsm = await start_embedded(scratch / "hsm")
    clock = SystemClock()
    executor = LocalExecutor(await HsmClient.connect(hsm.address))
    broker = await Broker.open(BrokerSettings(data_dir=scratch / "broker"), executor, clock)
    try:
        return sorted(await _released(broker, clock))
    finally:
        await broker.close()
        await hsm.stop()


async def _released(broker: Broker, clock: SystemClock) -> list[float]:
    officer = Officer()
    attributes = {"sign": True, "decrypt": False, "unwrap": False, "destroyable": True}
    for label, timelock in (("waiting", 31_536_000), ("opening", TIMELOCK)):
        rule = policy([officer], timelock=timelock)
        curve = "1.2.840.10045.3.1.7"
        await broker.create_key(
            CreateCall(label=label, algorithm="EC", curve_oid=curve, attributes=attributes, policy=rule)
        )
    await _add_waiting(broker, await _approved(broker, clock, officer, "waiting", b"wait"))
    watching = []
    start = clock.now()
    for number in range(OPENING):
        await asyncio.sleep(max(0.0, start + number * SPREAD / OPENING - clock.now()))
        request_id = await _approved(broker, clock, officer, "opening", f"payment {number}".encode())
        watching.append(asyncio.create_task(_late(broker, clock, request_id)))
    return await asyncio.gather(*watching)


async def _approved(broker: Broker, clock: SystemClock, officer: Officer, label: str, payload: bytes) -> str:
    call = SignCall(payload=payload, key_name=label, algorithm="SHA256_WITH_ECDSA")
    request_id = await broker.open_sign(call, original=b"{}")
    signer = Signer(spki=officer.spki)
    stamp = iso(clock.now())
    (task,) = await broker.fetch_tasks(
        TaskQuery(
            signer=signer,
            timestamp=stamp,
            timestamp_signature=officer.sign(stamp.encode()),
            digest="SHA-256",
            request_id=request_id,
        )
    )
    statement = task.approval_to_be_signed
    await broker.approve(
        ApprovalCall(
            task_id=task.task_id,
            approval=statement,
            signature=officer.sign(statement),
            digest="SHA-256",
            signer=signer,
        )
    )
    return request_id


async def _add_waiting(broker: Broker, request_id: str) -> None:
    """Store ten thousand more like a complete request that waits for the next year, and have them looked after."""
    row = await _row(broker, request_id)
    values: dict[str, Any] = dict.fromkeys(column.name for column in request_table.columns)
    values |= {**row._asdict(), "original": b"{}"}
    due = {str(uuid.uuid4()): (row.due_at or 0.0) + number for number in range(WAITING)}
    copies = [{**values, "id": each, "due_at": moment} for each, moment in due.items()]
    await broker._database.write(lambda tx: tx.run_many(statements.INSERT_REQUEST, copies))  # noqa: SLF001 - No other way in.
    for each, moment in due.items():
        broker._scheduler.at(moment, each)  # noqa: SLF001 - As the broker does at its start.


async def _row(broker: Broker, request_id: str) -> RequestRow:
    row = await broker._database.read(  # noqa: SLF001 - The view has no fractions of a second.
        lambda tx: tx.one(RequestRow._make, statements.REQUEST, {"w_id": request_id})
    )
    assert row is not None
    return row


async def _late(broker: Broker, clock: SystemClock, request_id: str) -> float:
    row = await _row(broker, request_id)
    assert row.stamp is not None
    opens = decode_timestamp(row.stamp).seconds + TIMELOCK
    await asyncio.sleep(opens - clock.now())
    while (await broker.request(request_id)).status is not RequestStatus.EXECUTED:  # noqa: ASYNC110 - Seen from outside.
        await asyncio.sleep(LOOK)
    return clock.now() - opens


def decision_costs(rounds: int) -> dict[str, float]:
    """Milliseconds per approval of one decision, and of the verification alone; medians of `rounds`."""
    figures: dict[str, float] = {}
    for count in (1, 10, 100):
        officers = [Officer() for _ in range(count)]
        payload = b"x" * 32
        statement = encode_approval(ApprovalToken(Action.USE, b"key", None, None, payload))
        signed = [(officer, officer.sign(statement)) for officer in officers]
        question = Question(
            policy=policy(officers),
            action=Action.USE,
            label="key",
            payload=payload,
            approvals=[
                encode_authorization(
                    Authorization(
                        approval=statement,
                        signature=wrap_signature("SHA256_WITH_ECDSA", signature),
                        spki=officer.spki,
                        certificate=None,
                    )
                )
                for officer, signature in signed
            ],
            now=int(time.time()),
            integrity_keys=(),
            not_before=None,
        )
        assert decide(question).authorised
        repeats = max(3, 200 // count)
        ours, raw = [], []
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(repeats):
                decide(question)
            ours.append((time.perf_counter() - start) / repeats / count)
            start = time.perf_counter()
            for _ in range(repeats):
                for officer, signature in signed:
                    officer.key.public_key().verify(signature, statement, _DIGEST)
            raw.append((time.perf_counter() - start) / repeats / count)
        noun = "approval" if count == 1 else "approvals"
        figures[f"milliseconds per approval, decision on {count} {noun}"] = round(1000 * statistics.median(ours), 4)
        figures[f"(the loop: milliseconds per verification, {count} in a row)"] = round(
            1000 * statistics.median(raw), 4
        )
    return figures


def release_figures(scratch: Path) -> dict[str, float]:
    """Median, 99th percentile and share in time."""
    late = lateness(scratch)
    return {
        "seconds late at release, median": round(statistics.median(late), 3),
        "seconds late at release, 99th percentile": round(late[int(len(late) * 0.99) - 1], 3),
        "share released within a second": round(sum(each <= 1 for each in late) / len(late), 4),
    }
