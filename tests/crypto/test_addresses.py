"""Addresses: examples of the standards, and which keys have which."""

from __future__ import annotations

from base64 import b32decode

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256K1,
    SECP256R1,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from slip10.base58 import XRP_ALPHABET, b58decode_check  # type: ignore[import-untyped]  # It has no types.

from keyturn.crypto.addresses import ADDRESS_FORMATS, SECP256K1_OID, address_of, check_address_format
from keyturn.crypto.keys import ED25519_OID, public_spki
from keyturn.errors import KeyturnError


def ec(point: str) -> bytes:
    return public_spki(EllipticCurvePublicKey.from_encoded_point(SECP256K1(), bytes.fromhex(point)))


def ed(raw: str) -> bytes:
    return public_spki(Ed25519PublicKey.from_public_bytes(bytes.fromhex(raw)))


def test_btc_as_in_bip_173() -> None:
    """BIP 173, "Examples": the key whose P2WPKH address is bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4."""
    key = ec("0279BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798")
    assert address_of("BTC", key).hex() == "751e76e8199196d454941c45d1b3a323f1433bd6"


def test_eth_as_in_eip_155() -> None:
    """EIP-155, "Example": the private key 0x4646…46; its address is the sender 0x9d8A62f6…55A4F of that transaction."""
    key = derive_private_key(int("46" * 32, 16), SECP256K1())
    assert address_of("ETH", public_spki(key)).hex().upper() == "9D8A62F656A8D1615C1294FD71E9CFB3E4855A4F"


@pytest.mark.parametrize(
    ("key", "address"),
    [
        # XRPL, "wallet_propose": the well-known account of `masterpassphrase`.
        (
            ec("0330E7FC9D56BB25D6893BA3F317AE5BCF33B3291BD63DB32654A313222F7FD020"),
            "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
        ),
        # XRPL, "Accounts", "Address Encoding": the example with an Ed25519 key.
        (ed("9434799226374926EDA3B54B1B461B4ABF7237962EAE18528FEA67595397FA32"), "rDTXLQ7ZKZVKz33zJbHjgVShjsBnqMBhmN"),
    ],
)
def test_xrp_as_in_the_ledgers_documentation(key: bytes, address: str) -> None:
    version_and_account = b58decode_check(address, alphabet=XRP_ALPHABET)
    assert b"\x00" + address_of("XRP", key) == version_and_account


def test_xlm_as_in_sep_23() -> None:
    """SEP-23, "Valid test cases", 1: version octet 6 << 3, 32 bytes of key, two of checksum."""
    strkey = b32decode("GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ")
    raw = "3f0c34bf93ad0d9971d04ccc90f705511c838aad9734a4a2fb0d7a03fc7fe89a"
    assert strkey[0] == 6 << 3
    assert address_of("XLM", ed(raw)) == strkey[1:33] == bytes.fromhex(raw)


def test_which_keys_have_which() -> None:
    keys = {SECP256K1_OID: ec("02" + "79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798")}
    keys[ED25519_OID] = ed("9434799226374926EDA3B54B1B461B4ABF7237962EAE18528FEA67595397FA32")
    for name, curves in ADDRESS_FORMATS.items():
        for oid, key in keys.items():
            if oid in curves:
                assert check_address_format(name, oid) == name
                assert len(address_of(name, key)) == (32 if name == "XLM" else 20)
                continue
            for call in (lambda n=name, o=oid: check_address_format(n, o), lambda n=name, k=key: address_of(n, k)):
                with pytest.raises(KeyturnError) as refused:
                    call()
                assert (refused.value.code.number, refused.value.refusal) == (605, "address.curve")
    with pytest.raises(KeyturnError) as refused:
        address_of("BTC", public_spki(derive_private_key(1, SECP256R1())))
    assert refused.value.refusal == "address.curve"


@pytest.mark.parametrize(("name", "word"), [("IOTA", "iota"), ("btc", "format"), ("", "format"), ("DOGE", "format")])
def test_other_formats_are_refused_by_name(name: str, word: str) -> None:
    assert check_address_format("BTC", SECP256K1_OID) == "BTC"
    with pytest.raises(KeyturnError) as refused:
        check_address_format(name, SECP256K1_OID)
    assert (refused.value.code.number, refused.value.refusal) == (605, f"address.{word}")
    assert name in refused.value.message
