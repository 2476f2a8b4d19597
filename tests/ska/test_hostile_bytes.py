"""Bytes from anybody: parsers refuse them in one way, and a changed approval never counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_name, certificate_spki, identity_of, load_approver_key
from keyturn.ska.decision import Question, Verdict, decide
from keyturn.ska.messages import (
    UnwrapPayload,
    decode_approval,
    decode_authorization,
    decode_timestamp,
    decode_unwrap_payload,
    encode_unwrap_payload,
    looks_like_own_structure,
)
from keyturn.ska.policy import Group, decode_any_policy, decode_policy, encode_policy
from keyturn.ska.signatures import unwrap_signature
from keyturn.ska.statement import MAGIC
from keyturn.ska.tlv import decode_blob, decode_body
from keyturn_testing.ska import (
    LABEL,
    PAYLOAD,
    group,
    integrity_key,
    person,
    stamped,
    token,
    use_policy,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_700_000_000
POLICY = use_policy(token(Group("g", 1, (person("alice").listed, person("erin").listed)), timeout=600))
BY_CERTIFICATE = use_policy(token(Group("g", 1, (person("alice").by_certificate,))))
STAMPED = person("alice").approve(stamp=stamped(NOW))

SEEDS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "blob": (decode_blob, [STAMPED]),
    "body": (decode_body, [STAMPED[4:]]),
    "authorization": (decode_authorization, [STAMPED, person("alice").approve(with_certificate=True)]),
    "approval": (decode_approval, [decode_authorization(STAMPED).approval]),
    "timestamp": (decode_timestamp, [stamped(NOW)[0]]),
    "unwrap payload": (decode_unwrap_payload, [encode_unwrap_payload(UnwrapPayload(1, 2, b"key", b"label"))]),
    "policy": (decode_policy, [encode_policy(POLICY), encode_policy(BY_CERTIFICATE)]),
    "any policy": (decode_any_policy, [encode_policy(POLICY), encode_policy(BY_CERTIFICATE)[4:]]),
    "wrapper": (unwrap_signature, [decode_authorization(STAMPED).signature, stamped(NOW)[1]]),
    "identity": (identity_of, [person(n).spki for n in ("alice", "carol", "erin", "grace")]),
    "key": (load_approver_key, [person(n).spki for n in ("alice", "carol", "erin")]),
    "certificate": (certificate_spki, [person(n).certificate for n in ("alice", "erin")]),
    "certificate name": (certificate_name, [person(n).certificate for n in ("alice", "erin")]),
}


@st.composite
def mutations(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few bytes changed, removed, repeated or added."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data))) if data else 0
        match draw(st.integers(0, 3)):
            case 0 if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
            case 2:
                data[at:at] = draw(st.binary(max_size=8))
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 16))]
    return bytes(data)


@pytest.mark.rule("R29")
@pytest.mark.parametrize("what", SEEDS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_parsers_raise_nothing_but_format_errors(what: str, data: st.DataObject) -> None:
    parse, seeds = SEEDS[what]
    for hostile in (data.draw(st.binary(max_size=80)), data.draw(mutations(seeds))):
        try:
            parse(hostile)
        except FormatError:
            continue
    for seed in seeds:
        parse(seed)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=80), mutations([STAMPED])), max_size=4))
def test_decide_never_raises_whatever_it_is_given(approvals: list[bytes]) -> None:
    question = Question(
        policy=POLICY,
        action=Action.USE,
        label=LABEL,
        payload=PAYLOAD,
        approvals=approvals,
        now=NOW,
        integrity_keys=(integrity_key(),),
    )
    decision = decide(question)
    assert len(decision.approvals) == len(approvals)
    assert decision.authorised == (STAMPED in approvals)


@given(st.binary(max_size=80))
def test_arbitrary_payloads_are_not_taken_for_our_own(payload: bytes) -> None:
    """Bytes that begin with their own length and one of our tags do not turn up by chance."""
    expected = "bound statement" if payload.startswith(MAGIC) else None
    assert looks_like_own_structure(payload) == expected


@pytest.mark.parametrize("name", ["alice", "carol", "erin"])
@pytest.mark.parametrize("with_stamp", [False, True])
def test_no_single_flipped_bit_leaves_an_approval_counting(name: str, with_stamp: bool) -> None:
    """Every bit of the authorization, signer's key and signature wrapper included, one after the other."""
    good = person(name).approve(stamp=stamped(NOW) if with_stamp else None)
    question = Question(
        policy=use_policy(token(group(1, name))),
        action=Action.USE,
        label=LABEL,
        payload=PAYLOAD,
        approvals=[good],
        now=NOW,
        integrity_keys=(integrity_key(),),
    )
    assert decide(question).authorised
    for position in range(len(good) * 8):
        changed = bytearray(good)
        changed[position // 8] ^= 1 << position % 8
        found = decide(
            Question(
                policy=question.policy,
                action=Action.USE,
                label=LABEL,
                payload=PAYLOAD,
                approvals=[bytes(changed)],
                now=NOW,
                integrity_keys=question.integrity_keys,
            )
        ).approvals[0]
        assert found.verdict in (Verdict.INVALID, Verdict.FOREIGN), (position, found.refusal)
