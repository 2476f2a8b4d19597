"""Endpoints that use a key, at once and as a request, called as documented clients call them, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn_testing.plain_client import b64, endpoint, unb64
from keyturn_testing.ruled_keys import EMPTY, executed, protected, unwrap_request

if TYPE_CHECKING:
    from keyturn_testing.plain_client import PlainClient


@endpoint("POST /v1/synchronousSign")
@endpoint("POST /v1/verify")
def test_a_signature(api: PlainClient) -> None:
    key = api.key("EC", "sign")
    signature = api.sign(key, "SHA256_WITH_ECDSA", b"x", metaData=None, metaDataSignature=None, keyPassword=[])
    assert api.verifies(key, "SHA256_WITH_ECDSA", b"x", signature)
    assert not api.verifies(key, "SHA256_WITH_ECDSA", b"y", signature)


@endpoint("POST /v1/synchronousHmac")
def test_an_authentication_code(api: PlainClient) -> None:
    key = api.key("HMACSHA256", "sign")
    inner = {"keyName": key, "payload": b64(b"x")}
    hashed = api.post("/v1/synchronousHmac", {"hmacRequest": inner})["keyedHash"]
    assert len(unb64(hashed)) == 32
    answer = api.post("/v1/verify", {"verifyHmacRequest": {**inner, "signature": hashed}})
    assert answer["signatureValid"] is True


@endpoint("POST /v1/encrypt")
@endpoint("POST /v1/synchronousDecrypt")
def test_encryption(api: PlainClient) -> None:
    key = api.key("AES", "encrypt", "decrypt")
    aad = {"additionalAuthenticationData": b64(b"head"), "tagLength": 96}
    encrypted = api.encrypt(key, "AES_GCM", b"payload", **aad)
    assert len(unb64(encrypted["initializationVector"])) == 12
    assert len(unb64(encrypted["messageAuthenticationCode"])) == 12
    assert api.decrypt(key, "AES_GCM", encrypted, **aad, signedApprovals=[]) == b"payload"


@endpoint("POST /v1/wrap")
@endpoint("POST /v1/synchronousUnwrap")
def test_wrapping(api: PlainClient) -> None:
    inner = api.create("AES", "decrypt", attributes={"extractable": True})["json"]["label"]
    outer = api.key("AES", "wrap", "unwrap")
    request = {"keyToBeWrapped": inner, "wrapKeyName": outer, "wrapMethod": "AES_WRAP"}
    wrapped = api.post("/v1/wrap", {"wrapKeyRequest": request})["wrappedKey"]
    api.post("/v1/synchronousUnwrap", {"unwrapKeyRequest": unwrap_request(api, outer, wrapped)}, 201)


@endpoint("POST /v1/synchronousBlock")
@endpoint("POST /v1/synchronousUnblock")
@endpoint("POST /v1/synchronousModify")
def test_a_key_with_an_empty_policy_is_ruled_at_once(api: PlainClient) -> None:
    key = protected(api)
    api.post("/v1/synchronousBlock", {"blockRequest": {"blockKeyName": key, "signedApprovals": []}})
    assert api.post("/v1/key/attributes", {"label": key})["json"]["policy"]["keyStatus"]["blocked"] is True
    api.post("/v1/synchronousUnblock", {"unblockRequest": {"unblockKeyName": key, "signedApprovals": []}})
    modify = {"modifyKeyName": key, "policy": EMPTY, "signedApprovals": []}
    api.post("/v1/synchronousModify", {"modifyRequest": modify})


@endpoint("POST /v1/fileEncrypt")
@endpoint("POST /v1/synchronousFileDecrypt")
def test_a_file(api: PlainClient) -> None:
    key = api.create("EC", "decrypt", curve="1.3.132.0.34", attributes={"derive": True})["json"]["label"]
    content = bytes(range(256)) * 1000

    def send(path: str, part: str, inner: str, name: str, data: bytes) -> bytes:
        request = f'{{"{inner}": {{"{name}": "{key}"}}}}'
        files: dict[str, Any] = {"file": ("report.pdf", data), part: (None, request, "application/json")}
        answer = api.http.post(path, files=files)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/octet-stream")
        return answer.content

    encrypted = send("/v1/fileEncrypt", "SignedFileEncryptRequestDto", "fileEncryptRequest", "encryptKeyName", content)
    assert content[:64] not in encrypted
    clear = send(
        "/v1/synchronousFileDecrypt", "SignedFileDecryptRequestDto", "fileDecryptRequest", "decryptKeyName", encrypted
    )
    assert clear == content


@endpoint("POST /v1/encapsulate")
@endpoint("POST /v1/synchronousDecapsulate")
@endpoint("POST /v1/decapsulate")
def test_encapsulation(api: PlainClient) -> None:
    made = api.create("ML-KEM-768", "decrypt")["json"]
    shared = api.post("/v1/encapsulate", {"publicKey": made["publicKey"]})
    inner = {"decapsulationKeyName": made["label"], "ciphertext": shared["ciphertext"]}
    body = {"decapsulationRequest": inner}
    assert api.post("/v1/synchronousDecapsulate", body)["sharedSecret"] == shared["sharedSecret"]
    request = api.post("/v1/decapsulate", body, 201)["decapsulationRequestId"]
    assert executed(api, request)["result"] == shared["sharedSecret"]


@endpoint("POST /v1/sign")
@endpoint("POST /v1/decrypt")
@endpoint("GET /v1/request/{id}")
def test_requests_for_ordinary_keys_are_executed_at_once(api: PlainClient) -> None:
    key = api.key("EC", "sign")
    inner: dict[str, Any] = {"payload": b64(b"x"), "signKeyName": key, "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    request = api.post("/v1/sign", {"signRequest": inner, "requestSignature": None}, 201)["signRequestId"]
    assert api.verifies(key, "SHA256_WITH_ECDSA", b"x", executed(api, request)["result"])
    rsa = api.create("RSA", "decrypt")["json"]
    encrypted = rsa_encrypt(rsa["publicKey"], b"secret")
    inner = {
        "encryptedPayload": b64(encrypted), "decryptKeyName": rsa["label"], "cipherAlgorithm": "RSA_PADDING_OAEP",
        "initializationVector": None, "additionalAuthenticationData": None, "tagLength": 0,
    }  # fmt: skip
    request = api.post("/v1/decrypt", {"decryptRequest": inner}, 201)["decryptRequestId"]
    assert unb64(executed(api, request)["result"]) == b"secret"


def rsa_encrypt(spki: str, payload: bytes) -> bytes:
    """OAEP with SHA-1, as a program does that has the public key only."""
    key = load_der_public_key(unb64(spki))
    assert isinstance(key, rsa.RSAPublicKey)
    sha1 = hashes.SHA1()  # noqa: S303 - What RSA_PADDING_OAEP means.
    return key.encrypt(payload, padding.OAEP(padding.MGF1(sha1), sha1, None))


@endpoint("POST /v1/unwrap")
def test_a_request_to_unwrap(api: PlainClient) -> None:
    made = api.create("RSA", "unwrap")["json"]
    key = load_der_public_key(unb64(made["publicKey"]))
    assert isinstance(key, rsa.RSAPublicKey)
    wrapped = key.encrypt(bytes(32), padding.PKCS1v15())
    inner = {**unwrap_request(api, made["label"], b64(wrapped)), "wrapMethod": "RSA_WRAP_PAD"}
    request = api.post("/v1/unwrap", {"unwrapKeyRequest": inner}, 201)["unwrapRequestId"]
    executed(api, request)
    assert inner["label"] in api.get("/v1/key")


@endpoint("POST /v1/block")
@endpoint("POST /v1/unblock")
@endpoint("POST /v1/modify")
def test_requests_that_change_a_key_with_an_empty_policy(api: PlainClient) -> None:
    key = protected(api)
    executed(api, api.post("/v1/block", {"blockRequest": {"blockKeyName": key}}, 201)["blockKeyRequestId"])
    executed(api, api.post("/v1/unblock", {"unblockRequest": {"unblockKeyName": key}}, 201)["unblockKeyRequestId"])
    body = {"modifyRequest": {"modifyKeyName": key, "policy": EMPTY}}
    executed(api, api.post("/v1/modify", body, 201)["modifyKeyRequestId"])
