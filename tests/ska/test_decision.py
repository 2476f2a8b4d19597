"""Stories of the one decision: who must agree, to what, and when. Each refusal beside its cure."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import der
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.decision import (
    NotAuthorisedError,
    Question,
    RuleKind,
    Verdict,
    can_still_be_reached,
    require_authorised,
)
from keyturn.ska.messages import (
    ApprovalToken,
    Authorization,
    decode_authorization,
    encode_approval,
    encode_authorization,
)
from keyturn.ska.policy import EMPTY_POLICY, Approver, Group, Policy, Rule, encode_policy
from keyturn.ska.signatures import unwrap_signature, wrap_signature
from keyturn.ska.statement import MAGIC
from keyturn_testing.decisions import ALICE, NOW, TWO_OF_THREE, ask, flip, words
from keyturn_testing.ska import (
    LABEL,
    PAYLOAD,
    group,
    person,
    stamped,
    token,
    use_policy,
)

# --- quorums -----------------------------------------------------------------------------------------


def test_two_of_three_agree() -> None:
    decision = ask(TWO_OF_THREE, person("alice").approve(), person("carol").approve())
    assert decision.authorised
    assert decision.rule_kind is RuleKind.NEEDS
    assert [found.verdict for found in decision.approvals] == [Verdict.COUNTED, Verdict.COUNTED]
    assert decision.tokens[0].groups[0].approved == (person("alice").identity, person("carol").identity)
    assert decision.reason == "token 'main' is fulfilled."
    assert (decision.opens_at, decision.closes_at, decision.refusal) == (None, None, "")


def test_approvals_missing_names_the_group_and_who_could_still_approve() -> None:
    decision = ask(TWO_OF_THREE, person("alice").approve())
    assert not decision.authorised
    assert decision.refusal == "approvals.missing"
    assert decision.reason == "1 of 2 approvals in group 'officers' is missing; outstanding: bob, carol."
    assert decision.tokens[0].groups[0].missing == 1
    assert [a.name for a in decision.tokens[0].groups[0].outstanding] == ["bob", "carol"]
    assert not decision.complete


def test_approvals_missing_says_first_which_were_given_in_vain() -> None:
    alice, bob = person("alice"), person("bob").approve()
    signed = decode_authorization(bob).approval
    taken_back = {(hashlib.sha256(person("bob").identity).digest(), hashlib.sha256(signed).digest())}
    decision = ask(TWO_OF_THREE, alice.approve(), bob, withdrawn=taken_back)
    assert decision.reason == (
        "Given, but not counted: bob (approval.withdrawn). "
        "1 of 2 approvals in group 'officers' is missing; outstanding: bob, carol."
    )
    assert ask(TWO_OF_THREE, alice.approve(), bob).reason == "token 'main' is fulfilled."
    assert ask(TWO_OF_THREE, alice.approve(), bob, person("carol").approve(), withdrawn=taken_back).authorised

    authorization = decode_authorization(bob)
    broken = encode_authorization(replace(authorization, signature=flip(authorization.signature, -3)))
    for bad, word in ((broken, "bad-signature"), (person("bob").approve(b"else"), "wrong-payload")):
        assert (
            f"Given, but not counted: bob (approval.{word}). 1 of 2" in ask(TWO_OF_THREE, alice.approve(), bad).reason
        )
    spent = ask(TWO_OF_THREE, alice.approve(), bob, spent={hashlib.sha256(signed).digest()})
    assert "Given, but not counted: alice (approval.spent), bob (approval.spent). 2 of 2" in spent.reason


def test_approvals_missing_says_nothing_in_vain_of_who_counts_and_counts_the_unknown() -> None:
    twice = ask(TWO_OF_THREE, person("alice").approve(), person("alice").approve())
    assert twice.reason.startswith("1 of 2 approvals")
    noise = ask(TWO_OF_THREE, b"noise", person("mallory").approve(), person("dave").approve())
    assert noise.reason.startswith(
        "Given, but not counted: 1 of nobody listed (approval.malformed), "
        "2 of nobody listed (approval.unlisted-key). 2 of 2 approvals"
    )


def test_many_approvals_in_vain_with_long_names_stay_a_short_clause() -> None:
    names = [f"clerk{number}" for number in range(12)]
    listed = tuple(replace(person(name).listed, name=name + "x" * 5000) for name in names)
    policy = use_policy(token(Group("clerks", 12, listed)))
    reason = ask(policy, *(person(name).approve(b"other") for name in names)).reason
    clause = reason.partition(" 12 of 12")[0]
    assert clause.endswith(" 4 more.")
    assert len(clause) < 700


@pytest.mark.parametrize("name", ["alice", "carol", "dave", "erin", "frank", "grace"])
def test_every_kind_of_key_can_approve(name: str) -> None:
    policy = use_policy(token(group(1, name)))
    good = person(name).approve()
    assert ask(policy, good).authorised
    authorization = decode_authorization(good)
    scheme, bare = unwrap_signature(authorization.signature)
    forged = replace(authorization, signature=wrap_signature(scheme.name, flip(bare, len(bare) - 3)))
    decision = ask(policy, encode_authorization(forged))
    assert words(decision) == ["approval.bad-signature"]


def test_one_person_counts_once_approval_duplicate() -> None:
    twice = ask(TWO_OF_THREE, person("alice").approve(), person("alice").approve())
    assert words(twice) == ["", "approval.duplicate"]
    assert twice.refusal == "approvals.missing"
    assert ask(TWO_OF_THREE, person("alice").approve(), person("bob").approve()).authorised


@pytest.mark.rule("decisions 20")
def test_a_certificate_and_its_bare_key_are_one_person() -> None:
    mixed = use_policy(token(Group("officers", 2, (person("alice").by_certificate, person("bob").listed))))
    alone = ask(mixed, person("alice").approve(), person("alice").approve(with_certificate=True))
    assert words(alone) == ["", "approval.duplicate"]
    assert not alone.authorised
    for with_certificate in (False, True):
        approvals = person("alice").approve(with_certificate=with_certificate), person("bob").approve()
        assert ask(mixed, *approvals).authorised
    assert ask(TWO_OF_THREE, person("alice").approve(with_certificate=True), person("bob").approve()).authorised


@pytest.mark.rule("R13")
def test_a_malleated_ecdsa_signature_is_the_same_person() -> None:
    authorization = decode_authorization(person("alice").approve())
    r, s = decode_dss_signature(unwrap_signature(authorization.signature)[1])
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twin = wrap_signature("SHA256_WITH_ECDSA", encode_dss_signature(r, order - s))
    twin_approval = encode_authorization(replace(authorization, signature=twin))
    assert ask(use_policy(token(group(1, "alice"))), twin_approval).authorised
    both = ask(TWO_OF_THREE, person("alice").approve(), twin_approval)
    assert words(both) == ["", "approval.duplicate"]


def test_one_approval_counts_in_every_group_that_lists_the_key() -> None:
    policy = use_policy(token(group(2, "alice", "bob"), group(2, "alice", "bob", name="again")))
    assert ask(policy, person("alice").approve(), person("bob").approve()).authorised
    assert not ask(policy, person("alice").approve()).authorised


def test_all_groups_of_one_token_are_needed_and_halves_of_two_tokens_do_not_add_up() -> None:
    first = token(group(1, "alice"), group(1, "bob", name="audit"), name="first")
    second = token(group(1, "carol"), group(1, "dave", name="audit"), name="second")
    policy = use_policy(first, second)
    halves = ask(policy, person("alice").approve(), person("dave").approve())
    assert halves.refusal == "approvals.missing"
    assert halves.reason == (
        "token 'first': 1 of 1 approvals in group 'audit' is missing; outstanding: bob. "
        "Or: token 'second': 1 of 1 approvals in group 'officers' is missing; outstanding: carol."
    )
    assert ask(policy, person("carol").approve(), person("dave").approve()).authorised


def test_surplus_and_foreign_approvals_do_no_harm() -> None:
    decision = ask(
        TWO_OF_THREE,
        b"noise",
        person("mallory").approve(),
        *(person(name).approve() for name in ("alice", "bob", "carol")),
        person("dave").approve(b"something else"),
    )
    assert decision.authorised
    assert words(decision) == ["approval.malformed", "approval.unlisted-key", "", "", "", "approval.unlisted-key"]
    assert decision.bad_approvals == [
        (0, "approval.malformed"),
        (1, "approval.unlisted-key"),
        (5, "approval.unlisted-key"),
    ]


def test_an_always_rule_needs_nobody_and_a_never_rule_takes_nobody() -> None:
    always = ask(EMPTY_POLICY)
    assert (always.authorised, always.rule_kind) == (True, RuleKind.ALWAYS)
    never = ask(TWO_OF_THREE, person("alice").approve(None, action=Action.BLOCK), action=Action.BLOCK, payload=None)
    assert (never.authorised, never.rule_kind, never.refusal) == (False, RuleKind.NEVER, "rule.never")


@pytest.mark.rule("decisions 21")
def test_a_group_with_quorum_0_never_authorises() -> None:
    policy = use_policy(token(group(0, "alice")))
    decision = ask(policy)
    assert (decision.authorised, decision.refusal) == (False, "approvals.missing")
    assert "quorum 0" in decision.reason
    assert ask(use_policy(token(group(1, "alice"))), person("alice").approve()).authorised


def test_a_token_with_times_but_without_groups_never_authorises() -> None:
    decision = ask(use_policy(token(timelock=60)))
    assert (decision.authorised, decision.refusal) == (False, "approvals.missing")
    assert "lists nobody" in decision.reason
    assert ask(use_policy(token())).authorised


def test_a_listed_key_that_cannot_be_read_stands_in_nobodys_place() -> None:
    policy = use_policy(token(Group("officers", 1, (Approver(b"junk"), person("alice").listed))))
    junk = encode_authorization(replace(decode_authorization(person("alice").approve()), spki=b"junk"))
    assert words(ask(policy, junk)) == ["approval.unlisted-key"]
    assert ask(policy, person("alice").approve()).authorised


def test_a_certificate_sent_as_a_bare_key_is_nobody() -> None:
    policy = use_policy(token(Group("officers", 1, (person("alice").by_certificate,))))
    good = decode_authorization(person("alice").approve())
    crossed = (replace(good, spki=person("alice").certificate), replace(good, spki=None, certificate=good.spki))
    for bad in crossed:
        decision = ask(policy, encode_authorization(bad))
        assert words(decision) == ["approval.unlisted-key"]
        assert decision.approvals[0].reason == "The approval does not carry a key that could approve."
    assert ask(policy, encode_authorization(good)).authorised


def test_an_unlisted_signer_is_named_by_fingerprint() -> None:
    found = ask(TWO_OF_THREE, person("mallory").approve()).approvals[0]
    assert found.reason.startswith(f"Key {load_approver_key(person('mallory').spki).fingerprint[:16]} signed")


def test_nameless_approvers_are_named_by_common_name_or_fingerprint() -> None:
    bob = Approver(person("bob").spki)
    policy = use_policy(token(Group(None, 2, (person("alice").by_certificate, bob, Approver(b"junk"))), name=None))
    fingerprint = load_approver_key(bob.spki).fingerprint[:16]
    assert ask(policy).reason == (
        "2 of 2 approvals in group number 1 are missing; "
        f"outstanding: alice, key {fingerprint}, a key that cannot be read."
    )


# --- what is approved --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "bad"),
    [
        ("approval.wrong-label", lambda: person("alice").approve(label="payment")),
        ("approval.empty-label", lambda: person("alice").approve(label="")),
        ("approval.wrong-operation", lambda: person("alice").approve(None, action=Action.UNBLOCK)),
        ("approval.wrong-operation", lambda: person("alice").approve(action=Action.MODIFY)),
        ("approval.wrong-payload", lambda: person("alice").approve(PAYLOAD + b"\0")),
        ("approval.wrong-payload", lambda: person("alice").approve(flip(PAYLOAD, 0))),
        ("approval.unlisted-key", lambda: person("bob").approve()),
    ],
)
def test_an_approval_for_something_else_does_not_count(word: str, bad: object) -> None:
    assert callable(bad)
    decision = ask(ALICE, bad())
    assert words(decision) == [word]
    assert not decision.authorised
    assert decision.approvals[0].reason
    assert ask(ALICE, person("alice").approve()).authorised


def test_names_as_long_as_an_approval_are_not_repeated_in_the_reason() -> None:
    bad = person("alice").approve(label="x" * 50_000)
    forged = person("alice").approve(stamp=stamped(NOW, key_name="y" * 50_000))
    decision = ask(ALICE, bad, forged)
    assert words(decision) == ["approval.wrong-label", "approval.timestamp-unknown-key"]
    assert all(len(approval.reason) < 400 for approval in decision.approvals)
    assert ask(ALICE, bad, forged, person("alice").approve()).authorised


@pytest.mark.rule("decisions 29")
def test_empty_labels_count_only_where_that_is_allowed() -> None:
    unlabelled = person("alice").approve(label="")
    assert words(ask(ALICE, unlabelled)) == ["approval.empty-label"]
    assert ask(ALICE, unlabelled, allow_unlabelled=True).authorised
    assert words(ask(ALICE, person("alice").approve(label="other"), allow_unlabelled=True)) == ["approval.wrong-label"]


def test_a_signature_counts_only_over_the_whole_blob_with_its_header() -> None:
    approval = encode_approval(ApprovalToken(Action.USE, LABEL.encode(), payload=PAYLOAD))
    without_header = wrap_signature(*person("alice").sign(approval[4:]))
    bad = encode_authorization(Authorization(approval, without_header, person("alice").spki))
    assert words(ask(ALICE, bad)) == ["approval.bad-signature"]
    assert ask(ALICE, person("alice").authorize(approval)).authorised


def test_a_use_approval_does_not_modify_and_a_modify_approval_does_not_use() -> None:
    policy = Policy(*(ALICE.use,) * 4)
    new = encode_policy(TWO_OF_THREE)
    use = person("alice").approve(new)
    modify = person("alice").approve(new, action=Action.MODIFY)
    assert ask(policy, modify, action=Action.MODIFY, payload=new).authorised
    assert words(ask(policy, use, action=Action.MODIFY, payload=new)) == ["approval.wrong-operation"]
    assert words(ask(policy, modify, payload=new)) == ["approval.wrong-operation"]
    other = encode_policy(ALICE)
    assert words(ask(policy, modify, action=Action.MODIFY, payload=other)) == ["approval.wrong-payload"]


@pytest.mark.parametrize("action", [Action.BLOCK, Action.UNBLOCK])
def test_block_and_unblock_have_no_payload_and_tolerate_one(action: Action) -> None:
    policy = Policy(*(ALICE.use,) * 4)
    for payload in (None, b"tolerated"):
        approval = person("alice").approve(payload, action=action)
        assert ask(policy, approval, action=action, payload=None).authorised
    # What was approved for a bound key, whichever one, does nothing for this one (R7).
    assert words(ask(policy, person("alice").approve(MAGIC, action=action), action=action, payload=None)) == [
        "approval.wrong-payload"
    ]
    other = Action.UNBLOCK if action is Action.BLOCK else Action.BLOCK
    crossed = ask(policy, person("alice").approve(None, action=other), action=action, payload=None)
    assert words(crossed) == ["approval.wrong-operation"]


@pytest.mark.parametrize("action", [Action.USE, Action.MODIFY])
def test_a_question_about_use_or_modify_without_payload_is_no_question(action: Action) -> None:
    with pytest.raises(FormatError, match="payload"):
        ask(ALICE, action=action, payload=None)


# --- algorithms --------------------------------------------------------------------------------------


@pytest.mark.rule("decisions 26")
def test_sha_1_is_refused_algorithm_not_allowed() -> None:
    approval = encode_approval(ApprovalToken(Action.USE, LABEL.encode(), payload=PAYLOAD))
    key = person("alice").key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    bare = key.sign(approval, ec.ECDSA(hashes.SHA1()))  # noqa: S303 # It must be refused.
    oid = der.encode_oid("1.2.840.10045.4.1")
    wrapped = der.encode(
        der.SEQUENCE, der.encode(der.SEQUENCE, oid + der.encode(der.NULL, b"")) + der.encode_bits(bare)
    )
    bad = encode_authorization(Authorization(approval, wrapped, person("alice").spki))
    decision = ask(ALICE, bad)
    assert words(decision) == ["approval.algorithm-not-allowed"]
    assert "SHA-1" in decision.approvals[0].reason
    assert ask(ALICE, person("alice").authorize(approval)).authorised


def test_the_named_algorithm_must_fit_the_key_key_mismatch() -> None:
    authorization = decode_authorization(person("alice").approve())
    bare = unwrap_signature(authorization.signature)[1]
    for name in ("SHA256_WITH_RSA", "SHA256_WITH_DSA", "EDDSA"):
        bad = encode_authorization(replace(authorization, signature=wrap_signature(name, bare)))
        assert words(ask(ALICE, bad)) == ["approval.key-mismatch"]
    wrong_digest = encode_authorization(replace(authorization, signature=wrap_signature("SHA384_WITH_ECDSA", bare)))
    assert words(ask(ALICE, wrong_digest)) == ["approval.bad-signature"]
    assert ask(ALICE, person("alice").approve()).authorised


def test_rsa_pss_signatures_do_not_count() -> None:
    approval = encode_approval(ApprovalToken(Action.USE, LABEL.encode(), payload=PAYLOAD))
    key = person("erin").key
    assert isinstance(key, rsa.RSAPrivateKey)
    bare = key.sign(approval, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    erin = use_policy(token(group(1, "erin")))
    bad = Authorization(approval, wrap_signature("SHA256_WITH_RSA", bare), person("erin").spki)
    assert words(ask(erin, encode_authorization(bad))) == ["approval.bad-signature"]
    assert ask(erin, person("erin").approve()).authorised


# --- raising, and predicting -------------------------------------------------------------------------


def test_require_authorised_raises_with_the_decision() -> None:
    question = Question(
        policy=ALICE, action=Action.USE, label=LABEL, payload=PAYLOAD, approvals=(person("alice").approve(),), now=NOW
    )
    assert require_authorised(question).authorised
    with pytest.raises(NotAuthorisedError) as caught:
        require_authorised(replace(question, approvals=()))
    assert caught.value.code is ErrorCode.IN_HSM
    assert caught.value.refusal == "approvals.missing"
    assert "outstanding: alice" in caught.value.message
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 # Our own bytes.
    assert again.decision == caught.value.decision
    never = replace(question, action=Action.BLOCK)
    with pytest.raises(NotAuthorisedError) as caught:
        require_authorised(never)
    assert caught.value.code is ErrorCode.IN_HSM


def test_a_question_without_time_can_never_authorise() -> None:
    question = Question(policy=EMPTY_POLICY, action=Action.USE, label=LABEL, payload=b"", approvals=(), now=None)
    with pytest.raises(KeyturnError) as caught:
        require_authorised(question)
    assert caught.value.refusal == "question.no-time"
    assert require_authorised(replace(question, now=0)).authorised


def test_a_request_is_lost_when_no_token_can_be_reached_any_more() -> None:
    policy = use_policy(token(group(2, "alice", "bob", "carol")), token(group(1, "dave"), name="chief"))
    alice, bob, dave = (person(name).identity for name in ("alice", "bob", "dave"))
    assert can_still_be_reached(policy, Action.USE, [])
    assert can_still_be_reached(policy, Action.USE, {alice, dave})
    assert can_still_be_reached(policy, Action.USE, {alice, bob})
    assert not can_still_be_reached(policy, Action.USE, {alice, bob, dave})
    assert not can_still_be_reached(policy, Action.BLOCK, [])
    assert can_still_be_reached(EMPTY_POLICY, Action.USE, {alice})
    assert policy.block == Rule.NEVER
