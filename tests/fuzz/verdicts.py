"""Target: `decide()` against the naive judge, on approvals that were edited on their way.

Two claims. Soundness: what `decide()` authorises, the naive judge finds authorised, too, although it reads laxly.
Completeness: among approvals that are well formed, what the naive judge finds authorised, `decide()` authorises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm

from fuzz import people
from fuzz.harness import Target, refuse, require
from keyturn.errors import KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_spki
from keyturn.ska.decision import Decision, IntegrityKey, Question, decide
from keyturn.ska.examination import ATTEMPTS_PER_SIGNER
from keyturn.ska.messages import decode_approval, decode_authorization, decode_timestamp, encode_authorization
from keyturn.ska.policy import Policy, Rule, TimeUnit, encode_policy
from keyturn.ska.signatures import unwrap_signature
from ska.naive_judge import Case, judge, read_ballot

if TYPE_CHECKING:
    from fuzz.harness import AnyTarget

MAX_PILE: Final = 12
NEW_POLICY: Final = encode_policy(Policy(Rule.ALWAYS, Rule.NEVER, Rule.NEVER, Rule.NEVER))
_AGES: Final = (0, 59, 60, 61, 119, 120, 121, 600)


@cache
def _rules() -> tuple[Rule, ...]:
    names = people.PEOPLE
    return (
        people.rule(1, *names),
        people.rule(2, *names),
        people.rule(3, *names),
        people.rule(2, "ada", "ben", by_certificate=True),
        people.rule(1, *names, timelock=60, timeout=120),
        people.rule(2, "ada", "eve", timelock=60, timeout=61, unit=TimeUnit.SECONDS),
        Rule((*people.rule(2, "ben", "eve").tokens, *people.rule(1, "ada", timelock=60).tokens)),
        Rule.NEVER,
    )


def _payload(action: Action) -> bytes | None:
    return {Action.USE: people.PAYLOAD, Action.MODIFY: NEW_POLICY}.get(action)


@cache
def honest(kind: int) -> bytes:
    """One of 256 approvals: who (2 bits), form (1), stamped when (3), for which action (2)."""
    name = (*people.PEOPLE, "mallory")[kind & 3]
    with_certificate, age, action = bool(kind & 4), kind >> 3 & 7, Action(1 + (kind >> 6 & 3))
    payload = _payload(action)
    stamp = None
    if age:
        stamp = people.stamp(people.NOW - _AGES[age], payload, is_policy=action is Action.MODIFY)
    return people.approve(name, payload, action=action, with_stamp=stamp, with_certificate=with_certificate)


@dataclass(frozen=True)
class Judged:
    """A question and the decision."""

    question: Question
    decision: Decision


def _question(data: bytes) -> Question:
    """Rule and action, switches, then approvals: kind, number of edits, and for each edit place (2 bytes) and mask."""
    if len(data) < 2:
        raise refuse("It is too short.")
    action, switches = Action(1 + (data[0] >> 3 & 3)), data[1]
    rule = _rules()[data[0] & 7]
    pile: list[bytes] = []
    at = 2
    while at + 1 < len(data) and len(pile) < MAX_PILE:
        blob, edits = bytearray(honest(data[at])), data[at + 1] % 4
        at += 2
        for _ in range(edits):
            if at + 2 < len(data):
                blob[(data[at] << 8 | data[at + 1]) % len(blob)] ^= data[at + 2]
            at += 3
        pile.append(bytes(blob))
    return Question(
        policy=Policy(rule, rule, rule, rule),
        action=action,
        label=people.LABEL if switches & 1 == 0 else "other",
        payload=_payload(action),
        approvals=pile,
        now=people.NOW,
        integrity_keys=(IntegrityKey(people.INTEGRITY, people.spki(people.HSM)),),
        not_before=people.NOW - 120 if switches & 2 else None,
        allow_unlabelled=bool(switches & 4),
        stamps_from=people.NOW - 100 if switches & 8 else None,
    )


def _case(question: Question, approvals: list[bytes]) -> Case:
    return Case(
        policy=question.policy,
        action=int(question.action),
        label=question.label,
        payload=question.payload,
        approvals=approvals,
        integrity={key.name: key.spki for key in question.integrity_keys},
        not_before=question.not_before,
        allow_unlabelled=question.allow_unlabelled,
        stamps_from=question.stamps_from,
    )


def _readable(question: Question, data: bytes) -> bool:
    """Whether the naive judge can read an approval at all; it does not care what it stumbles over."""
    try:
        return read_ballot(_case(question, []), data) is not None
    except (IndexError, UnsupportedAlgorithm):
        return False


def _by_key(data: bytes) -> bytes:
    """An approval with the bare key in place of the certificate.

    Nothing in a certificate counts but its key (ska-wire-format.md 9.13); the library that the naive judge asks refuses
    damage in the rest of it.
    """
    try:
        authorization = decode_authorization(data)
        if authorization.certificate is None:
            return data
        key = certificate_spki(authorization.certificate)
        return encode_authorization(replace(authorization, certificate=None, spki=key))
    except KeyturnError:
        return data


def _well_formed(data: bytes) -> bool:
    """Whether an approval has exactly the documented form; the naive judge is lax about tags and wrappers."""
    try:
        authorization = decode_authorization(data)
        token = decode_approval(authorization.approval)
        wrappers = [authorization.signature]
        if token.timestamp is not None and token.timestamp_signature is not None:
            stamp = decode_timestamp(token.timestamp)
            if stamp.is_policy and token.action is Action.USE:
                return False
            wrappers.append(token.timestamp_signature)
        return all(unwrap_signature(wrapper)[0].digest in ("SHA-256", "EdDSA") for wrapper in wrappers)
    except KeyturnError:
        return False


def _decided(data: bytes) -> Judged:
    question = _question(data)
    decision = decide(question)
    if not decision.authorised:
        # Nothing to be taken, yet completeness is to be held: see `_hold`.
        _hold(data, Judged(question, decision))
        raise refuse("It is not authorised.")
    return Judged(question, decision)


def _hold(_data: bytes, judged: Judged) -> None:
    question, decision = judged.question, judged.decision
    readable = [data for data in map(_by_key, question.approvals) if _readable(question, data)]
    if decision.authorised:
        require(any(judge(_case(question, readable), people.NOW)), "decide() lets happen what the naive judge refuses")
    elif len(question.approvals) <= ATTEMPTS_PER_SIGNER:
        good = [data for data in readable if _well_formed(data)]
        require(not any(judge(_case(question, good), people.NOW)), "decide() refuses what the naive judge lets happen")
    require(len(decision.approvals) == len(question.approvals))
    require(decision.reason and bool(decision.refusal) != decision.authorised)
    backwards = decide(replace(question, approvals=question.approvals[::-1]))
    if len(question.approvals) <= ATTEMPTS_PER_SIGNER:
        require(backwards.authorised == decision.authorised, "the order of approvals matters")


TARGETS: Final[tuple[AnyTarget, ...]] = (
    Target(
        "verdicts.decide",
        _decided,
        _hold,
        lambda: [b"\x00\x00\x00\x00", b"\x01\x00\x00\x00\x01\x00", b"\x04\x00\x10\x00", b"\x19\x00\xc4\x00\xc2\x00"],
    ),
)
