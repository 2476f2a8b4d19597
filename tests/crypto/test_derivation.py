"""Derivation: the published vectors, a second implementation as judge, and what is refused."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from slip10 import SLIP10  # type: ignore[import-untyped]  # It has no types.

from keyturn.crypto.derivation import (
    DERIVATION_CURVES,
    DerivationCurve,
    ExtendedKey,
    decode_extended,
    derivation_curve,
    derivation_type,
    derive,
    encode_extended,
    master_from_seed,
    split_extended,
)
from keyturn.crypto.keys import private_key_from_der
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.key_names import HARDENED, MAX_DEPTH, format_path, parse_path

SECP256K1 = DERIVATION_CURVES["1.3.132.0.10"]
P256 = DERIVATION_CURVES["1.2.840.10045.3.1.7"]
ED25519 = DERIVATION_CURVES["1.3.101.112"]
JUDGE_NAMES = {SECP256K1.oid: "secp256k1", P256.oid: "secp256r1", ED25519.oid: "ed25519"}
CURVES = pytest.mark.parametrize("curve", [SECP256K1, P256, ED25519], ids=JUDGE_NAMES.get)

SEED_1 = "000102030405060708090a0b0c0d0e0f"
SEED_RETRY = "a7305bc8df8d0951f0cb224c0e95d7707cbdf2c6ce7e8d481fec69c7ff5e9446"

# Curve, seed, path, chain code, private key. Source: SLIP-0010, "Test vectors" (test vector 1 for each curve, which is
# test vector 1 of BIP 32 for secp256k1; "derivation retry" and "seed retry" for nist256p1).
VECTORS = [
    (
        *(SECP256K1, SEED_1, ""),
        "873dff81c02f525623fd1fe5167eac3a55a049de3d314bb42ee227ffed37d508",
        "e8f32e723decf4051aefac8e2c93c9c5b214313817cdb01a1494b917c8436b35",
    ),
    (
        *(SECP256K1, SEED_1, "0'"),
        "47fdacbd0f1097043b78c63c20c34ef4ed9a111d980047ad16282c7ae6236141",
        "edb2e14f9ee77d26dd93b4ecede8d16ed408ce149b6cd80b0715a2d911a0afea",
    ),
    (
        *(SECP256K1, SEED_1, "0'/1"),
        "2a7857631386ba23dacac34180dd1983734e444fdbf774041578e9b6adb37c19",
        "3c6cb8d0f6a264c91ea8b5030fadaa8e538b020f0a387421a12de9319dc93368",
    ),
    (
        *(SECP256K1, SEED_1, "0'/1/2'"),
        "04466b9cc8e161e966409ca52986c584f07e9dc81f735db683c3ff6ec7b1503f",
        "cbce0d719ecf7431d88e6a89fa1483e02e35092af60c042b1df2ff59fa424dca",
    ),
    (
        *(SECP256K1, SEED_1, "0'/1/2'/2/1000000000"),
        "c783e67b921d2beb8f6b389cc646d7263b4145701dadd2161548a8b078e65e9e",
        "471b76e389e528d6de6d816857e012c5455051cad6660850e58372a6c3e6e7c8",
    ),
    (
        *(P256, SEED_1, ""),
        "beeb672fe4621673f722f38529c07392fecaa61015c80c34f29ce8b41b3cb6ea",
        "612091aaa12e22dd2abef664f8a01a82cae99ad7441b7ef8110424915c268bc2",
    ),
    (
        *(P256, SEED_1, "0'"),
        "3460cea53e6a6bb5fb391eeef3237ffd8724bf0a40e94943c98b83825342ee11",
        "6939694369114c67917a182c59ddb8cafc3004e63ca5d3b84403ba8613debc0c",
    ),
    (
        *(P256, SEED_1, "0'/1"),
        "4187afff1aafa8445010097fb99d23aee9f599450c7bd140b6826ac22ba21d0c",
        "284e9d38d07d21e4e281b645089a94f4cf5a5a81369acf151a1c3a57f18b2129",
    ),
    (
        *(P256, SEED_1, "28578'"),
        "e94c8ebe30c2250a14713212f6449b20f3329105ea15b652ca5bdfc68f6c65c2",
        "06f0db126f023755d0b8d86d4591718a5210dd8d024e3e14b6159d63f53aa669",
    ),
    (
        *(P256, SEED_1, "28578'/33941"),
        "9e87fe95031f14736774cd82f25fd885065cb7c358c1edf813c72af535e83071",
        "092154eed4af83e078ff9b84322015aefe5769e31270f62c3f66c33888335f3a",
    ),
    (
        *(P256, SEED_RETRY, ""),
        "7762f9729fed06121fd13f326884c82f59aa95c57ac492ce8c9654e60efd130c",
        "3b8c18469a4634517d6d0b65448f8e6c62091b45540a1743c5846be55d47d88f",
    ),
    (
        *(ED25519, SEED_1, ""),
        "90046a93de5380a72b5e45010748567d5ea02bbf6522f979e05c0d8d8ca9fffb",
        "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
    ),
    (
        *(ED25519, SEED_1, "0'"),
        "8b59aa11380b624e81507a27fedda59fea6d0b779a778918a2fd3590e16e9c69",
        "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
    ),
    (
        *(ED25519, SEED_1, "0'/1'"),
        "a320425f77d1b5c2505a6b1b27382b37368ee640e3557c315416801243552f14",
        "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2",
    ),
]


@pytest.mark.parametrize(("curve", "seed", "path", "chain_code", "key"), VECTORS)
def test_the_published_vectors(curve: DerivationCurve, seed: str, path: str, chain_code: str, key: str) -> None:
    found = derive(master_from_seed(curve, bytes.fromhex(seed)), parse_path(path) if path else ())
    assert (found.chain_code.hex(), found.key.hex()) == (chain_code, key)


def raw_public(key: ExtendedKey) -> bytes:
    """The public key as SLIP-0010 writes it: a compressed point, or zero and the 32 bytes of Ed25519."""
    private = key.private_key
    if isinstance(private, EllipticCurvePrivateKey):
        return private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return b"\x00" + private.public_key().public_bytes_raw()


INDEXES = st.integers(0, HARDENED - 1)


@CURVES
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_second_implementation_derives_the_same(curve: DerivationCurve, data: st.DataObject) -> None:
    seed = data.draw(st.binary(min_size=16, max_size=64))
    elements = data.draw(st.lists(st.tuples(INDEXES, st.booleans()), max_size=5))
    path = tuple(index + HARDENED * (hard or curve.hardened_only) for index, hard in elements)
    found = derive(master_from_seed(curve, seed), path)
    judge = SLIP10.from_seed(seed, curve_name=JUDGE_NAMES[curve.oid])
    chain_code, key = judge.get_extended_privkey_from_path(list(path))
    assert (found.chain_code, found.key) == (chain_code, key)
    assert raw_public(found) == judge.get_pubkey_from_path(list(path))


@settings(max_examples=25, deadline=None)
@given(seed=st.binary(min_size=16, max_size=64), path=st.lists(INDEXES, min_size=1, max_size=3))
def test_the_public_key_of_a_child_is_the_child_of_the_public_key(seed: bytes, path: list[int]) -> None:
    """Whoever holds the public half of a master finds the same public keys (BIP 32, N(CKDpriv) = CKDpub(N))."""
    master = master_from_seed(SECP256K1, seed)
    judge = SLIP10(master.chain_code, pubkey=raw_public(master), curve_name="secp256k1")
    assert raw_public(derive(master, tuple(path))) == judge.get_pubkey_from_path(path)


@settings(max_examples=25, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), path=st.lists(INDEXES, min_size=2, max_size=4))
def test_a_path_in_steps_is_the_path_at_once(seed: bytes, path: list[int]) -> None:
    master = master_from_seed(P256, seed)
    at_once = derive(master, tuple(path))
    in_steps = derive(derive(master, tuple(path[:1])), tuple(path[1:]))
    assert (at_once.key, at_once.chain_code) == (in_steps.key, in_steps.chain_code)


def test_ed25519_has_hardened_children_only() -> None:
    master = master_from_seed(ED25519, bytes(32))
    derive(master, parse_path("44'/0'"))
    with pytest.raises(KeyturnError) as refused:
        derive(master, parse_path("44'/0"))
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.KEY_ATTRIBUTES_INVALID, "path.not-hardened")


@pytest.mark.parametrize("size", [0, 15, 65])
def test_seeds_have_128_to_512_bits(size: int) -> None:
    for good in (16, 64):
        master_from_seed(P256, bytes(good))
    with pytest.raises(KeyturnError) as refused:
        master_from_seed(P256, bytes(size))
    assert refused.value.refusal == "seed.size"


@CURVES
def test_a_master_comes_back_from_the_store(curve: DerivationCurve) -> None:
    master = master_from_seed(curve, bytes(range(64)))
    stored = encode_extended(master)
    assert decode_extended(curve, stored) == master
    pkcs8, chain_code = split_extended(stored)
    assert chain_code == master.chain_code
    private_key_from_der(pkcs8)
    with pytest.raises(KeyturnError) as refused:
        decode_extended(curve, pkcs8)
    assert refused.value.refusal == "derive.no-chain-code"
    other = ED25519 if curve is not ED25519 else P256
    with pytest.raises(KeyturnError) as refused:
        decode_extended(other, stored)
    assert refused.value.refusal == "key.unreadable"
    with pytest.raises(KeyturnError) as refused:
        decode_extended(curve, stored[:-1])
    assert refused.value.refusal == "key.unreadable"


def test_a_master_does_not_show_itself() -> None:
    master = master_from_seed(P256, bytes(range(64)))
    assert master.key.hex() not in repr(master)
    assert str(master.key) not in repr(master)
    assert str(master.chain_code) not in repr(master)


# --- which keys derive (rest-api.md section 3.2) -------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "bip32", "slip10", "scheme"),
    [
        ("ED", False, False, ""),
        ("ED", False, True, "ADA/SLIP-10"),
        ("ED", True, False, "ADA"),
        ("ED", True, True, "ADA/SLIP-10"),
        ("EC", False, False, ""),
        ("EC", False, True, "SLIP-10"),
        ("EC", True, False, "SLIP-10"),
        ("EC", True, True, "SLIP-10"),
        ("RSA", True, True, ""),
    ],
)
def test_the_table_of_schemes(algorithm: str, bip32: bool, slip10: bool, scheme: str) -> None:
    attributes = {"derive": True, "bip32": bip32, "slip10": slip10}
    assert derivation_type(algorithm, attributes) == scheme
    assert derivation_type(algorithm, attributes | {"derive": False}) == ""


@pytest.mark.parametrize(
    ("algorithm", "curve", "attributes", "number", "word"),
    [
        ("EC", SECP256K1.oid, {"slip10": True}, 606, "derive.attribute"),
        ("EC", SECP256K1.oid, {"derive": True}, 606, "derive.attribute"),
        ("ED", ED25519.oid, {"derive": True, "bip32": True}, 634, "derive.ada"),
        ("EC", "1.3.132.0.34", {"derive": True, "slip10": True}, 634, "derive.algorithm"),
        ("EC", ED25519.oid, {"derive": True, "slip10": True}, 634, "derive.algorithm"),
        ("RSA", "", {"derive": True, "bip32": True}, 634, "derive.algorithm"),
    ],
)
def test_other_keys_do_not(algorithm: str, curve: str, attributes: dict[str, bool], number: int, word: str) -> None:
    for good in (SECP256K1, P256, ED25519):
        assert derivation_curve(good.algorithm, good.oid, {"derive": True, "slip10": True}) is good
    with pytest.raises(KeyturnError) as refused:
        derivation_curve(algorithm, curve, attributes)
    assert (refused.value.code.number, refused.value.refusal) == (number, word)


def test_a_path_of_the_longest_form_is_derived() -> None:
    path = parse_path("/".join(["2147483647'"] * MAX_DEPTH))
    assert parse_path(format_path(path)) == path
    derive(master_from_seed(SECP256K1, bytes(16)), path)
