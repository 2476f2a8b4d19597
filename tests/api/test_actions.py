"""Every action over REST with the real HSM process: decrypt, unwrap, block, unblock, withdraw.

What is decrypted and unwrapped was locked up by `openssl`; what is signed, `openssl` judges.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyturn.errors import ErrorCode
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.messages import decode_unwrap_payload
from keyturn_testing.actions import (
    AES_ATTRIBUTES,
    OAEP_SHA1,
    SECRET,
    all_approve,
    create_rsa_key,
    decrypt_body,
    oaep,
    ready_approvals,
    refused,
    sign_body,
    unwrap_body,
    unwrap_payload,
    withdrawal,
)
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.openssl import dgst_accepts
from keyturn_testing.openssl_ciphers import aes, key_wrap
from keyturn_testing.rest_server import P256, approve, b64, create_ec_key, fetch, policy_json, signed_approval

if TYPE_CHECKING:
    from keyturn.client import RestClient

    Officers = tuple[Officer, Officer, Officer]

IV = bytes(range(16))


# --- decrypt ---------------------------------------------------------------------------------------------------


def test_what_openssl_encrypted_is_decrypted_when_two_of_three_agree(rest: RestClient, officers: Officers) -> None:
    ada, ben, eve = officers
    spki = create_rsa_key(rest, "letters", make_policy(quorum(2, ada, ben, eve)))
    ciphertext = oaep(spki, SECRET)

    request = rest.decrypt(decrypt_body("letters", ciphertext, metaData=b64(b"a letter")))
    assert rest.request(request)["result"] is None

    # Officers see the ciphertext, which is what their approval binds, and the request as it was made.
    (task,) = fetch(rest, ada, kind="Decrypt", requestId=request)
    assert base64.b64decode(task["payload"]) == ciphertext
    assert task["signedDecryptRequest"]["decryptRequest"]["cipherAlgorithm"] == "RSA_PADDING_OAEP_WITH_SHA256"
    assert task["signedDecryptRequest"]["decryptRequest"]["keyPassword"] is None
    assert [name for name in task if name.startswith("signed") and task[name] is not None] == ["signedDecryptRequest"]
    for other in ("Sign", "UnwrapKey", "BlockKey", "UnblockKey", "ModifyKey"):
        assert fetch(rest, ada, kind=other, requestId=request) == []

    approve(rest, ada, task)
    assert rest.request(request)["status"] == "PENDING"
    all_approve(rest, request, [eve], "Decrypt")
    done = rest.request(request)
    assert done["status"] == "EXECUTED"
    assert base64.b64decode(done["result"]) == SECRET


def test_an_ordinary_key_decrypts_at_once_in_both_ways(rest: RestClient) -> None:
    spki = create_rsa_key(rest, "open-letters", None)
    body = decrypt_body("open-letters", oaep(spki, SECRET))
    assert base64.b64decode(rest.synchronous_decrypt(body)) == SECRET
    done = rest.request(rest.decrypt(body))
    assert (done["status"], base64.b64decode(done["result"])) == ("EXECUTED", SECRET)


def test_ready_made_approvals_decrypt_exactly_what_they_name(rest: RestClient, officers: Officers) -> None:
    ada, ben, eve = officers
    spki = create_rsa_key(rest, "ready", make_policy(quorum(2, ada, ben, eve)))
    ciphertext, other = oaep(spki, SECRET), oaep(spki, b"something else")
    approvals = ready_approvals([ada, ben], Action.USE, "ready", ciphertext)

    assert refused(lambda: rest.synchronous_decrypt(decrypt_body("ready", ciphertext))).refusal == "approvals.missing"
    one = decrypt_body("ready", ciphertext, signedApprovals=approvals[:1])
    assert refused(lambda: rest.synchronous_decrypt(one)).refusal == "approvals.missing"
    foreign = decrypt_body("ready", other, signedApprovals=approvals)
    error = refused(lambda: rest.synchronous_decrypt(foreign))
    assert error.code is ErrorCode.IN_HSM
    assert "Given, but not counted: Ada (approval.wrong-payload), Ben (approval.wrong-payload). " in error.message
    good = decrypt_body("ready", ciphertext, signedApprovals=approvals)
    assert base64.b64decode(rest.synchronous_decrypt(good)) == SECRET


@pytest.mark.rule("R31")
def test_r31_whatever_decryption_fails_at_it_fails_with_the_same_words(rest: RestClient) -> None:
    spki = create_rsa_key(rest, "oracle", None)
    good = oaep(spki, SECRET)
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    other_hash = oaep(spki, SECRET, OAEP_SHA1)
    assert base64.b64decode(rest.synchronous_decrypt(decrypt_body("oracle", good))) == SECRET
    errors = [refused(lambda data=data: rest.synchronous_decrypt(decrypt_body("oracle", data)))  # type: ignore[misc] # Bound now.
              for data in (flipped, other_hash)]  # fmt: skip
    assert len({(error.code, error.refusal, error.message) for error in errors}) == 1


def test_a_symmetric_key_is_created_and_decrypts_what_openssl_encrypted(rest: RestClient) -> None:
    # The key itself never leaves; so one that openssl knows is brought in wrapped.
    spki = create_rsa_key(rest, "door", None)
    inside = os.urandom(32)
    rest.synchronous_unwrap(unwrap_body("door", oaep(spki, inside, OAEP_SHA1), "brought"))
    ciphertext = aes("cbc", inside, IV, SECRET, decrypt=False, padded=True)
    body = decrypt_body("brought", ciphertext, cipherAlgorithm="AES", initializationVector=b64(IV), tagLength=0)
    assert base64.b64decode(rest.synchronous_decrypt(body)) == SECRET

    made = rest.create_key("made", "AES", key_size=256, attributes=AES_ATTRIBUTES)
    assert (made["json"]["algorithm"], made["json"]["keySize"], made["json"]["publicKey"]) == ("AES", 256, None)
    refused(lambda: rest.synchronous_decrypt(body | {"decryptKeyName": "made"}))


# --- unwrap ----------------------------------------------------------------------------------------------------


@pytest.mark.rule("R16")
def test_r16_a_key_is_unwrapped_when_two_of_three_agree_to_label_attributes_and_bytes(
    rest: RestClient, officers: Officers
) -> None:
    ada, ben, eve = officers
    spki = create_rsa_key(rest, "gate", make_policy(quorum(2, ada, ben, eve)))
    inside = os.urandom(16)
    wrapped = oaep(spki, inside, OAEP_SHA1)

    request = rest.unwrap(unwrap_body("gate", wrapped, "guest", metaData=b64(b"from the archive")))
    (task,) = fetch(rest, ben, kind="UnwrapKey", requestId=request)
    bound = decode_unwrap_payload(base64.b64decode(task["payload"]))
    assert (bound.wrapped_key, bound.label) == (wrapped, b"guest")
    shown = task["signedUnwrapKeyRequest"]["unwrapKeyRequest"]
    assert (shown["label"], shown["unwrapKeyPassword"], shown["attributes"]) == ("guest", None, AES_ATTRIBUTES)
    assert "guest" not in rest.list_keys()

    all_approve(rest, request, [ben, ada], "UnwrapKey")
    assert rest.request(request)["status"] == "EXECUTED"
    guest = parse_attestation(rest.key_attributes("guest")["xml"])
    assert (guest.algorithm, guest.key_size) == ("AES", 128)

    # It is that key: what openssl encrypts under it, it decrypts.
    ciphertext = aes("cbc", inside, IV, SECRET, decrypt=False, padded=True)
    body = decrypt_body("guest", ciphertext, cipherAlgorithm="AES", initializationVector=b64(IV))
    assert base64.b64decode(rest.synchronous_decrypt(body)) == SECRET


@pytest.mark.rule("R16")
@pytest.mark.parametrize(
    "defect",
    [
        {"label": "crept-in"},
        {"attributes": AES_ATTRIBUTES | {"extractable": True}},
        {"attributes": AES_ATTRIBUTES | {"destroyable": False}},
    ],
    ids=["label", "extractable", "destroyable"],
)
def test_r16_approvals_for_one_unwrap_serve_for_no_other(
    rest: RestClient, officers: Officers, request: pytest.FixtureRequest, defect: dict[str, Any]
) -> None:
    ada, ben, _ = officers
    name = f"gate-{request.node.callspec.id}"
    spki = create_rsa_key(rest, name, make_policy(quorum(2, *officers)))
    wrapped = oaep(spki, os.urandom(16), OAEP_SHA1)
    guest = f"{name}-guest"
    approvals = ready_approvals([ada, ben], Action.USE, name, unwrap_payload(wrapped, guest))
    good = unwrap_body(name, wrapped, guest, signedApprovals=approvals)
    assert refused(lambda: rest.synchronous_unwrap(good | defect)).code.http_status == 400
    assert not {guest, "crept-in"} & set(rest.list_keys())
    assert rest.synchronous_unwrap(good)["json"]["label"] == guest


def test_a_label_in_use_is_not_unwrapped_onto(rest: RestClient) -> None:
    spki = create_rsa_key(rest, "busy", None)
    body = unwrap_body("busy", oaep(spki, os.urandom(16), OAEP_SHA1), "busy")
    assert refused(lambda: rest.synchronous_unwrap(body)).code is ErrorCode.KEY_ALREADY_EXISTING
    assert rest.synchronous_unwrap(body | {"label": "busy-guest"})["json"]["label"] == "busy-guest"


@pytest.mark.parametrize("way", ["at once", "as a request"])
def test_a_key_that_openssl_wrapped_comes_in_with_a_policy_and_signs_only_as_that_says(
    rest: RestClient, officers: Officers, way: str
) -> None:
    ada, ben, _ = officers
    label, new_label = f"kek-{way}", f"moved-{way}"
    spki = create_rsa_key(rest, f"gate-{way}", None)
    kek = os.urandom(32)
    rest.synchronous_unwrap(
        unwrap_body(
            f"gate-{way}",
            oaep(spki, kek, OAEP_SHA1),
            label,
            attributes={"decrypt": False, "sign": False, "unwrap": True},
        )
    )
    moved = ec.generate_private_key(ec.SECP256R1())
    wrapped = key_wrap(
        "wrap-pad", kek, moved.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), decrypt=False
    )
    body = unwrap_body(
        label,
        wrapped,
        new_label,
        wrapMethod="AES_WRAP_PAD_EC",
        attributes={"decrypt": False, "sign": True, "unwrap": False},
        policy=policy_json(make_policy(quorum(2, *officers)), new=True),
    )
    if way == "at once":
        rest.synchronous_unwrap(body)
    else:
        assert rest.request(rest.unwrap(body))["status"] == "EXECUTED"

    attested = parse_attestation(rest.key_attributes(new_label)["xml"])
    public_key = moved.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (attested.public_key, attested.policy) == (public_key, make_policy(quorum(2, *officers)))
    assert refused(lambda: rest.synchronous_sign(sign_body(new_label))).refusal == "approvals.missing"
    approvals = ready_approvals([ada, ben], Action.USE, new_label, b"pay")
    signature = rest.synchronous_sign(sign_body(new_label) | {"signedApprovals": approvals})
    assert dgst_accepts(public_key, base64.b64decode(signature), b"pay", "sha256")


# --- block and unblock -----------------------------------------------------------------------------------------


@pytest.mark.rule("R31")
def test_r31_a_blocked_key_acts_for_nobody_until_it_is_unblocked(rest: RestClient, officers: Officers) -> None:
    ada, ben, eve = officers
    label = "till"
    policy = make_policy(quorum(2, ada, ben, eve), block=quorum(1, eve), unblock=quorum(2, ada, ben))
    create_ec_key(rest, label, policy)
    approvals = ready_approvals([ada, ben], Action.USE, label, b"pay")
    assert rest.synchronous_sign(sign_body(label) | {"signedApprovals": approvals})

    # One person may stop the key.
    request = rest.block({"blockKeyName": label, "metaData": b64(b"stolen?")})
    (task,) = fetch(rest, eve, kind="BlockKey", requestId=request)
    assert fetch(rest, ada, requestId=request) == []
    assert task["signedBlockKeyRequest"]["blockRequest"] == {
        "blockKeyName": label, "metaData": b64(b"stolen?"), "keyPassword": None
    }  # fmt: skip
    approve(rest, eve, task)
    assert rest.request(request)["status"] == "EXECUTED"
    assert rest.key_attributes(label)["json"]["policy"]["keyStatus"] == {"blocked": True}

    # The approvals of before are still there, and do not help.
    error = refused(lambda: rest.synchronous_sign(sign_body(label) | {"signedApprovals": approvals}))
    assert error.refusal == "key.blocked"

    # Two others may let it act again.
    request = rest.unblock({"unblockKeyName": label})
    all_approve(rest, request, [ada, ben], "UnblockKey")
    assert rest.request(request)["status"] == "EXECUTED"
    assert rest.key_attributes(label)["json"]["policy"]["keyStatus"] == {"blocked": False}
    assert rest.synchronous_sign(sign_body(label) | {"signedApprovals": approvals})


@pytest.mark.rule("R15")
def test_r15_an_unblock_is_never_replayed(rest: RestClient, officers: Officers) -> None:
    ada, ben, _ = officers
    label = "never-twice"
    create_ec_key(rest, label, make_policy(quorum(2, *officers), block=quorum(1, ada)))
    block = {"blockKeyName": label, "signedApprovals": ready_approvals([ada], Action.BLOCK, label)}
    unblock = {"unblockKeyName": label, "signedApprovals": ready_approvals([ada, ben], Action.UNBLOCK, label)}
    assert rest.synchronous_block(block)["json"]["policy"]["keyStatus"] == {"blocked": True}
    wrong = unblock | {"signedApprovals": block["signedApprovals"]}
    assert refused(lambda: rest.synchronous_unblock(wrong)).code is ErrorCode.IN_HSM
    assert rest.synchronous_unblock(unblock)["json"]["policy"]["keyStatus"] == {"blocked": False}

    # Somebody kept the approvals of the unblock. The key is blocked again, and they are worth nothing.
    rest.synchronous_block(block)
    error = refused(lambda: rest.synchronous_unblock(unblock))
    assert error.code is ErrorCode.IN_HSM
    assert rest.key_attributes(label)["json"]["policy"]["keyStatus"] == {"blocked": True}
    stamp = rest.synchronous_timestamp({"keyName": label, "operation": "unblock"})
    fresh = ready_approvals([ada, ben], Action.UNBLOCK, label, stamp=stamp)
    rest.synchronous_unblock({"unblockKeyName": label, "signedApprovals": fresh})


def test_a_key_can_be_born_blocked(rest: RestClient, officers: Officers) -> None:
    ada, ben, _ = officers
    policy = policy_json(make_policy(quorum(2, *officers)), new=True) | {"keyStatus": {"blocked": True}}
    attributes = {"decrypt": False, "sign": True, "unwrap": False}
    rest.create_key("asleep", "EC", curve_oid=P256, attributes=attributes, policy=policy)
    body = sign_body("asleep") | {"signedApprovals": ready_approvals([ada, ben], Action.USE, "asleep", b"pay")}
    assert refused(lambda: rest.synchronous_sign(body)).refusal == "key.blocked"
    request = rest.unblock({"unblockKeyName": "asleep"})
    all_approve(rest, request, [ada, ben])
    assert rest.synchronous_sign(body)


@pytest.mark.parametrize("action", ["block", "unblock"])
def test_a_key_without_a_policy_is_neither_blocked_nor_unblocked(
    rest: RestClient, officers: Officers, action: str
) -> None:
    create_ec_key(rest, f"free-{action}", None)
    for call in (getattr(rest, action), getattr(rest, f"synchronous_{action}")):
        error = refused(lambda call=call: call({f"{action}KeyName": f"free-{action}"}))  # type: ignore[misc] # Bound now.
        assert (error.code.number, error.refusal) == (614, "policy.none")
    create_ec_key(rest, f"bound-{action}", make_policy(quorum(1, *officers)))
    blocked = rest.block({"blockKeyName": f"bound-{action}"})
    assert rest.request(blocked)["status"] == "PENDING"


def test_unblocking_a_key_that_is_not_blocked_is_refused(rest: RestClient, officers: Officers) -> None:
    ada, *_ = officers
    create_ec_key(rest, "awake", make_policy(quorum(1, *officers)))
    approvals = ready_approvals([ada], Action.UNBLOCK, "awake")
    body = {"unblockKeyName": "awake", "signedApprovals": approvals}
    assert refused(lambda: rest.synchronous_unblock(body)).refusal == "key.not-blocked"
    rest.synchronous_block({"blockKeyName": "awake", "signedApprovals": ready_approvals([ada], Action.BLOCK, "awake")})
    assert rest.synchronous_unblock(body)


def test_deleting_a_key_cancels_its_requests_of_every_kind(rest: RestClient, officers: Officers) -> None:
    ada, *_ = officers
    spki = create_rsa_key(rest, "doomed", make_policy(quorum(1, *officers)))
    requests = [
        rest.decrypt(decrypt_body("doomed", oaep(spki, SECRET))),
        rest.unwrap(unwrap_body("doomed", oaep(spki, bytes(16), OAEP_SHA1), "orphan")),
        rest.block({"blockKeyName": "doomed"}),
    ]
    assert all(len(fetch(rest, ada, requestId=request)) == 1 for request in requests)
    rest.delete_key("doomed")
    assert [rest.request(request)["status"] for request in requests] == ["CANCELLED"] * 3
    assert all(fetch(rest, ada, requestId=request) == [] for request in requests)


# --- withdraw --------------------------------------------------------------------------------------------------


@pytest.mark.rule("R26")
def test_r26_an_approval_is_taken_back_and_never_counts_again(rest: RestClient, officers: Officers) -> None:
    ada, ben, eve = officers
    create_ec_key(rest, "regret", make_policy(quorum(2, ada, ben, eve)))
    request = rest.sign(sign_body("regret"))
    tasks = {officer: fetch(rest, officer, requestId=request)[0] for officer in officers}
    approve(rest, ada, tasks[ada])
    kept = ready_approvals([ada, ben], Action.USE, "regret", b"pay")

    rest.withdraw(withdrawal(ada, tasks[ada]))
    state = rest.request(request)
    assert (state["status"], state["approvedBy"], state["withdrawnBy"]) == ("PENDING", [], [b64(ada.spki)])

    # One more approval would have been enough. It is not, and the HSM says so, too: it was told.
    approve(rest, ben, tasks[ben])
    assert rest.request(request)["status"] == "PENDING"
    body = sign_body("regret") | {"signedApprovals": kept}
    assert refused(lambda: rest.synchronous_sign(body)).code is ErrorCode.IN_HSM
    assert rest.synchronous_sign(sign_body("regret", b"other") | {
        "signedApprovals": ready_approvals([ada, ben], Action.USE, "regret", b"other")
    })  # fmt: skip

    approve(rest, eve, tasks[eve])
    assert rest.request(request)["status"] == "EXECUTED"


@pytest.mark.rule("R26")
def test_r26_only_the_signer_withdraws_only_what_they_approved_and_only_in_time(
    rest: RestClient, officers: Officers
) -> None:
    ada, ben, eve = officers
    create_ec_key(rest, "regrets", make_policy(quorum(2, ada, ben, eve)))
    request, other = (rest.sign(sign_body("regrets", payload)) for payload in (b"this", b"that"))
    (task,) = fetch(rest, ada, requestId=request)
    (foreign,) = fetch(rest, ada, requestId=other)
    (bens,) = fetch(rest, ben, requestId=request)

    # Not yet approved: nothing to take back.
    assert refused(lambda: rest.withdraw(withdrawal(ada, task))).code is ErrorCode.TASK_NOT_EXISTENT
    approve(rest, ada, task)
    approve(rest, ada, foreign)

    good = withdrawal(ada, task)
    assert refused(lambda: rest.withdraw(good | {"id": "no-such-task"})).code is ErrorCode.TASK_NOT_EXISTENT
    approval = signed_approval(ada, task)["signature"]
    assert refused(lambda: rest.withdraw(good | {"signature": approval})).code is ErrorCode.INVALID_SIGNATURE
    of_other = withdrawal(ada, foreign)["signature"]
    assert refused(lambda: rest.withdraw(good | {"signature": of_other})).code is ErrorCode.INVALID_SIGNATURE
    token = foreign["approvalToBeSigned"]
    assert refused(lambda: rest.withdraw(good | {"approvalToBeSigned": token})).code is ErrorCode.INVALID_SIGNATURE
    assert refused(lambda: rest.withdraw(withdrawal(ben, task))).code is ErrorCode.SECURITY_NOT_ALLOWED
    rest.withdraw(good)
    assert rest.request(request)["withdrawnBy"] == [b64(ada.spki)]

    # After the execution it is too late.
    (of_eve,) = fetch(rest, eve, requestId=other)
    approve(rest, eve, of_eve)
    assert rest.request(other)["status"] == "EXECUTED"
    assert refused(lambda: rest.withdraw(withdrawal(ada, foreign))).code.http_status in {400, 404}
    assert bens["id"] != task["id"]
