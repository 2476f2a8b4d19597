"""Block, unblock, modify and withdrawals: what lifts a protection takes approvals for exactly that, and serves once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.messages import encode_approval
from keyturn.ska.policy import Rule, encode_policy
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.hostile import (
    ADA,
    AGREED,
    BEN,
    ECDSA,
    EVE,
    MALLORY,
    MISSING,
    OURS,
    POLICY,
    Case,
    Line,
    World,
    judge,
    lines,
)
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import make_policy, quorum, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.ska.policy import Policy
    from keyturn_testing.hostile import Lie
    from keyturn_testing.hsm_process import HsmProcess

SUBJECT: Final = "Block, unblock, modify"
BLOCKED: Final = {"blocked": True}
WEAKER: Final = encode_policy(make_policy(quorum(1, ADA, BEN, EVE), modify=quorum(2, ADA, BEN, EVE)))
"""The officers may agree to this one day; never without being asked."""


# --- modify ------------------------------------------------------------------------------------------------


def _modify_with(action: Action, payload: bytes | None) -> Lie:
    """Approvals for something else with the same bytes."""

    def lie(world: World) -> object:
        return world.modify(AGREED, world.approvals(replace(world.token(action, payload), payload=payload)))

    return lie


def _modify_other(new: bytes) -> Lie:
    """The officers agreed to one policy; we send another."""
    return lambda world: world.modify(new, world.modify().approvals)


def _modify_approved(policy: Policy) -> Lie:
    """Even with all approvals: what cannot be enforced does not get in."""
    return lambda world: world.modify(encode_policy(policy))


def _modify_raw(edit: Callable[[bytes], bytes]) -> Lie:
    """Approvals over the very bytes, which are no policy."""
    return lambda world: world.modify(edit(AGREED))


def _without_last_rule(data: bytes) -> bytes:
    body = data[4 : data.rindex(b"\x51\x10")]
    return len(body).to_bytes(4, "little") + body


def _with_second_modify(data: bytes) -> bytes:
    """A weaker ruleModify behind the approved one."""
    body = data[4:] + OURS[OURS.rindex(b"\x51\x10") :]
    return len(body).to_bytes(4, "little") + body


def _half_each(world: World) -> object:
    """One officer agreed to one policy, the other to another."""
    return world.modify(
        AGREED, [ADA.approve(world.token(Action.MODIFY, AGREED)), BEN.approve(world.token(Action.MODIFY, WEAKER))]
    )


def _signers_of_use(world: World) -> object:
    """Those who may sign are not those who may modify."""
    return Case(
        world.modify(AGREED, world.approvals(world.token(Action.MODIFY, AGREED), (ADA, BEN))),
        lambda: world.modify(AGREED, world.approvals(world.token(Action.MODIFY, AGREED), (EVE, MALLORY))),
    )


def _replayed_modify(world: World) -> object:
    """The officers weakened the policy once, and then made it strong again. We bring the first approvals again."""
    approvals = world.modify(WEAKER).approvals
    world.do(world.modify(WEAKER, approvals))
    back = encode_policy(POLICY)
    world.do(world.modify(back))
    fresh = replace(world, stamped=True)
    return Case(world.modify(WEAKER, approvals), lambda: fresh.modify(WEAKER))


def _replayed_stamped_modify(world: World) -> object:
    call = replace(world, stamped=True).modify(WEAKER)
    world.do(call)
    return Case(
        protocol.Modify(operation_id(), world.label, WEAKER, call.approvals),
        lambda: replace(world, stamped=True).modify(encode_policy(POLICY)),
    )


def _removed(world: World) -> object:
    """Eve approved, and then was removed from the policy. Her approval is still in our drawer."""
    token = world.token()
    old = EVE.approve(token)
    world.do(world.modify(AGREED))
    return Case(world.sign([ADA.approve(token), old]), lambda: world.sign([ADA.approve(token), BEN.approve(token)]))


MODIFY = "section 8, rule 4"
UNREACHABLE = replace(POLICY, modify=Rule(tokens=(token(), POLICY.use.tokens[0])))
WINDOW = replace(POLICY, use=Rule(tokens=(token(timelock=60),)))
BACKWARDS = replace(POLICY, use=quorum(1, ADA, timelock=600, timeout=60))
TABLE = [
    Line("A modify without approvals", lambda w: w.modify(OURS, []), MISSING, "section 8, rule 7"),
    Line(
        "A modify with one approval fewer",
        lambda w: w.modify(AGREED, w.modify().approvals[:1]),
        MISSING,
        "section 8, rule 7",
    ),
    Line("A weaker policy under approvals for another", _modify_other(WEAKER), MISSING, MODIFY, "wrong-payload"),
    Line("Our own policy under approvals for another", _modify_other(OURS), MISSING, MODIFY, "wrong-payload"),
    Line("Two officers who agreed to different policies", _half_each, MISSING, MODIFY, "wrong-payload"),
    Line(
        "A modify with approvals to use the policy's bytes",
        _modify_with(Action.USE, AGREED),
        MISSING,
        "section 8, rule 1",
        "wrong-operation",
    ),
    Line(
        "A modify with approvals to block",
        _modify_with(Action.BLOCK, None),
        MISSING,
        "section 8, rule 1",
        "wrong-operation",
    ),
    Line(
        "A modify with approvals to unblock",
        _modify_with(Action.UNBLOCK, None),
        MISSING,
        "section 8, rule 1",
        "wrong-operation",
    ),
    Line(
        "A modify by those who may use the key but not modify it",
        _signers_of_use,
        MISSING,
        "section 8, rule 1",
        "unlisted-key",
        {"policy": make_policy(quorum(2, ADA, BEN), modify=quorum(2, EVE, MALLORY))},
    ),
    Line(
        "An approved policy with bytes behind it",
        _modify_raw(lambda data: data + bytes(4)),
        "format.invalid",
        "decisions 21",
    ),
    Line("An approved policy without ruleModify", _modify_raw(_without_last_rule), "format.invalid", "R10"),
    Line(
        "An approved policy with a second, weaker ruleModify",
        _modify_raw(_with_second_modify),
        "format.invalid",
        "decisions 21",
    ),
    Line("An approved policy without its header", _modify_raw(lambda data: data[4:]), "format.invalid", "decisions 21"),
    Line(
        "An approved policy whose quorum exceeds its group",
        _modify_approved(make_policy(quorum(3, ADA, BEN))),
        "policy.quorum-above-group",
        "decisions 20",
    ),
    Line(
        "An approved policy with an empty group",
        _modify_approved(make_policy(quorum(1))),
        "policy.empty-group",
        "decisions 20",
    ),
    Line(
        "An approved policy that nobody can use",
        _modify_approved(replace(POLICY, use=Rule.NEVER)),
        "policy.use-never",
        "decisions 20",
    ),
    Line(
        "An approved policy with an open token beside another",
        _modify_approved(UNREACHABLE),
        "policy.always-beside-token",
        "R10",
    ),
    Line(
        "An approved policy with a timelock for nobody",
        _modify_approved(WINDOW),
        "policy.unmeasurable-window",
        "decisions 20",
    ),
    Line(
        "An approved policy that ends before it begins",
        _modify_approved(BACKWARDS),
        "policy.timeout-below-timelock",
        "decisions 20",
    ),
    Line("A modify replayed after the policy was made strong again", _replayed_modify, MISSING, "R15", "spent"),
    Line("A modify replayed with its timestamp", _replayed_stamped_modify, MISSING, "R15", "stale-timestamp"),
    Line(
        "An approval by somebody whom a later modify removed", _removed, MISSING, "section 8, rule 18", "unlisted-key"
    ),
]


# --- block and unblock -------------------------------------------------------------------------------------


def _control(make: str, action: Action, payload: bytes | None = None) -> Lie:
    """A call with approvals for another action."""

    def lie(world: World) -> object:
        approvals = world.approvals(replace(world.token(action, payload), payload=payload))
        return getattr(world, make)(approvals)

    return lie


def _use_while_blocked(world: World) -> object:
    """Every approval is good; the key is blocked."""
    call = world.sign()

    def unblocked() -> object:
        world.do(world.unblock())
        return world.sign(call.approvals)

    return Case(call, unblocked)


def _stored_while_blocked(world: World) -> object:
    """The result of a served call is stored; while the key is blocked it stays where it is (R31)."""
    call = world.sign()
    world.do(call)
    world.do(world.block())

    def unblocked() -> object:
        world.do(world.unblock())
        return call

    return Case(call, unblocked)


def _replayed_unblock(world: World) -> object:
    approvals = world.unblock().approvals
    world.do(world.unblock(approvals))
    world.do(world.block())
    return Case(world.unblock(approvals), lambda: replace(world, stamped=True).unblock())


def _replayed_stamped_unblock(world: World) -> object:
    approvals = replace(world, stamped=True).unblock().approvals
    world.do(world.unblock(approvals))
    world.do(world.block())
    return Case(world.unblock(approvals), lambda: replace(world, stamped=True).unblock())


def _hoarded_unblock(world: World) -> object:
    """An unblock that was stamped before the block, and never used."""
    approvals = replace(world, stamped=True).unblock().approvals
    world.do(world.block())
    return Case(world.unblock(approvals), lambda: replace(world, stamped=True).unblock())


RULE_1 = "section 8, rule 1"
OTHERS = "wrong-operation"
BLOCKING = [
    Line("A block without approvals", lambda w: w.block([]), MISSING, "section 8, rule 7"),
    Line("A block with approvals to unblock", _control("block", Action.UNBLOCK), MISSING, RULE_1, OTHERS),
    Line("An unblock without approvals", lambda w: w.unblock([]), MISSING, "section 8, rule 7", world=BLOCKED),
    Line("An unblock with approvals to use", _control("unblock", Action.USE, b"x"), MISSING, RULE_1, OTHERS, BLOCKED),
    Line("An unblock with approvals to block", _control("unblock", Action.BLOCK), MISSING, RULE_1, OTHERS, BLOCKED),
    Line(
        "An unblock with approvals to modify",
        _control("unblock", Action.MODIFY, AGREED),
        MISSING,
        RULE_1,
        OTHERS,
        BLOCKED,
    ),
    Line("An unblock replayed after another block", _replayed_unblock, MISSING, "R15", "spent", BLOCKED),
    Line(
        "An unblock replayed with its timestamp", _replayed_stamped_unblock, MISSING, "R15", "stale-timestamp", BLOCKED
    ),
    Line("An unblock stamped before the block", _hoarded_unblock, MISSING, "R15", "stale-timestamp"),
    Line(
        "A blocked key used with all approvals", _use_while_blocked, "key.blocked", "section 8, rule 16", world=BLOCKED
    ),
    Line("The stored result of a served call, while the key is blocked", _stored_while_blocked, "key.blocked", "R31"),
]


# --- withdrawals -------------------------------------------------------------------------------------------


def _withdraw(world: World, **changes: Any) -> protocol.Withdraw:
    """Ada takes her approval back; with changes."""
    approval = encode_approval(world.token())
    call = {
        "label": world.label,
        "approval": approval,
        "task_id": "task-1",
        "signature": wrap_signature(ECDSA, ADA.sign(b"WITHDRAW:" + approval + b"task-1")),
        "spki": ADA.spki,
        "certificate": None,
    }
    return protocol.Withdraw(**(call | changes))


def _withdrawn(world: World) -> object:
    """Ada took her approval back; we keep it and present it."""
    token = world.token()
    world.do(_withdraw(world))
    others = [officer.approve(token) for officer in (BEN, EVE)]
    return Case(world.sign([ADA.approve(token), BEN.approve(token)]), lambda: world.sign(others))


def _withdrawn_by_certificate(world: World) -> object:
    token = world.token()
    world.do(_withdraw(world))
    others = [officer.approve(token) for officer in (BEN, EVE)]
    return Case(world.sign([ADA.approve(token, certificate=True), BEN.approve(token)]), lambda: world.sign(others))


def _withdraw_case(make: Callable[[World], dict[str, Any]]) -> Lie:
    """We withdraw in somebody's name, to keep officers from being counted."""
    return lambda world: Case(_withdraw(world, **make(world)), lambda: _withdraw(world))


