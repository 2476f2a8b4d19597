"""BIP 340 signatures and BIP 341 tweaks, against the published vectors and the reference code of the BIP in short."""

from __future__ import annotations

import hashlib
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from keyturn.crypto.keys import generate, make_spec, public_spki
from keyturn.crypto.registry import require_no_options, sign, verify
from keyturn.crypto.schemes import NO_OPTIONS, SignOptions
from keyturn.crypto.schnorr import tagged_hash
from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing.one_bit import flipped

BIP340: Final = "NONE_WITH_EC_SCHNORR_BIP0340"
SECP256K1: Final = "1.3.132.0.10"

VECTORS: Final = [
    # BIP 340, test-vectors.csv, numbers 0 to 3: secret key, x of the public key, auxiliary randomness, message,
    # signature.
    (
        "0000000000000000000000000000000000000000000000000000000000000003",
        "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        (
            "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca8215"
            "25f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0"
        ),
    ),
    (
        "b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfef",
        "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
        "0000000000000000000000000000000000000000000000000000000000000001",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        (
            "6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de3341"
            "8906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a"
        ),
    ),
    (
        "c90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b14e5c9",
        "dd308afec5777e13121fa72b9cc1b7cc0139715309b086c960e18fd969774eb8",
        "c87aa53824b4d7ae2eb035a2b5bbbccc080e76cdc6d1692c4b0b62d798e6d906",
        "7e2d58d8b3bcdf1abadec7829054f90dda9805aab56c77333024b9d0a508b75c",
        (
            "5831aaeed7b44bb74e5eab94ba9d4294c49bcf2a60728d8b4c200f50dd313c1b"
            "ab745879a5ad954a72c45a91c3a51d3c7adea98d82f8481e0e1e03674a6f3fb7"
        ),
    ),
    (
        "0b432b2677937381aef05bb02a66ecd012773062cf3fa2549e44f58ed2401710",
        "25d1dff95105f5253c4022f628a996ad3a0d95fbf21d468a1b33f8c160d8f517",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        (
            "7eb0509757e246f19449885651611cb965ecc1a187dd51b64fda1edc9637d5ec"
            "97582b9cb13db3933705b32ba982af5af25fd78881ebb32771fc5922efc66ea3"
        ),
    ),
]

# BIP 341, wallet-test-vectors.json, keyPathSpending, first input: an output without scripts.
INTERNAL_KEY: Final = 0x6B973D88838F27366ED61C9AD6367663045CB456E28335C109E30717AE0C6BAA
TWEAK: Final = bytes.fromhex("b86e7be8f39bab32a6f2c0443abbc210f0edac0e2c53d501b36b64437d9c6c70")
TWEAKED_KEY: Final = 0x2405B971772AD26915C8DCDF10F238753A9B837E5F8E6A86FD7C0CCE5B7296D9
SIG_HASH: Final = bytes.fromhex("2514a6272f85cfa0f45eb907fcb0d121b808ed37c6ea160a5a9046ed5526d555")
WITNESS: Final = bytes.fromhex(
    "ed7c1647cb97379e76892be0cacff57ec4a7102aa24296ca39af7541246d8ff1"
    "4d38958d4cc1e2e478e4d4a764bbfd835b16d4e314b72937b29833060b87276c"
)
NO_AUXILIARY: Final = bytes(32)


