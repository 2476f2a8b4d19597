"""Signatures under the name of another algorithm, hash or padding, and wrappers that are none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from keyturn.ska import der
from keyturn.ska.messages import Authorization, decode_authorization, encode_approval, encode_authorization
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.hostile import ADA, BEN, ECDSA, EVE, MISSING, Line, edited, flip, judge, lines, second
from keyturn_testing.officers import make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.ska.messages import ApprovalToken
    from keyturn_testing.hostile import Lie, World
    from keyturn_testing.hsm_process import HsmProcess
    from keyturn_testing.officers import Officer

NULL = der.encode(der.NULL, b"")
ADA_ALONE = {"policy": make_policy(quorum(1, ADA)), "officers": (ADA,)}
SHA256_RSA, PSS, MD5_RSA, P256_CURVE = (
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.10",
    "1.2.840.113549.1.1.4",
    "1.2.840.10045.3.1.7",
)


def _wrapper(oid: str, bare: bytes, parameters: bytes = NULL) -> bytes:
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, der.encode_oid(oid) + parameters) + der.encode_bits(bare))


def _by(officer: Officer, make: Callable[[bytes], bytes]) -> Lie:
    """The officer's approval with a wrapped signature of our making; Ada's, or Ben's, is good."""

    def lie(world: World) -> object:
        token = world.token()
        data = encode_approval(token)
        ours = encode_authorization(Authorization(data, make(data), spki=officer.spki))
        return world.sign([(BEN if officer is ADA else ADA).approve(token), ours])

    return lie


def _claiming(officer: Officer, algorithm: str) -> Lie:
    """An officer's good signature under the name of another algorithm."""
    return _by(officer, lambda data: wrap_signature(algorithm, officer.sign(data)))


def _rsa(pad: padding.AsymmetricPadding, digest: hashes.HashAlgorithm, data: bytes) -> bytes:
    assert isinstance(BEN.key, rsa.RSAPrivateKey)
    return BEN.key.sign(data, pad, digest)


def _pss(data: bytes) -> bytes:
    return _rsa(padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256(), data)


def _sha1_ec(data: bytes) -> bytes:
    assert isinstance(ADA.key, ec.EllipticCurvePrivateKey)
    return ADA.key.sign(data, ec.ECDSA(hashes.SHA1()))  # noqa: S303 - Weak on purpose.


def _raw_ecdsa(data: bytes) -> bytes:
    """(r, s) side by side, as some tools write it."""
    reader = der.sequence_of(ADA.sign(data), "signature")
    return reader.take_unsigned().to_bytes(32, "big") + reader.take_unsigned().to_bytes(32, "big")


def _rewrapped(edit: Callable[[bytes], bytes]) -> Lie:
    def make(_: World, token: ApprovalToken) -> bytes:
        honest = decode_authorization(BEN.approve(token))
        return encode_authorization(replace(honest, signature=edit(honest.signature)))

    return second(make)


