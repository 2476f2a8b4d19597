"""Who approved: too few, the same twice, strangers, other groups, and keys with which anybody could sign."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keyturn.ska.messages import Authorization, decode_authorization, encode_approval, encode_authorization
from keyturn.ska.policy import Rule
from keyturn.ska.signatures import split_wrapper, wrap_signature
from keyturn_testing.hostile import (
    ADA,
    BEN,
    ECDSA,
    EVE,
    MALLORY,
    MISSING,
    Case,
    Line,
    World,
    judge,
    lines,
    second,
)
from keyturn_testing.officers import Officer, group, make_policy, quorum, token

if TYPE_CHECKING:
    from keyturn.ska.messages import ApprovalToken
    from keyturn_testing.hsm_process import HsmProcess

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TWO_GROUPS = {
    "policy": make_policy(Rule(tokens=(token(group(2, ADA, BEN), group(1, EVE, MALLORY)),))),
    "officers": (ADA, BEN, EVE),
}
TWO_TOKENS = {"policy": make_policy(Rule(tokens=(token(group(2, ADA, BEN)), token(group(2, EVE, MALLORY)))))}
BY_CERTIFICATE = {"policy": make_policy(quorum(2, *(one.as_approver(certificate=True) for one in (ADA, BEN))))}
OTHER_RULES = {"policy": make_policy(quorum(2, ADA, BEN), modify=quorum(2, EVE, MALLORY))}


def _impostor(world: World) -> object:
    """Our signature beside Ada's key."""
    token = world.token()
    data = encode_approval(token)
    forged = encode_authorization(Authorization(data, wrap_signature(ECDSA, MALLORY.sign(data)), spki=ADA.spki))
    return world.sign([BEN.approve(token), forged])


