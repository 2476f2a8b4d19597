"""Signature algorithms by name: judged by `openssl`, by published vectors, and by what they refuse."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import pytest
from Crypto.Hash import keccak
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from keyturn.crypto.classical_signatures import entries
from keyturn.crypto.keys import CURVES, CURVES_BY_NAME, generate, make_spec, public_spki
from keyturn.crypto.registry import REFUSED_ALGORITHMS, SIGNATURE_ALGORITHMS, sign, signature_algorithm, verify
from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing.one_bit import flipped
from keyturn_testing.openssl import dgst_accepts, pkeyutl_accepts

if TYPE_CHECKING:
    from keyturn.crypto.keys import PrivateKey

DATA: Final = b"content to be signed"
OPENSSL_NAMES: Final = {
    "SHA-1": "sha1",
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA3-224": "sha3-224",
    "SHA3-256": "sha3-256",
    "SHA3-384": "sha3-384",
    "SHA3-512": "sha3-512",
}


def hashed(digest: str, data: bytes) -> bytes:
    """The digest of `data`; `digest` as the API spells it."""
    name = OPENSSL_NAMES[digest]
    return hashlib.new(name.replace("-", "_"), data).digest()


def sample_payload(name: str, data: bytes = DATA) -> bytes:
    """A payload that algorithm `name` takes, which depends on `data`."""
    entry = signature_algorithm(name)
    return hashed(entry.digest or "SHA-256", data) if entry.prehashed else data


def judged_by_openssl(name: str, spki: bytes, signature: bytes, data: bytes) -> bool:
    """What `openssl` says about a signature made over `sample_payload(name, data)`."""
    entry = signature_algorithm(name)
    if name == "EDDSA":
        return pkeyutl_accepts(spki, signature, data, ["-rawin"])
    if name in ("NONE_WITH_RSA", "NONE_WITH_ECDSA", "NONE_WITH_DSA"):
        return pkeyutl_accepts(spki, signature, hashed("SHA-256", data))
    if name.startswith("KECCAK"):
        return pkeyutl_accepts(spki, signature, keccak.new(data=data, digest_bits=8 * entry.digest_size).digest())
    if name == "DOUBLE_SHA256_WITH_ECDSA":
        data = hashed("SHA-256", data)
    digest = OPENSSL_NAMES[entry.digest or "SHA-256"]
    options = (
        ["rsa_padding_mode:pss", "rsa_pss_saltlen:digest", f"rsa_mgf1_md:{digest}"] if name.endswith("PSS") else []
    )
    return dgst_accepts(spki, signature, data, digest, options)


def algorithms_for(key_type: str) -> list[str]:
    """Names of the algorithms for a kind of key."""
    return [name for name, entry in SIGNATURE_ALGORITHMS.items() if key_type in entry.key_types]


OWN_TESTS: Final = {"NONE_WITH_EC_SCHNORR_BIP0340", "BLS", "HMAC_SHA256"}
"""Algorithms that openssl does not know as signatures: test_schnorr.py, test_bls.py, test_dsa_and_hmac.py."""
CLASSICAL: Final = {entry.name: entry for entry in entries() if entry.name not in OWN_TESTS}
FOR_OTHER_CURVES: Final = {"NONE_WITH_ECDSA", "SHA256_WITH_ECDSA", "SHA512_WITH_ECDSA", "SHA3384_WITH_ECDSA"}
"""Algorithms that are tried on the curves that few use; the others differ in the hash alone."""


def tried(name: str, curve: str) -> bool:
    return name in FOR_OTHER_CURVES or (curve.startswith("secp") and curve != "secp224r1")


def cases() -> list[object]:
    """Every algorithm with every key it is for."""
    return [
        pytest.param(name, key, id=f"{name}-{key}")
        for name, entry in CLASSICAL.items()
        for key in (
            [curve.name for curve in CURVES.values() if tried(name, curve.name)]
            if "EC" in entry.key_types
            else entry.key_types
        )
    ]


def test_the_names_are_those_of_the_reference() -> None:
    """rest-api.md section 4.3, written out once more."""
    sha2 = ["SHA1", "SHA224", "SHA256", "SHA384", "SHA512"]
    assert set(algorithms_for("RSA")) == {
        "NONE_WITH_RSA",
        "NONE_WITH_RSA_PSS",
        *(f"{h}_WITH_RSA" for h in sha2),
        *(f"NONE{h}_WITH_RSA" for h in sha2),
        *(f"{h}_WITH_RSA_PSS" for h in sha2),
        *(f"NONE{h}_WITH_RSA_PSS" for h in sha2[1:]),
    }
    assert set(algorithms_for("EC")) == {
        "NONE_WITH_ECDSA",
        *(f"{h}_WITH_ECDSA" for h in [*sha2, "SHA3224", "SHA3256", "SHA3384", "SHA3512"]),
        *(f"KECCAK{bits}_WITH_ECDSA" for bits in (224, 256, 384, 512)),
        "NONE_WITH_EC_SCHNORR_BIP0340",
        "SHA256_WITH_ECDSA_DETERMINISTIC",
        "DOUBLE_SHA256_WITH_ECDSA",
    }
    assert algorithms_for("ED") == ["EDDSA"]
    assert set(algorithms_for("DSA")) == {"NONE_WITH_DSA", *(f"{h}_WITH_DSA" for h in sha2)}
    assert algorithms_for("HMACSHA256") == ["HMAC_SHA256"]


@pytest.mark.parametrize(("name", "key"), cases())
def test_openssl_accepts_what_we_sign_and_refuses_one_bit_more(name: str, key: str, keys: dict[str, Any]) -> None:
    private, spki = keys[key], public_spki(keys[key])
    signature = sign(private, name, sample_payload(name))
    assert judged_by_openssl(name, spki, signature, DATA)
    assert not judged_by_openssl(name, spki, signature, flipped(DATA))


@pytest.mark.parametrize(("name", "key"), cases())
def test_we_verify_what_we_sign_and_refuse_one_bit_more(name: str, key: str, keys: dict[str, Any]) -> None:
    spki, payload = public_spki(keys[key]), sample_payload(name)
    signature = sign(keys[key], name, payload)
    verify(spki, name, payload, signature)
    verify(keys[key].public_key(), name, payload, signature, signature_type="DER")
    other_key = public_spki(type_twin(keys[key]))
    for wrong in (
        (spki, flipped(payload, 5), signature),
        (spki, payload, flipped(signature)),
        (spki, payload, flipped(signature, 5)),
        (spki, payload, signature[:-1]),
        (spki, payload, signature + b"\0"),
        (spki, payload, b""),
        (other_key, payload, signature),
    ):
        with pytest.raises(KeyturnError) as refused:
            verify(wrong[0], name, wrong[1], wrong[2])
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_SIGNATURE, "signature.invalid")


def type_twin(key: PrivateKey) -> PrivateKey:
    """Another key of the same kind."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ec.generate_private_key(key.curve)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ed25519.Ed25519PrivateKey.generate()
    if isinstance(key, dsa.DSAPrivateKey):
        return key.parameters().generate_private_key()
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(("name", "key"), cases())
def test_a_signature_is_valid_under_its_own_algorithm_alone(name: str, key: str, keys: dict[str, Any]) -> None:
    """Over the same data; the pairs that must agree (`DETERMINISTIC` differs in the nonce alone) are left out."""
    signature = sign(keys[key], name, DATA if not signature_algorithm(name).prehashed else sample_payload(name))
    plain = name.replace("_DETERMINISTIC", "")
    for other in algorithms_for(signature_algorithm(name).key_types[0]):
        if other.replace("_DETERMINISTIC", "") == plain or signature_algorithm(other).prehashed:
            continue
        if signature_algorithm(name).prehashed and sibling(name) == sibling(other):
            continue
        with pytest.raises(KeyturnError) as refused:
            verify(keys[key].public_key(), other, DATA, signature)
        assert refused.value.code is ErrorCode.INVALID_SIGNATURE


