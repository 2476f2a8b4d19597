"""Approvers with BLS12-381 keys: who they are, and what counts as their approval, judged by py-ecc (R13)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.crypto.kinds.bls import ORDER, BlsPrivateKey
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import der
from keyturn.ska.approver_keys import (
    certificate_spki,
    identity_of,
    load_approver_certificate,
    load_approver_key,
)
from keyturn.ska.bls import BLS_OID, BLS_TAG, GENERATOR, INFINITY, BlsPublicKey, library
from keyturn.ska.inspect import inspect_blob
from keyturn.ska.messages import decode_authorization, encode_authorization
from keyturn.ska.policy import Approver, Group
from keyturn.ska.signatures import scheme_for, unwrap_signature, verify, wrap_signature
from keyturn_testing.bls_judge import G2Basic, is_key, verifies
from keyturn_testing.decisions import ask, words
from keyturn_testing.ska import PAYLOAD, person, token, use_policy
from ska.naive_judge import Case, judge

if TYPE_CHECKING:
    from keyturn.ska.policy import Policy

pytestmark = pytest.mark.rule("R13")

FIELD = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
"""The prime over which the curve lies."""
SIGN_BIT = 0x20
NULL = der.encode(der.NULL, b"")
HEIDI = person("heidi")


def spki_of(point: bytes, parameters: bytes = b"") -> bytes:
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(BLS_OID) + parameters)
    return der.encode(der.SEQUENCE, algorithm + der.encode_bits(point))


def key_of(number: int) -> BlsPrivateKey:
    return BlsPrivateKey(number.to_bytes(32, "big"))


def two_of(*spkis: bytes) -> Policy:
    return use_policy(token(Group("officers", 2, tuple(Approver(spki) for spki in spkis))))


def refusal(spki: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        load_approver_key(spki)
    with pytest.raises(FormatError):
        identity_of(spki)
    return caught.value.refusal


# --- the key -------------------------------------------------------------------------------------------------------


def test_a_bls_key_has_one_encoding_which_is_its_identity() -> None:
    key = load_approver_key(HEIDI.spki)
    assert (key.kind, key.identity) == ("BLS", HEIDI.spki)
    assert HEIDI.spki == spki_of(HEIDI.spki[-48:])
    # As Ed25519: no parameters, not even NULL, and no bytes behind.
    assert refusal(spki_of(HEIDI.spki[-48:], NULL)) == "approver.malformed-key"
    assert refusal(HEIDI.spki + b"\0") == "approver.malformed-key"


def test_infinity_and_points_off_curve_and_group_are_refused_malformed_key() -> None:
    point = HEIDI.spki[-48:]
    # On the curve y^2 = x^3 + 4, and of another order than the group's.
    off_group = next(
        b"\x80" + x.to_bytes(47, "big") for x in range(1, 100) if pow(x**3 + 4, (FIELD - 1) // 2, FIELD) == 1
    )
    off_curve = next(
        b"\x80" + x.to_bytes(47, "big") for x in range(1, 100) if pow(x**3 + 4, (FIELD - 1) // 2, FIELD) != 1
    )
    for bad in (
        INFINITY,
        b"\xe0" + bytes(47),  # Infinity with a sign.
        b"\xc0" + bytes(46) + b"\1",  # Infinity with something in it.
        off_group,
        off_curve,
        bytes(48),
        b"",
        point[:-1],
        point + b"\0",
        bytes([point[0] & 0x7F]) + point[1:],  # The first half of an uncompressed point.
    ):
        assert refusal(spki_of(bad)) == "approver.malformed-key"
        assert not is_key(bad)
    assert load_approver_key(spki_of(point)).kind == "BLS"
    assert is_key(point)


def test_an_uncompressed_point_is_no_second_form_of_a_key() -> None:
    """blst would write x and y in 96 bytes; the project's form is the compressed one alone."""
    x = int.from_bytes(GENERATOR, "big") & ((1 << 381) - 1)
    y = pow(x**3 + 4, (FIELD + 1) // 4, FIELD)
    for root in (y, FIELD - y):
        assert refusal(spki_of(x.to_bytes(48, "big") + root.to_bytes(48, "big"))) == "approver.malformed-key"
    assert load_approver_key(spki_of(GENERATOR)).kind == "BLS"


def test_a_coordinate_that_is_not_reduced_is_no_second_identity() -> None:
    """Where x + p still fits into 381 bits, it would name the same point."""
    points = (key_of(number).public_bytes for number in range(1, 100))
    point = next(point for point in points if int.from_bytes(point, "big") % (1 << 381) + FIELD < 1 << 381)
    again = (int.from_bytes(point, "big") + FIELD).to_bytes(48, "big")  # The three bits in front stay as they are.
    assert again[0] & 0xE0 == point[0] & 0xE0
    assert refusal(spki_of(again)) == "approver.malformed-key"
    assert load_approver_key(spki_of(point)).kind == "BLS"


@given(st.binary(max_size=100))
def test_whatever_stands_for_a_point_is_read_or_refused(point: bytes) -> None:
    if not is_key(point):
        assert refusal(spki_of(point)) == "approver.malformed-key"
    else:
        assert load_approver_key(spki_of(point)).kind == "BLS"


def certificate_with(spki: bytes) -> bytes:
    """Alice's certificate with another key in it; its own signature plays no part (wire format 9.13)."""
    outer = der.sequence_of(person("alice").certificate, "certificate")
    body = outer.take(der.SEQUENCE).replace(person("alice").spki, spki)
    rest = b"".join(outer.take_any()[2] for _ in range(2))
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, body) + rest)


