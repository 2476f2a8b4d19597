"""R7: bound approvals in both profiles, with a real HSM: what is approved is what is done, or nothing is.

Vault, office and courier are those of `gap_world`; the vault alone is a local installation.
"""

from __future__ import annotations

import dataclasses
from base64 import b64decode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.broker import progress
from keyturn.crypto.registry import verify
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, decode_approval, encode_approval
from keyturn.ska.policy import encode_policy
from keyturn.ska.statement import Statement, decode_statement, encode_statement
from keyturn_testing.actions import OAEP_SHA1, OAEP_SHA256, SECRET, decrypt_body, oaep, unwrap_body
from keyturn_testing.gap_world import PAYLOAD, Gap, gap_of
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import b64, policy_json, signed_approval

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keyturn.ska.policy import Policy
    from keyturn_testing.timely_world import TimelyWorld

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "ED"), Officer("eve", "P-384")
PLAIN = make_policy(use=quorum(2, ADA, BEN, EVE), modify=quorum(2, ADA, BEN))
OTHER = make_policy(use=quorum(1, ADA, BEN), modify=quorum(2, ADA, BEN))
LOCKED = make_policy(
    use=quorum(2, ADA, BEN, timelock=3600, timeout=7200),
    block=quorum(1, ADA, BEN, timelock=60, timeout=7200),
    modify=quorum(2, ADA, BEN),
)
DIGEST = sha256(PAYLOAD).digest()
SIGNS = {"decrypt": False, "sign": True, "unwrap": False, "destroyable": True}
OPENS = {"decrypt": True, "sign": False, "unwrap": True, "destroyable": True}


@pytest.fixture
async def gap(tmp_path: Path) -> AsyncIterator[Gap]:
    async with gap_of(tmp_path) as made:
        yield made


async def bound_key(gap: Gap, label: str = "treasury", policy: Policy = PLAIN, **attributes: Any) -> dict[str, Any]:
    """A key with bound approvals in the vault, registered in the office; its attested attributes as `json`."""
    given = await gap.key(label, policy, attributes=SIGNS | {"boundApprovals": True} | attributes)
    shown: dict[str, Any] = given["json"]
    return shown


async def bound_rsa_key(gap: Gap, label: str, **more: Any) -> bytes:
    """The same with an RSA key that decrypts and unwraps; its SPKI."""
    attributes = OPENS | {"boundApprovals": True} | more
    given = await gap.key(label, PLAIN, algorithm="RSA", curveOid=None, keySize=2048, attributes=attributes)
    return b64decode(given["json"]["publicKey"])


def covered(task: dict[str, Any]) -> Statement:
    """The statement in a task's bytes."""
    return decode_statement(decode_approval(b64decode(task["approvalToBeSigned"])).payload or b"")


async def ask(world: TimelyWorld, label: str, payload: bytes = PAYLOAD, **fields: Any) -> str:
    """Ask for a signature."""
    inner = {"signKeyName": label, "payload": b64(payload), "signatureAlgorithm": "SHA256_WITH_ECDSA"} | fields
    return str((await world.post("/v1/sign", {"signRequest": inner}))["signRequestId"])


async def approve(world: TimelyWorld, request_id: str, *officers: Officer) -> None:
    for officer in officers:
        (task,) = await world.tasks(officer, request_id)
        await world.approve(officer, task)


