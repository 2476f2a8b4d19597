"""Signatures in Ethereum's form: r, s and v."""

from __future__ import annotations

from typing import Final

import pytest
from coincurve import PublicKey
from Crypto.Hash import keccak
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from keyturn.crypto.registry import sign, verify
from keyturn.errors import ErrorCode, KeyturnError

KECCAK: Final = "KECCAK256_WITH_ECDSA"
ORDER: Final = ec.SECP256K1().group_order

# From the documentation of web3.js, `eth.accounts.sign("Some data", …)`.
KEY: Final = ec.derive_private_key(0x4C0883A69102937D6231471B5DBB6204FE5129617082792AE468D01A3F362318, ec.SECP256K1())
MESSAGE: Final = b"\x19Ethereum Signed Message:\n9Some data"
SIGNATURE: Final = bytes.fromhex(
    "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
    "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a029"
    "1c"
)


def is_refused(message: bytes, signature: bytes, signature_type: str | None = "ETH") -> bool:
    with pytest.raises(KeyturnError) as refused:
        verify(KEY.public_key(), KECCAK, message, signature, signature_type=signature_type)
    return refused.value.code is ErrorCode.INVALID_SIGNATURE


def test_a_documented_signature_verifies_with_its_v_and_with_no_other() -> None:
    for signature_type in ("ETH", None):
        verify(KEY.public_key(), KECCAK, MESSAGE, SIGNATURE, signature_type=signature_type)
        for wrong in (
            SIGNATURE[:-1] + b"\x1b",
            SIGNATURE[:-1] + b"\x01",
            SIGNATURE[:-1] + b"\x1d",
            bytes([SIGNATURE[0] ^ 1]) + SIGNATURE[1:],
            SIGNATURE + b"\0",
        ):
            assert is_refused(MESSAGE, wrong, signature_type)
        assert is_refused(MESSAGE[:-1] + b"b", SIGNATURE, signature_type)
    assert is_refused(MESSAGE, SIGNATURE[:-1])
    verify(KEY.public_key(), KECCAK, MESSAGE, SIGNATURE[:-1], signature_type="RAW")


@given(st.integers(1, ORDER - 1), st.binary(max_size=60))
def test_anybody_recovers_the_key_from_what_we_sign(secret: int, message: bytes) -> None:
    """As `ecrecover` does; libsecp256k1 is the judge, and takes no s above half the order."""
    key = ec.derive_private_key(secret, ec.SECP256K1())
    signature = sign(key, KECCAK, message, "ETH")
    assert len(signature) == 65
    assert 2 * int.from_bytes(signature[32:64], "big") < ORDER
    digest = keccak.new(data=message, digest_bits=256).digest()
    found = PublicKey.from_signature_and_message(
        signature[:64] + bytes([signature[64] - 27]), digest, hasher=None
    ).point()
    numbers = key.public_key().public_numbers()
    assert found == (numbers.x, numbers.y)
    verify(key.public_key(), KECCAK, message, signature, signature_type="ETH")


@pytest.mark.parametrize("name", ["SHA256_WITH_ECDSA", "KECCAK512_WITH_ECDSA", "NONE_WITH_ECDSA"])
def test_only_keccak_256_has_this_form(name: str) -> None:
    for use in (
        lambda: sign(KEY, name, bytes(32), "ETH"),
        lambda: verify(KEY.public_key(), name, bytes(32), b"x", signature_type="ETH"),
    ):
        with pytest.raises(KeyturnError, match="KECCAK256_WITH_ECDSA") as refused:
            use()
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.VALIDATION_FAILED, "signature.type")
    assert len(sign(KEY, KECCAK, bytes(32), "ETH")) == 65


def test_only_secp256k1_has_this_form() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    for use in (
        lambda: sign(other, KECCAK, b"x", "ETH"),
        lambda: verify(other.public_key(), KECCAK, b"x", bytes(65), signature_type="ETH"),
    ):
        with pytest.raises(KeyturnError) as refused:
            use()
        assert refused.value.refusal == "signature.wrong-curve"
    raw = sign(other, KECCAK, b"x", "RAW")
    verify(other.public_key(), KECCAK, b"x", raw)
