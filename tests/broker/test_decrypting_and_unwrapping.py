"""Decryptions and unwraps with a real HSM: what people approve, and what comes of it."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn.broker.calls import CreateCall, DecryptCall, RequestKind, UnwrapCall
from keyturn.broker.states import RequestStatus
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import (
    ApprovalToken,
    decode_approval,
    decode_unwrap_payload,
    encode_approval,
)
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.broker_world import local_world
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.ska.policy import Policy
    from keyturn_testing.broker_world import World
    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN = Officer("ada", "P-256"), Officer("ben", "RSA")
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
OAEP_NAME = "RSA_PADDING_OAEP_WITH_SHA256"


async def make_rsa(world: World, label: str, policy: Policy | None, **attributes: bool) -> RSAPublicKey:
    """A new RSA key that decrypts and unwraps; its public half."""
    attributes = {"sign": False, "decrypt": True, "unwrap": True, "destroyable": True, **attributes}
    made = await world.broker.create_key(
        CreateCall(label=label, algorithm="RSA", key_size=2048, attributes=attributes, policy=policy)
    )
    public_key = load_der_public_key(made.attestation.public_key)
    assert isinstance(public_key, RSAPublicKey)
    return public_key


async def ask(world: World, what: str, call: Any) -> str:
    return str(await getattr(world.broker, f"open_{what}")(call, original=b"{}"))


async def refused(attempt: Any) -> tuple[ErrorCode, str]:
    with pytest.raises(KeyturnError) as caught:
        await attempt
    return caught.value.code, caught.value.refusal


async def test_a_decryption_is_approved_over_the_ciphertext_and_its_result_is_the_data(
    tmp_path: Path, hsm: HsmProcess
) -> None:
    async with local_world(tmp_path, hsm) as world:
        public_key = await make_rsa(world, "letters", make_policy(use=quorum(2, ADA, BEN)))
        ciphertext = public_key.encrypt(b"the combination is 1234", OAEP)
        call = DecryptCall(payload=ciphertext, key_name="letters", algorithm=OAEP_NAME)
        request_id = await ask(world, "decrypt", call)
        (task,) = await world.tasks(ADA, kind=RequestKind.DECRYPT, detail_level=2)
        assert task.payload == decode_approval(task.approval_to_be_signed).payload == ciphertext
        await world.approve(ADA, request_id)
        assert (await world.view(request_id)).result is None
        await world.approve(BEN, request_id)
        view = await world.view(request_id)
        assert view.status is RequestStatus.EXECUTED
        assert view.result is not None
        assert b64decode(view.result) == b"the combination is 1234"

        approvals = [officer.approve_use("letters", ciphertext) for officer in (ADA, BEN)]
        assert (await world.broker.decrypt_now(call, approvals)).value == b"the combination is 1234"
        changed = DecryptCall(
            payload=bytes([*ciphertext[:-1], ciphertext[-1] ^ 1]), key_name="letters", algorithm=OAEP_NAME
        )
        assert (await refused(world.broker.decrypt_now(changed, approvals)))[1] == "approvals.missing"


async def test_decrypting_with_a_key_without_policy_is_done_at_once(tmp_path: Path, hsm: HsmProcess) -> None:
    async with local_world(tmp_path, hsm) as world:
        public_key = await make_rsa(world, "mailbox", None)
        call = DecryptCall(payload=public_key.encrypt(b"hello", OAEP), key_name="mailbox", algorithm=OAEP_NAME)
        view = await world.view(await ask(world, "decrypt", call))
        assert view.status is RequestStatus.EXECUTED
        assert view.result is not None
        assert b64decode(view.result) == b"hello"
        assert (await world.broker.decrypt_now(call, [])).value == b"hello"


@pytest.mark.rule("R8")
async def test_r8_what_could_never_be_decrypted_is_refused_before_people_are_asked(
    tmp_path: Path, hsm: HsmProcess
) -> None:
    async with local_world(tmp_path, hsm) as world:
        public_key = await make_rsa(world, "strict", make_policy(use=quorum(1, ADA)), sign=True)
        await make_rsa(world, "signer", make_policy(use=quorum(1, ADA)), sign=True, decrypt=False)
        right: dict[str, Any] = {
            "payload": public_key.encrypt(b"x", OAEP),
            "key_name": "strict",
            "algorithm": OAEP_NAME,
        }
        approval = encode_approval(ApprovalToken(Action.USE, b"other", None, None, b"pay"))
        defects: list[tuple[dict[str, Any], str]] = [
            ({"key_name": "nobody"}, "key.unknown"),
            ({"key_name": "signer"}, "key.attribute"),
            ({"algorithm": "ROT13"}, "cipher.algorithm"),
            ({"algorithm": "AES_GCM"}, "cipher.wrong-key-type"),
            ({"algorithm": "RSA_NO_PADDING"}, "cipher.double-meaning"),
            ({"payload": b"x" * 65_537}, "payload.too-large"),
            ({"payload": approval}, "payload.double-meaning"),
            ({"iv": b"x" * 16}, "cipher.parameters"),
        ]
        for defect, word in defects:
            assert (await refused(ask(world, "decrypt", DecryptCall(**{**right, **defect}))))[1] == word
        await ask(world, "decrypt", DecryptCall(**right))


SECRET = bytes(range(32))
NEW_KEY = {"decrypt": True, "unwrap": True, "destroyable": True}


async def test_an_unwrap_is_approved_with_the_flags_and_the_label_of_the_new_key(
    tmp_path: Path, hsm: HsmProcess
) -> None:
    async with local_world(tmp_path, hsm) as world:
        public_key = await make_rsa(world, "importer", make_policy(use=quorum(1, ADA)))
        wrapped = public_key.encrypt(SECRET, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))  # noqa: S303
        call = UnwrapCall(
            wrapped_key=wrapped, key_name="importer", method="RSA_WRAP_OAEP", new_label="imported", attributes=NEW_KEY
        )
        request_id = await ask(world, "unwrap", call)
        (task,) = await world.tasks(ADA, kind=RequestKind.UNWRAP, detail_level=2)
        approved = decode_approval(task.approval_to_be_signed).payload
        assert approved == task.payload == unwrap_payload_for(NEW_KEY, wrapped, "imported")
        assert decode_unwrap_payload(approved).label == b"imported"
        await world.approve(ADA, request_id)
        view = await world.view(request_id)
        assert (view.status, view.result) == (RequestStatus.EXECUTED, None)

        # The new key works: it decrypts what its twin outside encrypted.
        encryptor = Cipher(algorithms.AES(SECRET), modes.ECB()).encryptor()  # noqa: S305 - One block, to see the key.
        block = encryptor.update(b"sixteen bytes ok")
        found = await world.broker.decrypt_now(DecryptCall(payload=block, key_name="imported", algorithm="AES_ECB"), [])
        assert found.value == b"sixteen bytes ok"
        # And unwraps the next one, at once, because it has no policy.
        again = UnwrapCall(
            wrapped_key=aes_key_wrap(SECRET, bytes(16)),
            key_name="imported",
            method="AES_WRAP",
            new_label="second",
            attributes=NEW_KEY,
        )
        assert (await world.view(await ask(world, "unwrap", again))).status is RequestStatus.EXECUTED
        assert {"imported", "second"} <= set(await world.broker.list_keys())
        assert await refused(world.broker.unwrap_now(again, [])) == (ErrorCode.KEY_ALREADY_EXISTING, "key.exists")
        third = await world.broker.unwrap_now(replace(again, new_label="third"), [])
        assert (third.value.attestation.label, third.value.attestation.creation) == ("third", "imported")


@pytest.mark.rule("R16")
async def test_r16_a_protected_key_unwraps_no_policy_and_no_taken_label(tmp_path: Path, hsm: HsmProcess) -> None:
    async with local_world(tmp_path, hsm) as world:
        await make_rsa(world, "narrow", make_policy(use=quorum(1, ADA)))
        right: dict[str, Any] = {
            "wrapped_key": bytes(256),
            "key_name": "narrow",
            "method": "RSA_WRAP_OAEP",
            "new_label": "fresh",
            "attributes": NEW_KEY,
        }
        defects: list[tuple[dict[str, Any], str]] = [
            ({"policy": make_policy(use=quorum(1, ADA))}, "unwrap.unapproved-policy"),
            ({"new_label": "narrow"}, "key.exists"),
            ({"new_label": "a/b"}, "label.slash"),
            ({"method": "AES_WRAP"}, "wrap.wrong-key-type"),
            ({"method": "GIFT_WRAP"}, "wrap.method"),
            ({"attributes": {**NEW_KEY, "bip32": True}}, "attribute.no-flag"),
        ]
        for defect, word in defects:
            assert (await refused(ask(world, "unwrap", UnwrapCall(**{**right, **defect}))))[1] == word
        await ask(world, "unwrap", UnwrapCall(**right))
