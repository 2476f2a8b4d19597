"""Passwords of keys in the real HSM: a second lock behind the approvals, with few tries (R27, R28)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.errors import ErrorCode
from keyturn.hsm import passwords, protocol
from keyturn.hsm.client import HsmClient
from keyturn.hsm.passwords import SECONDS_PER_TRY, TRIES
from keyturn.ska.actions import Action
from keyturn.ska.policy import Rule, encode_policy
from keyturn_testing.hsm_actions import approve, refused, stamp
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import P256, create_ec, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum, token
from keyturn_testing.passwords import seal, sealed

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.ska.policy import Policy
    from keyturn_testing.hsm_process import HsmProcess

pytestmark = pytest.mark.rule("R27")

ADA, BEN = Officer("ada"), Officer("ben", "ED")
SHA = "SHA256_WITH_ECDSA"
ALWAYS = Rule(tokens=(token(),))
PASSWORD = "correct horse battery staple"


async def locked(
    client: HsmClient, label: str, password: str = PASSWORD, policy: Policy | None = None, **attributes: bool
) -> protocol.Attested:
    """Create a P-256 key with a password."""
    return await client.create(
        operation_id(),
        label,
        "EC",
        curve_oid=P256,
        attributes={"sign": True, **attributes},
        policy=b"" if policy is None else encode_policy(policy),
        sealed_password=await sealed(client, label, password),
    )


async def test_a_key_with_a_password_signs_with_it_only(client: HsmClient, label: str, hsm: HsmProcess) -> None:
    await locked(client, label)
    for wrong in (b"", await sealed(client, label, PASSWORD + "r")):
        refusal = await refused(client.sign(b"", label, b"pay", SHA, sealed_password=wrong))
        assert (refusal.code, refusal.refusal) == (ErrorCode.KEY_PASSWORD_MISMATCH, "key.password")
        assert "password mismatch" in refusal.message
    right = await sealed(client, label, PASSWORD)
    signature = await client.sign(b"", label, b"pay", SHA, sealed_password=right)
    assert await client.verify(label, b"pay", SHA, signature)
    assert (await client.lookup(label)).has_password
    assert PASSWORD not in str(hsm.decisions())


async def test_a_sealed_password_of_another_key_helps_nobody(client: HsmClient, label: str) -> None:
    await locked(client, label)
    await locked(client, label + "-twin")
    theirs = await sealed(client, label + "-twin", PASSWORD)
    refusal = await refused(client.sign(b"", label, b"pay", SHA, sealed_password=theirs))
    assert (refusal.code, refusal.refusal) == (ErrorCode.KEY_PASSWORD_MISMATCH, "password.seal")
    assert await client.sign(b"", label + "-twin", b"pay", SHA, sealed_password=theirs)


async def test_a_key_without_a_password_refuses_one(client: HsmClient, label: str) -> None:
    await create_ec(client, label)
    some = await sealed(client, label, PASSWORD)
    refusal = await refused(client.sign(b"", label, b"pay", SHA, sealed_password=some))
    assert refusal.refusal == "key.password"
    assert await client.sign(b"", label, b"pay", SHA)


async def test_a_password_replaces_no_approvals_and_approvals_no_password(client: HsmClient, label: str) -> None:
    await locked(client, label, policy=make_policy(quorum(2, ADA, BEN)))
    right, wrong = await sealed(client, label, PASSWORD), await sealed(client, label, "guess")
    approvals = [approve(officer, label, Action.USE, b"pay") for officer in (ADA, BEN)]
    # Without approvals nobody learns whether a password is right, and nobody uses up tries.
    for given in [right, wrong] * (TRIES + 2):
        refusal = await refused(client.sign(operation_id(), label, b"pay", SHA, sealed_password=given))
        assert refusal.refusal == "approvals.missing"
    refusal = await refused(client.sign(operation_id(), label, b"pay", SHA, approvals=approvals, sealed_password=wrong))
    assert refusal.refusal == "key.password"
    assert await client.sign(operation_id(), label, b"pay", SHA, approvals=approvals, sealed_password=right)


async def test_a_wrong_password_consumes_no_approval_of_a_single_use_key(client: HsmClient, label: str) -> None:
    await locked(client, label, policy=make_policy(quorum(1, ADA, timeout=600)), singleUse=True)
    right, wrong = await sealed(client, label, PASSWORD), await sealed(client, label, "guess")
    stamped = await stamp(client, label, Action.USE, b"pay")
    approvals = [approve(ADA, label, Action.USE, b"pay", stamped)]
    refusal = await refused(client.sign(operation_id(), label, b"pay", SHA, approvals=approvals, sealed_password=wrong))
    assert refusal.refusal == "key.password"
    first = await client.sign(operation_id(), label, b"pay", SHA, approvals=approvals, sealed_password=right)
    # The stored result of a spent statement is behind the password, too.
    refusal = await refused(client.sign(operation_id(), label, b"pay", SHA, approvals=approvals, sealed_password=wrong))
    assert refusal.refusal == "key.password"
    again = await sealed(client, label, PASSWORD)
    assert await client.sign(operation_id(), label, b"pay", SHA, approvals=approvals, sealed_password=again) == first


async def test_every_call_about_a_key_takes_its_password(client: HsmClient, label: str) -> None:
    open_rule = make_policy(quorum(1, ADA), modify=ALWAYS, block=ALWAYS, unblock=ALWAYS)
    await locked(client, label, policy=open_rule, destroyable=True)
    right, wrong = await sealed(client, label, PASSWORD), await sealed(client, label, "guess")
    policy = encode_policy(open_rule)
    acts = (
        lambda given: client.attest(label, given),
        lambda given: client.check_password(label, given),
        lambda given: client.block(operation_id(), label, sealed_password=given),
        lambda given: client.unblock(operation_id(), label, sealed_password=given),
        lambda given: client.modify(operation_id(), label, policy, sealed_password=given),
        lambda given: client.delete(operation_id(), label, sealed_password=given),
    )
    for act in acts:
        assert (await refused(act(wrong))).refusal == "key.password"
        await act(right)


async def test_attested_attributes_without_a_callers_word_need_none(client: HsmClient, label: str) -> None:
    await locked(client, label)
    assert (await client.attest(label)).xml
    assert (await refused(client.attest(label, b""))).refusal == "key.password"


async def test_a_password_is_changed_removed_and_given(client: HsmClient, label: str) -> None:
    await locked(client, label)
    old, new = await sealed(client, label, PASSWORD), await sealed(client, label, "new one")
    refusal = await refused(client.change_password(operation_id(), label, new, sealed_password=new))
    assert refusal.refusal == "key.password"
    await client.change_password(operation_id(), label, new, sealed_password=old)
    assert (await refused(client.sign(b"", label, b"pay", SHA, sealed_password=old))).refusal == "key.password"
    assert await client.sign(b"", label, b"pay", SHA, sealed_password=new)
    await client.change_password(operation_id(), label, sealed_password=new)
    assert await client.sign(b"", label, b"pay", SHA)
    await client.change_password(operation_id(), label, old)
    assert await client.sign(b"", label, b"pay", SHA, sealed_password=old)


async def test_key_not_modifiable(client: HsmClient, label: str) -> None:
    await locked(client, label, modifiable=False)
    old, new = await sealed(client, label, PASSWORD), await sealed(client, label, "new one")
    refusal = await refused(client.change_password(operation_id(), label, new, sealed_password=old))
    assert (refusal.code, refusal.refusal) == (ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, "key.not-modifiable")


@pytest.mark.rule("R28")
async def test_r28_where_modify_needs_approvals_nobody_changes_the_password(client: HsmClient, label: str) -> None:
    await locked(client, label, policy=make_policy(quorum(1, ADA), modify=quorum(1, BEN)))
    await locked(client, label + "-open", policy=make_policy(quorum(1, ADA), modify=ALWAYS))
    for name, word in ((label, "approvals.missing"), (label + "-open", "")):
        old, new = await sealed(client, name, PASSWORD), await sealed(client, name, "new one")
        act = client.change_password(operation_id(), name, new, sealed_password=old)
        if word:
            assert (await refused(act)).refusal == word
        else:
            await act


@pytest.mark.rule("R4")
async def test_export_gives_what_was_created_to_leave(client: HsmClient, label: str) -> None:
    await create_ec(client, label, extractable=True, sensitive=False)
    exported = await client.export(label)
    assert exported.private_key
    assert exported.public_key == (await client.lookup(label)).public_key
    assert str(exported) == "Exported(…)"
    await create_ec(client, label + "-kept")
    refusal = await refused(client.export(label + "-kept"))
    assert (refusal.code, refusal.refusal) == (ErrorCode.KEY_ATTRIBUTES_INVALID, "key.attribute")
    await create_ec(client, label + "-sensitive", extractable=True, sensitive=True)
    assert (await refused(client.export(label + "-sensitive"))).refusal == "export.sensitive"
    await create_ec(client, label + "-governed", make_policy(quorum(1, ADA)))
    refusal = await refused(client.export(label + "-governed"))
    assert refusal.code in {ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, ErrorCode.KEY_ATTRIBUTES_INVALID}


async def test_export_needs_the_password(client: HsmClient, label: str) -> None:
    await locked(client, label, extractable=True, sensitive=False)
    assert (await refused(client.export(label))).refusal == "key.password"
    assert (await client.export(label, sealed_password=await sealed(client, label, PASSWORD))).private_key


async def test_a_slow_key_gets_its_password_too(client: HsmClient, label: str) -> None:
    made = await client.create(
        operation_id(),
        label,
        "RSA",
        key_size=2048,
        attributes={"sign": True},
        sealed_password=await sealed(client, label, PASSWORD),
    )
    assert made.xml
    refusal = await refused(client.sign(b"", label, b"pay", "SHA256_WITH_RSA"))
    assert refusal.refusal == "key.password"


async def test_a_password_outlives_a_restart(hsm: HsmProcess, client: HsmClient, label: str) -> None:
    await locked(client, label)
    right = await sealed(client, label, PASSWORD)
    hsm.restart()
    after = await HsmClient.connect(hsm.address)
    assert await after.sign(b"", label, b"pay", SHA, sealed_password=right)
    assert (await refused(after.sign(b"", label, b"pay", SHA))).refusal == "key.password"
    await after.close()


def test_wrong_tries_are_limited_and_the_right_one_waits_with_them(tmp_path: Path) -> None:
    room = Room(tmp_path / "store")
    now = 0.0
    room.engine._context.passwords._monotonic = lambda: now
    info = room.engine._context.system_keys.transport.spki

    made = room.ask(
        protocol.CreateKey(
            operation_id(),
            "till",
            "EC",
            P256,
            0,
            {"sign": True},
            b"",
            False,
            sealed_password=seal(info, "till", "right"),
        )
    )
    assert isinstance(made, protocol.Attested), made

    def sign(password: str) -> object:
        return room.ask(protocol.Sign(b"", "till", b"pay", SHA, "", [], sealed_password=seal(info, "till", password)))

    def word(password: str) -> str:
        answer = sign(password)
        assert isinstance(answer, protocol.Refused)
        return answer.refusal

    assert isinstance(sign("right"), protocol.Signed)
    assert [word(f"guess {number}") for number in range(TRIES)] == ["key.password"] * TRIES
    assert word("guess") == "key.password-tries"
    assert word("right") == "key.password-tries"  # Or guessing would go on.
    now += SECONDS_PER_TRY + 0.1
    assert isinstance(sign("right"), protocol.Signed)
    assert word("guess") == "key.password"
    assert word("guess") == "key.password-tries"
    room.close()


def test_ten_thousand_signatures_cost_one_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    room = Room(tmp_path / "store")
    spki = room.engine._context.system_keys.transport.spki
    hashes: list[bytes] = []
    real = passwords.slow_hash

    def counted(password: bytes, salt: bytes) -> bytes:
        hashes.append(salt)
        return real(password, salt)

    monkeypatch.setattr(passwords, "slow_hash", counted)
    room.ask(
        protocol.CreateKey(
            operation_id(), "till", "EC", P256, 0, {"sign": True}, b"", False, sealed_password=seal(spki, "till", "pw")
        )
    )
    for _ in range(20):
        answer = room.ask(protocol.Sign(b"", "till", b"pay", SHA, "", [], sealed_password=seal(spki, "till", "pw")))
        assert isinstance(answer, protocol.Signed)
    assert len(hashes) == 2  # One when it was made, one at the first use.
    assert repr(room.engine._context.passwords) == "<Passwords>"
    room.close()