def _certificate_of(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate that says it is `name`'s, for a key of ours."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    honest = x509.load_der_x509_certificate(ADA.certificate)
    builder = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=honest.serial_number,
        not_valid_before=honest.not_valid_before_utc,
        not_valid_after=honest.not_valid_after_utc,
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _certificate_with_our_key(_: World, token: ApprovalToken) -> bytes:
    data = encode_approval(token)
    assert isinstance(MALLORY.key, ec.EllipticCurvePrivateKey)
    certificate = _certificate_of("ben", MALLORY.key)
    return encode_authorization(Authorization(data, wrap_signature(ECDSA, MALLORY.sign(data)), certificate=certificate))


def _their_certificate_our_signature(_: World, token: ApprovalToken) -> bytes:
    data = encode_approval(token)
    return encode_authorization(
        Authorization(data, wrap_signature(ECDSA, MALLORY.sign(data)), certificate=BEN.certificate)
    )


def _key_swapped_within_certificate(_: World, token: ApprovalToken) -> bytes:
    """Ben's genuine certificate, in whose octets the public key was replaced by ours."""
    carol = Officer("carol", "P-256")
    certificate = carol.certificate.replace(carol.spki, MALLORY.spki)
    assert certificate != carol.certificate
    data = encode_approval(token)
    return encode_authorization(Authorization(data, wrap_signature(ECDSA, MALLORY.sign(data)), certificate=certificate))


def _twin(world: World, *, certificate: bool = False) -> object:
    """(r, s) and (r, n - s) are both valid signatures of Ada's; together they are still one person."""
    honest = decode_authorization(ADA.approve(world.token()))
    r, s = utils.decode_dss_signature(split_wrapper(honest.signature)[1])
    twin = wrap_signature(ECDSA, utils.encode_dss_signature(r, P256_ORDER - s))
    other = replace(honest, signature=twin)
    if certificate:
        other = replace(other, spki=None, certificate=ADA.certificate)
    alone = world.line.ask(world.sign([encode_authorization(other), BEN.approve(world.token())]))
    assert type(alone).__name__ == "Signed", "the twin itself is valid"
    return world.sign([encode_authorization(honest), encode_authorization(other)])


def _twice(world: World, *, certificates: tuple[bool, bool] = (False, False)) -> object:
    token = world.token()
    return world.sign([ADA.approve(token, certificate=one) for one in certificates])


def _more_than_one_person_can_need(world: World) -> object:
    """Five bad approvals in Ada's name, then her good one: the good one is not looked at any more (R29)."""
    token = world.token()
    bad = [ADA.approve(token, signature=ADA.sign(bytes([number]))) for number in range(5)]
    return world.sign([*bad, ADA.approve(token), BEN.approve(token)])


def _of_another_rule(world: World) -> object:
    return Case(
        world.sign(world.approvals(world.token(), (EVE, MALLORY))),
        world.sign,
    )


TABLE = [
    Line("No approvals at all", lambda w: w.sign([]), MISSING, "section 8, rule 7"),
    Line("One approval fewer than the quorum", lambda w: w.sign(w.sign().approvals[:1]), MISSING, "section 8, rule 7"),
    Line("The same approval twice", lambda w: w.sign(w.sign().approvals[:1] * 2), MISSING, "decisions 20", "duplicate"),
    Line("Two signatures of one officer under one statement", _twice, MISSING, "decisions 20", "duplicate"),
    Line(
        "One officer by public key and by certificate",
        lambda w: _twice(w, certificates=(False, True)),
        MISSING,
        "decisions 20",
        "duplicate",
    ),
    Line(
        "One officer, listed by certificate, by public key and by certificate",
        lambda w: _twice(w, certificates=(True, False)),
        MISSING,
        "decisions 20",
        "duplicate",
        BY_CERTIFICATE,
    ),
    Line("The malleated twin (r, n-s) of a signature as a second person", _twin, MISSING, "decisions 20", "duplicate"),
    Line(
        "The malleated twin beside the officer's certificate",
        lambda w: _twin(w, certificate=True),
        MISSING,
        "decisions 20",
        "duplicate",
    ),
    Line(
        "A stranger's approval",
        second(lambda _, t: MALLORY.approve(t)),
        MISSING,
        "section 8, rule 5",
        "unlisted-key",
    ),
    Line(
        "A stranger's approval by certificate",
        second(lambda _, t: MALLORY.approve(t, certificate=True)),
        MISSING,
        "section 8, rule 5",
        "unlisted-key",
    ),
    Line("A stranger's signature beside an officer's key", _impostor, MISSING, "section 8, rule 5", "bad-signature"),
    Line(
        "A certificate in an officer's name with another key inside",
        second(_certificate_with_our_key),
        MISSING,
        "section 8, rule 5",
        "unlisted-key",
    ),
    Line(
        "A genuine certificate whose key was exchanged",
        second(_key_swapped_within_certificate),
        MISSING,
        "section 8, rule 5",
        "unlisted-key",
    ),
    Line(
        "An officer's certificate with a stranger's signature",
        second(_their_certificate_our_signature),
        MISSING,
        "section 8, rule 5",
        "key-mismatch",
    ),
    Line(
        "All approvers of one group, none of the other group of the token",
        lambda w: w.sign(w.approvals(w.token(), (ADA, BEN))),
        MISSING,
        "section 8, rule 6",
        world=TWO_GROUPS,
    ),
    Line(
        "An approver of one group in the place of one of the other",
        lambda w: w.sign(w.approvals(w.token(), (ADA, EVE, MALLORY))),
        MISSING,
        "section 8, rule 7",
        world=TWO_GROUPS,
    ),
    Line(
        "Two half-fulfilled tokens",
        lambda w: w.sign(w.approvals(w.token(), (ADA, EVE))),
        MISSING,
        "section 8, rule 6",
        world=TWO_TOKENS,
    ),
    Line(
        "Approvers whom another rule of the same policy lists",
        _of_another_rule,
        MISSING,
        "section 8, rule 1",
        "unlisted-key",
        OTHER_RULES,
    ),
    Line(
        "Five bad approvals in one officer's name before the good one",
        _more_than_one_person_can_need,
        MISSING,
        "R29",
        "too-many",
    ),
]


@pytest.mark.parametrize("line", lines("Who approved", TABLE))
def test_whoever_has_not_approved_is_not_counted(hsm: HsmProcess, label: str, line: Line) -> None:
    judge(hsm, label, line)
