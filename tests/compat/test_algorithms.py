"""Every algorithm of the documented API, on a real server: it works, or is refused by its name."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import pytest

from keyturn_testing.bls_officer import BlsOfficer
from keyturn_testing.officers import Officer
from keyturn_testing.plain_client import ED25519, SECP256K1, b64, each, row, unb64

if TYPE_CHECKING:
    from keyturn_testing.plain_client import PlainClient

PQ_SIGNERS = (
    "ML-DSA-44", "ML-DSA-65", "ML-DSA-87",
    *(f"SLH-DSA-{hash_}-{bits}{speed}" for hash_ in ("SHA2", "SHAKE") for bits in (128, 192, 256) for speed in "sf"),
    "LMS", "XMSS-SHA256_10_256", "XMSS-SHAKE256_10_256",
)  # fmt: skip
KEMS = ("ML-KEM-512", "ML-KEM-768", "ML-KEM-1024")
SYMMETRIC = (
    "AES 128", "AES 192", "AES 256", "Camellia 128", "Camellia 192", "Camellia 256", "ChaCha20", "TDEA",
)  # fmt: skip
DRAFTS = (
    *(f"DILITHIUM_L{level}" for level in (2, 3, 5)),
    *(f"SPHINCS_PLUS_SHAKE_L{level}" for level in (1, 3, 5)),
    *(f"KYBER{bits}_WITH_{way}" for way in ("SHAKE", "SHA2_AES") for bits in (512, 768, 1024)),
)


def use_of(kind: str) -> str:
    """What keys of a kind are for."""
    return "decrypt" if kind in KEMS or kind in SYMMETRIC else "sign"


@pytest.mark.parametrize(
    ("kind", "works"),
    each(
        "kind of key",
        ["EC", "ED", "RSA 2048", "RSA 3072", "RSA 4096", "RSA 8192", "DSA 2048", "BLS", *SYMMETRIC, "HMACSHA256",
         *PQ_SIGNERS, *KEMS],
        ["ISS", *DRAFTS],
    ),
)  # fmt: skip
def test_kind_of_key(api: PlainClient, kind: str, works: bool) -> None:
    """A key of this kind is made, is found under its name, and says what it is."""
    algorithm, _, size = kind.partition(" ")
    if not works:
        made = api.create(algorithm, "sign", size=1, status=400)
        assert made["errorCode"] == 600
        assert algorithm in made["message"]
        return
    # The next tests use the same key: some kinds take seconds to make.
    label = api.key(algorithm, use_of(kind), **({"size": int(size)} if size else {}))
    made = api.post("/v1/key/attributes", {"label": label})["json"]
    reported = {"LMS": "HSS-LMS", "XMSS-SHA256_10_256": "XMSS", "XMSS-SHAKE256_10_256": "XMSS"}
    assert made["algorithm"] == reported.get(algorithm, algorithm)
    assert isinstance(made["algorithmOid"], str)
    assert (made["publicKey"] is None) == (kind in SYMMETRIC or kind == "HMACSHA256")
    assert size in {"", str(made["keySize"])}
    assert made["label"] in api.get("/v1/key")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=row("kind of key", kind, "refused by name")) for kind in ("RSA 1024", "DSA 1024")],
)
def test_kind_of_key_that_is_too_weak(api: PlainClient, kind: str) -> None:
    """Unless `hsm.allowWeakKeys` is set."""
    algorithm, _, size = kind.partition(" ")
    refused = api.create(algorithm, "sign", size=int(size), status=400)
    assert refused["errorCode"] == 603
    assert size in refused["message"]


WORKING_CURVES = (
    "secp224r1 1.3.132.0.33", "secp256k1 1.3.132.0.10", "secp256r1 1.2.840.10045.3.1.7", "secp384r1 1.3.132.0.34",
    "secp521r1 1.3.132.0.35", "brainpoolP256r1 1.3.36.3.3.2.8.1.1.7", "brainpoolP384r1 1.3.36.3.3.2.8.1.1.11",
    "brainpoolP512r1 1.3.36.3.3.2.8.1.1.13", "Ed25519 1.3.101.112",
)  # fmt: skip
REFUSED_CURVES = (
    "secp224k1 1.3.132.0.32", "x962p239v1 1.2.840.10045.3.1.1", "x962p239v2 1.2.840.10045.3.1.2",
    "x962p239v3 1.2.840.10045.3.1.3", "brainpoolP224r1 1.3.36.3.3.2.8.1.1.1", "brainpoolP320r1 1.3.36.3.3.2.8.1.1.9",
    "frp256v1 1.2.250.1.223.101.256.1", "explicit parameters",
)  # fmt: skip


@pytest.mark.parametrize(("curve", "works"), each("curve", WORKING_CURVES, REFUSED_CURVES))
def test_curve(api: PlainClient, curve: str, works: bool) -> None:
    """A key on this curve signs, and the signature verifies."""
    name, _, oid = curve.partition(" ")
    if curve == "explicit parameters":
        name, oid = curve, "p23.a1.b1.x3.y10.g28.h1"
    algorithm = "ED" if oid == ED25519 else "EC"
    if not works:
        refused = api.create(algorithm, "sign", curve=oid, status=400)
        assert refused["errorCode"] == 600
        assert name in refused["message"]
        return
    made = api.create(algorithm, "sign", curve=oid)["json"]
    signature = "EDDSA" if algorithm == "ED" else "SHA256_WITH_ECDSA"
    value = api.sign(made["label"], signature, b"payload")
    assert api.verifies(made["label"], signature, b"payload", value)
    assert not api.verifies(made["label"], signature, b"paylord", value)


HASHES = ("SHA1", "SHA224", "SHA256", "SHA384", "SHA512")
PRE_HASHES = (
    "SHA2_224", "SHA2_256", "SHA2_384", "SHA2_512", "SHA3_224", "SHA3_256", "SHA3_384", "SHA3_512", "SHAKE_128",
    "SHAKE_256",
)  # fmt: skip
SIGNATURES = {
    **{f"{name}_WITH_RSA": "RSA" for name in (*HASHES, "NONE", *("NONE" + name for name in HASHES))},
    **{f"{name}_WITH_RSA_PSS": "RSA" for name in (*HASHES, "NONE", *("NONE" + name for name in HASHES[1:]))},
    **{f"{name}_WITH_DSA": "DSA" for name in ("NONE", *HASHES)},
    **{f"{name}_WITH_ECDSA": "EC" for name in ("NONE", *HASHES, "DOUBLE_SHA256")},
    **{f"{name}{bits}_WITH_ECDSA": "EC" for name in ("SHA3", "KECCAK") for bits in (224, 256, 384, 512)},
    "SHA256_WITH_ECDSA_DETERMINISTIC": "EC",
    "NONE_WITH_EC_SCHNORR_BIP0340": "EC secp256k1",
    "EDDSA": "ED",
    "BLS": "BLS",
    "LMS": "LMS",
    "HMAC_SHA256": "HMACSHA256",
    "ML_DSA": "ML-DSA-44",
    "ML_DSA_M": "ML-DSA-44",
    "SLH_DSA": "SLH-DSA-SHA2-128f",
    **{f"{name}_WITH_ML_DSA": "ML-DSA-44" for name in PRE_HASHES},
    **{f"{name}_WITH_SLH_DSA": "SLH-DSA-SHA2-128f" for name in PRE_HASHES},
    "XMSS-SHA256_10_256": "XMSS-SHA256_10_256",
    "XMSS-SHAKE256_10_256": "XMSS-SHAKE256_10_256",
}
"""Kind of key for each documented signature algorithm."""


def payload_for(algorithm: str) -> bytes:
    """A payload that the algorithm takes: data, or a digest where it wants one."""
    if algorithm == "ML_DSA_M":
        return bytes(64)
    found = re.match(r"NONESHA(\d+)_", algorithm)
    bits = {"1": 160}.get(found[1], int(found[1])) if found else 256
    return bytes(range(bits // 8))


@pytest.mark.parametrize(
    ("algorithm", "works"), each("signature algorithm", SIGNATURES, ["ISS_KERL", "DILITHIUM", "SPHINCS_PLUS"])
)
def test_signature_algorithm(api: PlainClient, algorithm: str, works: bool) -> None:
    """What is signed verifies, and with one changed bit it does not."""
    if not works:
        inner = {"payload": b64(b"x"), "signKeyName": api.key("EC", "sign"), "signatureAlgorithm": algorithm}
        api.refusal("/v1/synchronousSign", {"signRequest": inner}, algorithm)
        return
    kind, _, curve = SIGNATURES[algorithm].partition(" ")
    key = api.key(kind, "sign", curve=SECP256K1) if curve else api.key(kind, "sign")
    payload = payload_for(algorithm)
    signature = api.sign(key, algorithm, payload)
    assert api.verifies(key, algorithm, payload, signature)
    changed = bytes([payload[0] ^ 1]) + payload[1:]
    assert not api.verifies(key, algorithm, changed, signature)


@row("form of a signature", "DER")
def test_der(api: PlainClient) -> None:
    """A SEQUENCE of two INTEGERs, also where nothing is said."""
    key = api.key("EC", "sign")
    for more in ({}, {"signatureType": "DER"}, {"signatureType": None}):
        assert unb64(api.sign(key, "SHA256_WITH_ECDSA", b"x", **more))[0] == 0x30


@row("form of a signature", "RAW")
def test_raw(api: PlainClient) -> None:
    """64 bytes, and `/v1/verify` takes them though it has no field for the form."""
    key = api.key("EC", "sign")
    signature = api.sign(key, "SHA256_WITH_ECDSA", b"x", signatureType="RAW")
    assert len(unb64(signature)) == 64
    assert api.verifies(key, "SHA256_WITH_ECDSA", b"x", signature)


@row("form of a signature", "ETH")
def test_eth(api: PlainClient) -> None:
    """r, s and v."""
    key = api.key("EC", "sign", curve=SECP256K1)
    assert len(unb64(api.sign(key, "KECCAK256_WITH_ECDSA", b"x", signatureType="ETH"))) == 65


CIPHERS = {
    "RSA": ("RSA", "RSA_PADDING_PKCS", "RSA_NO_PADDING", "RSA_PADDING_OAEP",
            *(f"RSA_PADDING_OAEP_WITH_{name}" for name in HASHES)),
    "AES": ("AES", "AES_GCM", "AES_CTR", "AES_ECB", "AES_CBC_NO_PADDING"),
    "ChaCha20": ("CHACHA20", "CHACHA20_AEAD"),
    "Camellia": ("CAMELLIA", "CAMELLIA_CBC_NO_PADDING", "CAMELLIA_ECB"),
    "TDEA": ("TDEA_CBC", "TDEA_ECB", "TDEA_CBC_NO_PADDING"),
}  # fmt: skip
PAYLOAD = bytes(range(1, 17))
AUTHENTICATED = ("AES_GCM", "CHACHA20_AEAD")


@pytest.mark.parametrize(("cipher", "works"), each("cipher", [name for names in CIPHERS.values() for name in names]))
def test_cipher(api: PlainClient, cipher: str, works: bool) -> None:
    """Sixteen bytes come back, as the Go client's tests want it."""
    assert works
    kind = next(kind for kind, names in CIPHERS.items() if cipher in names)
    uses = ("encrypt", "decrypt")
    key = api.key(kind, *uses)
    more = {"tagLength": 128} if cipher in AUTHENTICATED else {}
    encrypted = api.encrypt(key, cipher, PAYLOAD, **more)
    whole, without = unb64(encrypted["encryptedPayload"]), encrypted["encryptedPayloadWithoutMessageAuthenticationCode"]
    if more:
        assert unb64(without) + unb64(encrypted["messageAuthenticationCode"]) == whole
    else:
        assert encrypted["messageAuthenticationCode"] is None
    decrypted = api.decrypt(key, cipher, encrypted, **more)
    assert decrypted == (bytes(256 - 16) + PAYLOAD if cipher == "RSA_NO_PADDING" else PAYLOAD)


