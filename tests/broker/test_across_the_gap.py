"""The air-gapped journey on real keys in a real HSM process: the seven steps, and everything that must not pass.

"Offline" is a second broker of profile `local` on the HSM; the courier is a variable.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.broker.airgapped import AirGappedExecutor
from keyturn.broker.answers import OFFLINE_RESULT
from keyturn.broker.calls import CreateCall, ModifyCall, SignCall
from keyturn.broker.states import RequestStatus
from keyturn.clock import SystemClock
from keyturn.crypto.registry import verify
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.policy import EMPTY_POLICY, encode_policy
from keyturn_testing.broker_world import (
    attributes_body,
    execute_offline,
    gap_world,
    local_world,
    memory_world,
    opened,
    register,
)
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keyturn.ska.policy import Policy
    from keyturn_testing.broker_world import World

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "RSA"), Officer("eve", "ED")
DAN = Officer("dan", "P-384")
TWO_OF_THREE = make_policy(use=quorum(2, ADA, BEN, EVE))


@pytest.fixture
async def offline(hsm: HsmProcess, tmp_path: Path) -> AsyncIterator[World]:
    async with local_world(tmp_path / "offline", hsm) as world:
        yield world


@pytest.fixture
async def online(offline: World, tmp_path: Path) -> AsyncIterator[World]:
    async with gap_world(tmp_path / "online", await offline.broker.attestation_chain()) as world:
        yield world


async def import_refused(world: World, body: dict[str, Any]) -> KeyturnError:
    with pytest.raises(KeyturnError) as caught:
        await world.broker.import_result(body)
    return caught.value


async def test_the_seven_steps_of_signing(offline: World, online: World) -> None:
    # 1. In the vault a key is created whose policy wants two of three officers; its attributes are attested.
    attested = await offline.create("steps-sign", TWO_OF_THREE)
    # 2. The courier carries the attested attributes out; the online broker registers the key.
    await register(online, attested)
    assert await online.broker.list_keys() == ["steps-sign"]
    # 3. The business application asks for a signature.
    request_id = await online.ask_signature("steps-sign", b"pay 100 to Alice")
    assert (await online.view(request_id)).result is None
    # 4. The officers look; two approve, one rejects.
    await online.approve(ADA)
    await online.reject(BEN)
    assert (await online.broker.preflight(request_id))["satisfied"] is False
    await online.approve(EVE)
    view = await online.view(request_id)
    assert (view.status, view.result, view.execution_time) == (RequestStatus.PENDING, OFFLINE_RESULT, None)
    assert (view.approved_by, view.rejected_by) == ((ADA.spki, EVE.spki), (BEN.spki,))
    assert (await online.broker.preflight(request_id))["satisfied"] is True
    # 5. The courier carries the request into the vault.
    carried = view.input_offline_hsm
    assert carried is not None
    assert carried["signRequest"]["signKeyName"] == "steps-sign"
    assert len(carried["signRequest"]["signedApprovals"]) == 2
    # 6. The HSM checks every approval itself, and signs.
    answer = await execute_offline(offline, carried)
    # 7. The courier carries the signature out; the broker verifies it, and the application reads it.
    await online.broker.import_result({"id": request_id, **answer})
    view = await online.view(request_id)
    assert (view.status, view.result, view.input_offline_hsm) == (RequestStatus.EXECUTED, answer["result"], None)
    assert view.execution_time is not None
    verify(attested.attestation.public_key, "SHA256_WITH_ECDSA", b"pay 100 to Alice", b64decode(answer["result"]))


async def test_the_seven_steps_of_modifying(offline: World, online: World) -> None:
    # 1. In the vault there is a key of two of three officers.
    attested = await offline.create("steps-modify", TWO_OF_THREE)
    # 2. It is registered online.
    await register(online, attested)
    # 3. Eve leaves, Dan comes: the application asks for a new policy.
    wanted = make_policy(use=quorum(2, ADA, BEN, DAN))
    request_id = await online.ask_change("steps-modify", wanted)
    # 4. Two officers approve exactly these policy bytes.
    await online.approve(ADA)
    assert (await online.view(request_id)).result == OFFLINE_RESULT
    await online.approve(EVE)
    assert (await online.broker.preflight(request_id))["satisfied"] is True
    # 5. The courier carries the request into the vault.
    carried = (await online.view(request_id)).input_offline_hsm
    assert carried is not None
    # 6. The HSM replaces the policy and attests the key as it is now.
    answer = await execute_offline(offline, carried)
    # 7. The attested attributes come back; the register follows, and the next request asks the new officers.
    await online.broker.import_result({"id": request_id, **answer})
    view = await online.view(request_id)
    assert (view.status, view.result) == (RequestStatus.EXECUTED, None)
    assert (await online.broker.attested_key("steps-modify")).attestation.policy == wanted
    next_request = await online.ask_signature("steps-modify")
    assert (await online.view(next_request)).not_yet_approved_by == (ADA.spki, BEN.spki, DAN.spki)


async def test_too_few_approvals_are_shown_by_preflight_and_refused_by_the_hsm(offline: World, online: World) -> None:
    await register(online, await offline.create("too-few", TWO_OF_THREE))
    request_id = await online.ask_signature("too-few")
    await online.approve(ADA)
    preflight = await online.broker.preflight(request_id)
    assert (preflight["satisfied"], preflight["tokens"][0]["groups"][0]["missing"]) == (False, 1)
    assert preflight["policyAttestTime"] is not None
    carried = (await online.view(request_id)).input_offline_hsm
    assert carried is not None
    with pytest.raises(KeyturnError) as caught:
        await execute_offline(offline, carried)
    assert caught.value.refusal == "approvals.missing"
    await online.approve(BEN)
    carried = (await online.view(request_id)).input_offline_hsm
    assert carried is not None
    await execute_offline(offline, carried)


@pytest.mark.parametrize("policy", [None, EMPTY_POLICY], ids=["no policy", "empty policy"])
async def test_what_needs_no_approval_is_ready_for_the_courier_at_once(
    offline: World, online: World, policy: None
) -> None:
    label = f"free-{policy is None}"
    await register(online, await offline.create(label, policy))
    request_id = await online.ask_signature(label)
    view = await online.view(request_id)
    assert (view.status, view.result) == (RequestStatus.PENDING, OFFLINE_RESULT)
    assert view.input_offline_hsm is not None
    answer = await execute_offline(offline, view.input_offline_hsm)
    await online.broker.import_result({"id": request_id, **answer})
    assert (await online.view(request_id)).status is RequestStatus.EXECUTED


async def test_only_the_right_signature_is_taken_and_taken_once(offline: World, online: World) -> None:
    await register(online, await offline.create("results", TWO_OF_THREE))
    request_id = await online.ask_signature("results", b"one")
    await online.approve(ADA)
    await online.approve(BEN)

    async def signature(payload: bytes, **fields: Any) -> str:
        call = SignCall(**{"payload": payload, "key_name": "results", "algorithm": "SHA256_WITH_ECDSA", **fields})
        approvals = [officer.approve_use("results", payload) for officer in (ADA, BEN)]
        return b64encode((await offline.broker.sign_now(call, approvals)).value).decode()

    right = await signature(b"one")
    flipped = bytearray(b64decode(right))
    flipped[-1] ^= 1
    wrong = {
        "of another payload": await signature(b"two"),
        "of another algorithm": await signature(b"one", algorithm="SHA384_WITH_ECDSA"),
        "in another form": await signature(b"one", signature_type="RAW"),
        "with one bit changed": b64encode(flipped).decode(),
        "nothing at all": "",
        "far too long": b64encode(b"x" * 5000).decode(),
    }
    for what, result in wrong.items():
        error = await import_refused(online, {"id": request_id, "result": result})
        assert (error.code, error.refusal) == (ErrorCode.INVALID_SIGNATURE, "result.wrong"), what
        assert (await online.view(request_id)).status is RequestStatus.PENDING
    await online.broker.import_result({"id": request_id, "result": right})
    await online.broker.import_result({"id": request_id, "result": right})
    error = await import_refused(online, {"id": request_id, "result": await signature(b"one")})
    assert (error.code, error.refusal) == (ErrorCode.UNSUPPORTED_OPERATION, "result.other")
    assert (await online.view(request_id)).result == right


async def test_a_signature_counts_even_if_the_broker_saw_no_approval(offline: World, online: World) -> None:
    # The HSM has decided: the officers may have approved in the vault.
    await register(online, await offline.create("in-the-vault", TWO_OF_THREE))
    request_id = await online.ask_signature("in-the-vault", b"pay")
    approvals = [officer.approve_use("in-the-vault", b"pay") for officer in (ADA, BEN)]
    call = SignCall(payload=b"pay", key_name="in-the-vault", algorithm="SHA256_WITH_ECDSA")
    result = b64encode((await offline.broker.sign_now(call, approvals)).value).decode()
    await online.broker.import_result({"id": request_id, "result": result})
    assert (await online.view(request_id)).status is RequestStatus.EXECUTED


async def test_results_of_the_wrong_form_are_refused(offline: World, online: World) -> None:
    await register(online, await offline.create("forms", TWO_OF_THREE))
    request_id = await online.ask_signature("forms")
    for body in (
        {},
        {"id": request_id},
        {"id": request_id, "result": "AAAA", "refused": {}},
        {"id": request_id, "result": 7},
        {"id": request_id, "result": "not base64!"},
        {"id": 7, "result": "AAAA"},
        {"id": request_id, "result": "AAAA", "extra": 1},
    ):
        error = await import_refused(online, body)
        assert (error.code, error.refusal) == (ErrorCode.VALIDATION_FAILED, "result.form"), body
    error = await import_refused(online, {"id": "unknown", "result": "AAAA"})
    assert error.code is ErrorCode.REQUEST_NOT_EXISTENT
    error = await import_refused(online, {"id": request_id, "keyAttributes": {}})
    assert error.refusal == "result.wrong-kind"
    await online.broker.cancel(request_id)
    error = await import_refused(online, {"id": request_id, "result": "AAAA"})
    assert error.refusal == "request.closed"


async def test_a_change_counts_only_by_a_later_attestation_of_the_same_key_with_the_wanted_policy(
    offline: World, online: World
) -> None:
    before = await offline.create("change", TWO_OF_THREE)
    other = await offline.create("other", TWO_OF_THREE)
    await register(online, before)
    wanted = make_policy(use=quorum(2, ADA, DAN))
    request_id = await online.ask_change("change", wanted)
    await online.approve(ADA)
    await online.approve(BEN)
    carried = (await online.view(request_id)).input_offline_hsm
    assert carried is not None

    async def changed(policy: Any) -> dict[str, Any]:
        approvals = [officer.approve_modify("change", encode_policy(policy)) for officer in (ADA, BEN)]
        done = await offline.broker.modify_now(ModifyCall(key_name="change", policy=policy), approvals)
        return attributes_body(done.value)

    third = make_policy(use=quorum(2, ADA, BEN, DAN))
    wrong = {
        "of another key": attributes_body(other),
        "from before the change": attributes_body(before),
        "with another policy": await changed(third),
    }
    answer = await execute_offline(offline, carried)
    tampered = dict(answer["keyAttributes"])
    tampered["xml"] = tampered["xml"].replace("ada", "adb")
    wrong["with a letter changed"] = tampered
    wrong["with another json"] = {**answer["keyAttributes"], "json": {}}
    for what, attributes in wrong.items():
        error = await import_refused(online, {"id": request_id, "keyAttributes": attributes})
        assert (error.code, error.refusal) == (ErrorCode.INVALID_SIGNATURE, "result.wrong"), what
        assert (await online.view(request_id)).status is RequestStatus.PENDING
    for _ in range(2):
        await online.broker.import_result({"id": request_id, **answer})
    assert (await online.broker.attested_key("change")).attestation.policy == wanted
    error = await import_refused(online, {"id": request_id, "keyAttributes": attributes_body(before)})
    assert error.refusal == "result.other"


@pytest.mark.rule("R19")
@pytest.mark.parametrize("newest", [TWO_OF_THREE, make_policy(use=quorum(2, ADA, BEN, DAN))])
async def test_r19_a_result_and_a_newer_registration_at_the_same_moment_leave_the_newer_one(
    offline: World, online: World, newest: Policy
) -> None:
    label = f"race-{len(encode_policy(newest))}"
    await register(online, await offline.create(label, TWO_OF_THREE))
    wanted = make_policy(use=quorum(2, ADA, DAN))
    request_id = await online.ask_change(label, wanted)
    await online.approve(ADA, request_id)
    await online.approve(BEN, request_id)
    carried = (await online.view(request_id)).input_offline_hsm
    assert carried is not None
    answer = await execute_offline(offline, carried)
    # In the vault the key is changed once more; both tidings arrive together.
    approvals = [officer.approve_modify(label, encode_policy(newest)) for officer in (ADA, DAN)]
    latest = (await offline.broker.modify_now(ModifyCall(key_name=label, policy=newest), approvals)).value
    registered, imported = await asyncio.gather(
        register(online, latest),
        online.broker.import_result({"id": request_id, **answer}),
        return_exceptions=True,
    )
    assert registered is None
    # Whichever comes first: the result is taken and then overtaken, or it comes too late.
    assert imported is None or (isinstance(imported, KeyturnError) and imported.refusal == "result.wrong")
    assert (await online.broker.attested_key(label)).xml == latest.xml


async def test_open_requests_follow_a_registered_change_of_policy(offline: World, online: World) -> None:
    await register(online, await offline.create("follow", TWO_OF_THREE))
    request_id = await online.ask_signature("follow")
    await online.approve(ADA)
    new = make_policy(use=quorum(2, ADA, DAN))
    approvals = [officer.approve_modify("follow", encode_policy(new)) for officer in (ADA, BEN)]
    done = await offline.broker.modify_now(ModifyCall(key_name="follow", policy=new), approvals)
    await register(online, done.value)
    view = await online.view(request_id)
    assert (view.approved_by, view.not_yet_approved_by) == ((ADA.spki,), (DAN.spki,))
    await online.approve(DAN)
    view = await online.view(request_id)
    assert view.input_offline_hsm is not None
    await execute_offline(offline, view.input_offline_hsm)


# --- the register ---


@pytest.mark.rule("R19")
async def test_r19_only_what_the_pinned_device_attested_is_registered(
    offline: World, online: World, tmp_path: Path
) -> None:
    attested = await offline.create("pinned", TWO_OF_THREE)
    body = attributes_body(attested)

    async def refusal(world: World, **defect: Any) -> KeyturnError:
        arguments = {"xml": body["xml"], "signature": attested.signature, "json": body["json"], **defect}
        with pytest.raises(KeyturnError) as caught:
            await world.broker.register_offline_key(**arguments)
        return caught.value

    flipped = bytearray(attested.signature)
    flipped[0] ^= 1
    assert (await refusal(online, signature=bytes(flipped))).code is ErrorCode.INVALID_SIGNATURE
    assert (await refusal(online, xml=body["xml"].replace("ada", "adb"))).code is ErrorCode.INVALID_SIGNATURE
    assert (await refusal(online, xml=body["xml"].strip())).code is ErrorCode.INVALID_SIGNATURE
    error = await refusal(online, json={**body["json"], "label": "other"})
    assert (error.code, error.refusal) == (ErrorCode.VALIDATION_FAILED, "attestation.json-differs")
    async with gap_world(tmp_path / "unpinned", []) as unpinned:
        error = await refusal(unpinned)
        assert (error.code, error.refusal) == (ErrorCode.INVALID_CERTIFICATE, "attestation.not-pinned")
    assert await online.broker.list_keys() == []
    await register(online, attested)
    (shown,) = await online.broker.offline_keys()
    assert (shown["label"], shown["uuid"]) == ("pinned", attested.attestation.uuid)


@pytest.mark.rule("R19")
async def test_r19_another_device_is_not_the_pinned_one_unless_it_is_pinned_too(
    offline: World, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    attested = await offline.create("here", TWO_OF_THREE)
    chain = await offline.broker.attestation_chain()
    with HsmProcess(tmp_path_factory.mktemp("other-hsm")) as process:
        async with local_world(tmp_path / "other", process) as other:
            foreign = await other.create("there", TWO_OF_THREE)
            other_chain = await other.broker.attestation_chain()
    async with gap_world(tmp_path / "one", chain) as online:
        with pytest.raises(KeyturnError) as caught:
            await register(online, foreign)
        assert caught.value.code is ErrorCode.INVALID_SIGNATURE
        await register(online, attested)
    executor = AirGappedExecutor(["".join(chain), "".join(other_chain)])
    async with opened(tmp_path / "two", executor, SystemClock()) as online:
        await register(online, foreign)
        await register(online, attested)
        assert await online.broker.list_keys() == ["here", "there"]


@pytest.mark.rule("R19")
async def test_r19_a_label_keeps_its_key_until_it_is_forgotten_which_cancels_its_requests(
    offline: World, online: World
) -> None:
    first = await offline.create("succession", TWO_OF_THREE)
    await register(online, first)
    await register(online, first)
    request_id = await online.ask_signature("succession")
    # The same key, attested again: equal and identical but for the time of attestation.
    await register(online, await offline.broker.attested_key("succession"))
    # A later state of the same key.
    new = make_policy(use=quorum(2, ADA, BEN))
    approvals = [officer.approve_modify("succession", encode_policy(new)) for officer in (ADA, BEN)]
    later = (await offline.broker.modify_now(ModifyCall(key_name="succession", policy=new), approvals)).value
    await register(online, later)
    with pytest.raises(KeyturnError) as caught:
        await register(online, first)
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.UNSUPPORTED_OPERATION, "offline-key.older")
    # Another key under the same label.
    await offline.broker.delete_key("succession")
    second = await offline.create("succession", TWO_OF_THREE)
    with pytest.raises(KeyturnError) as caught:
        await register(online, second)
    assert caught.value.refusal == "offline-key.other-key"
    assert (await online.view(request_id)).status is RequestStatus.PENDING
    await online.broker.forget_offline_key("succession")
    assert (await online.view(request_id)).status is RequestStatus.CANCELLED
    await register(online, second)
    with pytest.raises(KeyturnError) as caught:
        await online.broker.forget_offline_key("unknown")
    assert caught.value.code is ErrorCode.KEY_NOT_EXISTENT
    # R18: the second key of a label needs the HSM's time in its approvals; the courier fetches it.
    second_request = await online.ask_signature("succession")
    assert (await online.view(second_request)).input_offline_hsm == {
        "timestampRequest": {"keyName": "succession", "operation": "use", "payload": "cGF5IDEwMCB0byBBbGljZQ=="}
    }


async def test_without_an_hsm_nothing_is_made_used_or_deleted_and_the_message_says_what_to_do(
    offline: World, online: World
) -> None:
    await register(online, await offline.create("advice", TWO_OF_THREE))
    broker = online.broker
    sign_call = SignCall(payload=b"pay", key_name="advice", algorithm="SHA256_WITH_ECDSA")
    attempts = [
        broker.create_key(CreateCall(label="new", algorithm="EC")),
        broker.delete_key("advice"),
        broker.sign_now(sign_call, []),
        broker.modify_now(ModifyCall(key_name="advice", policy=TWO_OF_THREE), []),
    ]
    for attempt in attempts:
        with pytest.raises(KeyturnError) as caught:
            await attempt
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.UNSUPPORTED_OPERATION, "profile.air-gapped")
        assert "offline" in caught.value.message
    with pytest.raises(KeyturnError) as caught:
        await online.ask_signature("unknown")
    assert caught.value.code is ErrorCode.KEY_NOT_EXISTENT
    assert (await broker.info())["profile"] == "air-gapped"
    assert '"registeredKeys": 1' in await broker.statistics()
    assert await broker.attestation_chain() == await offline.broker.attestation_chain()


async def test_the_register_verifies_signatures_too(offline: World, online: World) -> None:
    await register(online, await offline.create("verify", None))
    call = SignCall(payload=b"pay", key_name="verify", algorithm="SHA256_WITH_ECDSA")
    signature = (await offline.broker.sign_now(call, [])).value
    for world in (offline, online):
        assert await world.broker.verify("verify", "SHA256_WITH_ECDSA", b"pay", signature)
        assert not await world.broker.verify("verify", "SHA256_WITH_ECDSA", b"paz", signature)


async def test_a_connected_broker_has_no_register_and_imports_nothing(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.create("treasury", make_policy(use=quorum(1, ADA)))
        request_id = await world.ask_signature("treasury")
        attempts = [
            world.broker.offline_keys(),
            world.broker.register_offline_key(xml="", signature=b"", json={}),
            world.broker.forget_offline_key("treasury"),
            world.broker.import_result({"id": request_id, "result": "AAAA"}),
        ]
        for attempt in attempts:
            with pytest.raises(KeyturnError) as caught:
                await attempt
            assert (caught.value.code, caught.value.refusal) == (ErrorCode.UNSUPPORTED_OPERATION, "profile.local")


def test_a_certificate_file_without_a_certificate_is_refused_at_start() -> None:
    with pytest.raises(KeyturnError) as caught:
        AirGappedExecutor(["-----BEGIN NOTHING-----"])
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.CONFIG_NOT_VALID, "attestation.certificate")