MISMATCH, BAD, WEAK, BROKEN = "key-mismatch", "bad-signature", "algorithm-not-allowed", "malformed"
RULE = "section 8, rule 5"
FORM = "wire format, section 6"
TABLE = [
    Line("RSA signature under the name of ECDSA", _claiming(BEN, ECDSA), MISSING, RULE, MISMATCH),
    Line("RSA signature under the name of Ed25519", _claiming(BEN, "EDDSA"), MISSING, RULE, MISMATCH),
    Line("RSA signature under the name of DSA", _claiming(BEN, "SHA256_WITH_DSA"), MISSING, RULE, MISMATCH),
    Line("ECDSA signature under the name of RSA", _claiming(ADA, "SHA256_WITH_RSA"), MISSING, RULE, MISMATCH),
    Line("Ed25519 signature under the name of RSA", _claiming(EVE, "SHA256_WITH_RSA"), MISSING, RULE, MISMATCH),
    Line("RSA with SHA-256 under the name of SHA-512", _claiming(BEN, "SHA512_WITH_RSA"), MISSING, RULE, BAD),
    Line("RSA with SHA-256 under the name of SHA3-256", _claiming(BEN, "SHA3256_WITH_RSA"), MISSING, RULE, BAD),
    Line("ECDSA with SHA-256 under the name of SHA-224", _claiming(ADA, "SHA224_WITH_ECDSA"), MISSING, RULE, BAD),
    Line(
        "RSA with SHA-1",
        _by(BEN, lambda data: _wrapper("1.2.840.113549.1.1.5", _rsa(padding.PKCS1v15(), hashes.SHA1(), data))),  # noqa: S303
        MISSING,
        "decisions 26",
        WEAK,
    ),
    Line(
        "RSA with SHA-1 under the name of SHA-256",
        _by(BEN, lambda data: wrap_signature("SHA256_WITH_RSA", _rsa(padding.PKCS1v15(), hashes.SHA1(), data))),  # noqa: S303
        MISSING,
        "decisions 26",
        BAD,
    ),
    Line(
        "ECDSA with SHA-1",
        lambda w: w.sign(
            [
                encode_authorization(
                    Authorization(
                        encode_approval(w.token()),
                        _wrapper("1.2.840.10045.4.1", _sha1_ec(encode_approval(w.token()))),
                        spki=ADA.spki,
                    )
                )
            ]
        ),
        MISSING,
        "decisions 26",
        WEAK,
        ADA_ALONE,
    ),
    Line(
        "RSA with MD5, by its identifier",
        _by(BEN, lambda d: _wrapper(MD5_RSA, BEN.sign(d))),
        MISSING,
        "decisions 26",
        WEAK,
    ),
    Line("RSA-PSS in a wrapper of PKCS#1", _by(BEN, lambda d: _wrapper(SHA256_RSA, _pss(d))), MISSING, RULE, BAD),
    Line("RSA-PSS in its own wrapper", _by(BEN, lambda d: _wrapper(PSS, _pss(d))), MISSING, FORM, WEAK),
    Line("PKCS#1 in a wrapper of RSA-PSS", _by(BEN, lambda d: _wrapper(PSS, BEN.sign(d))), MISSING, FORM, WEAK),
    Line(
        "The key's own identifier in place of an algorithm",
        _by(ADA, lambda d: _wrapper(P256_CURVE, ADA.sign(d))),
        MISSING,
        FORM,
        WEAK,
    ),
    Line("ECDSA as r and s side by side", _by(ADA, lambda d: wrap_signature(ECDSA, _raw_ecdsa(d))), MISSING, FORM, BAD),
    Line(
        "ECDSA with r and s of zero",
        _by(ADA, lambda _: wrap_signature(ECDSA, bytes.fromhex("3006020100020100"))),
        MISSING,
        RULE,
        BAD,
    ),
    Line(
        "An RSA signature of 1",
        _by(BEN, lambda _: wrap_signature("SHA256_WITH_RSA", bytes(255) + b"\1")),
        MISSING,
        RULE,
        BAD,
    ),
    Line("An empty signature", _by(BEN, lambda _: wrap_signature("SHA256_WITH_RSA", b"")), MISSING, RULE, BAD),
    Line("A bit flipped in the signature", edited(flip(-330)), MISSING, RULE, BAD),
    Line("A bare signature without a wrapper", _by(ADA, ADA.sign), MISSING, FORM, BROKEN),
    Line("Bytes behind the wrapper", _rewrapped(lambda wrapped: wrapped + b"\0"), MISSING, FORM, BROKEN),
    Line(
        "A wrapper with a length of its own kind",
        _rewrapped(lambda w: w[:1] + b"\x83\0" + w[2:]),
        MISSING,
        FORM,
        BROKEN,
    ),
    Line(
        "A wrapper with parameters that are no NULL",
        _by(BEN, lambda d: _wrapper(SHA256_RSA, BEN.sign(d), der.encode(der.SEQUENCE, b""))),
        MISSING,
        FORM,
        BROKEN,
    ),
]


@pytest.mark.rule("decisions 26")
@pytest.mark.parametrize("line", lines("How it was signed", TABLE))
def test_a_signature_counts_under_its_own_algorithm_only(hsm: HsmProcess, label: str, line: Line) -> None:
    judge(hsm, label, line)
