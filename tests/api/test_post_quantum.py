"""Post-quantum and BLS keys over REST with the real HSM process, as clients of the documented API use them."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pqcrypto.sign  # type: ignore[import-untyped]
import pytest
from pqcrypto import HashAlgorithm

from keyturn.errors import ErrorCode
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken
from keyturn_testing.actions import all_approve, refused
from keyturn_testing.officers import Officer, approvals_of, make_policy, quorum
from keyturn_testing.rest_server import b64, fetch, policy_json

if TYPE_CHECKING:
    from keyturn.client import RestClient
    from keyturn.ska.policy import Policy

    Officers = tuple[Officer, Officer, Officer]

MESSAGE = b"pay 100 to Alice"


def create(
    rest: RestClient, label: str, algorithm: str, policy: Policy | None = None, **attributes: bool
) -> dict[str, Any]:
    """Create a key; the `json` of its attested attributes."""
    may = {"decrypt": False, "sign": True, "unwrap": False, "destroyable": True, **attributes}
    blob = None if policy is None else policy_json(policy, new=True)
    made: dict[str, Any] = rest.create_key(label, algorithm, attributes=may, policy=blob)["json"]
    return made


def sign(rest: RestClient, label: str, algorithm: str, payload: bytes = MESSAGE, **more: Any) -> bytes:
    """Sign at once."""
    inner = {"payload": b64(payload), "signKeyName": label, "signatureAlgorithm": algorithm, **more}
    return b64decode(rest.synchronous_sign(inner))


def valid(rest: RestClient, label: str, algorithm: str, signature: bytes, payload: bytes = MESSAGE) -> bool:
    """What `/v1/verify` says."""
    inner = {
        "signKeyName": label,
        "signatureAlgorithm": algorithm,
        "payload": b64(payload),
        "signature": b64(signature),
    }
    answer: bool = rest.ask("POST", "/v1/verify", {"verifySignatureRequest": inner})["signatureValid"]
    return answer


@pytest.mark.parametrize(
    ("kind", "algorithm", "reported", "length"),
    [
        ("ML-DSA-44", "ML_DSA", "ML-DSA-44", 2420),
        ("ML-DSA-65", "SHA2_512_WITH_ML_DSA", "ML-DSA-65", 3309),
        ("ML-DSA-87", "SHAKE_256_WITH_ML_DSA", "ML-DSA-87", 4627),
        ("SLH-DSA-SHA2-128f", "SLH_DSA", "SLH-DSA-SHA2-128f", 17088),
        ("SLH-DSA-SHAKE-192f", "SHA3_256_WITH_SLH_DSA", "SLH-DSA-SHAKE-192f", 35664),
        ("SLH-DSA-SHA2-256f", "SLH_DSA", "SLH-DSA-SHA2-256f", 49856),
        ("BLS", "BLS", "BLS", 96),
        ("LMS", "LMS", "HSS-LMS", 8688),
    ],
)
def test_a_key_signs_at_once_and_as_a_request(
    rest: RestClient, kind: str, algorithm: str, reported: str, length: int
) -> None:
    label = f"pq-{kind}"
    made = create(rest, label, kind)
    assert (made["algorithm"], made["keySize"], made["curveOid"]) == (reported, None, None)
    assert isinstance(made["algorithmOid"], str)
    signature = sign(rest, label, algorithm)
    assert len(signature) == length
    assert valid(rest, label, algorithm, signature)
    changed = signature[:-1] + bytes([signature[-1] ^ 1])
    assert not valid(rest, label, algorithm, changed)
    assert not valid(rest, label, algorithm, signature, MESSAGE + b"!")
    inner = {"payload": b64(MESSAGE), "signKeyName": label, "signatureAlgorithm": algorithm}
    done = rest.request(rest.sign(inner))
    assert (done["status"], valid(rest, label, algorithm, b64decode(done["result"]))) == ("EXECUTED", True)


def test_a_client_signs_the_mu_it_computed_and_the_context_it_names(rest: RestClient) -> None:
    made = create(rest, "pq-mu", "ML-DSA-65")
    raw = b64decode(made["publicKey"])[-1952:]
    mu = hashlib.shake_256(hashlib.shake_256(raw).digest(64) + MESSAGE).digest(64)
    assert valid(rest, "pq-mu", "ML_DSA_M", sign(rest, "pq-mu", "ML_DSA_M", mu), mu)
    assert refused(lambda: sign(rest, "pq-mu", "ML_DSA_M", mu[:-1])).refusal == "payload.digest-length"
    judge = pqcrypto.sign.ml_dsa_65
    judge.verify(raw, MESSAGE, sign(rest, "pq-mu", "ML_DSA", context=b64(b"ours")), b"ours")
    hashed = sign(rest, "pq-mu", "SHA2_256_WITH_ML_DSA", context=b64(b"ours"))
    judge.verify(raw, hashlib.sha256(MESSAGE).digest(), hashed, b"ours", HashAlgorithm.Sha256)
    assert refused(lambda: sign(rest, "pq-mu", "ML_DSA_M", mu, context=b64(b"ours"))).refusal == "signature.option"
    assert refused(lambda: sign(rest, "pq-mu", "ML_DSA", context=b64(bytes(256)))).refusal == "signature.context"


@pytest.mark.rule("R3")
@pytest.mark.parametrize("kind", ["ML-DSA-44", "SLH-DSA-SHA2-128f", "BLS", "LMS"])
def test_r3_two_of_three_officers_make_a_protected_key_sign(rest: RestClient, officers: Officers, kind: str) -> None:
    ada, ben, _ = officers
    label, algorithm = f"pq-locked-{kind}", kind.split("-SHA2")[0].replace("-44", "").replace("-", "_")
    create(rest, label, kind, make_policy(quorum(2, *officers)))
    assert refused(lambda: sign(rest, label, algorithm)).refusal == "approvals.missing"
    request = rest.sign({"payload": b64(MESSAGE), "signKeyName": label, "signatureAlgorithm": algorithm})
    all_approve(rest, request, [ada], "Sign")
    assert rest.request(request)["status"] == "PENDING"
    all_approve(rest, request, [ben], "Sign")
    done = rest.request(request)
    assert done["status"] == "EXECUTED", done
    assert valid(rest, label, algorithm, b64decode(done["result"]))


def test_an_lms_key_counts_down_and_ends(rest: RestClient) -> None:
    made = create(rest, "pq-ends", "LMS")
    assert made["remainingSignatures"] == 32
    indices = {sign(rest, "pq-ends", "LMS")[4:8] for _ in range(32)}
    assert len(indices) == 32
    ended = refused(lambda: sign(rest, "pq-ends", "LMS"))
    assert (ended.code, ended.refusal) == (ErrorCode.IN_HSM, "stateful.exhausted")
    attributes = rest.key_attributes("pq-ends")["json"]
    assert (attributes["remainingSignatures"], attributes["keyUsageCount"]) == (0, 32)


@pytest.mark.parametrize("size", ["512", "768", "1024"])
def test_a_secret_is_encapsulated_and_comes_out_of_the_key(rest: RestClient, size: str) -> None:
    label = f"kem-{size}"
    made = create(rest, label, f"ML-KEM-{size}", decrypt=True, sign=False)
    new = rest.encapsulate(b64decode(made["publicKey"]))
    inner = {"decapsulationKeyName": label, "ciphertext": new["ciphertext"]}
    assert rest.synchronous_decapsulate(inner) == new["sharedSecret"]
    done = rest.request(rest.decapsulate(inner))
    assert (done["status"], done["result"]) == ("EXECUTED", new["sharedSecret"])
    other = rest.encapsulate(b64decode(made["publicKey"]))
    assert rest.synchronous_decapsulate({**inner, "ciphertext": other["ciphertext"]}) != new["sharedSecret"]
    short = {**inner, "ciphertext": b64(b64decode(new["ciphertext"])[:-1])}
    assert refused(lambda: rest.synchronous_decapsulate(short)).refusal == "decrypt.failed"


@pytest.mark.rule("R3")
def test_r3_officers_approve_a_decapsulation_as_a_decryption(rest: RestClient, officers: Officers) -> None:
    ada, ben, _ = officers
    made = create(rest, "kem-locked", "ML-KEM-768", make_policy(quorum(2, *officers)), decrypt=True, sign=False)
    new = rest.encapsulate(b64decode(made["publicKey"]))
    ciphertext = b64decode(new["ciphertext"])
    inner = {"decapsulationKeyName": "kem-locked", "ciphertext": new["ciphertext"]}
    assert refused(lambda: rest.synchronous_decapsulate(inner)).refusal == "approvals.missing"

    def approved(payload: bytes) -> dict[str, Any]:
        token = ApprovalToken(Action.USE, b"kem-locked", None, None, payload)
        return {**inner, "signedApprovals": [b64(one) for one in approvals_of([ada, ben], token)]}

    other = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
    assert refused(lambda: rest.synchronous_decapsulate(approved(other))).refusal == "approvals.missing"
    assert rest.synchronous_decapsulate(approved(ciphertext)) == new["sharedSecret"]
    request = rest.decapsulate(inner)
    (task,) = fetch(rest, ada, kind="Decrypt", requestId=request)
    assert task["signedDecryptRequest"]["decryptRequest"]["cipherAlgorithm"] == "ML_KEM"
    all_approve(rest, request, [ada, ben], "Decrypt")
    assert rest.request(request)["result"] == new["sharedSecret"]


def test_only_keys_of_ml_kem_encapsulate_and_decapsulate(rest: RestClient) -> None:
    made = create(rest, "kem-none", "ML-DSA-44", decrypt=True)
    assert refused(lambda: rest.encapsulate(b64decode(made["publicKey"]))).refusal == "key.wrong-type"
    assert refused(lambda: rest.encapsulate(b"no key")).refusal == "key.unreadable"
    inner = {"decapsulationKeyName": "kem-none", "ciphertext": b64(bytes(768))}
    assert refused(lambda: rest.synchronous_decapsulate(inner)).refusal == "cipher.wrong-key-type"
    create(rest, "kem-signs", "ML-KEM-512", sign=True)
    assert (
        refused(lambda: rest.synchronous_decapsulate({**inner, "decapsulationKeyName": "kem-signs"})).refusal
        == "key.attribute"
    )
