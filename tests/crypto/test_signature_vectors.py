"""Signatures that others have published: deterministic ECDSA, EdDSA, Keccak and a signature of Ethereum's."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from keyturn.crypto import schemes
from keyturn.crypto.keys import CURVES_BY_NAME, public_spki
from keyturn.crypto.registry import sign, verify
from keyturn.errors import ErrorCode, KeyturnError
from keyturn_testing.one_bit import flipped

RFC_6979 = [
    # RFC 6979 A.2.5 and A.2.6, SHA-256; the last two are the widely published ones for secp256k1 with low s.
    (
        "secp256r1",
        0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721,
        b"sample",
        (
            "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
            "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
        ),
    ),
    (
        "secp256r1",
        0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721,
        b"test",
        (
            "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367"
            "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083"
        ),
    ),
    (
        "secp384r1",
        0x6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5,
        b"sample",
        (
            "21B13D1E013C7FA1392D03C5F99AF8B30C570C6F98D4EA8E354B63A21D3DAA33BDE1E888E63355D92FA2B3C36D8FB2CD"
            "F3AA443FB107745BF4BD77CB3891674632068A10CA67E3D45DB2266FA7D1FEEBEFDC63ECCD1AC42EC0CB8668A4FA0AB0"
        ),
    ),
    (
        "secp256k1",
        1,
        b"Satoshi Nakamoto",
        (
            "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
            "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
        ),
    ),
    (
        "secp256k1",
        1,
        b"All those moments will be lost in time, like tears in rain. Time to die...",
        (
            "8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b"
            "547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21"
        ),
    ),
]


@pytest.mark.parametrize(("curve", "secret", "message", "raw"), RFC_6979)
def test_deterministic_ecdsa_gives_the_published_signatures(curve: str, secret: int, message: bytes, raw: str) -> None:
    key = ec.derive_private_key(secret, CURVES_BY_NAME[curve].instance)
    assert sign(key, "SHA256_WITH_ECDSA_DETERMINISTIC", message, "RAW").hex() == raw.lower()
    verify(key.public_key(), "SHA256_WITH_ECDSA", message, bytes.fromhex(raw))
    with pytest.raises(KeyturnError):
        verify(key.public_key(), "SHA256_WITH_ECDSA", flipped(message), bytes.fromhex(raw))
    assert sign(key, "SHA256_WITH_ECDSA", message, "RAW").hex() != raw.lower()


RFC_8032 = [
    # RFC 8032 section 7.1, tests 1 and 2: secret, public, message, signature.
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_eddsa_gives_the_published_signatures(secret: str, public: str, message: str, signature: str) -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert key.public_key().public_bytes_raw().hex() == public
    assert sign(key, "EDDSA", bytes.fromhex(message)).hex() == signature
    verify(public_spki(key), "EDDSA", bytes.fromhex(message), bytes.fromhex(signature))
    with pytest.raises(KeyturnError):
        verify(public_spki(key), "EDDSA", bytes.fromhex(message), flipped(bytes.fromhex(signature)))


@pytest.mark.parametrize(
    ("bits", "digest"),
    [
        (224, "f71837502ba8e10837bdd8d365adb85591895602fc552b48b7390abd"),
        (256, "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (384, "2c23146a63a29acf99e73b88f8c24eaa7dc60aa771780ccc006afbfa8fe2479b2dd2b21362337441ac12b515911957ff"),
        (
            512,
            (
                "0eab42de4c3ceb9235fc91acffe746b29c29a8c366b7c60e4e67c466f36a4304"
                "c00fa9caf9d87976ba469bcbe06713b435f091ef2769fb160cdab33d3670680e"
            ),
        ),
    ],
)
def test_keccak_of_nothing_is_the_published_one_and_not_sha_3(bits: int, digest: str) -> None:
    """The empty message of the Keccak submission's known answers."""
    assert schemes.keccak(bits)(b"").hex() == digest
    assert hashlib.new(f"sha3_{bits}", b"").hexdigest() != digest


def test_a_signature_from_ethereums_documentation_verifies() -> None:
    """From the documentation of web3.js, `eth.accounts.sign("Some data", …)`: a personal message, r and s."""
    private = ec.derive_private_key(0x4C0883A69102937D6231471B5DBB6204FE5129617082792AE468D01A3F362318, ec.SECP256K1())
    message = b"\x19Ethereum Signed Message:\n9Some data"
    signature = bytes.fromhex(
        "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
        "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a029"
    )
    verify(private.public_key(), "KECCAK256_WITH_ECDSA", message, signature, signature_type="RAW")
    for wrong, name in ((flipped(message), "KECCAK256_WITH_ECDSA"), (message, "SHA3256_WITH_ECDSA")):
        with pytest.raises(KeyturnError) as refused:
            verify(private.public_key(), name, wrong, signature, signature_type="RAW")
        assert refused.value.code is ErrorCode.INVALID_SIGNATURE