def sibling(name: str) -> str:
    """The hashing algorithm whose signatures a pre-hashed one makes; SHA-256 where the payload decides."""
    if name in ("NONE_WITH_RSA_PSS", "NONE_WITH_ECDSA", "NONE_WITH_DSA"):
        return name.replace("NONE", "SHA256")
    return name.removeprefix("NONE").replace("_DETERMINISTIC", "")


# --- forms of EC signatures ---------------------------------------------------------------------------


@pytest.mark.parametrize("curve", [curve.name for curve in CURVES.values()])
def test_raw_is_r_and_s_and_verification_takes_exactly_the_form_it_is_told(curve: str, keys: dict[str, Any]) -> None:
    key, size = keys[curve], CURVES_BY_NAME[curve].size
    public = key.public_key()
    raw = sign(key, "SHA256_WITH_ECDSA", DATA, "RAW")
    assert (
        len(raw)
        == 2 * size
        == {
            "secp224r1": 56,
            "secp384r1": 96,
            "secp521r1": 132,
            "brainpoolP384r1": 96,
            "brainpoolP512r1": 128,
        }.get(curve, 64)
    )
    der = encode_dss_signature(int.from_bytes(raw[:size], "big"), int.from_bytes(raw[size:], "big"))
    for signature_type, accepted, refused_form in (("RAW", raw, der), ("DER", der, raw), ("", der, raw)):
        verify(public, "SHA256_WITH_ECDSA", DATA, accepted, signature_type=signature_type)
        with pytest.raises(KeyturnError) as refused:
            verify(public, "SHA256_WITH_ECDSA", DATA, refused_form, signature_type=signature_type)
        assert refused.value.code is ErrorCode.INVALID_SIGNATURE
    verify(public, "SHA256_WITH_ECDSA", DATA, raw)
    verify(public, "SHA256_WITH_ECDSA", DATA, der)
    with pytest.raises(KeyturnError):
        verify(public, "SHA256_WITH_ECDSA", DATA, flipped(raw))


