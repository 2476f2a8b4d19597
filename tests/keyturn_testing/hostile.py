"""A broker that lies: the test sits in the broker's place and talks to the real HSM process over its socket.

A `Line` is one line of the table of attacks: one defect in an otherwise good call. `judge` shows for it that the HSM
refuses with the line's word, that the decision log holds the refusal with that word, and that the same message without
the defect is accepted. "We" are the broker: we may send anything, replay anything and mix anything, but we hold no
officer's key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, decode_authorization, encode_authorization
from keyturn.ska.policy import encode_policy
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.ska.policy import Policy
    from keyturn_testing.hsm_process import HsmProcess
    from keyturn_testing.raw_line import RawLine

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
MALLORY = Officer("mallory", "P-256")
"""That is us: a key of our own, which nobody has listed."""
POLICY = make_policy(quorum(2, ADA, BEN, EVE))
TIMED = make_policy(quorum(2, ADA, BEN, timeout=600))
AGREED = encode_policy(make_policy(quorum(2, ADA, BEN)))
"""A new policy that the officers do agree to."""
OURS = encode_policy(make_policy(quorum(1, MALLORY)))
"""The policy that we would like."""
PAYLOAD = b"pay 5 to Ben"
ECDSA = "SHA256_WITH_ECDSA"
MISSING = "approvals.missing"

ONE_USER, TWO_USERS = "one user", "two users"
"""Surroundings in which a line is shown; the second takes root."""


@dataclass
class World:
    """What a lie can use: a key under a policy, the officers' honest approvals, and the line to the HSM.

    Args:
        hsm: The HSM process.
        line: Our line to it.
        label: Label of the key.
        policy: Its policy.
        officers: Those whose approvals are enough.
        stamped: Whether their honest approvals carry a timestamp.
        blocked: Whether the key starts blocked.
        attributes: Its attributes beside `sign`.
    """

    hsm: HsmProcess
    line: RawLine
    label: str
    policy: Policy = field(default_factory=lambda: POLICY)
    officers: tuple[Officer, ...] = (ADA, BEN)
    stamped: bool = False
    blocked: bool = False
    attributes: dict[str, bool] = field(default_factory=dict)

    def create(self) -> None:
        """Make the key."""
        self.do(self.creation())

    def creation(self, **changes: Any) -> protocol.CreateKey:
        """The call that makes the key, with changes."""
        call: dict[str, Any] = {
            "operation_id": operation_id(),
            "label": self.label,
            "algorithm": "EC",
            "curve_oid": P256,
            "key_size": 0,
            "attributes": {"sign": True, **self.attributes},
            "policy": encode_policy(self.policy),
            "blocked": self.blocked,
        }
        return protocol.CreateKey(**(call | changes))

    def do(self, call: object) -> Any:
        """Have an honest call executed."""
        answer = self.line.ask(call)
        assert not isinstance(answer, protocol.Refused), answer
        return answer

    def beside(self, suffix: str) -> World:
        """Another key under the same policy."""
        other = replace(self, label=f"{self.label}-{suffix}")
        other.create()
        return other

    # --- what officers sign ------------------------------------------------------------------------------

    def stamp(self, action: Action, payload: bytes | None) -> tuple[bytes, bytes]:
        """A timestamp of the HSM and its wrapped signature."""
        stamped = self.do(protocol.Stamp(self.label, int(action), payload or b""))
        return stamped.timestamp, wrap_signature(stamped.algorithm, stamped.signature)

    def token(
        self,
        action: Action = Action.USE,
        payload: bytes | None = PAYLOAD,
        *,
        stamped: bool | None = None,
        **changes: Any,
    ) -> ApprovalToken:
        """The token that everybody should sign, with changes."""
        payload = payload if action in (Action.USE, Action.MODIFY) else None
        with_stamp = self.stamped if stamped is None else stamped
        timestamp, signature = self.stamp(action, payload) if with_stamp else (None, None)
        return replace(ApprovalToken(action, self.label.encode(), timestamp, signature, payload), **changes)

    def approvals(self, token: ApprovalToken, officers: Sequence[Officer] | None = None) -> list[bytes]:
        """The officers' approvals of a token."""
        return [officer.approve(token) for officer in (self.officers if officers is None else officers)]

    # --- calls; without `approvals` the honest ones ------------------------------------------------------

    def sign(
        self, approvals: list[bytes] | None = None, payload: bytes = PAYLOAD, algorithm: str = ECDSA, form: str = ""
    ) -> protocol.Sign:
        """A call to sign."""
        given = self.approvals(self.token(payload=payload)) if approvals is None else approvals
        return protocol.Sign(operation_id(), self.label, payload, algorithm, form, given)

    def modify(self, new: bytes = AGREED, approvals: list[bytes] | None = None) -> protocol.Modify:
        """A call to replace the policy."""
        given = self.approvals(self.token(Action.MODIFY, new)) if approvals is None else approvals
        return protocol.Modify(operation_id(), self.label, new, given)

    def block(self, approvals: list[bytes] | None = None) -> protocol.Block:
        """A call to block the key."""
        given = self.approvals(self.token(Action.BLOCK)) if approvals is None else approvals
        return protocol.Block(operation_id(), self.label, given)

    def unblock(self, approvals: list[bytes] | None = None) -> protocol.Unblock:
        """A call to unblock the key."""
        given = self.approvals(self.token(Action.UNBLOCK)) if approvals is None else approvals
        return protocol.Unblock(operation_id(), self.label, given)

    def honest(self, bad: object) -> object:
        """The same message as `bad`, without any defect."""
        match bad:
            case protocol.Sign():
                return self.sign()
            case protocol.Modify():
                return self.modify()
            case protocol.Block():
                return self.block()
            case protocol.Unblock():
                return self.unblock()
            case protocol.CreateKey():
                return self.creation(label=f"{self.label}-good")
            case _:
                return protocol.GetInfo()