def _signed(world: World, officer: Any, data: bytes) -> dict[str, Any]:
    return {"signature": wrap_signature(ECDSA, officer.sign(data)), "spki": officer.spki}


def _ours_in_adas_name(world: World) -> dict[str, Any]:
    data = b"WITHDRAW:" + encode_approval(world.token()) + b"task-1"
    return _signed(world, MALLORY, data) | {"spki": ADA.spki}


def _approval_as_withdrawal(world: World) -> dict[str, Any]:
    return _signed(world, ADA, encode_approval(world.token()))


def _rejection_as_withdrawal(world: World) -> dict[str, Any]:
    return _signed(world, ADA, b"REJECTED:" + encode_approval(world.token()) + b"task-1")


def _of_another_key(world: World) -> dict[str, Any]:
    approval = encode_approval(world.beside("b").token())
    return {"approval": approval} | _signed(world, ADA, b"WITHDRAW:" + approval + b"task-1")


def _by_a_stranger(world: World) -> dict[str, Any]:
    return _signed(world, MALLORY, b"WITHDRAW:" + encode_approval(world.token()) + b"task-1")


WITHDRAWALS = [
    Line("An approval that was withdrawn", _withdrawn, MISSING, "R26", "withdrawn"),
    Line(
        "A withdrawn approval beside its signer's certificate", _withdrawn_by_certificate, MISSING, "R26", "withdrawn"
    ),
    Line(
        "A withdrawal that we signed in an officer's name",
        _withdraw_case(_ours_in_adas_name),
        "approval.bad-signature",
        "R26",
    ),
    Line("A withdrawal by a stranger", _withdraw_case(_by_a_stranger), "withdrawal.unlisted-key", "R26"),
    Line(
        "A withdrawal for another task than the one signed for",
        _withdraw_case(lambda _: {"task_id": "task-2"}),
        "approval.bad-signature",
        "R26",
    ),
    Line(
        "An officer's approval as their withdrawal",
        _withdraw_case(_approval_as_withdrawal),
        "approval.bad-signature",
        "R26",
    ),
    Line(
        "An officer's rejection as their withdrawal",
        _withdraw_case(_rejection_as_withdrawal),
        "approval.bad-signature",
        "R26",
    ),
    Line("A withdrawal of an approval for another key", _withdraw_case(_of_another_key), "withdrawal.wrong-key", "R26"),
    Line(
        "A withdrawal with two signers",
        _withdraw_case(lambda _: {"certificate": ADA.certificate}),
        "withdrawal.signer",
        "R26",
    ),
]


@pytest.mark.rule("R15")
@pytest.mark.rule("R26")
@pytest.mark.parametrize(
    "line", [*lines(SUBJECT, TABLE), *lines(SUBJECT, BLOCKING), *lines("Withdrawals", WITHDRAWALS)]
)
def test_what_lifts_a_protection_takes_approvals_for_exactly_that(hsm: HsmProcess, label: str, line: Line) -> None:
    judge(hsm, label, line)