def test_the_forms_of_rsa_and_ed25519_signatures_are_one(keys: dict[str, Any]) -> None:
    for name, key in (("SHA256_WITH_RSA", keys["RSA"]), ("EDDSA", keys["ED"])):
        assert sign(key, name, DATA, "RAW") == sign(key, name, DATA, "DER") == sign(key, name, DATA)
        verify(key.public_key(), name, DATA, sign(key, name, DATA), signature_type="RAW")


def test_a_zero_in_front_of_raw_r_is_kept(keys: dict[str, Any]) -> None:
    """One signature in 128 has a short `r` or `s`; both must still take their full place."""
    key = keys["secp256r1"]
    lengths = {len(sign(key, "SHA256_WITH_ECDSA", n.to_bytes(2, "big"), "RAW")) for n in range(600)}
    assert lengths == {64}


@pytest.mark.parametrize("signature_type", ["ETH", "der", "P1363", "x" * 1000])
def test_another_signature_type_is_refused(signature_type: str, keys: dict[str, Any]) -> None:
    key = keys["secp256k1"]
    with pytest.raises(KeyturnError, match="DER or RAW") as refused:
        sign(key, "SHA256_WITH_ECDSA", DATA, signature_type)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.VALIDATION_FAILED, "signature.type")
    assert len(refused.value.message) < 300
    with pytest.raises(KeyturnError):
        verify(key.public_key(), "SHA256_WITH_ECDSA", DATA, b"", signature_type=signature_type)
    assert sign(key, "SHA256_WITH_ECDSA", DATA, "DER")


# --- low s (decisions 24) -----------------------------------------------------------------------------


@pytest.mark.rule("decisions 24")
def test_secp256k1_signatures_have_the_low_s_and_verification_accepts_both(keys: dict[str, Any]) -> None:
    key, order = keys["secp256k1"], CURVES_BY_NAME["secp256k1"].order
    for number in range(40):
        signature = sign(key, "SHA256_WITH_ECDSA", bytes([number]))
        r, s = decode_dss_signature(signature)
        assert 1 <= s <= order // 2
        high = encode_dss_signature(r, order - s)
        verify(key.public_key(), "SHA256_WITH_ECDSA", bytes([number]), high)
        with pytest.raises(KeyturnError):
            verify(key.public_key(), "SHA256_WITH_ECDSA", bytes([number]), encode_dss_signature(r, s - 1))


def test_other_curves_keep_the_s_they_got(keys: dict[str, Any]) -> None:
    half = CURVES_BY_NAME["secp256r1"].order // 2
    values = [decode_dss_signature(sign(keys["secp256r1"], "SHA256_WITH_ECDSA", bytes([n])))[1] for n in range(64)]
    assert any(s > half for s in values)
    assert any(s <= half for s in values)


# --- digests as payloads (decisions 33) ---------------------------------------------------------------