def wrapped_kind(method: str) -> str:
    """The kind of key that a method wraps."""
    last = method.rpartition("_")[2]
    return last if last in {"DSA", "EC", "ED", "RSA", "BLS"} else "AES"


WRAPPED = ("", "_DSA", "_EC", "_ED", "_RSA", "_BLS")
WRAP_METHODS = (
    *(f"{method}{kind}" for method in ("AES_WRAP", "AES_WRAP_PAD") for kind in WRAPPED),
    "RSA_WRAP_PAD", "RSA_WRAP_OAEP",
)  # fmt: skip


@pytest.mark.parametrize(("method", "works"), each("wrap method", WRAP_METHODS))
def test_wrap_method(api: PlainClient, method: str, works: bool) -> None:
    """A key is wrapped, and unwrapped under another label."""
    assert works
    kind = wrapped_kind(method)
    use = "decrypt" if kind == "AES" else "sign"
    inner = api.key(kind, use, attributes={"extractable": True})
    outer = api.key(method.partition("_")[0], "wrap", "unwrap")
    request: dict[str, Any] = {"keyToBeWrapped": inner, "wrapKeyName": outer, "wrapMethod": method}
    wrapped = api.post("/v1/wrap", {"wrapKeyRequest": request})["wrappedKey"]
    label = api.label()
    request = {
        "wrappedKey": wrapped, "label": label, "unwrapKeyName": outer, "wrapMethod": method, "policy": None,
        "attributes": {name: name == use for name in ("sign", "decrypt", "unwrap")},
    }  # fmt: skip
    api.post("/v1/synchronousUnwrap", {"unwrapKeyRequest": request}, 201)
    both = [api.post("/v1/key/attributes", {"label": name})["json"] for name in (inner, label)]
    assert both[0]["publicKey"] == both[1]["publicKey"]
    assert both[0]["algorithm"] == both[1]["algorithm"] == kind


