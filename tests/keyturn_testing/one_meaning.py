"""One attack, three keys: as documented, with `boundApprovals`, with `singleUse`; what came of it stands in the table.

An approval in the documented format names operation, label, time and payload. Where an attack uses what it does not
name, it succeeds on a key as documented, and its line says so: the documented format allows it.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.statement import encode_statement
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.hostile import ECDSA, PAYLOAD, World, require_refused
from keyturn_testing.keys import operation_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from keyturn_testing.hsm_process import HsmProcess
    from keyturn_testing.officers import Officer

SUBJECT: Final = "An approval means one thing"
DOCUMENTED, BOUND, SINGLE = "as documented", "boundApprovals", "singleUse"
"""Kinds of keys; the last two are the attribute that is set."""
KINDS: Final[Mapping[str, dict[str, bool]]] = {DOCUMENTED: {}, BOUND: {BOUND: True}, SINGLE: {SINGLE: True}}
SUCCEEDS: Final = "succeeds"
STORED: Final = "the stored result"
"""Outcomes that are no refusal: the attack works; nothing is done, and what was done once is given again."""

_ACTIONS: Final[Mapping[object, Action]] = {
    protocol.Modify: Action.MODIFY,
    protocol.Block: Action.BLOCK,
    protocol.Unblock: Action.UNBLOCK,
}


@dataclass
class Key(World):
    """A key of one of the `KINDS`, and the calls and approvals that fit it.

    Args:
        material: Fields of its creation that differ.
        kind: Its kind.
    """

    material: dict[str, Any] = field(default_factory=dict)
    kind: str = DOCUMENTED

    def create(self) -> None:
        """Make the key."""
        self.do(self.creation(**self.material))

    @property
    def facts(self) -> protocol.KeyFacts:
        """The key as the HSM holds it now."""
        facts = self.do(protocol.Lookup(self.label))
        assert isinstance(facts, protocol.KeyFacts)
        return facts

    def asked(self, payload: bytes = PAYLOAD, algorithm: str = ECDSA) -> protocol.Sign:
        """A call to sign for a new request; nobody has approved it."""
        return protocol.Sign(operation_id(), self.label, payload, algorithm, "", [], new_request())

    def covered(self, call: Any) -> bytes | None:
        """What approvals for a call with this key are over."""
        if isinstance(call, protocol.Modify):
            return call.policy
        if self.kind == BOUND:
            return self._statement(call)
        match call:
            case protocol.Sign() | protocol.Decrypt():
                return call.payload
            case protocol.Unwrap():
                return unwrap_payload_for(call.attributes, call.wrapped_key, call.new_label)
        return None

    def _statement(self, call: Any) -> bytes:
        facts = self.facts
        key = BoundKey(facts.uuid, facts.public_key, facts.policy)
        match call:
            case protocol.Sign():
                statement = key.sign(call.request_id, call.payload, call.algorithm, call.signature_type)
            case protocol.Decrypt():
                statement = key.decrypt(call.request_id, call.payload, call.algorithm)
            case protocol.Unwrap():
                statement = key.unwrap(call.request_id, call.wrapped_key, call.method, call.new_label, call.attributes)
            case protocol.Block():
                statement = key.block(call.request_id)
            case _:
                statement = key.unblock(call.request_id)
        return encode_statement(statement)

    def agreed(self, call: Any, *, stamped: bool = False) -> ApprovalToken:
        """What everybody should sign for a call; for use of a single-use key with a timestamp, where it needs one."""
        action, payload = _ACTIONS.get(type(call), Action.USE), self.covered(call)
        needs = self.kind == SINGLE and action is Action.USE
        timestamp, signature = self.stamp(action, payload) if stamped or needs else (None, None)
        return ApprovalToken(action, self.label.encode(), timestamp, signature, payload)

    def approved(self, call: Any, officers: Sequence[Officer] | None = None, *, stamped: bool = False) -> Any:
        """The call with the approvals of these officers, or of those who are enough."""
        return with_approvals(call, self.approvals(self.agreed(call, stamped=stamped), officers))

    def verifies(self, algorithm: str, payload: bytes, signature: bytes) -> bool:
        """Whether the key has signed this."""
        return bool(self.do(protocol.Verify(self.label, payload, algorithm, signature)).valid)


def new_request() -> str:
    """An id that no request has."""
    return str(uuid.uuid4())


def with_approvals(call: Any, approvals: list[bytes]) -> Any:
    """The call with these approvals."""
    return msgspec.structs.replace(call, approvals=approvals)


def again(call: Any, **changes: Any) -> Any:
    """The call as another one: nobody can say that it was sent twice by mistake."""
    return msgspec.structs.replace(call, operation_id=operation_id(), **changes)


@dataclass(frozen=True)
class Play:
    """An attack, ready.

    Args:
        bad: Our call.
        good: Makes the same message without the defect.
        achieved: Tells whether we have what we wanted, from the HSM's answer.
        before: What was answered the first time, where we ask for something twice.
    """

    bad: object
    good: Callable[[], object]
    achieved: Callable[[Any], bool]
    before: object = None


@dataclass(frozen=True)
class Attack:
    """A line of the table.

    Args:
        attack: What we do, in plain words.
        play: Does all but the last step.
        rule: What it breaks.
        outcomes: For each of `KINDS`: `SUCCEEDS`, `STORED`, or the HSM's words for refusing it.
        world: Fields of `Key` that differ.
    """

    attack: str
    play: Callable[[Key], Play]
    rule: str
    outcomes: tuple[str, str, str]
    world: dict[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, str]:
        """Outcomes by kind of key."""
        return dict(zip(KINDS, self.outcomes, strict=True))


def attacks(table: Sequence[Attack], **more: str) -> list[Any]:
    """The attacks as parameters of a test, each with its record for the table."""
    return [
        pytest.param(
            one,
            id=re.sub(r"[^a-z0-9]+", "-", one.attack.lower()).strip("-"),
            marks=pytest.mark.attack(subject=SUBJECT, attack=one.attack, rule=one.rule, keys=one.keys, **more),
        )
        for one in table
    ]


def judge_keys(hsm: HsmProcess, label: str, attack: Attack) -> None:
    """Show what an attack does to a key of each kind, and that the same message without the defect is accepted."""
    with hsm.line() as line:
        for number, (kind, outcome) in enumerate(attack.keys.items()):
            world = dict(attack.world)
            attributes = world.pop("attributes", {}) | KINDS[kind]
            key = Key(hsm, line, f"{label}-{number}", attributes=attributes, kind=kind, **world)
            key.create()
            play = attack.play(key)
            answer = line.ask(play.bad)
            if outcome == SUCCEEDS:
                assert not isinstance(answer, protocol.Refused), (kind, answer)
                assert play.achieved(answer), kind
            elif outcome == STORED:
                assert answer == play.before, (kind, answer)
                assert not play.achieved(answer), kind
            else:
                word, _, of_approval = outcome.partition(", ")
                require_refused(hsm, answer, word, (of_approval or outcome).removeprefix("approval."))
                accepted = line.ask(play.good())
                assert not isinstance(accepted, protocol.Refused), (kind, accepted)


def on_another(key: Key, hsm: HsmProcess, line: Any) -> Key:
    """A key of the same kind, label, officers and policy in another HSM."""
    other = replace(key, hsm=hsm, line=line)
    other.create()
    return other