async def refused(world: TimelyWorld, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await world.http.post(path, json=body)
    assert 400 <= answer.status_code < 500, answer.text
    error: dict[str, Any] = answer.json()
    assert error["message"]
    return error


# --- what approvers sign ---


@pytest.mark.rule("R7")
async def test_r7_approvers_of_a_bound_key_sign_the_statement_of_what_will_be_done(gap: Gap) -> None:
    key = await bound_key(gap)
    for world in (gap.vault, gap.office):
        request_id = await ask(world, "treasury", signatureType="RAW")
        (task,) = await world.tasks(ADA, request_id)
        assert covered(task) == Statement(
            kind="sign",
            key_uuid=key["uuid"],
            spki_hash=sha256(b64decode(key["publicKey"])).digest(),
            policy_hash=sha256(encode_policy(PLAIN)).digest(),
            request_id=request_id,
            algorithm="SHA256_WITH_ECDSA",
            signature_type="RAW",
            data=PAYLOAD,
        )
        # Beside it stand the payload as ever, and the request that the statement names.
        assert (task["payload"], task["requestId"]) == (b64(PAYLOAD), request_id)
        preflight = await world.get(f"/v1/request/{request_id}/preflight")
        assert (preflight["satisfied"], preflight["boundApprovals"]) == (False, True)
    await gap.key("ordinary", PLAIN)
    request_id = await ask(gap.vault, "ordinary")
    (task,) = await gap.vault.tasks(ADA, request_id)
    assert decode_approval(b64decode(task["approvalToBeSigned"])).payload == PAYLOAD
    assert (await gap.vault.get(f"/v1/request/{request_id}/preflight"))["boundApprovals"] is False


@pytest.mark.rule("R7")
async def test_r7_a_bound_request_is_executed_as_soon_as_it_is_complete(gap: Gap) -> None:
    key = await bound_key(gap)
    request_id = await ask(gap.vault, "treasury")
    await approve(gap.vault, request_id, ADA, BEN)
    view = await gap.vault.get(f"/v1/request/{request_id}")
    assert view["status"] == "EXECUTED"
    verify(b64decode(key["publicKey"]), "SHA256_WITH_ECDSA", PAYLOAD, b64decode(view["result"]))


@pytest.mark.rule("R25")
async def test_r25_only_the_statement_of_the_very_request_is_stored(gap: Gap) -> None:
    await bound_key(gap)
    first, second = await ask(gap.office, "treasury"), await ask(gap.office, "treasury")
    (task,) = await gap.office.tasks(ADA, first)
    (other,) = await gap.office.tasks(ADA, second)
    token = decode_approval(b64decode(task["approvalToBeSigned"]))
    lies = {
        "the bare payload": PAYLOAD,
        "another request": encode_statement(covered(other)),
        "another algorithm": encode_statement(dataclasses.replace(covered(task), algorithm="SHA512_WITH_ECDSA")),
        "another policy": encode_statement(dataclasses.replace(covered(task), policy_hash=bytes(32))),
    }
    for lie in lies.values():
        wrong = b64(encode_approval(dataclasses.replace(token, payload=lie)))
        body = signed_approval(ADA, task | {"approvalToBeSigned": wrong})
        assert (await refused(gap.office, "/v1/approval", body))["refusal"] == "approval.wrong-payload"
    await gap.office.approve(ADA, task)
    assert len((await gap.view(first))["approvedBy"]) == 1


# --- what an owned broker cannot do any more ---


@pytest.mark.rule("R7")
async def test_r7_the_approvals_serve_for_nothing_else_than_what_they_name(gap: Gap) -> None:
    """Everything that a broker could choose: each changed call is refused by the HSM, then the call itself counts."""
    await bound_key(gap)
    request_id = await ask(gap.office, "treasury", DIGEST, signatureAlgorithm="NONE_WITH_ECDSA")
    await gap.approve(request_id, ADA, BEN)
    carried = (await gap.view(request_id))["inputOfflineHsm"]["signRequest"]
    assert carried["requestId"] == request_id
    other_id = await ask(gap.office, "treasury", DIGEST, signatureAlgorithm="NONE_WITH_ECDSA")
    for change in (
        {"signatureAlgorithm": "SHA256_WITH_ECDSA"},
        {"signatureType": "RAW"},
        {"payload": b64(sha256(b"another").digest())},
        {"requestId": other_id},
    ):
        error = await refused(gap.vault, "/v1/synchronousSign", {"signRequest": carried | change})
        assert error["refusal"] == "approvals.missing", change
    without = {name: value for name, value in carried.items() if name != "requestId"}
    error = await refused(gap.vault, "/v1/synchronousSign", {"signRequest": without})
    assert error["refusal"] == "request-id.missing"
    assert "requestId" in error["message"]
    await gap.bring_back(await gap.in_the_vault(request_id))
    assert (await gap.view(request_id))["status"] == "EXECUTED"


@pytest.mark.rule("R7")
async def test_r7_without_the_attribute_the_same_algorithm_swap_succeeds(gap: Gap) -> None:
    """The documented format leaves the algorithm open; that is why bound approvals exist."""
    await gap.key("ordinary", PLAIN)
    request_id = await ask(gap.office, "ordinary", DIGEST)
    await gap.approve(request_id, ADA, BEN)
    carried = (await gap.view(request_id))["inputOfflineHsm"]["signRequest"]
    swapped = await gap.vault.post(
        "/v1/synchronousSign", {"signRequest": carried | {"signatureAlgorithm": "NONE_WITH_ECDSA"}}
    )
    key = await gap.vault.post("/v1/key/attributes", {"label": "ordinary"})
    # Approved was a signature over the hash of 32 bytes; made is one over a payment that nobody was shown.
    verify(b64decode(key["json"]["publicKey"]), "SHA256_WITH_ECDSA", PAYLOAD, b64decode(swapped["signature"]))


# --- every kind, across the gap ---


@pytest.mark.rule("R7")
async def test_r7_a_bound_decryption_crosses_the_gap(gap: Gap) -> None:
    spki = await bound_rsa_key(gap, "letters")
    ciphertext = oaep(spki, SECRET, OAEP_SHA256)
    opened = await gap.office.post("/v1/decrypt", {"decryptRequest": decrypt_body("letters", ciphertext)})
    request_id = opened["decryptRequestId"]
    (task,) = await gap.office.tasks(ADA, request_id)
    assert (covered(task).kind, covered(task).data) == ("decrypt", ciphertext)
    await gap.approve(request_id, ADA, BEN)
    assert (await gap.preflight(request_id))["satisfied"]
    carried = (await gap.view(request_id))["inputOfflineHsm"]
    other = {"decryptRequest": carried["decryptRequest"] | {"cipherAlgorithm": "RSA_PADDING_OAEP"}}
    assert (await refused(gap.vault, "/v1/synchronousDecrypt", other))["refusal"] == "approvals.missing"
    await gap.bring_back(await gap.in_the_vault(request_id))
    assert (await gap.view(request_id))["result"] == b64(SECRET)


@pytest.mark.rule("R7")
@pytest.mark.rule("R16")
async def test_r16_a_bound_key_unwraps_a_key_with_a_policy(gap: Gap) -> None:
    spki = await bound_rsa_key(gap, "wrapper")
    wrapped = oaep(spki, bytes(range(32)), OAEP_SHA1)
    opened = await gap.office.post("/v1/unwrap", {"unwrapKeyRequest": unwrap_body("wrapper", wrapped, "new")})
    request_id = opened["unwrapRequestId"]
    (task,) = await gap.office.tasks(ADA, request_id)
    assert (covered(task).kind, covered(task).new_label, covered(task).new_policy) == ("unwrap", "new", None)
    assert task["payload"] == b64(wrapped)
    await gap.approve(request_id, ADA, BEN)
    result = await gap.in_the_vault(request_id)
    await gap.bring_back(result)
    assert (await gap.view(request_id))["status"] == "EXECUTED"
    # A policy of the new key stands in the statement; approvals of another protected key do not cover one.
    with_policy = {"policy": policy_json(OTHER, new=True)}
    asked = {"unwrapKeyRequest": unwrap_body("wrapper", wrapped, "newer") | with_policy}
    opened = await gap.office.post("/v1/unwrap", asked)
    (task,) = await gap.office.tasks(ADA, opened["unwrapRequestId"])
    assert covered(task).new_policy == encode_policy(OTHER)
    unbound = await gap.key("plain", PLAIN, algorithm="RSA", curveOid=None, keySize=2048, attributes=OPENS)
    wrapped = oaep(b64decode(unbound["json"]["publicKey"]), bytes(32), OAEP_SHA1)
    asked = {"unwrapKeyRequest": unwrap_body("plain", wrapped, "newest") | with_policy}
    assert (await refused(gap.office, "/v1/unwrap", asked))["refusal"] == "unwrap.unapproved-policy"


@pytest.mark.rule("R7")
async def test_r7_block_and_unblock_are_bound_too(gap: Gap) -> None:
    key = await bound_key(gap)
    carried = {}
    for word in ("block", "unblock"):
        request_id = await gap.status_change(word, "treasury")
        (task,) = await gap.office.tasks(ADA, request_id)
        statement = covered(task)
        assert (statement.kind, statement.request_id, statement.key_uuid) == (word, request_id, key["uuid"])
        await gap.approve(request_id, ADA, BEN)
        carried[word] = (await gap.view(request_id))["inputOfflineHsm"]
        await gap.bring_back(await gap.in_the_vault(request_id))
        assert (await gap.view(request_id))["status"] == "EXECUTED"
    # The approvals of the one block do not block under another request's name, nor unblock.
    blocked = carried["block"]["blockRequest"]
    again = {"blockRequest": blocked | {"requestId": await gap.status_change("block", "treasury")}}
    assert (await refused(gap.vault, "/v1/synchronousBlock", again))["refusal"] == "approvals.missing"


@pytest.mark.rule("R7")
@pytest.mark.parametrize("word", ["use", "block"])
async def test_r7_signed_time_is_bound_to_the_statement(gap: Gap, word: str) -> None:
    await bound_key(gap, policy=LOCKED)
    request_id = await ask(gap.office, "treasury") if word == "use" else await gap.status_change("block", "treasury")
    asked = (await gap.view(request_id))["inputOfflineHsm"]["timestampRequest"]
    statement = decode_statement(b64decode(asked["payload"]))
    assert (asked["operation"], statement.request_id) == (word, request_id)
    # The time that was asked for another request does not serve for this one.
    other = await ask(gap.office, "treasury") if word == "use" else await gap.status_change("block", "treasury")
    answer = await gap.ask_the_time(other)
    assert await gap.turned_away(answer | {"id": request_id}) == "timestamp.wrong-payload"
    await gap.bring_back(await gap.ask_the_time(request_id))
    (task,) = await gap.office.tasks(ADA, request_id)
    assert covered(task) == statement
    await gap.approve(request_id, ADA, BEN) if word == "use" else await gap.approve(request_id, ADA)
    gap.both_clocks(3601)
    await gap.bring_back(await gap.in_the_vault(request_id))
    assert (await gap.view(request_id))["status"] == "EXECUTED"


# --- another policy ---


@pytest.mark.rule("R7")
async def test_r7_a_new_policy_ends_the_requests_that_name_the_old_one(gap: Gap) -> None:
    await bound_key(gap)
    await gap.key("ordinary", PLAIN)
    waiting = [
        (world, label, await ask(world, label))
        for world in (gap.vault, gap.office)
        for label in ("treasury", "ordinary")
    ]
    for world, _, request_id in waiting:
        await approve(world, request_id, ADA)
    # One approval is enough under the new policy.
    for label in ("treasury", "ordinary"):
        change = await gap.modify(label, OTHER)
        await gap.bring_back(await gap.ask_the_time(change)) if not await gap.office.tasks(ADA, change) else None
        await gap.approve(change, ADA, BEN)
        await gap.bring_back(await gap.in_the_vault(change))
        assert (await gap.view(change))["status"] == "EXECUTED"
    await gap.vault.broker.run_due()
    for world, label, request_id in waiting:
        view = await world.get(f"/v1/request/{request_id}")
        preflight = await world.get(f"/v1/request/{request_id}/preflight")
        if label == "treasury":
            assert (view["status"], view["failure"]) == ("EXPIRED", progress.SUPERSEDED)
            assert (preflight["satisfied"], preflight["reason"]) == (False, progress.SUPERSEDED)
            assert await world.tasks(BEN, request_id) == []
        else:
            # Approvals that are not bound follow the new policy.
            assert view["status"] == ("EXECUTED" if world is gap.vault else "PENDING")
            assert preflight["satisfied"] or view["status"] == "EXECUTED"
    # A request that is opened now names the new policy, and one approval does.
    request_id = await ask(gap.vault, "treasury")
    await approve(gap.vault, request_id, BEN)
    assert await gap.vault.status(request_id) == "EXECUTED"


@pytest.mark.rule("R7")
async def test_r7_a_policy_changed_past_the_office_is_found_out_by_the_refusal_and_the_next_registration(
    gap: Gap,
) -> None:
    await bound_key(gap)
    request_id = await ask(gap.office, "treasury")
    await gap.approve(request_id, ADA, BEN)
    assert (await gap.preflight(request_id))["satisfied"]
    inner = {"modifyKeyName": "treasury", "policy": policy_json(OTHER, new=False)}
    change = (await gap.vault.post("/v1/modify", {"modifyRequest": inner}))["modifyKeyRequestId"]
    await approve(gap.vault, change, ADA, BEN)
    assert await gap.vault.status(change) == "EXECUTED"
    result = await gap.in_the_vault(request_id)
    assert result["refused"]["refusal"] == "approvals.missing"
    assert "Given, but not counted: " in result["refused"]["message"]
    await gap.bring_back(result)
    assert (await gap.view(request_id))["status"] == "PENDING"
    await gap.register("treasury")
    view = await gap.view(request_id)
    assert (view["status"], view["failure"]) == ("EXPIRED", progress.SUPERSEDED)


# --- limits ---


@pytest.mark.rule("R7")
async def test_r7_what_does_not_fit_into_a_statement_is_refused_before_anybody_is_asked(gap: Gap) -> None:
    await bound_key(gap)
    assert await ask(gap.vault, "treasury", bytes(60_000))
    for size in (65_000, 65_536):
        inner = {"signKeyName": "treasury", "payload": b64(bytes(size)), "signatureAlgorithm": "SHA256_WITH_ECDSA"}
        for world in (gap.vault, gap.office):
            error = await refused(world, "/v1/sign", {"signRequest": inner})
            assert (error["refusal"], "NONE" in error["message"]) == ("payload.too-large", True)


@pytest.mark.rule("R7")
async def test_r7_a_key_without_the_attribute_refuses_what_begins_as_a_statement(gap: Gap) -> None:
    await bound_key(gap)
    await gap.key("ordinary", PLAIN)
    request_id = await ask(gap.office, "treasury")
    (task,) = await gap.office.tasks(ADA, request_id)
    statement = encode_statement(covered(task))
    token = ApprovalToken(Action.USE, b"ordinary", None, None, statement)
    inner = {
        "signKeyName": "ordinary",
        "payload": b64(statement),
        "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "signedApprovals": [b64(ADA.approve(token)), b64(BEN.approve(token))],
    }
    error = await refused(gap.vault, "/v1/synchronousSign", {"signRequest": inner})
    assert error["refusal"] == "payload.double-meaning"
    fine = dataclasses.replace(token, payload=PAYLOAD)
    inner |= {"payload": b64(PAYLOAD), "signedApprovals": [b64(ADA.approve(fine)), b64(BEN.approve(fine))]}
    assert await gap.vault.post("/v1/synchronousSign", {"signRequest": inner})
