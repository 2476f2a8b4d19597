"""kill -9 under single-use load: nothing is executed twice, and nothing is used up without its result (R14, law 3)."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

from keyturn.hsm import admin, protocol
from keyturn.hsm.framing import encode_frame
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import encode_policy
from keyturn.ska.statement import encode_statement
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from pathlib import Path

ADA, BEN = Officer("ada"), Officer("ben")
POLICY = encode_policy(make_policy(quorum(1, ADA, BEN)))
ECDSA = "SHA256_WITH_ECDSA"
PER_MOMENT = 12
"""Statements that are under way when the HSM is killed."""
MOMENTS = 10
"""Times that it is killed in one round."""

pytestmark = pytest.mark.rule("R14")


@dataclass
class Load:
    """Statements of a bound single-use key, each asked for by both approvers and under several operation ids."""

    key: BoundKey

    def calls(self) -> list[protocol.Sign]:
        """Twelve statements and, among them, the same ones again."""
        calls: list[protocol.Sign] = []
        for number in range(PER_MOMENT):
            request, payload = str(uuid.uuid4()), b"payment %d" % number
            statement = encode_statement(self.key.sign(request, payload, ECDSA, ""))
            token = ApprovalToken(Action.USE, b"k", None, None, statement)
            for officer in (ADA, BEN):
                approvals = [officer.approve(token)]
                calls.append(protocol.Sign(operation_id(), "k", payload, ECDSA, "", approvals, request))
        random.Random(len(calls)).shuffle(calls)
        return calls


def _send_and_kill(hsm: HsmProcess, calls: list[protocol.Sign], delay: float) -> list[tuple[str, protocol.Signed]]:
    answers: list[tuple[str, protocol.Signed]] = []
    with RawLine(hsm.address) as line:
        frames = [encode_frame(number, call) for number, call in enumerate(calls)]
        # In four parts, so that some calls are done, some half done and some not begun.
        for part in range(0, len(frames), len(frames) // 4):
            line.send(b"".join(frames[part : part + len(frames) // 4]))
            time.sleep(delay / 4)
        hsm.kill()
        try:
            while True:
                number, answer = line.read()
                assert isinstance(answer, protocol.Signed), answer
                answers.append((calls[number].request_id, answer))
        except EOFError:
            return answers


def _ledger(hsm: HsmProcess) -> list[admin.LedgerLine]:
    lines: list[admin.LedgerLine] = []
    with hsm.admin_line() as line:
        after = b""
        while not lines or after:
            line.send(encode_frame(1, admin.GetLedger("k", after)))
            _, page = line.read_as(admin.AdminAnswer)
            assert isinstance(page, admin.LedgerIs), page
            lines += page.lines
            after = page.next
    return lines


@pytest.mark.parametrize("round_", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 20))])
def test_killed_at_any_moment_none_is_executed_twice_and_none_lost(tmp_path: Path, round_: int) -> None:
    """Ten moments in each round; the slow ones make them two hundred."""
    chance = random.Random(round_)
    before = after = 0
    with HsmProcess(tmp_path / "hsm", options=("--attestations-per-second", "1000")) as hsm:
        with RawLine(hsm.address) as line:
            attributes = {"sign": True, "boundApprovals": True, "singleUse": True}
            create = protocol.CreateKey(operation_id(), "k", "EC", P256, 0, attributes, POLICY, False)
            made = parse_attestation(line.ask(create).xml)
        load = Load(BoundKey(made.uuid, made.public_key, POLICY))
        span = 0.08
        for moment in range(1, MOMENTS + 1):
            calls = load.calls()
            left = _send_and_kill(hsm, calls, span * chance.random())
            # The kill follows the machine's pace: later while nothing was answered before it, earlier while all was.
            span *= 4 if not left else 0.5 if len(left) == len(calls) else 1
            before += len(left)
            after += len(calls) - len(left)
            hsm.start()
            results = dict(left)
            # The same statement gave the same result within the burst, too.
            assert all(results[request] == answer for request, answer in left)
            with RawLine(hsm.address) as line:
                for call in calls:
                    again = line.ask(msgspec.structs.replace(call, operation_id=operation_id()))
                    assert isinstance(again, protocol.Signed), again
                    # Signatures with ECDSA are random: the same one is no second execution.
                    assert results.setdefault(call.request_id, again) == again
                    assert line.ask(call) == again
                uses = parse_attestation(line.ask(protocol.Attest("k")).xml).key_use_count
            assert uses == PER_MOMENT * moment
        assert before
        assert after
        lines = _ledger(hsm)
        assert len({one.statement for one in lines}) == len(lines) == PER_MOMENT * MOMENTS
        assert all(one.kept for one in lines)
