"""Weak but legal shapes: each warning beside the same policy without the weakness."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from keyturn.crypto.approver_files import approver_certificate
from keyturn.crypto.keys import generate, make_spec, private_key_to_stored
from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.decision import Question, decide
from keyturn.ska.policy import EMPTY_POLICY, Approver, Group, Policy, Rule, TimeUnit, Token
from keyturn.ska.policy_lint import lint_policy
from keyturn.ska.policy_rules import check_policy
from keyturn.ska.policy_supposition import parse_delay, suppose
from keyturn_testing.ska import LABEL, PAYLOAD, group, integrity_key, person, stamped, token

DAY = 86_400
TWO = group(2, "alice", "bob", "carol")
ONE = group(1, "alice", "bob", "carol")


def rule(*groups: Group, timelock: int = 0, timeout: int = DAY, name: str | None = "main") -> Rule:
    return Rule((token(*groups, timelock=timelock, timeout=timeout, name=name),))


GOOD = rule(TWO)
SOUND = Policy(GOOD, GOOD, GOOD, GOOD)


def of(use: Rule = GOOD, block: Rule = GOOD, unblock: Rule = GOOD, modify: Rule = GOOD) -> Policy:
    return Policy(use, block, unblock, modify)


@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    ("word", "weak", "sound", "place", "said"),
    [
        ("modify-weaker", of(modify=Rule.ALWAYS), of(modify=Rule.NEVER), ("ruleModify", None, None), "no approval"),
        ("modify-weaker", of(modify=rule(ONE)), of(), ("ruleModify", None, None), "fewer listed keys"),
        ("unblock-weaker", of(unblock=Rule.ALWAYS), of(unblock=Rule.NEVER), ("ruleUnblock", None, None), "no approval"),
        ("unblock-weaker", of(unblock=rule(ONE)), of(), ("ruleUnblock", None, None), "fewer listed keys"),
        (
            "modify-earlier",
            of(use=rule(TWO, timelock=60)),
            of(use=rule(TWO, timelock=60), modify=rule(TWO, timelock=60)),
            ("ruleModify", None, None),
            "shorter timelock",
        ),
        (
            "one-key-alone",
            Policy(rule(ONE), rule(ONE), rule(ONE), Rule.NEVER),
            Policy(rule(ONE), rule(ONE), rule(TWO), Rule.NEVER),
            ("", None, None),
            "'alice', 'bob', 'carol'",
        ),
        (
            "one-key-alone",
            Policy(rule(group(1, "alice"), group(1, "alice", "bob")), Rule.ALWAYS, Rule.NEVER, Rule.NEVER),
            Policy(rule(group(1, "alice"), group(1, "bob")), Rule.ALWAYS, Rule.NEVER, Rule.NEVER),
            ("", None, None),
            "'alice'",
        ),
        (
            "timelock-without-block",
            of(use=rule(TWO, timelock=60), block=Rule.NEVER),
            of(block=Rule.NEVER),
            ("ruleUse", "main", None),
            "nobody can stop",
        ),
        (
            "timelock-without-block",
            of(use=rule(TWO, timelock=60), block=Rule.ALWAYS),
            of(use=rule(TWO, timelock=60), block=rule(ONE)),
            ("ruleUse", "main", None),
            "nobody who answers for it",
        ),
        (
            "timelock-without-block",
            of(use=rule(TWO, timelock=120), block=rule(ONE, timelock=120)),
            of(use=rule(TWO, timelock=120), block=rule(ONE, timelock=60)),
            ("ruleUse", "main", None),
            "too late",
        ),
        (
            "key-in-two-groups",
            of(use=rule(TWO, group(1, "bob", "dave", name="audit"))),
            of(use=rule(TWO, group(1, "frank", "dave", name="audit"))),
            ("ruleUse", "main", "audit"),
            "'bob'",
        ),
        (
            "key-in-two-groups",
            of(use=rule(TWO, Group(None, 1, (person("bob").by_certificate,)), name=None)),
            of(use=rule(TWO, Group(None, 1, (person("dave").by_certificate,)), name=None)),
            ("ruleUse", "number 1", "number 2"),
            "ruleUse, token number 1, group number 2 lists who stands in an earlier group already: 'bob'.",
        ),
        ("no-timeout", of(block=rule(TWO, timeout=0)), of(block=Rule.ALWAYS), ("ruleBlock", "main", None), "never"),
    ],
)
def test_what_is_weak_is_pointed_out_with_its_place(
    word: str, weak: Policy, sound: Policy, place: tuple[str, str | None, str | None], said: str
) -> None:
    check_policy(weak)
    check_policy(sound)
    [found] = [warning for warning in lint_policy(weak) if warning.word == f"lint.{word}"]
    assert (found.rule, found.token, found.group) == place
    assert said in found.sentence
    assert f"lint.{word}" not in {warning.word for warning in lint_policy(sound)}


def test_a_sound_policy_and_an_unprotected_key_have_no_warnings() -> None:
    assert lint_policy(SOUND) == ()
    assert lint_policy(EMPTY_POLICY) == ()


def test_a_destroyable_key_is_pointed_out() -> None:
    assert [warning.word for warning in lint_policy(SOUND, destroyable=True)] == ["lint.destroyable"]


@pytest.mark.rule("R23")
def test_r23_a_key_that_a_server_made_is_pointed_out_once() -> None:
    private_key = generate(make_spec("RSA", "", 2048))
    certificate = approver_certificate(private_key_to_stored(private_key), "phone", 365, 1_700_000_000)
    phone = Approver.of_certificate(certificate)
    two = Group("two", 2, (phone, *TWO.approvers))
    [found] = lint_policy(of(*[rule(two)] * 4))
    assert found.word == "lint.server-made"
    assert "phone" in found.sentence
    assert "alice" not in found.sentence
    bare = Group("two", 2, (Approver(phone.spki, None, "phone"), *TWO.approvers))
    assert lint_policy(of(*[rule(bare)] * 4)) == ()


def test_many_keys_that_suffice_alone_are_not_all_named() -> None:
    many = rule(group(1, *(f"clerk{n}" for n in range(10))))
    [found] = lint_policy(of(many, many, many, many))
    assert found.sentence.count("'clerk") == 8
    assert "and 2 more" in found.sentence


TWO_WAYS = Rule(
    (
        Token("slow", 120, 180, TimeUnit.MINUTES, (ONE, group(1, "dave", "alice"))),
        Token("fast", 0, 90, TimeUnit.SECONDS, (TWO,)),
        Token("free", 0, 0, TimeUnit.MINUTES, (group(1, "erin"), TWO)),
    )
)
PEOPLE = ("alice", "bob", "dave", "erin")
START = 1_700_000_000


@pytest.mark.parametrize("who", [who for n in range(5) for who in itertools.combinations(PEOPLE, n)])
def test_what_is_supposed_is_what_the_decision_says_of_signed_approvals(who: tuple[str, ...]) -> None:
    """Every set of people at every edge of a window: the same authorisation, tokens, groups and times."""
    policy = of(TWO_WAYS)
    stamp = stamped(START)
    approvals = [person(name).approve(stamp=stamp) for name in who]
    for delay in (0, 60, 90, 91, 119, 120, 239, 240):
        real = decide(
            Question(
                policy=policy,
                action=Action.USE,
                label=LABEL,
                payload=PAYLOAD,
                approvals=approvals,
                now=START + delay,
                integrity_keys=(integrity_key(),),
            )
        )
        supposed = suppose(policy, Action.USE, who, delay)
        assert supposed.authorised == real.authorised
        assert (supposed.refusal, supposed.rule_kind) == (real.refusal, real.rule_kind)
        for guess, truth in zip(supposed.tokens, real.tokens, strict=True):
            assert (guess.satisfied, guess.complete, guess.groups) == (truth.satisfied, truth.complete, truth.groups)
            for after, at in ((guess.opens_at, truth.opens_at), (guess.closes_at, truth.closes_at)):
                assert (None if after is None else START + after) == at


def test_people_are_found_by_name_or_fingerprint_and_never_guessed() -> None:
    twin = Group(
        "g", 1, (person("alice").listed, person("bob").by_certificate, Approver(person("dave").spki, None, "alice"))
    )
    policy = of(rule(twin))
    with pytest.raises(FormatError) as caught:
        suppose(policy, Action.USE, ["alice"], 0)
    assert caught.value.refusal == "simulate.ambiguous-approver"
    prefix = caught.value.message.rpartition(" ")[2][:8]
    assert suppose(policy, Action.USE, [prefix.upper()], 0).authorised
    assert suppose(policy, Action.USE, ["bob"], 0).authorised
    for unknown in ("mallory", prefix[:7]):
        with pytest.raises(FormatError, match="it lists 'alice', 'bob', 'carol'") as caught:
            suppose(policy, Action.USE, [unknown], 0)
        assert caught.value.refusal == "simulate.unknown-approver"


@pytest.mark.parametrize(
    ("text", "seconds"), [("+2h", 7200), ("90s", 90), ("+1d12h", 36 * 3600), ("+1h30m5s", 5405), ("+0s", 0)]
)
def test_lengths_of_time_are_read(text: str, seconds: int) -> None:
    assert parse_delay(text) == seconds


@pytest.mark.parametrize("text", ["", "+", "2", "-2h", "+2x", "+2m1h", "+2h ", "+٢h"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_delay(text)
    assert caught.value.refusal == "simulate.delay"


def test_what_verifies_nothing_is_not_used_where_something_happens() -> None:
    """`weigh` and `suppose` take approvals for granted: neither the HSM nor the broker may ever ask them."""
    source = Path(__file__).parents[2] / "src" / "keyturn"
    texts = {path.relative_to(source).as_posix(): path.read_text() for path in source.rglob("*.py")}
    assert {name for name, text in texts.items() if "weigh(" in text} == {
        "ska/decision.py",
        "ska/policy_supposition.py",
    }
    assert {name for name, text in texts.items() if "policy_supposition" in text} == {"cli/policy.py"}
