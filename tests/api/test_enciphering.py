"""Encrypting, wrapping, MACs and the parameters of signatures over REST with the real HSM process."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.crypto.registry import verify
from keyturn.crypto.schemes import SignOptions
from keyturn_testing.actions import AES_ATTRIBUTES, refused
from keyturn_testing.rest_server import b64

if TYPE_CHECKING:
    from keyturn.client import RestClient

SECP256K1 = "1.3.132.0.10"
BIP340 = "NONE_WITH_EC_SCHNORR_BIP0340"
USES = {"decrypt": True, "sign": False, "unwrap": True, "encrypt": True, "wrap": True}
SIGNS = {"decrypt": False, "sign": True, "unwrap": False}


def encrypt(rest: RestClient, key: str, cipher: str, **more: Any) -> dict[str, Any]:
    return dict(
        rest.encrypt({"payload": b64(b"16 bytes of data"), "encryptKeyName": key, "cipherAlgorithm": cipher, **more})
    )


@pytest.mark.parametrize(
    ("algorithm", "size", "cipher"),
    [("AES", 128, "AES"), ("Camellia", 256, "CAMELLIA_ECB"), ("TDEA", 0, "TDEA_ECB"), ("ChaCha20", 256, "CHACHA20")],
)
def test_the_answer_of_encrypt_is_what_decrypt_takes(rest: RestClient, algorithm: str, size: int, cipher: str) -> None:
    made = rest.create_key(f"{cipher}-key", algorithm, key_size=size, attributes=USES)
    assert made["json"]["algorithm"] == algorithm
    assert made["json"]["keySize"] == (size or None)
    answer = encrypt(rest, f"{cipher}-key", cipher, keyPassword=[], tagLength=0, additionalAuthenticationData=None)
    assert answer["messageAuthenticationCode"] is None
    assert answer["encryptedPayload"] == answer["encryptedPayloadWithoutMessageAuthenticationCode"]
    decrypting = {
        "encryptedPayload": answer["encryptedPayload"],
        "decryptKeyName": f"{cipher}-key",
        "cipherAlgorithm": cipher,
        "initializationVector": answer["initializationVector"],
    }
    assert base64.b64decode(rest.synchronous_decrypt(decrypting)) == b"16 bytes of data"


def test_an_authenticated_cipher_answers_four_fields(rest: RestClient) -> None:
    rest.create_key("sealed", "AES", key_size=256, attributes=USES)
    answer = encrypt(rest, "sealed", "AES_GCM", tagLength=96, additionalAuthenticationData=b64(b"head"))
    whole, bare, mac = (
        base64.b64decode(answer[name])
        for name in (
            "encryptedPayload",
            "encryptedPayloadWithoutMessageAuthenticationCode",
            "messageAuthenticationCode",
        )
    )
    assert (whole, len(mac)) == (bare + mac, 12)
    assert len(base64.b64decode(answer["initializationVector"])) == 12
    error = refused(lambda: encrypt(rest, "sealed", "AES_GCM", tagLength=100))
    assert error.code.number == 624


def test_a_key_without_the_attribute_does_not_encrypt(rest: RestClient) -> None:
    rest.create_key("inside", "AES", key_size=256, attributes={**AES_ATTRIBUTES, "encrypt": False})
    assert refused(lambda: encrypt(rest, "inside", "AES_GCM")).code.number == 606
    assert refused(lambda: encrypt(rest, "nobody", "AES_GCM")).code.number == 650
    rest.create_key("pair", "RSA", key_size=2048, attributes=USES)
    assert encrypt(rest, "pair", "RSA_PADDING_OAEP")["initializationVector"] is None


def test_a_key_is_wrapped_and_unwrapped(rest: RestClient) -> None:
    rest.create_key("kek", "AES", key_size=256, attributes=USES)
    rest.create_key("traveller", "DSA", key_size=2048, attributes={**SIGNS, "extractable": True})
    wrapped = rest.wrap({"keyToBeWrapped": "traveller", "wrapKeyName": "kek", "wrapMethod": "AES_WRAP_DSA"})
    rest.synchronous_unwrap(
        {
            "wrappedKey": wrapped,
            "label": "arrived",
            "attributes": SIGNS,
            "unwrapKeyName": "kek",
            "wrapMethod": "AES_WRAP_DSA",
        }
    )
    signature = rest.synchronous_sign(
        {"payload": b64(b"x"), "signKeyName": "arrived", "signatureAlgorithm": "SHA256_WITH_DSA"}
    )
    assert rest.verify("traveller", "SHA256_WITH_DSA", b"x", base64.b64decode(signature))
    rest.create_key("stays", "EC", curve_oid=SECP256K1, attributes=SIGNS)
    stays = {"keyToBeWrapped": "stays", "wrapKeyName": "kek", "wrapMethod": "AES_WRAP_EC"}
    assert refused(lambda: rest.wrap(stays)).code.number == 606


def test_a_mac_over_rest(rest: RestClient) -> None:
    made = rest.create_key("mac", "HMACSHA256", attributes=SIGNS)
    assert made["json"]["publicKey"] is None
    mac = rest.synchronous_hmac({"keyName": "mac", "payload": b64(b"message")})
    assert len(base64.b64decode(mac)) == 32
    signing = {"payload": b64(b"message"), "signKeyName": "mac", "signatureAlgorithm": "HMAC_SHA256"}
    assert rest.synchronous_sign(signing) == mac
    assert rest.request(rest.sign(signing))["result"] == mac
    assert rest.verify_hmac({"keyName": "mac", "payload": b64(b"message"), "signature": mac})
    assert not rest.verify_hmac({"keyName": "mac", "payload": b64(b"messagf"), "signature": mac})
    asked = {"signKeyName": "mac", "signatureAlgorithm": "HMAC_SHA256", "payload": b64(b"message"), "signature": mac}
    assert rest.verify("mac", "HMAC_SHA256", b"message", base64.b64decode(mac))
    neither = refused(lambda: rest.ask("POST", "/v1/verify", {}))
    both = refused(
        lambda: rest.ask(
            "POST",
            "/v1/verify",
            {
                "verifySignatureRequest": asked,
                "verifyHmacRequest": {"keyName": "mac", "payload": b64(b"x"), "signature": mac},
            },
        )
    )
    assert (neither.code.number, both.code.number) == (600, 600)


def test_bip_340_and_ethereum_over_rest(rest: RestClient) -> None:
    made = rest.create_key("coins", "EC", curve_oid=SECP256K1, attributes=SIGNS)
    spki = base64.b64decode(made["json"]["publicKey"])
    digest, tweak = bytes(range(32)), bytes(31) + b"\x07"
    asked = {"payload": b64(digest), "signKeyName": "coins", "signatureAlgorithm": BIP340}
    plain = base64.b64decode(rest.synchronous_sign({**asked, "taprootTweakData": "", "merkleRootData": None}))
    verify(spki, BIP340, digest, plain)
    tweaked = {**asked, "taprootTweakData": b64(tweak), "auxiliaryRandomData": b64(bytes(32))}
    for signature in (rest.synchronous_sign(tweaked), rest.request(rest.sign(tweaked))["result"]):
        verify(spki, BIP340, digest, base64.b64decode(signature), options=SignOptions(taproot_tweak=tweak))
    both = {**tweaked, "merkleRootData": b64(tweak)}
    assert refused(lambda: rest.synchronous_sign(both)).code.number == 600
    keccak = {"payload": b64(b"tx"), "signKeyName": "coins", "signatureAlgorithm": "KECCAK256_WITH_ECDSA"}
    eth = base64.b64decode(rest.synchronous_sign({**keccak, "signatureType": "ETH"}))
    verify(spki, "KECCAK256_WITH_ECDSA", b"tx", eth, signature_type="ETH")
    wrong = {**keccak, "signatureAlgorithm": "SHA256_WITH_ECDSA", "signatureType": "ETH"}
    assert refused(lambda: rest.synchronous_sign(wrong)).code.number == 600


@pytest.mark.parametrize("name", ["DILITHIUM_L2", "KYBER512_WITH_SHAKE", "ISS"])
def test_what_is_not_available_is_refused_by_name(rest: RestClient, name: str) -> None:
    error = refused(lambda: rest.create_key("never", name, attributes=SIGNS))
    assert error.code.number == 600
    assert name in str(error)
