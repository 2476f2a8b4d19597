"""What a policy must satisfy, and what it amounts to: each refusal beside the same policy without the defect."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import policy_cost
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.policy import EMPTY_POLICY, Approver, Group, Policy, Rule, TimeUnit, Token, encode_policy
from keyturn.ska.policy_cost import cost_of_rule
from keyturn.ska.policy_rules import (
    check_policy,
    is_always_fulfilled,
    is_protected,
    listed_approvers,
    open_modify,
    open_unblock,
    required_timestamp,
)
from keyturn_testing.ska import group, person, token, use_policy

GOOD = group(2, "alice", "bob", "carol")


def one(group_: Group, **times: int) -> Policy:
    return use_policy(token(group_, **times))  # type: ignore[arg-type] # Only times are given.


@pytest.mark.rule("decisions 20")
@pytest.mark.parametrize(
    ("word", "bad", "good", "place"),
    [
        ("policy.use-never", use_policy(), one(GOOD), "ruleUse"),
        (
            "policy.always-beside-token",
            use_policy(token(GOOD), token(name="anybody")),
            use_policy(token(GOOD), token(GOOD, name="anybody")),
            "ruleUse, token 'anybody'",
        ),
        ("policy.unmeasurable-window", use_policy(token(timelock=60)), use_policy(token()), "ruleUse, token 'main'"),
        (
            "policy.timeout-below-timelock",
            one(GOOD, timelock=120, timeout=60),
            one(GOOD, timelock=120, timeout=120),
            "ruleUse, token 'main'",
        ),
        ("policy.quorum-zero", one(group(0, "alice")), one(group(1, "alice")), "group 'officers'"),
        ("policy.quorum-above-group", one(group(3, "alice", "bob")), one(group(2, "alice", "bob")), "group 'officers'"),
        ("policy.empty-group", one(group(1)), one(group(1, "alice")), "group 'officers'"),
        (
            "policy.duplicate-approver",
            one(Group(None, 1, (person("alice").listed, person("alice").by_certificate))),
            one(Group(None, 1, (person("alice").listed, person("bob").by_certificate))),
            "group number 1 lists approver 'alice' twice",
        ),
        ("policy.bad-name", one(group(1, "alice", name="off\u202eicers")), one(group(1, "alice")), "group"),
        ("policy.bad-name", one(group(1, "alice", name="x" * 257)), one(group(1, "alice", name="x" * 256)), "group"),
        ("policy.bad-name", use_policy(token(GOOD, name="a\0")), use_policy(token(GOOD, name="a")), "token"),
        (
            "policy.bad-name",
            one(Group(None, 1, (Approver.of_certificate(person("alice").certificate, "bob"),))),
            one(Group(None, 1, (Approver.of_certificate(person("alice").certificate, "alice"),))),
            "approver 'bob'",
        ),
        (
            "approver.malformed-key",
            one(Group(None, 1, (Approver(b"junk", None, "eve"),))),
            one(group(1, "alice")),
            "ruleUse, token 'main', group number 1, approver 'eve'",
        ),
    ],
)
def test_what_nobody_can_want_is_refused(word: str, bad: Policy, good: Policy, place: str) -> None:
    with pytest.raises(KeyturnError) as caught:
        check_policy(bad)
    assert caught.value.refusal == word
    assert place in caught.value.message
    expected = {"policy.empty-group": ErrorCode.MISSING_APPROVAL, "approver.malformed-key": ErrorCode.PARSING_KEY}
    assert caught.value.code is expected.get(word, ErrorCode.VALIDATION_FAILED)
    check_policy(good)


@pytest.mark.rule("decisions 20")
def test_a_key_cannot_be_blocked_for_good() -> None:
    policy = one(GOOD)
    with pytest.raises(KeyturnError) as caught:
        check_policy(policy, blocked=True)
    assert caught.value.refusal == "policy.no-unblock"
    check_policy(policy)
    for unblock in (Rule.ALWAYS, policy.use):
        check_policy(Policy(policy.use, Rule.NEVER, unblock, Rule.NEVER), blocked=True)


@pytest.mark.rule("R19")
def test_a_policy_that_fits_its_binary_form_but_not_the_attested_one_is_refused_too_large() -> None:
    """Apostrophes take six bytes in XML: the key would exist and could not be shown."""

    def named(name: str) -> Policy:
        listed = Group(name, 1, (Approver(person("dave").spki, None, name),))
        return use_policy(*[Token(name, 0, 0, TimeUnit.MINUTES, (listed,))] * 70)

    encode_policy(named("'" * 250))
    with pytest.raises(KeyturnError) as caught:
        check_policy(named("'" * 250))
    assert caught.value.refusal == "policy.too-large"
    check_policy(named("x" * 250))


@pytest.mark.parametrize("position", range(4))
def test_every_rule_is_checked_and_named(position: int) -> None:
    rules = [Rule.ALWAYS] * 4
    rules[position] = Rule((token(group(2, "alice")),))
    with pytest.raises(KeyturnError) as caught:
        check_policy(Policy(*rules))
    assert ("ruleUse", "ruleBlock", "ruleUnblock", "ruleModify")[position] in caught.value.message


def test_the_documented_special_forms_stay_accepted() -> None:
    check_policy(EMPTY_POLICY)
    check_policy(Policy(Rule.ALWAYS, Rule.NEVER, Rule.NEVER, Rule.NEVER))
    check_policy(use_policy(token(name="main")))
    check_policy(use_policy(token(GOOD, GOOD), token(GOOD, name=None, timelock=60)))


def test_a_policy_that_no_command_can_carry_is_refused() -> None:
    crowd = tuple(token(GOOD, name="x" * 250) for _ in range(200))
    with pytest.raises(FormatError, match="65536"):
        check_policy(use_policy(*crowd))
    check_policy(use_policy(*crowd[:50]))


@pytest.mark.rule("R13")
def test_a_weak_key_is_refused_with_its_place() -> None:
    small_order = bytes.fromhex("302a300506032b6570032100") + b"\1" + bytes(31)
    with pytest.raises(KeyturnError) as caught:
        check_policy(one(Group("officers", 1, (Approver(small_order, None, "eve"),))))
    assert caught.value.refusal == "approver.weak-key"
    assert "group 'officers', approver 'eve'" in caught.value.message


def test_protected_is_a_key_whose_use_can_need_an_approval() -> None:
    assert is_protected(one(GOOD))
    assert is_protected(one(GOOD, timelock=60))
    assert not is_protected(None)
    assert not is_protected(EMPTY_POLICY)
    assert not is_protected(use_policy(token()))
    assert is_always_fulfilled(Rule.ALWAYS)
    assert not is_always_fulfilled(Rule.NEVER)
    assert required_timestamp(one(GOOD, timeout=60).use)
    assert not required_timestamp(one(GOOD).use)


def test_everybody_is_listed_once_in_order() -> None:
    first = token(group(1, "carol", "alice"))
    second = token(Group(None, 1, (person("alice").by_certificate, person("bob").listed)))
    assert [a.name for a in listed_approvers(Rule((first, second)))] == ["carol", "alice", "bob"]


# --- R10: how easily can the policy be replaced? -----------------------------------------------------


def with_modify(*tokens: Token) -> Policy:
    return Policy(Rule((token(GOOD),)), Rule.NEVER, Rule(tokens), Rule(tokens))


@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    ("expected", "tokens"),
    [
        (True, Rule.ALWAYS.tokens),
        (True, (token(group(1, "alice", "bob")),)),
        (True, (token(GOOD), token(group(1, "dave")))),
        (True, (token(group(1, "alice", "bob"), group(1, "alice", "carol")),)),
        (False, (token(GOOD),)),
        (False, (token(group(2, "dave", "erin")),)),
        (False, (token(group(1, "alice"), group(1, "bob", "carol")),)),
        (False, (token(group(1, "alice", "dave"), group(1, "bob", "carol")),)),
        (False, (token(group(2, "alice")),)),
        (False, ()),
    ],
)
def test_open_modify_and_open_unblock_are_exact(expected: bool, tokens: tuple[Token, ...]) -> None:
    policy = with_modify(*tokens)
    assert open_modify(policy) is expected
    assert open_unblock(policy) is expected


@pytest.mark.rule("R10")
def test_a_certificate_and_its_key_do_not_make_two_people() -> None:
    both = token(Group(None, 1, (person("alice").by_certificate,)), Group(None, 1, (person("alice").listed,)))
    assert open_modify(with_modify(both))


def cheapest(rule: Rule) -> int | None:
    """Try all sets of people, the smallest first."""
    everybody = [a.identity for a in listed_approvers(rule)]
    for size in range(len(everybody) + 1):
        for chosen in combinations(everybody, size):
            for one_token in rule.tokens:
                if all(len({a.identity for a in g.approvers} & set(chosen)) >= g.quorum for g in one_token.groups):
                    return size
    return None


PEOPLE = ("alice", "bob", "carol", "dave", "erin", "frank")


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    def some_group() -> Group:
        names = draw(st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=5, unique=True))
        return group(draw(st.integers(1, 4)), *names)

    tokens = [
        Token(None, 0, 0, TimeUnit.MINUTES, tuple(some_group() for _ in range(draw(st.integers(0, 4)))))
        for _ in range(draw(st.integers(0, 2)))
    ]
    return Rule(tuple(tokens))


@pytest.mark.rule("R10")
@given(rules())
def test_the_cheapest_way_is_what_trying_all_sets_of_people_finds(rule: Rule) -> None:
    cost = cost_of_rule(rule)
    expected = cheapest(rule)
    if expected is None:
        assert cost is None
    else:
        assert cost == policy_cost.Cost(expected, expected)


@pytest.mark.rule("R10")
def test_a_policy_made_to_be_hard_is_shown_as_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the exact answer would take too long, doubt is shown, never hidden."""
    ring = [group(2, PEOPLE[i], PEOPLE[(i + 1) % 6], PEOPLE[(i + 2) % 6]) for i in range(6)]
    rule = Rule((token(*ring),))
    exact = cost_of_rule(rule)
    assert exact == policy_cost.Cost(4, 4)
    policy_cost.cost_of_rule.cache_clear()
    monkeypatch.setattr(policy_cost, "WORK_LIMIT", 5)
    assert cost_of_rule(rule) == policy_cost.Cost(2, 12)
    assert open_modify(Policy(rule, Rule.NEVER, Rule.NEVER, rule))
    policy_cost.cost_of_rule.cache_clear()
    monkeypatch.undo()
    assert not open_modify(Policy(rule, Rule.NEVER, Rule.NEVER, rule))


@pytest.mark.rule("R10")
def test_the_hardest_policy_that_fits_is_answered_in_bounded_work() -> None:
    crowd = [Approver(person(f"member {number}").spki) for number in range(40)]
    ring = tuple(Group(None, 5, tuple(crowd[(i + step) % 40] for step in range(15))) for i in range(40))
    cost = cost_of_rule(Rule((token(*ring),)))
    assert cost is not None
    assert 5 <= cost.least <= cost.most


def test_the_good_group_is_made_of_good_keys() -> None:
    assert len({load_approver_key(a.spki) for a in GOOD.approvers}) == 3
