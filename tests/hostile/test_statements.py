"""What was approved: another key, another operation, other bytes, and bytes that mean something else as well."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.messages import Timestamp, encode_approval, encode_timestamp
from keyturn.ska.policy import encode_policy
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.hostile import (
    ADA,
    BEN,
    MISSING,
    PAYLOAD,
    POLICY,
    Case,
    Line,
    World,
    edited_token,
    flip_behind,
    judge,
    lines,
    second,
    with_token,
)
from keyturn_testing.keys import operation_id

if TYPE_CHECKING:
    from keyturn.ska.messages import ApprovalToken
    from keyturn_testing.hsm_process import HsmProcess


def _rejection(_: World, token: ApprovalToken) -> bytes:
    """Ben rejected; we present his signed rejection as an approval."""
    return BEN.approve(b"REJECTED:" + encode_approval(token))


def _withdrawal(_: World, token: ApprovalToken) -> bytes:
    return BEN.approve(b"WITHDRAW:" + encode_approval(token) + b"task-1")


def _fetching(_: World, _token: ApprovalToken) -> bytes:
    """The signature with which Ben fetched his tasks, over a time as text."""
    return BEN.approve(b"2026-01-01T00:00:00Z")


def _other_key(world: World) -> object:
    return world.sign(world.beside("b").sign().approvals)


def _mixed(world: World) -> object:
    """Each of two officers approved another payload; together they approved none."""
    token, other = world.token(), world.token(payload=b"pay 6 to Ben")
    return world.sign([ADA.approve(token), BEN.approve(other)])


def _block_with_payload(world: World) -> object:
    """A payload in an approval for block is tolerated and means nothing (section 8, rule 13)."""
    return world.sign(world.approvals(replace(world.token(), action=Action.BLOCK)))


def _same_operation_other_input(world: World) -> object:
    honest = world.sign()
    world.do(honest)
    return msgspec.structs.replace(world.sign(), operation_id=honest.operation_id, algorithm="SHA384_WITH_ECDSA")


def _label_reused(world: World) -> object:
    """The officers approved for a key that was deleted; its name has passed to another key."""
    approvals = world.sign().approvals
    world.do(protocol.DeleteKey(operation_id(), world.label))
    world.create()
    return Case(world.sign(approvals), lambda: world.sign(world.approvals(world.token(stamped=True))))


RULE_1, RULE_2, RULE_4 = "section 8, rule 1", "section 8, rule 2", "section 8, rule 4"
TIMESTAMP = encode_timestamp(Timestamp(1, "timestamp-key", PAYLOAD))
TABLE = [
    Line(
        "Approvals for another payload",
        lambda w: w.sign(w.sign().approvals, b"pay 9 to Eve"),
        MISSING,
        RULE_4,
        "wrong-payload",
    ),
    Line("The payload shortened", lambda w: w.sign(w.sign().approvals, PAYLOAD[:-1]), MISSING, RULE_4, "wrong-payload"),
    Line(
        "The payload lengthened",
        lambda w: w.sign(w.sign().approvals, PAYLOAD + b"\0"),
        MISSING,
        RULE_4,
        "wrong-payload",
    ),
    Line("The payload emptied", lambda w: w.sign(w.sign().approvals, b""), MISSING, RULE_4, "wrong-payload"),
    Line("Two officers who approved different payloads", _mixed, MISSING, RULE_4, "wrong-payload"),
    Line(
        "A bit flipped in the approved payload", edited_token(flip_behind(b"pay 5")), MISSING, RULE_4, "wrong-payload"
    ),
    Line(
        "A bit flipped in the approved label",
        lambda w: edited_token(flip_behind(w.label.encode()))(w),
        MISSING,
        RULE_2,
        "wrong-label",
    ),
    Line("Approvals for another key of the same officers", _other_key, MISSING, RULE_2, "wrong-label"),
    Line(
        "Approvals for a label that begins the same",
        lambda w: with_token(label=w.label.encode() + b"x")(w),
        MISSING,
        RULE_2,
        "wrong-label",
    ),
    Line(
        "Approvals for the label in capitals",
        lambda w: with_token(label=w.label.upper().encode())(w),
        MISSING,
        RULE_2,
        "wrong-label",
    ),
    Line("Approvals without a label", with_token(label=b""), MISSING, "decisions 29", "empty-label"),
    Line(
        "Approvals for a deleted key of the same name",
        _label_reused,
        MISSING,
        "R18",
        "timestamp-missing",
        {"attributes": {"destroyable": True}},
    ),
    Line("Approvals for block", with_token(action=Action.BLOCK), MISSING, RULE_1, "wrong-operation"),
    Line("Approvals for block that carry the payload", _block_with_payload, MISSING, RULE_1, "wrong-operation"),
    Line("Approvals for unblock", with_token(action=Action.UNBLOCK), MISSING, RULE_1, "wrong-operation"),
    Line(
        "Approvals for modify",
        with_token(action=Action.MODIFY, payload=encode_policy(POLICY)),
        MISSING,
        RULE_1,
        "wrong-operation",
    ),
    Line("A signed rejection as an approval", second(_rejection), MISSING, "R26", "malformed"),
    Line("A signed withdrawal as an approval", second(_withdrawal), MISSING, "R26", "malformed"),
    Line("The signature of a task fetch as an approval", second(_fetching), MISSING, "R26", "malformed"),
    Line(
        "An approval as payload", lambda w: w.sign(payload=encode_approval(w.token())), "payload.double-meaning", "R8"
    ),
    Line("A policy as payload", lambda w: w.sign(payload=encode_policy(POLICY)), "payload.double-meaning", "R8"),
    Line("A timestamp as payload", lambda w: w.sign(payload=TIMESTAMP), "payload.double-meaning", "R8"),
    Line(
        "An unwrap statement as payload",
        lambda w: w.sign(payload=unwrap_payload_for({"sign": True}, b"wrapped", "new")),
        "payload.double-meaning",
        "R8",
    ),
    Line(
        "An authorization as payload", lambda w: w.sign(payload=w.sign().approvals[0]), "payload.double-meaning", "R8"
    ),
    Line(
        "A rejection as payload",
        lambda w: w.sign(payload=b"REJECTED:" + encode_approval(w.token())),
        "payload.double-meaning",
        "R8",
    ),
    Line(
        "A withdrawal as payload",
        lambda w: w.sign(payload=b"WITHDRAW:" + encode_approval(w.token())),
        "payload.double-meaning",
        "R8",
    ),
    Line(
        "A digest of the wrong length",
        lambda w: w.sign(payload=bytes(31), algorithm="NONE_WITH_ECDSA"),
        "payload.digest-length",
        "R8",
    ),
    Line("Another call under a served operation id", _same_operation_other_input, "operation.input-differs", "law 3"),
    Line(
        "A protected key without an operation id",
        lambda w: msgspec.structs.replace(w.sign(), operation_id=b""),
        "operation.id-missing",
        "law 3",
    ),
]


@pytest.mark.rule("R3")
@pytest.mark.parametrize("line", lines("What was approved", TABLE))
def test_approvals_serve_for_what_they_say_and_nothing_else(hsm: HsmProcess, label: str, line: Line) -> None:
    judge(hsm, label, line)