EMPTY_POLICY = {
    "ruleUse": None, "ruleBlock": None, "ruleUnblock": None, "ruleModify": None, "keyStatus": {"blocked": False},
}  # fmt: skip


@pytest.mark.parametrize(("form", "works"), each("address format", ["BTC", "ETH", "XLM", "XRP"], ["IOTA"]))
def test_address_format(api: PlainClient, form: str, works: bool) -> None:
    """The address of a key with an (empty) policy."""
    kind, curve = ("ED", ED25519) if form == "XLM" else ("EC", SECP256K1)
    made = api.create(
        kind, "sign", curve=curve, policy=EMPTY_POLICY, addressFormat={"format": form}, status=201 if works else 400
    )
    if not works:
        assert made["errorCode"] == 605
        assert form in made["message"]
        return
    shown = made["json"]["addressTruncated"]
    address = unb64(api.post("/v1/key/address", {"label": made["json"]["label"]})["address"])
    assert shown == {"address": address.hex().upper(), "format": form}


DIGESTS = [f"{family}-{bits}" for family in ("SHA", "SHA3") for bits in (224, 256, 384, 512)]


@pytest.mark.parametrize(("digest", "works"), each("digest of an approver", [*DIGESTS, "EdDSA", "BLS"]))
def test_digest_of_an_approver(api: PlainClient, digest: str, works: bool) -> None:
    """An approver proves who they are."""
    assert works
    officer = BlsOfficer("Dora") if digest == "BLS" else Officer("Dora", "ED" if digest == "EdDSA" else "P-256")
    timestamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    query = {
        "timestamp": timestamp,
        "timestampSignature": b64(officer.sign(timestamp.encode(), digest=digest)),
        "timestampDigestAlgorithm": digest,
        "approverPublicKey": b64(officer.spki),
    }
    assert api.post("/v1/filteredAllApprovalTask", query) == {"tasks": []}