@dataclass(frozen=True)
class Case:
    """A lie whose honest twin needs saying: the bad call, and what makes the good one after the refusal."""

    bad: object
    good: Callable[[], object]


Lie = Callable[[World], object]
"""What we send; or a `Case`."""


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Args:
        attack: What we do, in plain words.
        lie: Our call.
        word: The HSM's word for refusing the call.
        rule: What it breaks: a security rule (`R13`), a decision (`decisions 29`) or a rule of section 8 of the wire
            format (`section 8, rule 4`).
        of_approval: The word for the approval concerned, without `approval.`; empty when none is.
        world: Fields of `World` that differ.
    """

    attack: str
    lie: Lie
    word: str
    rule: str
    of_approval: str = ""
    world: dict[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> str:
        """The HSM's words, as they stand in the table."""
        return f"{self.word}, approval.{self.of_approval}" if self.of_approval else self.word


def lines(subject: str, table: Sequence[Line]) -> list[Any]:
    """The lines as parameters of a test, each with its record for the table of attacks.

    Args:
        subject: Heading under which they stand.
        table: The lines.
    """
    return [
        pytest.param(
            line,
            id=re.sub(r"[^a-z0-9]+", "-", line.attack.lower()).strip("-"),
            marks=pytest.mark.attack(subject=subject, attack=line.attack, refused=line.refused, rule=line.rule),
        )
        for line in table
    ]


def judge(hsm: HsmProcess, label: str, line: Line) -> None:
    """Show that a line's call is refused and logged with its word, and accepted without the defect."""
    with hsm.line() as connection:
        world = World(hsm, connection, label, **line.world)
        world.create()
        made = line.lie(world)
        case = made if isinstance(made, Case) else Case(made, lambda: world.honest(made))
        answer = connection.ask(case.bad)
        require_refused(hsm, answer, line.word, line.of_approval)
        accepted = connection.ask(case.good())
        assert not isinstance(accepted, protocol.Refused), accepted


def require_refused(hsm: HsmProcess, answer: object, word: str, of_approval: str = "") -> None:
    """Assert that an answer is a refusal with these words, and that the decision log says so, too."""
    assert isinstance(answer, protocol.Refused), answer
    words = [found for _, found in answer.bad_approvals]
    assert answer.refusal == word, (answer.refusal, answer.message, words)
    assert (f"approval.{of_approval}" in words) if of_approval else not words, words
    logged = hsm.last_refusal()
    assert logged["refusal"] == word
    assert all(found in logged["note"] for found in words[:16])


# --- lies that many tables tell ------------------------------------------------------------------------------


def with_token(**changes: Any) -> Lie:
    """Both officers signed another token than the one this call needs."""
    return lambda world: world.sign(world.approvals(world.token(**changes)))


def second(make: Callable[[World, ApprovalToken], bytes]) -> Lie:
    """Ada's approval is good; the second one is ours."""

    def lie(world: World) -> object:
        token = world.token()
        return world.sign([ADA.approve(token), make(world, token)])

    return lie


def edited(edit: Callable[[bytes], bytes]) -> Lie:
    """Ben's authorization is edited on its way."""
    return second(lambda _, token: edit(BEN.approve(token)))


def edited_token(edit: Callable[[bytes], bytes]) -> Lie:
    """The signed bytes within Ben's authorization are edited, his signature kept."""

    def make(_: World, token: ApprovalToken) -> bytes:
        honest = decode_authorization(BEN.approve(token))
        return encode_authorization(replace(honest, approval=edit(honest.approval)))

    return second(make)


def signed_anew(edit: Callable[[bytes], bytes]) -> Lie:
    """Ben was tricked into signing an odd token: his signature over it is good."""
    return second(lambda _, token: BEN.approve(edit(decode_authorization(BEN.approve(token)).approval)))


def flip(position: int) -> Callable[[bytes], bytes]:
    """Flip a bit of the byte at `position`."""
    return lambda data: data[:position] + bytes([data[position] ^ 1]) + data[position:][1:]


def flip_behind(mark: bytes) -> Callable[[bytes], bytes]:
    """Flip a bit of the last byte of `mark` within the data."""
    return lambda data: flip(data.index(mark) + len(mark) - 1)(data)