def key_of(secret: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(secret, ec.SECP256K1())


def is_refused(key: ec.EllipticCurvePublicKey, payload: bytes, signature: bytes, options: SignOptions) -> bool:
    with pytest.raises(KeyturnError) as refused:
        verify(key, BIP340, payload, signature, options=options)
    return refused.value.code is ErrorCode.INVALID_SIGNATURE


@pytest.mark.parametrize(("secret", "x", "auxiliary", "message", "signature"), VECTORS)
def test_the_vectors_of_bip_340(secret: str, x: str, auxiliary: str, message: str, signature: str) -> None:
    key, payload, expected = key_of(int(secret, 16)), bytes.fromhex(message), bytes.fromhex(signature)
    assert f"{key.public_key().public_numbers().x:064x}" == x
    options = SignOptions(auxiliary_random=bytes.fromhex(auxiliary))
    assert sign(key, BIP340, payload, options=options) == expected
    verify(public_spki(key), BIP340, payload, expected)
    for wrong_payload, wrong in (
        (flipped(payload), expected),
        (payload, flipped(expected)),
        (payload, flipped(expected, 3)),
        (payload, expected[:-1]),
        (payload, expected + b"\0"),
        (payload, b""),
    ):
        assert is_refused(key.public_key(), wrong_payload, wrong, NO_OPTIONS)


def test_a_signature_that_bip_340_calls_invalid_is_refused() -> None:
    """BIP 340, test-vectors.csv, numbers 6 and 7: R has no even y; the message is negated."""
    x = 0xDFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659
    key = key_of(int(VECTORS[1][0], 16)).public_key()
    assert key.public_numbers().x == x
    message = bytes.fromhex(VECTORS[1][3])
    for wrong in (
        (
            "fff97bd5755eeea420453a14355235d382f6472f8568a18b2f057a1460297556"
            "3cc27944640ac607cd107ae10923d9ef7a73c643e166be5ebeafa34b1ac553e2"
        ),
        (
            "1fa62e331edbc21c394792d2ab1100a7b432b013df3f6ff4f99fcb33e0e1515f"
            "28890b3edb6e7189b630448b515ce4f8622a954cfe545735aaea5134fccdb2bd"
        ),
    ):
        assert is_refused(key, message, bytes.fromhex(wrong), NO_OPTIONS)
    verify(key, BIP340, message, bytes.fromhex(VECTORS[1][4]))


def test_the_key_path_of_bip_341_by_its_tweak() -> None:
    key = key_of(INTERNAL_KEY)
    tweaked = key_of(TWEAKED_KEY).public_key()
    options = SignOptions(auxiliary_random=NO_AUXILIARY, taproot_tweak=TWEAK)
    assert tagged_hash("TapTweak", key.public_key().public_numbers().x.to_bytes(32, "big")) == TWEAK
    assert sign(key, BIP340, SIG_HASH, options=options) == WITNESS
    verify(key.public_key(), BIP340, SIG_HASH, WITNESS, options=options)
    # It is the output's key that the world knows, and not the one in the HSM.
    verify(tweaked, BIP340, SIG_HASH, WITNESS)
    assert is_refused(key.public_key(), SIG_HASH, WITNESS, NO_OPTIONS)
    assert is_refused(key.public_key(), SIG_HASH, WITNESS, SignOptions(taproot_tweak=flipped(TWEAK)))
    assert is_refused(key.public_key(), SIG_HASH, WITNESS, SignOptions(merkle_root=bytes(32)))


@given(st.integers(1, ec.SECP256K1().group_order - 1), st.binary(min_size=32, max_size=32))
def test_with_a_merkle_root_the_output_key_of_bip_341_verifies(secret: int, root: bytes) -> None:
    """The output key as BIP 341 writes it down, with Python's numbers alone."""
    key, order = key_of(secret), ec.SECP256K1().group_order
    point = key.public_key().public_numbers()
    tag = hashlib.sha256(b"TapTweak").digest()
    t = hashlib.sha256(tag + tag + point.x.to_bytes(32, "big") + root).digest()
    even = secret if point.y % 2 == 0 else order - secret
    output = key_of((even + int.from_bytes(t, "big")) % order).public_key()
    signature = sign(key, BIP340, SIG_HASH, options=SignOptions(merkle_root=root))
    verify(output, BIP340, SIG_HASH, signature)
    verify(key.public_key(), BIP340, SIG_HASH, signature, options=SignOptions(taproot_tweak=t))
    assert is_refused(output, flipped(SIG_HASH), signature, NO_OPTIONS)
    assert tagged_hash("TapTweak", point.x.to_bytes(32, "big") + root) == t


def test_without_auxiliary_randomness_two_signatures_differ_and_both_verify() -> None:
    key = generate(make_spec("EC", SECP256K1, 0))
    one, other = sign(key, BIP340, SIG_HASH), sign(key, BIP340, SIG_HASH)
    assert one != other
    for signature in (one, other):
        verify(public_spki(key), BIP340, SIG_HASH, signature)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (SignOptions(auxiliary_random=bytes(31)), "auxiliaryRandomData"),
        (SignOptions(auxiliary_random=b""), "auxiliaryRandomData"),
        (SignOptions(taproot_tweak=bytes(33)), "taprootTweakData"),
        (SignOptions(taproot_tweak=b"\xff" * 32), "taprootTweakData"),
        (SignOptions(merkle_root=bytes(31)), "merkleRootData"),
        (SignOptions(merkle_root=b""), "merkleRootData"),
        (SignOptions(taproot_tweak=TWEAK, merkle_root=bytes(32)), "exclude each other"),
        (SignOptions(context=b"x"), "context"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_by_name(options: SignOptions, word: str) -> None:
    key = key_of(INTERNAL_KEY)
    with pytest.raises(KeyturnError, match=word) as refused:
        sign(key, BIP340, SIG_HASH, options=options)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.VALIDATION_FAILED, "signature.option")
    assert sign(key, BIP340, SIG_HASH, options=SignOptions(auxiliary_random=NO_AUXILIARY, taproot_tweak=TWEAK))


@pytest.mark.rule("R8")
@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_the_payload_has_32_bytes(size: int) -> None:
    key = key_of(INTERNAL_KEY)
    with pytest.raises(KeyturnError) as refused:
        sign(key, BIP340, bytes(size))
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.digest-length")
    assert len(sign(key, BIP340, bytes(32))) == 64


def test_another_curve_and_another_algorithm_are_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    for refuse in (lambda: sign(other, BIP340, SIG_HASH), lambda: verify(other.public_key(), BIP340, SIG_HASH, b"")):
        with pytest.raises(KeyturnError) as refused:
            refuse()
        assert (refused.value.code, refused.value.refusal) == (
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            "signature.wrong-curve",
        )
    with pytest.raises(KeyturnError) as refused:
        sign(key_of(3), "SHA256_WITH_ECDSA", b"x", options=SignOptions(taproot_tweak=TWEAK))
    assert refused.value.refusal == "signature.option"
    assert sign(key_of(3), "SHA256_WITH_ECDSA", b"x")


@pytest.mark.rule("R8")
@pytest.mark.parametrize("name", ["context", "auxiliary_random", "taproot_tweak", "merkle_root"])
def test_r8_a_parameter_that_no_approval_covers_is_refused_by_name(name: str) -> None:
    with pytest.raises(KeyturnError, match="cover the payload") as refused:
        require_no_options(SignOptions(**{name: b""}))
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.VALIDATION_FAILED, "signature.unapproved-option")
    require_no_options(NO_OPTIONS)
    require_no_options(SignOptions())
