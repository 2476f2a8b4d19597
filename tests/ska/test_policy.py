"""The binary policy: what is written is read, and the HSM's one form is the only one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.policy import (
    EMPTY_POLICY,
    Approver,
    Group,
    Policy,
    Rule,
    TimeUnit,
    Token,
    decode_any_policy,
    decode_policy,
    encode_policy,
    encode_rule,
)
from keyturn.ska.tlv import Element, Tag, decode_blob, encode_blob, u32
from keyturn.ska.window import closes_at, opens_at
from keyturn_testing.ska import group, person, token, use_policy

NAMES = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PEOPLE = ("alice", "carol", "dave", "erin")


@st.composite
def approvers(draw: st.DrawFn) -> Approver:
    who = person(draw(st.sampled_from(PEOPLE)))
    return Approver(who.spki, draw(st.sampled_from([None, who.certificate])), draw(NAMES))


@st.composite
def tokens(draw: st.DrawFn) -> Token:
    unit = draw(st.sampled_from(list(TimeUnit)))
    times = st.integers(0, 2**32 - 1).map(lambda count: count * unit.seconds)
    groups = st.builds(Group, NAMES, st.integers(1, 2**32 - 1), st.lists(approvers(), max_size=3).map(tuple))
    return Token(draw(NAMES), draw(times), draw(times), unit, tuple(draw(st.lists(groups, max_size=2))))


RULES = st.builds(Rule, st.lists(tokens(), max_size=2).map(tuple))
POLICIES = st.builds(Policy, RULES, RULES, RULES, RULES)


@given(POLICIES)
def test_policies_round_trip(policy: Policy) -> None:
    data = encode_policy(policy)
    assert decode_policy(data) == policy
    assert decode_any_policy(data) == policy
    assert decode_any_policy(data[4:]) == policy
    assert decode_any_policy(encode_rule(policy.use)) == policy.use


def test_the_empty_policy_has_the_form_of_one_token_without_groups() -> None:
    always = bytes.fromhex("20000000 59000400 01000000 55000400 00000000 55000400 00000000 5A000400 00000000")
    assert encode_rule(Rule.ALWAYS) == always
    assert encode_rule(Rule.NEVER) == bytes.fromhex("08000000 59000400 00000000")
    assert decode_policy(encode_policy(EMPTY_POLICY)) == EMPTY_POLICY
    assert [EMPTY_POLICY.rule(action) for action in Action] == [Rule.ALWAYS] * 4


def test_each_action_has_its_own_rule() -> None:
    rules = [Rule((token(name=str(number)),)) for number in range(4)]
    policy = decode_policy(encode_policy(Policy(*rules)))
    assert [policy.rule(action) for action in Action] == rules


USE = Element(Tag.RULE_USE, encode_rule(Rule.ALWAYS))
BLOCK = Element(Tag.RULE_BLOCK, encode_rule(Rule.ALWAYS))
UNBLOCK = Element(Tag.RULE_UNBLOCK, encode_rule(Rule.ALWAYS))
MODIFY = Element(Tag.RULE_MODIFY, encode_rule(Rule.ALWAYS))


@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    "elements",
    [
        pytest.param([USE, BLOCK, UNBLOCK], id="partial"),
        pytest.param([USE], id="one rule"),
        pytest.param([], id="empty"),
        pytest.param([USE, BLOCK, MODIFY, UNBLOCK], id="reordered"),
        pytest.param([USE, USE, BLOCK, UNBLOCK, MODIFY], id="repeated"),
        pytest.param([USE, BLOCK, UNBLOCK, MODIFY, MODIFY], id="trailing"),
        pytest.param([Element(0x3C, b""), USE, BLOCK, UNBLOCK, MODIFY], id="phantom"),
        pytest.param([Element(Tag.RULE_USE, USE.value[4:]), BLOCK, UNBLOCK, MODIFY], id="rule without header"),
    ],
)
def test_partial_and_other_policy_blobs_are_refused(elements: list[Element]) -> None:
    with pytest.raises(FormatError):
        decode_policy(encode_blob(elements))
    assert decode_policy(encode_blob([USE, BLOCK, UNBLOCK, MODIFY])) == EMPTY_POLICY


def number(tag: int, value: int) -> Element:
    return Element(tag, u32(value))


MINUTES = number(Tag.MINUTES, 0)
KEY = Element(Tag.PUBLIC_KEY, b"key")


@pytest.mark.parametrize(
    "elements",
    [
        pytest.param([number(Tag.TOKEN_COUNT, 1)], id="announced but absent"),
        pytest.param([number(Tag.TOKEN_COUNT, 2**32 - 1)], id="absurd count"),
        pytest.param([number(Tag.TOKEN_COUNT, 0), MINUTES], id="trailing"),
        pytest.param(
            [number(Tag.TOKEN_COUNT, 1), MINUTES, number(Tag.SECONDS, 0), number(Tag.GROUP_COUNT, 0)], id="mixed units"
        ),
        pytest.param([number(Tag.TOKEN_COUNT, 1), MINUTES, number(Tag.GROUP_COUNT, 0)], id="one time"),
        pytest.param(
            [
                number(Tag.TOKEN_COUNT, 1),
                MINUTES,
                MINUTES,
                number(Tag.GROUP_COUNT, 1),
                number(Tag.APPROVER_COUNT, 1),
                number(Tag.QUORUM, 1),
                KEY,
            ],
            id="count before quorum",
        ),
        pytest.param(
            [Element(Tag.TOKEN_COUNT, b"\1"), MINUTES, MINUTES, number(Tag.GROUP_COUNT, 0)], id="short number"
        ),
        pytest.param(
            [number(Tag.TOKEN_COUNT, 1), Element(Tag.NAME, b"\xff"), MINUTES, MINUTES, number(Tag.GROUP_COUNT, 0)],
            id="name that is not UTF-8",
        ),
    ],
)
def test_rules_of_any_other_form_are_refused(elements: list[Element]) -> None:
    with pytest.raises(FormatError):
        decode_any_policy(encode_blob(elements))
    good = [number(Tag.TOKEN_COUNT, 1), MINUTES, MINUTES, number(Tag.GROUP_COUNT, 0)]
    assert decode_any_policy(encode_blob(good)) == Rule.ALWAYS


@pytest.mark.rule("decisions 21")
def test_quorum_0_is_read_for_looking_at_and_refused_by_the_hsm() -> None:
    zero = use_policy(token(group(0, "alice")))
    with pytest.raises(FormatError) as caught:
        decode_policy(encode_policy(zero))
    assert caught.value.refusal == "policy.quorum-zero"
    assert decode_any_policy(encode_policy(zero)) == zero
    quorum_of_one = use_policy(token(group(1, "alice")))
    assert decode_policy(encode_policy(quorum_of_one)) == quorum_of_one


def test_a_certificate_carries_no_name_unless_one_is_given() -> None:
    by_certificate = use_policy(token(Group(None, 1, (person("alice").by_certificate,)), name=None))
    rule = decode_blob(decode_blob(encode_policy(by_certificate))[0].value)
    assert [e.tag for e in rule if e.tag in (Tag.NAME, Tag.CERTIFICATE)] == [Tag.CERTIFICATE]


def test_an_approvers_key_and_certificate_must_agree() -> None:
    assert Approver(person("alice").spki, person("alice").certificate).identity == person("alice").identity
    with pytest.raises(FormatError, match="not the one in their certificate"):
        Approver(person("bob").spki, person("alice").certificate)


def test_what_does_not_fit_its_form_is_not_written() -> None:
    for bad in (
        token(timelock=30),
        token(timeout=61),
        token(timelock=60 * 2**32),
        token(timelock=-60),
        token(name="\ud800"),
    ):
        with pytest.raises(FormatError):
            encode_rule(Rule((bad,)))
    assert encode_rule(Rule((token(timelock=30, unit=TimeUnit.SECONDS),)))
    crowd = use_policy(token(Group("crowd", 1, tuple(Approver(bytes(1000)) for _ in range(70)))))
    with pytest.raises(FormatError, match="65536"):
        encode_policy(crowd)


@pytest.mark.rule("decisions 18")
@given(
    st.integers(0, 2**40),
    st.integers(0, 500),
    st.integers(0, 500),
    st.sampled_from(list(TimeUnit)),
    st.integers(-100, 40000),
)
def test_the_window_is_the_definition(stamp: int, lock: int, out: int, unit: TimeUnit, later: int) -> None:
    """Elapsed time in whole units, truncated, is at least the timelock and at most the timeout unless that is 0."""
    one = Token(None, lock * unit.seconds, out * unit.seconds, unit, ())
    now = stamp + later
    elapsed = later // unit.seconds
    inside = later >= 0 and elapsed >= lock and (out == 0 or elapsed <= out)
    end = closes_at(stamp, one)
    assert inside == (opens_at(stamp, one) <= now and (end is None or now < end))
