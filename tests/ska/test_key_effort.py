"""Checking the keys of one policy takes seconds at most, whoever chose them (R13, R29)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa

from keyturn.approver.address_book import AddressBook
from keyturn.approver.policy_words import Reader, describe_policy, strangers
from keyturn.broker.approver_calls import Signer
from keyturn.broker.signers import load_signer
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import approver_keys, der, key_strength, policy_json
from keyturn.ska.approver_keys import identity_of, load_approver_key, read_approver_key
from keyturn.ska.inspect import inspect_blob
from keyturn.ska.key_effort import KeyEffort
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token, encode_policy
from keyturn.ska.policy_json import policy_from_json
from keyturn.ska.policy_rules import check_policy
from keyturn.ska.tlv import MAX_BLOB
from keyturn_testing.ska import person

if TYPE_CHECKING:
    from keyturn.ska.approver_keys import ApproverKey

pytestmark = [pytest.mark.rule("R13"), pytest.mark.rule("R29")]

DSA = der.encode_oid("1.2.840.10040.4.1")
RSA = der.encode_oid("1.2.840.113549.1.1.1")


def spki_of(algorithm: bytes, bits: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, algorithm) + der.encode_bits(bits))


def dsa_spki(p: int, q: int, g: int, y: int) -> bytes:
    domain = der.encode(der.SEQUENCE, b"".join(map(der.encode_unsigned, (p, q, g))))
    return spki_of(DSA + domain, der.encode_unsigned(y))


def dsa_of_its_own(number: int) -> bytes:
    """Well-formed, with a domain of 4096 bits that nobody else has; whether it is prime costs seconds to find out."""
    return dsa_spki(2**4095 + 2 * number + 1, 2**255 + 95, 4, 5)


def grace_and_friends(count: int) -> list[bytes]:
    """DSA keys that share the domain of Grace's."""
    key = person("grace").key
    assert isinstance(key, dsa.DSAPrivateKey)
    domain = key.parameters().parameter_numbers()
    return [dsa_spki(domain.p, domain.q, domain.g, pow(domain.g, x, domain.p)) for x in range(2, 2 + count)]


def rsa_spki(bits: int, number: int) -> bytes:
    n = 2 ** (bits - 1) + 2 * number + 1
    return spki_of(RSA + b"\x05\x00", der.encode(der.SEQUENCE, der.encode_unsigned(n) + der.encode_unsigned(3)))


def listing(*spkis: bytes) -> Policy:
    approvers = tuple(Approver(spki) for spki in spkis)
    use = Rule((Token("main", 0, 0, TimeUnit.MINUTES, (Group("officers", 1, approvers),)),))
    return Policy(use, Rule.ALWAYS, Rule.ALWAYS, Rule.ALWAYS)


def as_json(*spkis: bytes) -> dict[str, Any]:
    entries = [{"type": "public_key", "name": None, "value": base64.b64encode(spki).decode()} for spki in spkis]
    use = {"tokens": [{"name": "main", "groups": [{"name": "officers", "quorum": 1, "approvals": entries}]}]}
    return {"ruleUse": use, "ruleBlock": None, "ruleUnblock": None, "ruleModify": None}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The keys that were checked while reading JSON; the ones made up for these tests are let through."""
    keys: list[bytes] = []
    alice = load_approver_key(person("alice").spki)

    def load(spki: bytes) -> ApproverKey:
        keys.append(spki)
        return alice

    monkeypatch.setattr(policy_json, "load_approver_key", load)
    return keys


def test_a_policy_of_many_dsa_domains_is_refused_before_any_is_checked_too_much_checking() -> None:
    with pytest.raises(FormatError) as caught:
        check_policy(listing(*map(dsa_of_its_own, range(20))))
    assert caught.value.refusal == "policy.too-much-checking"
    assert caught.value.code is ErrorCode.VALIDATION_FAILED
    check_policy(listing(*grace_and_friends(20)))


def test_the_same_in_json_is_refused_after_the_few_that_are_affordable(loaded: list[bytes]) -> None:
    with pytest.raises(FormatError) as caught:
        policy_from_json(as_json(*map(dsa_of_its_own, range(20))))
    assert caught.value.refusal == "policy.too-much-checking"
    assert len(loaded) == 2
    policy_from_json(as_json(*grace_and_friends(20)))


def test_json_that_cannot_fit_the_binary_form_costs_no_more_than_json_that_does_too_large(loaded: list[bytes]) -> None:
    spki = person("dave").spki
    fitting = MAX_BLOB // (len(spki) + 4) - 1
    policy_from_json(as_json(*[spki] * fitting))
    assert len(loaded) == fitting
    loaded.clear()
    with pytest.raises(FormatError) as caught:
        policy_from_json(as_json(*[spki] * 20 * fitting))
    assert caught.value.refusal == "policy.too-large"
    assert len(loaded) <= fitting + 1


def test_tokens_without_approvers_count_too_too_large() -> None:
    def tokens(count: int) -> dict[str, Any]:
        return {**as_json(), "ruleUse": {"tokens": [{"groups": None}] * count}}

    policy_from_json(tokens(MAX_BLOB // 24))
    with pytest.raises(FormatError) as caught:
        policy_from_json(tokens(MAX_BLOB // 24 + 1))
    assert caught.value.refusal == "policy.too-large"


def test_a_certificate_counts_with_all_its_bytes() -> None:
    certificate = person("alice").certificate
    entry = {"type": "certificate", "name": None, "value": base64.b64encode(certificate).decode()}
    policy = as_json()
    policy["ruleUse"]["tokens"][0]["groups"][0]["approvals"] = [entry] * (MAX_BLOB // len(certificate) + 1)
    with pytest.raises(FormatError) as caught:
        policy_from_json(policy)
    assert caught.value.refusal == "policy.too-large"
    policy["ruleUse"]["tokens"][0]["groups"][0]["approvals"] = [entry]
    policy_from_json(policy)


@pytest.mark.parametrize(("bits", "most"), [(2048, 952), (4096, 117), (8192, 14)])
def test_rsa_keys_are_limited_by_their_size(bits: int, most: int) -> None:
    effort = KeyEffort()
    for number in range(most):
        effort.add(rsa_spki(bits, number))
        effort.add(rsa_spki(bits, number))  # The same key in another rule costs nothing.
    with pytest.raises(FormatError) as caught:
        effort.add(rsa_spki(bits, most))
    assert caught.value.refusal == "policy.too-much-checking"


def test_a_key_that_is_one_too_many_stays_so_and_a_cheap_one_still_counts() -> None:
    effort = KeyEffort()
    for number in range(2):
        effort.add(dsa_of_its_own(number))
    for _ in range(2):
        with pytest.raises(FormatError, match="too long"):
            effort.add(dsa_of_its_own(2))
    effort.add(person("alice").spki)


def test_keys_that_are_none_cost_nothing_and_are_refused_by_their_own_name() -> None:
    with pytest.raises(KeyturnError) as caught:
        check_policy(listing(b"no key"))
    assert caught.value.refusal == "approver.malformed-key"
    check_policy(listing(person("alice").spki))


@pytest.fixture
def primality(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers that were tested for being prime, which is what takes seconds; none is taken for one."""
    tested: list[int] = []

    def is_prime(number: int) -> bool:
        tested.append(number)
        return False

    monkeypatch.setattr(key_strength, "_is_prime", is_prime)
    return tested


