"""What may become a key: every refusal beside the same call without its defect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from keyturn.errors import ErrorCode
from keyturn.hsm.client import HsmClient, HsmRefusedError
from keyturn.hsm.protocol import CreateKey
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.policy import EMPTY_POLICY, Group, Rule, encode_policy
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import ED25519, P256, create_ec, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum, token

if TYPE_CHECKING:
    from pathlib import Path

ADA, BEN = Officer("ada"), Officer("ben")
BAD_ATTRIBUTES = ErrorCode.KEY_ATTRIBUTES_INVALID
POLICY = encode_policy(make_policy(quorum(1, ADA, BEN)))


def _call(label: str, **changes: Any) -> CreateKey:
    return msgspec.structs.replace(
        CreateKey(operation_id(), label, "EC", P256, 0, {"sign": True}, b"", blocked=False), **changes
    )


async def _refused(client: HsmClient, call: CreateKey) -> HsmRefusedError:
    with pytest.raises(HsmRefusedError) as caught:
        await client.call(call)
    return caught.value


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [
        ({"algorithm": "DES", "curve_oid": "", "key_size": 256}, ErrorCode.VALIDATION_FAILED, "key.algorithm"),
        ({"algorithm": "AES", "curve_oid": "", "key_size": 512}, ErrorCode.KEY_SIZE, "key.size"),
        ({"curve_oid": "1.2.3"}, ErrorCode.VALIDATION_FAILED, "key.curve"),
        ({"algorithm": "RSA", "curve_oid": "", "key_size": 1024}, ErrorCode.KEY_SIZE, "key.weak"),
        ({"algorithm": "RSA", "curve_oid": "", "key_size": 2047}, ErrorCode.KEY_SIZE, "key.size"),
        ({"attributes": {}}, BAD_ATTRIBUTES, "attribute.no-use"),
        ({"attributes": {"sign": True, "bip32": True}}, BAD_ATTRIBUTES, "attribute.derivation"),
        ({"attributes": {"sign": True, "slip10": True}}, BAD_ATTRIBUTES, "attribute.derivation"),
        ({"attributes": {"sign": True, "singleUse": True}}, BAD_ATTRIBUTES, "attribute.single-use-without-policy"),
        ({"attributes": {"sign": True, "boundApprovals": True}}, BAD_ATTRIBUTES, "attribute.bound-without-policy"),
        ({"allowed_operations": ["sign", "verify"]}, BAD_ATTRIBUTES, "attribute.unknown-operation"),
        ({"allowed_operations": ["sign", "decrypt"]}, BAD_ATTRIBUTES, "attribute.useless-operation"),
        ({"allowed_algorithms": ["SHA256_WITH_ECSDA"]}, BAD_ATTRIBUTES, "attribute.unknown-algorithm"),
        ({"allowed_algorithms": ["SHA256_WITH_RSA"]}, BAD_ATTRIBUTES, "attribute.useless-algorithm"),
        ({"allowed_algorithms": ["RSA_PADDING_OAEP"]}, BAD_ATTRIBUTES, "attribute.useless-algorithm"),
        ({"blocked": True}, ErrorCode.KEY_ATTRIBUTES_INVALID, "key.blocked-without-policy"),
        ({"key_id": "x" * 257}, ErrorCode.VALIDATION_FAILED, "key.id-length"),
        ({"operation_id": b""}, ErrorCode.VALIDATION_FAILED, "operation.id-missing"),
        ({"operation_id": b"short"}, ErrorCode.VALIDATION_FAILED, "operation.id-size"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
async def test_a_creation_with_a_defect_is_refused_and_without_it_accepted(
    client: HsmClient, label: str, changes: dict[str, Any], code: ErrorCode, word: str
) -> None:
    refused = await _refused(client, _call(label, **changes))
    assert (refused.code, refused.refusal) == (code, word)
    await client.call(_call(label))


@pytest.mark.rule("R4")
@pytest.mark.parametrize("attribute", ["extractable", "copyable", "derive"])
async def test_a_key_with_a_policy_gets_no_way_out_and_a_key_without_one_may_have_it(
    client: HsmClient, label: str, attribute: str
) -> None:
    attributes = {"sign": True, attribute: True}
    refused = await _refused(client, _call(label, policy=POLICY, attributes=attributes))
    assert (refused.code, refused.refusal) == (
        ErrorCode.KEY_ATTRIBUTES_INVALID,
        f"attribute.{attribute}-with-policy",
    )
    await client.call(_call(label, policy=POLICY))
    await client.call(_call(f"{label}-ordinary", attributes=attributes))


@pytest.mark.rule("R4")
async def test_a_symmetric_key_with_a_policy_is_refused_and_its_policy_never_dropped(
    client: HsmClient, label: str
) -> None:
    refused = await _refused(client, _call(label, algorithm="AES", curve_oid="", key_size=256, policy=POLICY))
    assert refused.refusal == "policy.symmetric-key"
    assert label not in await client.labels()
    await client.call(_call(label, policy=POLICY))
    await client.call(_call(f"{label}-ordinary", algorithm="AES", curve_oid="", key_size=256))


@pytest.mark.rule("R5")
async def test_names_of_system_keys_are_no_labels(client: HsmClient, label: str) -> None:
    info = await client.info()
    for name in (info.integrity_key_name, "attestation-key"):
        refused = await _refused(client, _call(name))
        assert (refused.code, refused.refusal) == (ErrorCode.INVALID_KEY_NAME, "label.system-key")
        with pytest.raises(HsmRefusedError) as caught:
            await client.lookup(name)
        assert caught.value.code is ErrorCode.KEY_NOT_EXISTENT
        for act in (client.attest(name), client.delete(operation_id(), name), client.stamp(name, 1, b"x")):
            with pytest.raises(HsmRefusedError) as caught:
                await act
            assert caught.value.code is ErrorCode.KEY_NOT_EXISTENT
        assert name not in await client.labels()
    await client.call(_call(label))


@pytest.mark.rule("R18")
@pytest.mark.parametrize("bad", ["", "a/b", " a", "a\u202eb", "a\tb", "e\u0301", "x" * 129])
async def test_a_bad_label_is_refused_by_the_hsm_itself(client: HsmClient, label: str, bad: str) -> None:
    refused = await _refused(client, _call(bad))
    assert refused.code is ErrorCode.INVALID_KEY_NAME
    assert refused.refusal.startswith("label.")
    await client.call(_call(label))


@pytest.mark.parametrize(
    ("policy", "blocked", "word"),
    [
        (make_policy(quorum(0, ADA)), False, "policy."),
        (make_policy(quorum(3, ADA, BEN)), False, "policy."),
        (make_policy(quorum(1, ADA, ADA)), False, "policy."),
        (make_policy(Rule.NEVER), False, "policy."),
        (make_policy(Rule(tokens=(token(Group(None, 1, ())),))), False, "policy."),
        (make_policy(quorum(1, ADA, timelock=120, timeout=60)), False, "policy."),
        (make_policy(Rule(tokens=(token(), *quorum(1, ADA).tokens))), False, "policy."),
        (make_policy(quorum(1, ADA), unblock=Rule.NEVER), True, "policy."),
    ],
    ids=["quorum 0", "quorum 3 of 2", "twice", "never", "nobody", "closes first", "open token beside", "blocked"],
)
async def test_a_policy_that_cannot_be_enforced_is_refused_by_the_hsm_itself(
    client: HsmClient, label: str, policy: Any, blocked: bool, word: str
) -> None:
    refused = await _refused(client, _call(label, policy=encode_policy(policy), blocked=blocked))
    assert refused.refusal.startswith(word)
    await client.call(_call(label, policy=POLICY, blocked=blocked))


@pytest.mark.parametrize("edit", [lambda blob: blob[:-4], lambda blob: blob + b"\0\0\0\0", lambda blob: blob[4:]])
async def test_policy_bytes_in_another_form_are_refused(client: HsmClient, label: str, edit: Any) -> None:
    assert (await _refused(client, _call(label, policy=edit(POLICY)))).refusal == "format.invalid"
    await client.call(_call(label, policy=POLICY))


async def test_a_label_in_use_is_refused_with_608_and_a_free_one_accepted(client: HsmClient, label: str) -> None:
    await client.call(_call(label))
    refused = await _refused(client, _call(label))
    assert (refused.code, refused.refusal) == (ErrorCode.KEY_ALREADY_EXISTING, "key.exists")
    await client.call(_call(f"{label}-2"))


async def test_a_repeated_creation_returns_the_stored_answer_and_makes_one_key(client: HsmClient, label: str) -> None:
    call = _call(label)
    assert await client.call(call) == await client.call(call)
    other = msgspec.structs.replace(call, attributes={"sign": True, "destroyable": True})
    assert (await _refused(client, other)).refusal == "operation.input-differs"


async def test_attributes_left_out_get_the_documented_defaults(client: HsmClient, label: str) -> None:
    await client.create(operation_id(), label, "ED", curve_oid=ED25519, attributes={"sign": True, "x-unknown": True})
    found = parse_attestation((await client.attest(label)).xml).attributes
    assert found["sign"]
    assert found["modifiable"]
    assert found["sensitive"]
    assert found["neverExtractable"]
    for name in ("decrypt", "unwrap", "derive", "extractable", "copyable", "destroyable"):
        assert found[name] is False
    assert "x-unknown" not in found


async def test_only_a_destroyable_key_is_deleted(client: HsmClient, label: str) -> None:
    await create_ec(client, label)
    with pytest.raises(HsmRefusedError) as caught:
        await client.delete(operation_id(), label)
    assert (caught.value.code, caught.value.refusal) == (
        ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
        "key.not-destroyable",
    )
    await create_ec(client, f"{label}-2", destroyable=True)
    operation = operation_id()
    await client.delete(operation, f"{label}-2")
    await client.delete(operation, f"{label}-2")


async def test_a_key_without_a_policy_can_never_get_one(client: HsmClient, label: str) -> None:
    await create_ec(client, label)
    with pytest.raises(HsmRefusedError) as caught:
        await client.modify(operation_id(), label, POLICY)
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, "policy.none")
    await create_ec(client, f"{label}-2", EMPTY_POLICY)
    await client.modify(operation_id(), f"{label}-2", POLICY)


async def test_modify_keeps_the_blocked_flag(client: HsmClient, label: str) -> None:
    await create_ec(client, label, make_policy(quorum(1, ADA)), blocked=True)
    done = await client.modify(operation_id(), label, POLICY, [ADA.approve_modify(label, POLICY)])
    assert parse_attestation(done.xml).blocked
    assert (await client.lookup(label)).blocked


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)


@pytest.mark.rule("R10")
async def test_the_switches_of_the_hsm_are_its_own_and_the_weakening_ones_are_attested(tmp_path: Path) -> None:
    config = tmp_path / "hsm.yaml"
    _write(config, "dataDir: /nowhere\nallowWeakKeys: true\nrequireProtectedModify: true\n")
    options = ("--config", str(config), "--allow-unlabelled-approvals")
    with HsmProcess(tmp_path / "hsm", options=options) as hsm:
        client = await HsmClient.connect(hsm.address)
        for policy, word in (
            (make_policy(quorum(1, ADA), modify=Rule.ALWAYS), "policy.open-modify"),
            (make_policy(quorum(2, ADA, BEN), unblock=quorum(1, ADA)), "policy.open-unblock"),
        ):
            assert (await _refused(client, _call("k", policy=encode_policy(policy)))).refusal == word
        made = await create_ec(client, "k", make_policy(quorum(2, ADA, BEN)))
        weakened = encode_policy(make_policy(quorum(2, ADA, BEN), modify=quorum(1, ADA)))
        approvals = [one.approve_modify("k", weakened) for one in (ADA, BEN)]
        with pytest.raises(HsmRefusedError) as caught:
            await client.modify(operation_id(), "k", weakened, approvals)
        assert caught.value.refusal == "policy.open-modify"
        switches = ("allowUnlabelledApprovals", "allowWeakKeys")
        assert parse_attestation(made.xml).switches == switches
        assert (await client.info()).switches == list(switches)
        weak = await client.create(operation_id(), "weak", "RSA", key_size=1024, attributes={"sign": True})
        assert parse_attestation(weak.xml).key_size == 1024
        await client.close()


@pytest.mark.rule("R31")
async def test_timestamps_and_attestations_are_rate_limited_and_signing_is_not(tmp_path: Path) -> None:
    options = ("--stamps-per-second", "0.1", "--attestations-per-second", "0.1")
    with HsmProcess(tmp_path / "hsm", options=options) as hsm:
        client = await HsmClient.connect(hsm.address)
        await create_ec(client, "k", make_policy(quorum(1, ADA)))
        await client.stamp("k", 1, b"x")
        await client.attest("k")
        for act in (client.stamp("k", 1, b"x"), client.attest("k")):
            with pytest.raises(HsmRefusedError) as caught:
                await act
            assert caught.value.refusal == "rate.limited"
            assert hsm.last_refusal()["refusal"] == "rate.limited"
        await client.sign(operation_id(), "k", b"x", "SHA256_WITH_ECDSA", approvals=[ADA.approve_use("k", b"x")])
        await client.close()


@pytest.mark.rule("R12")
@pytest.mark.parametrize(
    ("action", "payload", "word"),
    [(0, b"x", "stamp.action"), (5, b"x", "stamp.action"), (2, b"x", "stamp.payload"), (4, b"x", "format.invalid")],
)
async def test_a_timestamp_for_something_impossible_is_refused(
    client: HsmClient, label: str, action: int, payload: bytes, word: str
) -> None:
    await create_ec(client, label, make_policy(quorum(1, ADA)))
    with pytest.raises(HsmRefusedError) as caught:
        await client.stamp(label, action, payload)
    assert caught.value.refusal == word
    for good, of in ((1, b"x"), (2, b""), (3, b""), (4, POLICY)):
        await client.stamp(label, good, of)


async def test_a_timestamp_for_an_ordinary_key_is_refused(client: HsmClient, label: str) -> None:
    await create_ec(client, label)
    with pytest.raises(HsmRefusedError) as caught:
        await client.stamp(label, 1, b"x")
    assert caught.value.refusal == "policy.none"