@pytest.mark.parametrize("curve", [curve.name for curve in CURVES.values()])
@pytest.mark.parametrize("length", [1, 20, 28, 31, 32, 33, 47, 48, 49, 63, 64])
@pytest.mark.rule("decisions 33")
def test_none_with_ecdsa_takes_the_leftmost_bits_as_openssl_does(curve: str, length: int, keys: dict[str, Any]) -> None:
    payload = hashlib.shake_256(curve.encode()).digest(length)
    signature = sign(keys[curve], "NONE_WITH_ECDSA", payload)
    assert pkeyutl_accepts(public_spki(keys[curve]), signature, payload)
    assert not pkeyutl_accepts(public_spki(keys[curve]), signature, flipped(payload, 0))
    verify(keys[curve].public_key(), "NONE_WITH_ECDSA", payload, signature)
    with pytest.raises(KeyturnError):
        verify(keys[curve].public_key(), "NONE_WITH_ECDSA", flipped(payload, 0), signature)


@pytest.mark.rule("decisions 33")
def test_none_with_ecdsa_left_pads_short_values(keys: dict[str, Any]) -> None:
    key = keys["secp256r1"]
    signature = sign(key, "NONE_WITH_ECDSA", b"\x17" * 20)
    verify(key.public_key(), "NONE_WITH_ECDSA", b"\0" * 12 + b"\x17" * 20, signature)
    with pytest.raises(KeyturnError):
        verify(key.public_key(), "NONE_WITH_ECDSA", b"\x17" * 20 + b"\0" * 12, signature)


@pytest.mark.parametrize(
    ("name", "key", "bad", "good"),
    [
        ("NONE_WITH_ECDSA", "secp256r1", 65, 64),
        ("NONE_WITH_ECDSA", "secp256r1", 0, 1),
        ("NONE_WITH_RSA", "RSA", 0, 1),
        ("NONE_WITH_RSA_PSS", "RSA", 0, 20),
        ("NONE_WITH_RSA_PSS", "RSA", 33, 32),
        ("NONE_WITH_RSA_PSS", "RSA", 65, 64),
        ("NONESHA1_WITH_RSA", "RSA", 19, 20),
        ("NONESHA256_WITH_RSA", "RSA", 31, 32),
        ("NONESHA256_WITH_RSA", "RSA", 33, 32),
        ("NONESHA256_WITH_RSA", "RSA", 64, 32),
        ("NONESHA384_WITH_RSA_PSS", "RSA", 32, 48),
        ("NONESHA512_WITH_RSA_PSS", "RSA", 63, 64),
    ],
)
@pytest.mark.rule("decisions 33")
def test_a_digest_of_another_length_is_refused(name: str, key: str, bad: int, good: int, keys: dict[str, Any]) -> None:
    with pytest.raises(KeyturnError) as refused:
        sign(keys[key], name, b"\x01" * bad)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.digest-length")
    signature = sign(keys[key], name, b"\x01" * good)
    verify(keys[key].public_key(), name, b"\x01" * good, signature)
    with pytest.raises(KeyturnError) as refused:
        verify(keys[key].public_key(), name, b"\x01" * bad, signature)
    assert refused.value.refusal == "payload.digest-length"


@pytest.mark.parametrize("length", [20, 28, 32, 48, 64])
@pytest.mark.rule("decisions 33")
def test_none_with_rsa_pss_finds_the_hash_by_the_length(length: int, keys: dict[str, Any]) -> None:
    name = {20: "SHA1", 28: "SHA224", 32: "SHA256", 48: "SHA384", 64: "SHA512"}[length]
    digest = hashed(signature_algorithm(f"{name}_WITH_RSA").digest, DATA)
    signature = sign(keys["RSA"], "NONE_WITH_RSA_PSS", digest)
    verify(keys["RSA"].public_key(), f"{name}_WITH_RSA_PSS", DATA, signature)
    with pytest.raises(KeyturnError):
        verify(keys["RSA"].public_key(), f"{name}_WITH_RSA_PSS", flipped(DATA), signature)


def test_none_with_rsa_pads_any_bytes_up_to_the_modulus_less_eleven(keys: dict[str, Any]) -> None:
    public = keys["RSA"].public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    numbers = public.public_numbers()
    for payload in (b"\0", b"x" * 100, b"\xff" * 245):
        signature = sign(keys["RSA"], "NONE_WITH_RSA", payload)
        block = pow(int.from_bytes(signature, "big"), numbers.e, numbers.n).to_bytes(256, "big")
        assert block == b"\0\1" + b"\xff" * (253 - len(payload)) + b"\0" + payload
    with pytest.raises(KeyturnError) as refused:
        sign(keys["RSA"], "NONE_WITH_RSA", b"\xff" * 246)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.too-large")