def test_the_key_of_whoever_turns_up_is_read_and_not_judged(primality: list[int]) -> None:
    """A broker that judged it would stand still for seconds for every stranger who asks for tasks."""
    spki = dsa_of_its_own(77)
    assert read_approver_key(spki).identity == identity_of(spki) == load_signer(Signer(spki=spki)).identity
    assert primality == []
    key = person("grace").key
    assert isinstance(key, dsa.DSAPrivateKey)
    # Another generator makes it a domain that nobody has judged yet.
    domain = key.parameters().parameter_numbers()
    square = pow(domain.g, 2, domain.p)
    listed = dsa_spki(domain.p, domain.q, square, pow(square, 3, domain.p))
    with pytest.raises(FormatError, match="prime"):
        load_approver_key(listed)
    assert primality == [domain.q]


@pytest.mark.parametrize("which", ["p", "q", "g", "y"])
@pytest.mark.parametrize("bits", [4097, 20_000, 32_000])
def test_dsa_keys_with_giant_numbers_are_refused_before_anything_is_computed(
    primality: list[int], which: str, bits: int
) -> None:
    key = person("grace").key
    assert isinstance(key, dsa.DSAPrivateKey)
    numbers = key.public_key().public_numbers()
    domain = numbers.parameter_numbers
    good = {"p": domain.p, "q": domain.q, "g": domain.g, "y": numbers.y}
    with pytest.raises(FormatError) as caught:
        load_approver_key(dsa_spki(**{**good, which: 2**bits + 1}))
    assert caught.value.refusal in ("approver.malformed-key", "approver.weak-key")
    assert primality == []
    assert read_approver_key(dsa_spki(**good)).kind == "DSA"


def test_looking_at_a_hostile_policy_judges_no_more_keys_than_taking_it_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[int] = []
    monkeypatch.setattr(approver_keys, "check_dsa", lambda p, q, g, y: judged.append(p))
    keys = [dsa_of_its_own(1000 + number) for number in range(20)]
    found = inspect_blob(encode_policy(listing(*keys)))
    fields: Any = found["fields"]
    shown = fields["ruleUse"]["tokens"][0]["groups"][0]["approvals"]
    assert len(judged) == 2
    assert ["problem" in one for one in shown] == [False] * 2 + [True] * 18
    assert "too long" in shown[-1]["problem"]


def test_putting_a_policy_into_words_judges_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes a policy judges it before, within bounds; its words only say who is who."""
    judged: list[int] = []
    monkeypatch.setattr(approver_keys, "check_dsa", lambda p, q, g, y: judged.append(p))
    policy = listing(*(dsa_of_its_own(2000 + number) for number in range(20)))
    reader = Reader(AddressBook({}))
    assert len(strangers(policy, reader)) == 20
    assert sum("NOT IN YOUR ADDRESS BOOK" in line for line in describe_policy(policy, reader)) == 20
    assert judged == []
