"""Every action that a policy governs, in the real HSM: decrypt, unwrap, block, unblock, modify. Judged by openssl."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from keyturn.crypto.keys import generate, make_spec, private_key_to_der
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.attestation import attestation_to_json, parse_attestation
from keyturn.ska.policy import Rule, encode_policy
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing import openssl_ciphers as openssl
from keyturn_testing.hsm_actions import approve, create_rsa, refused, stamp
from keyturn_testing.keys import P256, create_ec, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from keyturn.hsm.client import HsmClient, HsmRefusedError
    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN, EVE = Officer("ada"), Officer("ben", "ED"), Officer("eve", "RSA")
POLICY = make_policy(quorum(2, ADA, BEN, EVE))
OAEP = "RSA_PADDING_OAEP_WITH_SHA256"
OAEP_SHA256 = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
OAEP_SHA1 = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1")
AES = bytes(range(32))
DECRYPT_ONLY = {"decrypt": True, "encrypt": True}


def both(label: str, action: Action, payload: bytes | None = None) -> list[bytes]:
    return [approve(officer, label, action, payload) for officer in (ADA, BEN)]


def public(attested: protocol.Attested) -> bytes:
    return parse_attestation(attested.xml).public_key


# --- decrypt -----------------------------------------------------------------------------------------


@pytest.mark.rule("R3")
async def test_two_officers_have_a_ciphertext_of_openssl_decrypted(
    client: HsmClient, label: str, hsm: HsmProcess
) -> None:
    spki = public(await create_rsa(client, label, POLICY, decrypt=True))
    ciphertext = openssl.rsa_encrypt(spki, b"the vault's combination", OAEP_SHA256)
    operation = operation_id()
    approvals = both(label, Action.USE, ciphertext)
    refusal = await refused(client.decrypt(operation, label, ciphertext, OAEP, approvals=approvals[:1]))
    assert refusal.refusal == "approvals.missing"
    decrypted = await client.decrypt(operation, label, ciphertext, OAEP, approvals=approvals)
    assert decrypted.data == b"the vault's combination"
    assert (hsm.decisions()[-1]["kind"], hsm.decisions()[-1]["outcome"]) == ("decrypt", "granted")
    # The same operation again is answered from the store, and counts once.
    assert await client.decrypt(operation, label, ciphertext, OAEP, approvals=approvals) == decrypted
    assert parse_attestation((await client.attest(label)).xml).key_use_count == 1
    other = openssl.rsa_encrypt(spki, b"the vault's combination", OAEP_SHA256)
    refusal = await refused(client.decrypt(operation_id(), label, other, OAEP, approvals=approvals))
    assert {word for _, word in refusal.bad_approvals} == {"approval.wrong-payload"}


@pytest.mark.rule("R31")
async def test_whatever_a_decryption_fails_at_has_one_text_and_uses_up_nothing(client: HsmClient, label: str) -> None:
    spki = public(await create_rsa(client, label, None, decrypt=True))
    good = openssl.rsa_encrypt(spki, b"x", OAEP_SHA256)
    texts = {
        (await refused(client.decrypt(b"", label, bad, OAEP))).message
        for bad in (good[:-1] + bytes([good[-1] ^ 1]), good[:-1], bytes(256), b"\xff" * 256)
    }
    assert len(texts) == 1
    assert (await client.decrypt(b"", label, good, OAEP)).data == b"x"


@pytest.mark.rule("R8")
async def test_a_protected_key_that_may_sign_decrypts_nothing_without_padding(client: HsmClient, label: str) -> None:
    spki = public(await create_rsa(client, label, POLICY, decrypt=True, sign=True))
    raw = b"\x00" + b"\x07" * 255
    refusal = await refused(
        client.decrypt(operation_id(), label, raw, "RSA_NO_PADDING", approvals=both(label, Action.USE, raw))
    )
    assert refusal.refusal == "cipher.double-meaning"
    # Neither an unwrap payload nor an approval is a ciphertext.
    blob = unwrap_payload_for({"sign": True}, raw, "new")
    refusal = await refused(client.decrypt(operation_id(), label, blob, OAEP, approvals=both(label, Action.USE, blob)))
    assert refusal.refusal == "payload.double-meaning"
    good = openssl.rsa_encrypt(spki, b"x", OAEP_SHA256)
    approvals = both(label, Action.USE, good)
    assert (await client.decrypt(operation_id(), label, good, OAEP, approvals=approvals)).data == b"x"


async def test_an_aes_key_is_made_attested_and_decrypts_what_needs_its_parameters(
    client: HsmClient, label: str
) -> None:
    made = await client.create(
        operation_id(), label, "AES", key_size=256, attributes={"decrypt": True, "encrypt": True, "destroyable": True}
    )
    found = parse_attestation(made.xml)
    assert (found.algorithm, found.key_size, found.public_key) == ("AES", 256, b"")
    shown = attestation_to_json(found)
    assert (shown["publicKey"], shown["keySize"], shown["attributes"]["wrap"]) == (None, 256, False)  # type: ignore[index]
    assert (await client.lookup(label)).public_key == b""
    refusal = await refused(client.decrypt(b"", label, bytes(32), "AES_CBC_NO_PADDING"))
    assert refusal.refusal == "cipher.iv-missing"
    decrypted = await client.decrypt(b"", label, bytes(32), "AES_CBC_NO_PADDING", iv=bytes(16))
    assert len(decrypted.data) == 32
    for act in (
        client.sign(b"", label, b"x", "SHA256_WITH_ECDSA"),
        client.verify(label, b"x", "SHA256_WITH_ECDSA", bytes(64)),
    ):
        assert (await refused(act)).refusal in {"key.attribute", "key.symmetric"}
    await client.delete(operation_id(), label)


# --- unwrap ------------------------------------------------------------------------------------------


@pytest.mark.rule("R16")
async def test_two_officers_have_a_key_unwrapped_exactly_as_they_approved_it(
    client: HsmClient, label: str, hsm: HsmProcess
) -> None:
    spki = public(await create_rsa(client, label, POLICY, unwrap=True))
    wrapped = openssl.rsa_encrypt(spki, AES, OAEP_SHA1)
    approvals = both(label, Action.USE, unwrap_payload_for(DECRYPT_ONLY, wrapped, f"{label}-in"))

    async def unwrap(new_label: str, attributes: dict[str, bool]) -> protocol.Attested:
        return await client.unwrap(
            operation_id(), label, wrapped, "RSA_WRAP_OAEP", new_label, attributes=attributes, approvals=approvals
        )

    # Another flag or another label was not approved.
    for new_label, attributes in (
        (f"{label}-in", {**DECRYPT_ONLY, "extractable": True}),
        (f"{label}-in", {**DECRYPT_ONLY, "destroyable": True}),
        (f"{label}-in", {**DECRYPT_ONLY, "sensitive": False}),
        (f"{label}-in", {"decrypt": True}),
        (f"{label}-im", DECRYPT_ONLY),
    ):
        refusal = await refused(unwrap(new_label, attributes))
        assert {word for _, word in refusal.bad_approvals} == {"approval.wrong-payload"}
    found = parse_attestation((await unwrap(f"{label}-in", DECRYPT_ONLY)).xml)
    assert (found.label, found.creation, found.algorithm, found.key_size) == (f"{label}-in", "imported", "AES", 256)
    assert (found.attributes["extractable"], found.attributes["neverExtractable"]) == (False, False)
    assert (found.attributes["sensitive"], found.attributes["alwaysSensitive"]) == (True, False)
    assert f"new key '{label}-in' {found.uuid}" in hsm.decisions()[-1]["note"]
    # It is that key: what openssl encrypts with the bytes, it decrypts.
    ciphertext = openssl.aes("cbc", AES, bytes(16), bytes(32), decrypt=False)
    assert (await client.decrypt(b"", f"{label}-in", ciphertext, "AES_CBC_NO_PADDING", iv=bytes(16))).data == bytes(32)
    assert parse_attestation((await client.attest(label)).xml).key_use_count == 1


@pytest.mark.rule("R16")
async def test_a_protected_key_unwraps_nothing_with_a_policy_and_an_ordinary_one_does(
    client: HsmClient, label: str
) -> None:
    # An elliptic curve key, wrapped by openssl under an AES key that both sides know.
    kek_spki = public(await create_rsa(client, f"{label}-kek", None, unwrap=True))
    await client.unwrap(
        operation_id(),
        f"{label}-kek",
        openssl.rsa_encrypt(kek_spki, AES, OAEP_SHA1),
        "RSA_WRAP_OAEP",
        f"{label}-aes",
        attributes={"unwrap": True},
    )
    pkcs8 = private_key_to_der(generate(make_spec("EC", P256, 0)))
    wrapped = openssl.key_wrap("wrap-pad", AES, pkcs8, decrypt=False)
    policy = encode_policy(make_policy(quorum(1, ADA)))
    attested = await client.unwrap(
        operation_id(),
        f"{label}-aes",
        wrapped,
        "AES_WRAP_PAD_EC",
        f"{label}-ec",
        attributes={"sign": True},
        policy=policy,
        blocked=True,
    )
    found = parse_attestation(attested.xml)
    assert (found.creation, found.blocked, found.policy) == ("imported", True, make_policy(quorum(1, ADA)))
    assert (await client.lookup(f"{label}-ec")).last_blocked == found.create_time
    # The same under a protected key: nobody has approved that policy.
    spki = public(await create_rsa(client, label, POLICY, unwrap=True))
    secret = openssl.rsa_encrypt(spki, AES, OAEP_SHA1)
    approvals = both(label, Action.USE, unwrap_payload_for({"unwrap": True}, secret, f"{label}-p"))
    call = protocol.Unwrap(
        operation_id(), label, secret, "RSA_WRAP_OAEP", f"{label}-p", {"unwrap": True}, approvals, policy
    )
    # Of a symmetric key it would be refused in any case.
    with pytest.raises(KeyturnError) as caught:
        await client.call(call)
    assert caught.value.refusal == "policy.symmetric-key"


@pytest.mark.rule("R16")
async def test_an_id_that_nobody_approved_is_refused_unwrap_unapproved_id(client: HsmClient, label: str) -> None:
    spki = public(await create_rsa(client, label, POLICY, unwrap=True))
    wrapped = openssl.rsa_encrypt(spki, AES, OAEP_SHA1)
    approvals = both(label, Action.USE, unwrap_payload_for(DECRYPT_ONLY, wrapped, f"{label}-in"))

    async def unwrap(key_id: str | None) -> protocol.Attested:
        return await client.unwrap(
            operation_id(),
            label,
            wrapped,
            "RSA_WRAP_OAEP",
            f"{label}-in",
            attributes=DECRYPT_ONLY,
            approvals=approvals,
            key_id=key_id,
        )

    assert (await refused(unwrap("id-of-another"))).refusal == "unwrap.unapproved-id"
    assert parse_attestation((await unwrap(None)).xml).key_id is None


@pytest.mark.rule("R16")
async def test_a_policy_that_nobody_approved_is_refused_before_anything_else_unwrap_unapproved_policy(
    client: HsmClient, label: str
) -> None:
    await create_rsa(client, label, POLICY, unwrap=True)
    policy = encode_policy(make_policy(quorum(1, ADA)))

    async def unwrap(policy: bytes) -> str:
        return (
            await refused(
                client.unwrap(
                    operation_id(),
                    label,
                    bytes(40),
                    "AES_WRAP_PAD_EC",
                    f"{label}-new",
                    attributes={"sign": True},
                    policy=policy,
                )
            )
        ).refusal

    assert await unwrap(policy) == "unwrap.unapproved-policy"
    assert await unwrap(b"") == "approvals.missing"


async def test_an_unwrap_with_a_defect_is_refused_and_makes_no_key(client: HsmClient, label: str) -> None:
    spki = public(await create_rsa(client, label, None, unwrap=True))
    wrapped = openssl.rsa_encrypt(spki, AES, OAEP_SHA1)
    new = f"{label}-new"

    async def attempt(
        wrapped: bytes = wrapped,
        method: str = "RSA_WRAP_OAEP",
        new_label: str = new,
        attributes: dict[str, bool] = DECRYPT_ONLY,
        *,
        blocked: bool = False,
    ) -> protocol.Attested:
        return await client.unwrap(
            operation_id(), label, wrapped, method, new_label, attributes=attributes, blocked=blocked
        )

    assert (await refused(attempt(bytes(256)))).refusal == "unwrap.failed"
    assert (await refused(attempt(method="AES_WRAP"))).refusal == "wrap.wrong-key-type"
    assert (await refused(attempt(method="AES_WRAP_ISS"))).refusal == "wrap.method"
    assert (await refused(attempt(new_label=label))).refusal == "key.exists"
    assert (await refused(attempt(new_label="timestamp-key"))).refusal == "label.system-key"
    assert (await refused(attempt(attributes={}))).refusal == "attribute.no-use"
    assert (await refused(attempt(blocked=True))).refusal == "key.blocked-without-policy"
    assert new not in await client.labels()
    await attempt()
    assert new in await client.labels()


# --- block and unblock -------------------------------------------------------------------------------


@pytest.mark.rule("R31")
async def test_a_blocked_key_refuses_every_use_and_an_unblocked_one_takes_the_same_approvals(
    client: HsmClient, label: str
) -> None:
    made = parse_attestation((await create_ec(client, label, POLICY)).xml)
    approvals = both(label, Action.USE, b"pay 5")
    refusal = await refused(client.block(operation_id(), label, both(label, Action.USE, b"pay 5")))
    assert {word for _, word in refusal.bad_approvals} == {"approval.wrong-operation"}
    blocked = parse_attestation((await client.block(operation_id(), label, both(label, Action.BLOCK))).xml)
    assert (blocked.blocked, blocked.state_counter > made.state_counter) == (True, True)
    assert (await client.lookup(label)).last_blocked == blocked.attest_time
    refusal = await refused(client.sign(operation_id(), label, b"pay 5", "SHA256_WITH_ECDSA", approvals=approvals))
    assert (refusal.code, refusal.refusal) == (ErrorCode.IN_HSM, "key.blocked")
    refusal = await refused(client.unblock(operation_id(), label, both(label, Action.BLOCK)))
    assert {word for _, word in refusal.bad_approvals} == {"approval.wrong-operation"}
    unblocked = parse_attestation((await client.unblock(operation_id(), label, both(label, Action.UNBLOCK))).xml)
    assert (unblocked.blocked, unblocked.state_counter > blocked.state_counter) == (False, True)
    await client.sign(operation_id(), label, b"pay 5", "SHA256_WITH_ECDSA", approvals=approvals)


@pytest.mark.rule("R31")
async def test_stored_results_of_a_use_stay_inside_while_the_key_is_blocked(client: HsmClient, label: str) -> None:
    await create_ec(client, label, POLICY)
    operation, approvals = operation_id(), both(label, Action.USE, b"pay 5")
    signature = await client.sign(operation, label, b"pay 5", "SHA256_WITH_ECDSA", approvals=approvals)
    block, to_block = operation_id(), both(label, Action.BLOCK)
    attested = await client.block(block, label, to_block)
    refusal = await refused(client.sign(operation, label, b"pay 5", "SHA256_WITH_ECDSA", approvals=approvals))
    assert refusal.refusal == "key.blocked"
    # That the block was done may be asked again, of course.
    assert await client.block(block, label, to_block) == attested
    await client.unblock(operation_id(), label, both(label, Action.UNBLOCK))
    assert await client.sign(operation, label, b"pay 5", "SHA256_WITH_ECDSA", approvals=approvals) == signature


@pytest.mark.rule("R31")
async def test_the_stored_results_of_a_blocked_key_go_with_it_operation_other_key(
    client: HsmClient, label: str
) -> None:
    spki = public(await create_rsa(client, label, POLICY, decrypt=True, destroyable=True))
    ciphertext = openssl.rsa_encrypt(spki, b"the vault's combination", OAEP_SHA256)
    operation, approvals = operation_id(), both(label, Action.USE, ciphertext)

    async def again() -> HsmRefusedError:
        return await refused(client.decrypt(operation, label, ciphertext, OAEP, approvals=approvals))

    done = await client.decrypt(operation, label, ciphertext, OAEP, approvals=approvals)
    assert await client.decrypt(operation, label, ciphertext, OAEP, approvals=approvals) == done
    await client.block(operation_id(), label, both(label, Action.BLOCK))
    assert (await again()).refusal == "key.blocked"
    # Neither deleting the key nor another one of its name lets out what the block holds back.
    await client.delete(operation_id(), label)
    assert (await again()).refusal == "key.unknown"
    successor = public(await create_rsa(client, label, POLICY, decrypt=True))
    assert (await again()).refusal == "operation.other-key"
    # The successor has results of its own, and repeats them.
    ciphertext = openssl.rsa_encrypt(successor, b"another combination", OAEP_SHA256)
    stamped = await stamp(client, label, Action.USE, ciphertext)
    operation = operation_id()
    approvals = [approve(officer, label, Action.USE, ciphertext, stamped) for officer in (ADA, BEN)]
    done = await client.decrypt(operation, label, ciphertext, OAEP, approvals=approvals)
    assert await client.decrypt(operation, label, ciphertext, OAEP, approvals=approvals) == done


@pytest.mark.rule("R31")
async def test_nothing_decided_behind_a_block_gets_through(client: HsmClient, label: str) -> None:
    await create_ec(client, label, POLICY)
    approvals = both(label, Action.USE, b"pay 5")

    async def sign() -> str:
        try:
            await client.sign(operation_id(), label, b"pay 5", "SHA256_WITH_ECDSA", approvals=approvals)
        except KeyturnError as error:
            return error.refusal
        return "signed"

    # All of it leaves in one write: five uses, the block, five uses.
    before = [asyncio.ensure_future(sign()) for _ in range(5)]
    block = asyncio.ensure_future(client.block(operation_id(), label, both(label, Action.BLOCK)))
    after = [asyncio.ensure_future(sign()) for _ in range(5)]
    await block
    assert await asyncio.gather(*before) == ["signed"] * 5
    assert await asyncio.gather(*after) == ["key.blocked"] * 5


async def test_an_ordinary_key_is_neither_blocked_nor_unblocked_policy_none(client: HsmClient, label: str) -> None:
    await create_ec(client, label)
    for act in (client.block(operation_id(), label), client.unblock(operation_id(), label)):
        refusal = await refused(act)
        assert (refusal.code, refusal.refusal) == (ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, "policy.none")
    await create_ec(client, f"{label}-p", make_policy(quorum(1, ADA), block=Rule.ALWAYS))
    await client.block(operation_id(), f"{label}-p")


async def test_a_key_that_is_not_blocked_is_not_unblocked_and_no_approval_is_used_up_key_not_blocked(
    client: HsmClient, label: str
) -> None:
    await create_ec(client, label, POLICY)
    approvals = both(label, Action.UNBLOCK)
    assert (await refused(client.unblock(operation_id(), label, approvals))).refusal == "key.not-blocked"
    await client.block(operation_id(), label, both(label, Action.BLOCK))
    await client.unblock(operation_id(), label, approvals)


async def test_a_block_of_a_blocked_key_is_a_later_block(client: HsmClient, label: str) -> None:
    await create_ec(client, label, POLICY)
    first = parse_attestation((await client.block(operation_id(), label, both(label, Action.BLOCK))).xml)
    early = await stamp(client, label, Action.UNBLOCK)
    approvals = [approve(officer, label, Action.UNBLOCK, None, early) for officer in (ADA, BEN)]
    second = parse_attestation((await client.block(operation_id(), label, both(label, Action.BLOCK))).xml)
    assert (second.blocked, second.state_counter > first.state_counter) == (True, True)
    refusal = await refused(client.unblock(operation_id(), label, approvals))
    assert {word for _, word in refusal.bad_approvals} == {"approval.stale-timestamp"}
    late = await stamp(client, label, Action.UNBLOCK)
    await client.unblock(
        operation_id(), label, [approve(officer, label, Action.UNBLOCK, None, late) for officer in (ADA, BEN)]
    )


async def test_a_key_that_starts_blocked_is_unblocked_by_its_officers(client: HsmClient, label: str) -> None:
    await create_ec(client, label, POLICY, blocked=True)
    approvals = both(label, Action.USE, b"x")
    refusal = await refused(client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=approvals))
    assert refusal.refusal == "key.blocked"
    await client.unblock(operation_id(), label, both(label, Action.UNBLOCK))
    await client.sign(operation_id(), label, b"x", "SHA256_WITH_ECDSA", approvals=approvals)


# --- modify ------------------------------------------------------------------------------------------


async def test_a_blocked_key_is_modified_by_its_officers_and_stays_blocked(client: HsmClient, label: str) -> None:
    await create_ec(client, label, POLICY, blocked=True)
    new = encode_policy(make_policy(quorum(1, EVE)))
    refusal = await refused(client.modify(operation_id(), label, new, both(label, Action.MODIFY, new)[:1]))
    assert refusal.refusal == "approvals.missing"
    modified = parse_attestation((await client.modify(operation_id(), label, new, both(label, Action.MODIFY, new))).xml)
    assert (modified.blocked, modified.policy) == (True, make_policy(quorum(1, EVE)))
    assert (await client.lookup(label)).last_modified == modified.attest_time
    assert (await refused(client.unblock(operation_id(), label, both(label, Action.UNBLOCK)))).refusal == (
        "approvals.missing"
    )
    await client.unblock(operation_id(), label, [approve(EVE, label, Action.UNBLOCK)])