def test_a_certificate_and_its_bare_bls_key_are_one_person() -> None:
    certificate = certificate_with(HEIDI.spki)
    assert certificate_spki(certificate) == HEIDI.spki
    assert load_approver_certificate(certificate) == load_approver_key(HEIDI.spki)
    listed = use_policy(token(Group("officers", 1, (Approver.of_certificate(certificate),))))
    assert ask(listed, HEIDI.approve()).authorised
    both = Group("officers", 2, (Approver.of_certificate(certificate), HEIDI.listed, person("alice").listed))
    split = use_policy(token(both))
    approval = decode_authorization(HEIDI.approve())
    by_certificate = encode_authorization(replace(approval, spki=None, certificate=certificate))
    assert not ask(split, HEIDI.approve(), by_certificate).authorised
    assert ask(split, by_certificate, person("alice").approve()).authorised


# --- the signature -------------------------------------------------------------------------------------------------


def test_signatures_of_py_ecc_are_accepted_and_with_one_bit_changed_by_neither() -> None:
    private, data = 0x123456789ABCDEF, b"approved"
    key = load_approver_key(spki_of(G2Basic.SkToPk(private)))
    scheme = scheme_for(key, "BLS")
    signature = G2Basic.Sign(private, data)
    verify(key, scheme, signature, data)
    assert signature == key_of(private).sign(data)
    changed = [(signature[:at] + bytes([signature[at] ^ bit]) + signature[at + 1 :], data)
               for at, bit in ((0, SIGN_BIT), (0, 0x40), (0, 0x80), (0, 1), (47, 1), (95, 1))]  # fmt: skip
    for bad_signature, bad_data in [*changed, (signature, b"approvee")]:
        with pytest.raises(KeyturnError) as caught:
            verify(key, scheme, bad_signature, bad_data)
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.INVALID_SIGNATURE, "approval.bad-signature")
        assert not verifies(key.identity[-48:], bad_data, bad_signature)


def test_signatures_of_other_lengths_of_infinity_and_of_other_domains_are_refused() -> None:
    key = load_approver_key(HEIDI.spki)
    assert isinstance(HEIDI.key, BlsPrivateKey)
    good = HEIDI.key.sign(b"data")
    verify(key, scheme_for(key, "BLS"), good, b"data")
    augmented = BLS_TAG.replace(b"_NUL_", b"_AUG_")
    other_domain = library().BlstP2Element.hash_to_group(b"data", augmented).scalar_mul(HEIDI.key.scalar).compress()
    infinity = b"\xc0" + bytes(95)
    for bad in (b"", good[:-1], good + b"\0", good[:48], bytes(96), infinity, bytes(other_domain), HEIDI.spki[-48:]):
        with pytest.raises(KeyturnError) as caught:
            verify(key, scheme_for(key, "BLS"), bad, b"data")
        assert caught.value.refusal == "approval.bad-signature"


@given(st.binary(min_size=96, max_size=96))
@settings(max_examples=50, deadline=None)
def test_whatever_stands_for_a_signature_is_refused(signature: bytes) -> None:
    key = load_approver_key(HEIDI.spki)
    with pytest.raises(KeyturnError, match="not valid"):
        verify(key, scheme_for(key, "BLS"), signature, b"data")


def test_a_signature_belongs_to_one_key() -> None:
    """No other key verifies it, so nobody else can claim an approval (docs/adr/0125)."""
    signature = key_of(5).sign(b"data")
    for number in (5, 6, ORDER - 5):
        key = load_approver_key(spki_of(key_of(number).public_bytes))
        try:
            verify(key, scheme_for(key, "BLS"), signature, b"data")
        except KeyturnError:
            assert number != 5
        else:
            assert number == 5


