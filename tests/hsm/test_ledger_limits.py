"""The engine on a clock that tests set: withdrawals have limits, and a clock set back does not bring approvals back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.hsm import protocol, withdrawing
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, encode_approval
from keyturn.ska.policy import TimeUnit
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.hsm_room import NOW, Room
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


ADA, BEN = Officer("ada"), Officer("ben")
MINUTE = make_policy(quorum(1, ADA, BEN, timeout=60, unit=TimeUnit.SECONDS))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "store")
    yield made
    made.close()


def withdraw(officer: Officer, label: str, token: ApprovalToken) -> protocol.Withdraw:
    approval = encode_approval(token)
    signature = wrap_signature("SHA256_WITH_ECDSA", officer.sign(b"WITHDRAW:" + approval + b"task"))
    return protocol.Withdraw(label, approval, "task", signature, officer.spki, None)


@pytest.mark.rule("R26")
def test_one_signer_fills_only_their_own_share_and_what_has_passed_makes_room(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawing, "MAX_WITHDRAWALS", 3)
    room.create("k", MINUTE)
    tokens = [room.stamp("k", Action.USE, b"%d" % number) for number in range(5)]
    for token in tokens[:3]:
        assert isinstance(room.ask(withdraw(ADA, "k", token)), protocol.Done)
    assert room.ask(withdraw(ADA, "k", tokens[3])).refusal == "withdrawal.too-many"
    assert isinstance(room.ask(withdraw(ADA, "k", tokens[2])), protocol.Done)
    assert isinstance(room.ask(withdraw(BEN, "k", tokens[3])), protocol.Done)
    assert room.store.ledger_size == 4
    # 60 seconds and the last one (decisions 18): then none of them could count, and they make room.
    room.clock.advance(60)
    assert room.ask(withdraw(ADA, "k", tokens[3])).refusal == "withdrawal.too-many"
    room.clock.advance(1)
    assert isinstance(room.ask(withdraw(ADA, "k", tokens[3])), protocol.Done)
    # The new one, Ben's, and the line that says up to when withdrawals were forgotten (docs/adr/0087).
    assert room.store.ledger_size == 3


@pytest.mark.rule("R26")
def test_what_has_no_window_makes_no_room(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withdrawing, "MAX_WITHDRAWALS", 1)
    room.create("k", make_policy(quorum(1, ADA)))
    first, second = (ApprovalToken(Action.USE, b"k", None, None, payload) for payload in (b"1", b"2"))
    assert isinstance(room.ask(withdraw(ADA, "k", first)), protocol.Done)
    room.clock.advance(80 * 86_400)
    assert room.ask(withdraw(ADA, "k", second)).refusal == "withdrawal.too-many"
    assert isinstance(room.ask(withdraw(ADA, "k", first)), protocol.Done)


@pytest.mark.rule("R15")
def test_a_clock_set_back_by_its_administrator_does_not_bring_old_approvals_back(room: Room) -> None:
    room.create("k", MINUTE)
    room.clock.advance(10)
    block = ADA.approve(room.stamp("k", Action.BLOCK))
    assert isinstance(room.ask(protocol.Block(operation_id(), "k", [block])), protocol.Attested)
    room.clock.advance(10)
    lift = ADA.approve(room.stamp("k", Action.UNBLOCK))
    assert isinstance(room.ask(protocol.Unblock(operation_id(), "k", [lift])), protocol.Attested)
    # Ten seconds back, with a person's word; the key is blocked anew, earlier than it was unblocked.
    room.clock.set(NOW + 10)
    room.guard.confirm(room.clock.now(), backwards=True)
    assert isinstance(room.ask(protocol.Block(operation_id(), "k", [block])), protocol.Attested)
    room.clock.advance(10)
    refused = room.ask(protocol.Unblock(operation_id(), "k", [lift]))
    assert refused.bad_approvals == [(0, "approval.stale-timestamp")]
    room.clock.advance(1)
    lift = ADA.approve(room.stamp("k", Action.UNBLOCK))
    assert isinstance(room.ask(protocol.Unblock(operation_id(), "k", [lift])), protocol.Attested)


@pytest.mark.rule("R15")
def test_a_timestamp_that_would_wait_for_long_is_refused_stamp_clock_set_back(room: Room) -> None:
    room.create("k", MINUTE)
    room.clock.advance(3600)
    block = ADA.approve(room.stamp("k", Action.BLOCK))
    assert isinstance(room.ask(protocol.Block(operation_id(), "k", [block])), protocol.Attested)
    room.clock.set(NOW + 60)
    room.guard.confirm(room.clock.now(), backwards=True)
    assert room.ask(protocol.Stamp("k", Action.UNBLOCK, b"")).refusal == "stamp.clock-set-back"
    room.clock.set(NOW + 3601)
    room.stamp("k", Action.UNBLOCK)
