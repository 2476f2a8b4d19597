"""kill -9 of the HSM at any moment: what was acknowledged holds, and a repeated call has one effect (law 3)."""

from __future__ import annotations

import random
import resource
import time
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.hsm import protocol
from keyturn.hsm.framing import encode_frame
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import encode_policy
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from pathlib import Path

ADA = Officer("ada")
POLICY = encode_policy(make_policy(quorum(1, ADA)))
ECDSA = "SHA256_WITH_ECDSA"


def _create(label: str, policy: bytes = POLICY, *, blocked: bool = False) -> protocol.CreateKey:
    return protocol.CreateKey(operation_id(), label, "EC", P256, 0, {"sign": True}, policy, blocked=blocked)


def _sign(label: str, number: int) -> protocol.Sign:
    payload = b"payment %d" % number
    return protocol.Sign(operation_id(), label, payload, ECDSA, "", [ADA.approve_use(label, payload)])


def _send_and_kill(hsm: HsmProcess, calls: list[Any], delay: float) -> dict[int, Any]:
    """Send all calls at once, kill the HSM after `delay` seconds; the answers that still came."""
    answers: dict[int, Any] = {}
    with RawLine(hsm.address) as line:
        line.send(b"".join(encode_frame(number, call) for number, call in enumerate(calls)))
        time.sleep(delay)
        hsm.kill()
        try:
            while True:
                number, answer = line.read()
                answers[number] = answer
        except EOFError:
            pass
    return answers


def _uses(line: RawLine, label: str) -> int:
    return parse_attestation(line.ask(protocol.Attest(label)).xml).key_use_count


ROUNDS = [0, 1, *(pytest.param(number, marks=pytest.mark.slow) for number in range(2, 12))]
"""Moments at which the HSM is killed; more of them in the slow tests."""


@pytest.mark.parametrize("round_", ROUNDS)
def test_signatures_survive_a_kill_and_repeated_calls_have_one_effect(tmp_path: Path, round_: int) -> None:
    moments = random.Random(round_)
    hsm = HsmProcess(tmp_path / "hsm")
    with hsm:
        with RawLine(hsm.address) as line:
            assert isinstance(line.ask(_create("k")), protocol.Attested)
        calls = [_sign("k", number) for number in range(30)]
        before = _send_and_kill(hsm, calls, moments.choice([0, 0.002, 0.005, 0.01, 0.02, 0.04]) * moments.random())
        hsm.start()
        with RawLine(hsm.address) as line:
            for number, call in enumerate(calls):
                again = line.ask(call)
                assert isinstance(again, protocol.Signed), again
                # What was acknowledged before the kill comes out of the store, byte for byte.
                assert number not in before or again == before[number]
            assert _uses(line, "k") == len(calls)


@pytest.mark.parametrize("round_", ROUNDS)
def test_changes_survive_a_kill_and_repeated_calls_have_one_effect(tmp_path: Path, round_: int) -> None:
    moments = random.Random(100 + round_)
    hsm = HsmProcess(tmp_path / "hsm")
    with hsm:
        with RawLine(hsm.address) as line:
            line.ask(_create("changed"))
            line.ask(_create("lifted", blocked=True))
            line.ask(_create("blocked"))
        new = encode_policy(make_policy(quorum(1, Officer("ben"))))
        calls: list[Any] = [_create(f"k{number}") for number in range(10)]
        calls.append(protocol.Modify(operation_id(), "changed", new, [ADA.approve_modify("changed", new)]))
        lift = [ADA.approve(ApprovalToken(Action.UNBLOCK, b"lifted"))]
        calls.append(protocol.Unblock(operation_id(), "lifted", lift))
        to_block = ADA.approve(ApprovalToken(Action.BLOCK, b"blocked"))
        calls.append(protocol.Block(operation_id(), "blocked", [to_block]))
        before = _send_and_kill(hsm, calls, moments.choice([0.001, 0.005, 0.02, 0.05]) * moments.random())
        hsm.start()
        with RawLine(hsm.address) as line:
            for number, call in enumerate(calls):
                again = line.ask(call)
                assert isinstance(again, protocol.Attested), again
                assert number not in before or again == before[number]
            labels = ["changed", "lifted", "blocked", *(f"k{one}" for one in range(10))]
            assert line.ask(protocol.ListKeys()).labels == sorted(labels)
            facts = [line.ask(protocol.Lookup(f"k{one}")) for one in range(10)]
            assert all(fact.generation == 1 for fact in facts)
            assert line.ask(protocol.Lookup("changed")).policy == new
            assert not line.ask(protocol.Lookup("lifted")).blocked
            assert line.ask(protocol.Lookup("blocked")).blocked
            # The effect and the statement that caused it are one commit (R15): it lifts no second block.
            line.ask(protocol.Block(operation_id(), "lifted", [ADA.approve(ApprovalToken(Action.BLOCK, b"lifted"))]))
            again = line.ask(protocol.Unblock(operation_id(), "lifted", lift))
            assert again.bad_approvals == [(0, "approval.spent")]


def test_the_decision_log_holds_every_answer_that_left(tmp_path: Path) -> None:
    hsm = HsmProcess(tmp_path / "hsm")
    with hsm:
        with RawLine(hsm.address) as line:
            line.ask(_create("k"))
        calls: list[Any] = [_sign("k", number) for number in range(20)]
        calls += [protocol.Sign(operation_id(), "k", b"unapproved", ECDSA, "", []) for _ in range(20)]
        answers = _send_and_kill(hsm, calls, 0.02)
        logged = {line["operation"]: line["outcome"] for line in hsm.decisions() if line["kind"] == "sign"}
        for number, answer in answers.items():
            outcome = "refused" if isinstance(answer, protocol.Refused) else "granted"
            assert logged[calls[number].operation_id.hex()] == outcome


@pytest.mark.parametrize("room", [1, 4096], ids=["for nothing, standard error included", "for the log only"])
def test_when_the_disk_refuses_no_answer_leaves_and_the_hsm_ends(tmp_path: Path, room: int) -> None:
    hsm = HsmProcess(tmp_path / "hsm")
    with hsm:
        with RawLine(hsm.address) as line:
            assert isinstance(line.ask(_create("before")), protocol.Attested)
            # From now on no file of this process may grow, as on a full disk.
            resource.prlimit(hsm.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            call = _create("after")
            line.send(encode_frame(7, call))
            assert line.closed()
        assert hsm.process is not None
        assert hsm.process.wait(10) == 70
        assert room == 1 or "cannot be written" in hsm.errors
        hsm.start()
        with RawLine(hsm.address) as line:
            assert line.ask(protocol.ListKeys()).labels == ["before"]
            assert isinstance(line.ask(call), protocol.Attested)