def test_a_digest_too_large_for_a_small_rsa_key_is_refused() -> None:
    """PSS with SHA-512 needs 130 bytes, a weak key of 1024 bits has 128."""
    key = generate(make_spec("RSA", "", 1024, allow_weak=True))
    with pytest.raises(KeyturnError) as refused:
        sign(key, "SHA512_WITH_RSA_PSS", DATA)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.too-large")
    verify(public_spki(key), "SHA384_WITH_RSA_PSS", DATA, sign(key, "SHA384_WITH_RSA_PSS", DATA))


# --- names and kinds ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["KECCAK1024_WITH_ECDSA", "SHA3256_WITH_RSA", "HMAC_SHA512", "", "eddsa", "\x1b[2J" * 99],
)
def test_an_algorithm_we_do_not_have_is_refused_by_name(name: str, keys: dict[str, Any]) -> None:
    with pytest.raises(KeyturnError, match=r"available are .*EDDSA.*SHA256_WITH_ECDSA") as refused:
        sign(keys["secp256k1"], name, DATA)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.VALIDATION_FAILED, "signature.algorithm")
    assert refused.value.message.isprintable()
    with pytest.raises(KeyturnError):
        verify(keys["secp256k1"].public_key(), name, DATA, b"")
    assert sign(keys["secp256k1"], "SHA256_WITH_ECDSA", DATA)


@pytest.mark.rule("decisions 34")
@pytest.mark.parametrize("name", sorted(REFUSED_ALGORITHMS))
def test_a_documented_algorithm_that_is_not_available_is_refused_with_the_reason(
    name: str, keys: dict[str, Any]
) -> None:
    with pytest.raises(KeyturnError, match=f"{name} is refused: ") as refused:
        sign(keys["ED"], name, DATA)
    assert (refused.value.code, refused.value.refusal) == (
        ErrorCode.VALIDATION_FAILED,
        "signature.algorithm-refused",
    )
    assert sign(keys["ED"], "EDDSA", DATA)


@pytest.mark.parametrize("name", sorted(CLASSICAL))
def test_an_algorithm_for_another_kind_of_key_is_refused(name: str, keys: dict[str, Any]) -> None:
    fitting = {"RSA": "RSA", "EC": "secp256r1", "ED": "ED", "DSA": "DSA"}
    right = fitting.pop(SIGNATURE_ALGORITHMS[name].key_types[0])
    payload = sample_payload(name)
    signature = sign(keys[right], name, payload)
    for wrong in fitting.values():
        with pytest.raises(KeyturnError) as refused:
            sign(keys[wrong], name, payload)
        assert refused.value.code is ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY
        with pytest.raises(KeyturnError) as refused:
            verify(keys[wrong].public_key(), name, payload, signature)
        assert refused.value.refusal == "signature.wrong-key-type"
    verify(keys[right].public_key(), name, payload, signature)


@given(st.binary(max_size=150))
def test_no_bytes_make_verification_fail_otherwise_than_by_refusing(noise: bytes) -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    for signature_type in (None, "DER", "RAW"):
        with pytest.raises(KeyturnError) as refused:
            verify(key.public_key(), "SHA256_WITH_ECDSA", DATA, noise, signature_type=signature_type)
        assert refused.value.code is ErrorCode.INVALID_SIGNATURE


@pytest.mark.parametrize("bits", [513, 1024])
def test_a_digest_too_large_for_a_small_rsa_key_is_an_invalid_signature_too(bits: int) -> None:
    """Keys to verify with come from others, and can be smaller than any that we make."""
    small = rsa.RSAPublicNumbers(3, 2 ** (bits - 1) + 1).public_key()
    for name in algorithms_for("RSA"):
        with pytest.raises(KeyturnError) as refused:
            verify(small, name, sample_payload(name), bytes(small.key_size // 8))
        assert refused.value.code is ErrorCode.INVALID_SIGNATURE


@pytest.mark.slow
@pytest.mark.parametrize("bits", [3072, 4096, 7680, 8192])
def test_openssl_accepts_what_large_rsa_keys_sign(bits: int) -> None:
    key = generate(make_spec("RSA", "", bits))
    for name in ("SHA256_WITH_RSA", "SHA512_WITH_RSA_PSS", "NONESHA384_WITH_RSA", "NONE_WITH_RSA"):
        signature = sign(key, name, sample_payload(name))
        assert len(signature) == bits // 8
        assert judged_by_openssl(name, public_spki(key), signature, DATA)
        assert not judged_by_openssl(name, public_spki(key), signature, flipped(DATA))