def test_keys_computed_from_another_are_other_keys_that_approve_with_it() -> None:
    """What docs/adr/0125 warns of: -K is another key than K, and anybody turns a signature of one into the other's."""
    mine = key_of(5)
    point = mine.public_bytes
    computed = bytes([point[0] ^ SIGN_BIT]) + point[1:]
    assert BlsPublicKey(computed) != BlsPublicKey(point)
    signature = mine.sign(b"data")
    turned = bytes([signature[0] ^ SIGN_BIT]) + signature[1:]
    key = load_approver_key(spki_of(computed))
    verify(key, scheme_for(key, "BLS"), turned, b"data")
    with pytest.raises(KeyturnError):
        verify(key, scheme_for(key, "BLS"), signature, b"data")


# --- the decision --------------------------------------------------------------------------------------------------


def test_an_approval_with_a_bls_key_counts_and_one_bit_less_does_not() -> None:
    policy = use_policy(token(Group("officers", 1, (HEIDI.listed,))))
    good = HEIDI.approve()
    assert ask(policy, good).authorised
    authorization = decode_authorization(good)
    scheme, bare = unwrap_signature(authorization.signature)
    assert scheme.name == "BLS"
    for at, bit in ((0, SIGN_BIT), (95, 1)):
        flipped = bare[:at] + bytes([bare[at] ^ bit]) + bare[at + 1 :]
        bad = encode_authorization(replace(authorization, signature=wrap_signature("BLS", flipped)))
        decision = ask(policy, bad)
        assert (decision.authorised, words(decision)) == (False, ["approval.bad-signature"])


def test_the_wrapper_names_the_kind_of_key_and_may_leave_out_the_null() -> None:
    policy = use_policy(token(Group("officers", 1, (HEIDI.listed,))))
    authorization = decode_authorization(HEIDI.approve())
    _, bare = unwrap_signature(authorization.signature)
    plain = der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, der.encode_oid(BLS_OID)) + der.encode_bits(bare))
    assert ask(policy, encode_authorization(replace(authorization, signature=plain))).authorised
    other = encode_authorization(replace(authorization, signature=wrap_signature("EDDSA", bare)))
    assert words(ask(policy, other)) == ["approval.key-mismatch"]


def test_two_approvals_of_one_bls_key_are_one() -> None:
    policy = two_of(HEIDI.spki, person("alice").spki)
    assert not ask(policy, HEIDI.approve(), HEIDI.approve()).authorised
    assert ask(policy, HEIDI.approve(), person("alice").approve()).authorised
    assert not ask(policy, HEIDI.approve(b"other"), person("alice").approve()).authorised


def test_a_listed_key_that_is_none_stands_in_nobodys_place() -> None:
    policy = two_of(spki_of(INFINITY), HEIDI.spki, person("alice").spki)
    nobody = encode_authorization(
        replace(
            decode_authorization(HEIDI.approve()),
            spki=spki_of(INFINITY),
            signature=wrap_signature("BLS", b"\xc0" + bytes(95)),
        )
    )
    assert not ask(policy, nobody, HEIDI.approve()).authorised
    assert ask(policy, nobody, HEIDI.approve(), person("alice").approve()).authorised


PILE = (
    HEIDI.approve(),
    HEIDI.approve(b"other"),
    person("alice").approve(),
    person("carol").approve(),
    encode_authorization(
        replace(
            decode_authorization(HEIDI.approve()), signature=decode_authorization(HEIDI.approve(b"other")).signature
        )
    ),
    encode_authorization(
        replace(decode_authorization(person("alice").approve()), spki=HEIDI.spki)  # Alice's signature in her name.
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PILE), max_size=4), st.integers(1, 3))
def test_the_naive_judge_agrees_about_bls_keys(approvals: list[bytes], quorum: int) -> None:
    policy = use_policy(token(Group("g", quorum, tuple(person(n).listed for n in ("heidi", "alice", "carol")))))
    expected = judge(Case(policy, 1, "payments", PAYLOAD, approvals, {}), 1_700_000_000)
    assert ask(policy, *approvals).authorised == any(expected)


def test_the_inspection_of_an_approval_shows_its_bls_key() -> None:
    shown = str(inspect_blob(HEIDI.approve()))
    assert load_approver_key(HEIDI.spki).fingerprint in shown
    assert "BLS" in shown
