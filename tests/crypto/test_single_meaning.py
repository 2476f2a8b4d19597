"""What a protected key must not sign even with approvals (R8)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA3_256, SHA256, SHA384, SHA512, HashAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from keyturn.crypto.keys import CURVES
from keyturn.crypto.registry import SIGNATURE_ALGORITHMS, require_single_meaning, sign
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import (
    ApprovalToken,
    Timestamp,
    UnwrapPayload,
    encode_approval,
    encode_timestamp,
    encode_unwrap_payload,
)
from keyturn.ska.policy import EMPTY_POLICY, encode_policy

if TYPE_CHECKING:
    from keyturn.crypto.keys import PrivateKey

pytestmark = pytest.mark.rule("R8")

P256: Final = "1.2.840.10045.3.1.7"
P384: Final = "1.3.132.0.34"
P521: Final = "1.3.132.0.35"
SECP256K1: Final = "1.3.132.0.10"
DIGEST_INFO_SHA256: Final = bytes.fromhex("3031300d060960864801650304020105000420") + bytes(range(32))
MD5_WITHOUT_NULL: Final = bytes.fromhex("301e300a06082a864886f70d02050410") + bytes(16)


def refused(algorithm: str, payload: bytes, curve_oid: str = "") -> KeyturnError:
    """The refusal of a payload."""
    with pytest.raises(KeyturnError) as caught:
        require_single_meaning(algorithm, payload, curve_oid=curve_oid)
    return caught.value


@pytest.mark.parametrize(
    ("algorithm", "curve_oid", "good", "bad"),
    [
        ("NONE_WITH_ECDSA", P256, 32, (0, 20, 28, 31, 33, 48, 64)),
        ("NONE_WITH_ECDSA", SECP256K1, 32, (28, 48)),
        ("NONE_WITH_ECDSA", P384, 48, (28, 32, 47, 49, 64)),
        ("NONE_WITH_ECDSA", P521, 64, (32, 48, 63, 65, 66)),
        ("NONESHA256_WITH_RSA", "", 32, (0, 31, 33, 51, 64)),
        ("NONESHA512_WITH_RSA_PSS", "", 64, (32, 63, 65)),
        ("NONESHA224_WITH_RSA", "", 28, (27, 32)),
        ("NONE_WITH_RSA_PSS", "", 28, (0, 20, 27)),
        ("NONE_WITH_RSA_PSS", "", 64, (51, 65)),
        ("NONE_WITH_RSA", "", 28, (0, 1, 20, 27, 29)),
        ("NONE_WITH_RSA", "", 32, (33, 34, 36)),
        ("NONE_WITH_RSA", "", 48, (47, 51)),
        ("NONE_WITH_RSA", "", 64, (83, 245)),
    ],
)
def test_r8_a_digest_is_neither_cut_nor_filled_up(
    algorithm: str, curve_oid: str, good: int, bad: tuple[int, ...]
) -> None:
    for size in bad:
        refusal = refused(algorithm, b"\x01" * size, curve_oid)
        assert (refusal.code, refusal.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.digest-length")
    require_single_meaning(algorithm, b"\x01" * good, curve_oid=curve_oid)


@pytest.mark.parametrize("function", [SHA256(), SHA384(), SHA512(), SHA3_256()])
def test_r8_none_with_rsa_takes_the_digest_info_that_a_hashing_signature_contains(
    function: HashAlgorithm, keys: dict[str, PrivateKey]
) -> None:
    """The DigestInfo is taken out of a signature by the library, so it is not our own spelling that is tested."""
    key = keys["RSA"]
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.public_key().public_numbers()
    signature = key.sign(b"data", PKCS1v15(), function)
    block = pow(int.from_bytes(signature, "big"), numbers.e, numbers.n).to_bytes(256, "big")
    digest_info = block[block.index(b"\0", 2) + 1 :]
    require_single_meaning("NONE_WITH_RSA", digest_info, curve_oid="")
    assert sign(key, "NONE_WITH_RSA", digest_info) == signature
    for position in range(len(digest_info) - function.digest_size):
        changed = bytearray(digest_info)
        changed[position] ^= 0x10
        assert refused("NONE_WITH_RSA", bytes(changed)).refusal == "payload.digest-length"


@pytest.mark.parametrize(
    "almost",
    [
        DIGEST_INFO_SHA256[:-1],
        DIGEST_INFO_SHA256 + b"\0",
        bytes.fromhex("3021300906052b0e03021a05000414") + bytes(20),  # SHA-1
        bytes.fromhex("3020300c06082a864886f70d020505000410") + bytes(16),  # MD5
        bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + bytes(32),  # SHA-256 without its NULL
        bytes.fromhex("3031300d060960864801650304020205000420") + bytes(32),  # SHA-384's name
    ],
)
def test_r8_another_digest_info_is_refused(almost: bytes) -> None:
    assert refused("NONE_WITH_RSA", almost).refusal == "payload.digest-length"
    require_single_meaning("NONE_WITH_RSA", DIGEST_INFO_SHA256, curve_oid="")


def test_r8_a_digest_that_reads_as_the_digest_info_of_md5_is_refused() -> None:
    assert len(MD5_WITHOUT_NULL) == 32
    for algorithm in ("NONE_WITH_RSA", "NONE_WITH_RSA_PSS"):
        assert refused(algorithm, MD5_WITHOUT_NULL).refusal == "payload.double-meaning"
        require_single_meaning(algorithm, b"\x31" + MD5_WITHOUT_NULL[1:], curve_oid="")


def own_structures() -> list[object]:
    """One of each of our own signed structures."""
    approval = encode_approval(ApprovalToken(Action.USE, b"key", payload=b"payload"))
    return [
        pytest.param(approval, id="approval"),
        pytest.param(encode_timestamp(Timestamp(1_700_000_000, "integrity", b"payload")), id="timestamp"),
        pytest.param(encode_policy(EMPTY_POLICY), id="policy"),
        pytest.param(encode_unwrap_payload(UnwrapPayload(1, 2, b"wrapped", b"label")), id="unwrap blob"),
        pytest.param(b"REJECTED:" + approval, id="rejection"),
        pytest.param(b"WITHDRAW:" + approval + b"8a1f0c52-61ce-4f37-9a52-6f0f9be1a0b6", id="withdrawal"),
    ]


@pytest.mark.parametrize("structure", own_structures())
@pytest.mark.parametrize(
    ("algorithm", "curve_oid"),
    [("SHA256_WITH_RSA", ""), ("SHA384_WITH_ECDSA", P256), ("EDDSA", ""), ("SHA512_WITH_RSA_PSS", "")],
)
def test_r8_a_payload_that_is_one_of_our_own_structures_is_refused(
    structure: bytes, algorithm: str, curve_oid: str
) -> None:
    refusal = refused(algorithm, structure, curve_oid)
    assert (refusal.code, refusal.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.double-meaning")
    require_single_meaning(algorithm, b"!" + structure, curve_oid=curve_oid)


@pytest.mark.parametrize("word", ["SHA1_WITH_RSA", "SHA1_WITH_RSA_PSS", "NONESHA1_WITH_RSA", "SHA1_WITH_ECDSA"])
def test_r8_sha1_has_two_meanings_and_serves_ordinary_keys_only(word: str, keys: dict[str, PrivateKey]) -> None:
    curve_oid, key = (P256, keys["secp256r1"]) if word.endswith("ECDSA") else ("", keys["RSA"])
    payload = hashlib.sha1(b"data", usedforsecurity=False).digest()
    refusal = refused(word, payload, curve_oid)
    assert (refusal.code, refusal.refusal) == (ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY, "algorithm.sha-1")
    assert sign(key, word, payload)
    sha256 = word.replace("SHA1", "SHA256")
    require_single_meaning(sha256, hashlib.sha256(b"data").digest(), curve_oid=curve_oid)


@pytest.mark.parametrize(
    ("algorithm", "wrong", "right"),
    [("SHA256_WITH_ECDSA", "", P256), ("SHA256_WITH_RSA", P256, ""), ("NONE_WITH_ECDSA", "1.2.3", P256)],
)
def test_r8_the_curve_must_go_with_the_algorithm(algorithm: str, wrong: str, right: str) -> None:
    refusal = refused(algorithm, b"\x01" * 32, wrong)
    assert refusal.code is ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY
    require_single_meaning(algorithm, b"\x01" * 32, curve_oid=right)


@given(st.sampled_from(sorted(SIGNATURE_ALGORITHMS)), st.sampled_from(sorted(CURVES)), st.binary(max_size=80))
def test_r8_what_passes_has_one_length_per_algorithm_and_curve(name: str, curve_oid: str, payload: bytes) -> None:
    """Whatever else passes for a pre-hashed algorithm, two payloads never share their used bits."""
    entry = SIGNATURE_ALGORITHMS[name]
    error = None
    try:
        require_single_meaning(name, payload, curve_oid=curve_oid if "EC" in entry.key_types else "")
    except KeyturnError as caught:
        error = caught
    if error is None and entry.prehashed:
        fixed = {"NONE_WITH_RSA": {28, 32, 48, 64}, "NONE_WITH_RSA_PSS": {28, 32, 48, 64}, "NONE_WITH_DSA": {32}}
        fixed["NONE_WITH_ECDSA"] = {min(CURVES[curve_oid].size, 64)}
        assert len(payload) in fixed.get(name, {entry.digest_size})
