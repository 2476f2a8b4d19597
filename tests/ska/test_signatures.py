"""Schemes, wrappers and verification."""

from __future__ import annotations

import pytest
from asn1crypto import algos, core  # type: ignore[import-untyped] # It has no annotations.
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa

from keyturn.crypto.kinds.bls import BlsPrivateKey
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import der
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.signatures import (
    SCHEMES,
    SHA1_OIDS,
    SignatureScheme,
    api_signature_algorithm,
    scheme_for,
    scheme_from_api,
    split_wrapper,
    unwrap_signature,
    verify,
    wrap_signature,
)
from keyturn_testing.ska import person

HOLDERS = {"RSA": "erin", "EC": "alice", "ED": "carol", "DSA": "grace", "BLS": "heidi"}
DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "SHA-224": hashes.SHA224(),
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
    "SHA3-224": hashes.SHA3_224(),
    "SHA3-256": hashes.SHA3_256(),
    "SHA3-384": hashes.SHA3_384(),
    "SHA3-512": hashes.SHA3_512(),
}


def made_with(scheme: SignatureScheme, data: bytes) -> bytes:
    key = person(HOLDERS[scheme.kind]).key
    if isinstance(key, ed25519.Ed25519PrivateKey | BlsPrivateKey):
        return key.sign(data)
    digest = DIGESTS[scheme.digest]
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest)
    if isinstance(key, dsa.DSAPrivateKey):
        return key.sign(data, digest)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(data, ec.ECDSA(digest))


def test_there_are_three_kinds_with_eight_digests_and_ed25519_and_bls() -> None:
    assert len(SCHEMES) == 26
    assert len({scheme.oid for scheme in SCHEMES}) == 26
    assert not any(scheme.digest == "SHA-1" for scheme in SCHEMES)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)
def test_every_scheme_verifies_its_own_signatures_and_no_altered_ones(scheme: SignatureScheme) -> None:
    key = load_approver_key(person(HOLDERS[scheme.kind]).spki)
    signature = made_with(scheme, b"data")
    assert scheme_for(key, scheme.digest) == scheme
    assert scheme_from_api(api_signature_algorithm(scheme)) == scheme
    assert unwrap_signature(wrap_signature(scheme.name, signature)) == (scheme, signature)
    verify(key, scheme, signature, b"data")
    for bad_signature, bad_data in ((signature, b"datb"), (signature[:-1] + bytes([signature[-1] ^ 1]), b"data")):
        with pytest.raises(KeyturnError) as caught:
            verify(key, scheme, bad_signature, bad_data)
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.INVALID_SIGNATURE, "approval.bad-signature")


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)
def test_the_object_identifiers_are_what_another_library_calls_them(scheme: SignatureScheme) -> None:
    wrapper = wrap_signature(scheme.name, b"bare")
    parsed = core.Sequence.load(wrapper, strict=True)
    assert parsed[1].native == tuple(int(bit) for byte in b"bare" for bit in f"{byte:08b}")
    assert parsed[0][0].native == scheme.oid
    assert isinstance(parsed[0][1], core.Null)
    known = algos.SignedDigestAlgorithmId.map(scheme.oid)
    if scheme.kind == "ED":
        assert known == "ed25519"
    elif known != scheme.oid:
        digest = scheme.digest.lower().replace("sha-", "sha").replace("-", "_")
        assert known == f"{digest}_{ {'EC': 'ecdsa', 'DSA': 'dsa', 'RSA': 'rsa'}[scheme.kind] }"


def wrapper_of(*algorithm: bytes, bits: bytes = der.encode_bits(b"bare"), behind: bytes = b"") -> bytes:
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, b"".join(algorithm)) + bits) + behind


ECDSA = der.encode_oid("1.2.840.10045.4.3.2")
NULL = der.encode(der.NULL, b"")


def test_the_null_may_be_absent() -> None:
    assert unwrap_signature(wrapper_of(ECDSA)) == unwrap_signature(wrapper_of(ECDSA, NULL))


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        wrapper_of(ECDSA, NULL, NULL),
        wrapper_of(ECDSA, der.encode(der.NULL, b"\0")),
        wrapper_of(NULL),
        wrapper_of(ECDSA, NULL, bits=b"\x03\x02\x01\x80"),
        wrapper_of(ECDSA, NULL, bits=b"\x03\x00"),
        wrapper_of(ECDSA, NULL, behind=b"\0"),
        wrapper_of(ECDSA, NULL, bits=der.encode_bits(b"bare") + b"\5\0"),
        wrapper_of(ECDSA, NULL)[:-1],
        b"\x30\x81" + wrapper_of(ECDSA, NULL)[1:],
        b"\x3f\x01\x00",
    ],
)
def test_wrappers_of_any_other_form_are_refused(bad: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        split_wrapper(bad)
    assert caught.value.refusal == "format.invalid"
    assert split_wrapper(wrapper_of(ECDSA, NULL)) == (ECDSA, b"bare")


@pytest.mark.rule("decisions 26")
@pytest.mark.parametrize("oid", [*SHA1_OIDS, "1.2.840.113549.1.1.10", "1.3.101.113"])
def test_sha_1_pss_and_ed448_are_refused_by_name(oid: str) -> None:
    with pytest.raises(FormatError) as caught:
        unwrap_signature(wrapper_of(der.encode_oid(oid), NULL))
    assert caught.value.refusal == "approval.algorithm-not-allowed"
    assert ("SHA-1" in caught.value.message) == (oid in SHA1_OIDS)


@pytest.mark.rule("decisions 26")
@pytest.mark.parametrize("digest", ["SHA-1", "SHA1", "MD5", "sha-256", "SHA256", "bls", ""])
def test_other_digest_names_are_refused_algorithm_not_allowed(digest: str) -> None:
    key = load_approver_key(person("alice").spki)
    with pytest.raises(KeyturnError) as caught:
        scheme_for(key, digest)
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.VALIDATION_FAILED, "approval.algorithm-not-allowed")
    assert scheme_for(key, "SHA-256").name == "SHA256_WITH_ECDSA"


@pytest.mark.parametrize(
    ("name", "digest"),
    [("alice", "EdDSA"), ("carol", "SHA-512"), ("erin", "BLS"), ("heidi", "SHA-256"), ("heidi", "EdDSA")],
)
def test_a_digest_that_does_not_go_with_the_key_is_refused_key_mismatch(name: str, digest: str) -> None:
    with pytest.raises(KeyturnError) as caught:
        scheme_for(load_approver_key(person(name).spki), digest)
    assert caught.value.refusal == "approval.key-mismatch"
    assert scheme_for(load_approver_key(person("carol").spki), "EdDSA").name == "EDDSA"
    assert scheme_for(load_approver_key(person("heidi").spki), "BLS").name == "BLS"


@pytest.mark.parametrize("name", ["SHA1_WITH_ECDSA", "SHA256_WITH_RSA_PSS", "NONE_WITH_RSA", "LMS", ""])
def test_other_api_names_are_refused(name: str) -> None:
    with pytest.raises(KeyturnError) as caught:
        wrap_signature(name, b"")
    assert caught.value.refusal == "approval.algorithm-not-allowed"


def test_a_scheme_for_another_kind_of_key_is_refused_key_mismatch() -> None:
    scheme = scheme_from_api("SHA256_WITH_ECDSA")
    signature = made_with(scheme, b"data")
    with pytest.raises(KeyturnError) as caught:
        verify(load_approver_key(person("carol").spki), scheme, signature, b"data")
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.INVALID_SIGNATURE, "approval.key-mismatch")
    verify(load_approver_key(person("alice").spki), scheme, signature, b"data")
