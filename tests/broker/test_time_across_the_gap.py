"""Signed time across the gap, with a clock on each side: what waits, what opens or closes on the way (decisions 15).

The HSM is the real service behind its socket, both sides are their REST applications, the courier is a variable. The
story from the command line, with real processes, stands in tests/transport/test_cli_time.py.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.clock import ManualClock, iso
from keyturn.ska.messages import Timestamp, decode_approval, decode_timestamp, encode_timestamp
from keyturn_testing.gap_world import PAYLOAD, Gap, flipped, gap_of, office_of
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import b64
from keyturn_testing.timely_world import timely_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "ED"), Officer("eve", "P-384")
MINUTE = 60
LOCKED = make_policy(
    use=quorum(2, ADA, BEN, EVE, timelock=60 * MINUTE, timeout=120 * MINUTE), modify=quorum(2, ADA, BEN)
)
"""Opens after one hour, closes after two."""
PLAIN = make_policy(use=quorum(2, ADA, BEN, EVE))


@pytest.fixture
async def gap(tmp_path: Path) -> AsyncIterator[Gap]:
    async with gap_of(tmp_path) as made:
        yield made


async def stamped(gap: Gap, label: str = "treasury") -> str:
    """A request for a signature that has its timestamp and two approvals."""
    request_id = await gap.sign(label)
    await gap.bring_back(await gap.ask_the_time(request_id))
    await gap.approve(request_id, ADA, BEN)
    return request_id


def time_of(answer: dict[str, Any]) -> int:
    return decode_timestamp(b64decode(answer["timestampAnswer"]["timestamp"])).seconds


async def test_the_timestamps_workflow_across_the_gap_step_by_step(tmp_path: Path) -> None:
    # The HSM's clock is five minutes ahead of the office's.
    async with gap_of(tmp_path, office_behind=5 * MINUTE) as gap:
        attributes = await gap.key("treasury", LOCKED)
        # 1. An application asks for a signature. Nobody can approve yet: the HSM's time is missing.
        request_id = await gap.sign("treasury")
        view = await gap.view(request_id)
        assert (view["status"], view["result"], view["notYetApprovedBy"]) == ("PENDING", None, [])
        assert view["inputOfflineHsm"] == {
            "timestampRequest": {"keyName": "treasury", "operation": "use", "payload": b64(PAYLOAD)}
        }
        preflight = await gap.preflight(request_id)
        assert (preflight["satisfied"], preflight["timestampMissing"]) == (False, True)
        assert "timestamp" in preflight["reason"]
        for officer in (ADA, BEN, EVE):
            assert await gap.office.tasks(officer, request_id) == []
        # 2. The courier carries the question into the vault and the answer out; the office checks it.
        gap.both_clocks(20 * MINUTE)
        answer = await gap.ask_the_time(request_id)
        stamp = time_of(answer)
        assert stamp == int(gap.vault.clock.now())
        gap.both_clocks(20 * MINUTE)
        await gap.bring_back(answer)
        await gap.bring_back(answer)  # The same once more does no harm.
        # 3. Now there are statement and tasks; what is to be signed carries the HSM's time.
        (task,) = await gap.office.tasks(ADA, request_id)
        token = decode_approval(b64decode(task["approvalToBeSigned"]))
        assert b64(token.timestamp or b"") == answer["timestampAnswer"]["timestamp"] == task["timestamp"]
        preflight = await gap.preflight(request_id)
        window = (iso(stamp + 60 * MINUTE), iso(stamp + 121 * MINUTE))
        assert (preflight["opensAt"], preflight["closesAt"]) == window
        assert (preflight["tokens"][0]["opensAt"], preflight["tokens"][0]["closesAt"]) == window
        assert (preflight["satisfied"], preflight["timestampMissing"]) == (False, False)
        assert preflight["timestamp"] == iso(stamp)
        # 4. Two officers approve. It may be carried now, and will have to wait for its hour in the vault.
        await gap.approve(request_id, ADA, EVE)
        preflight = await gap.preflight(request_id)
        assert (preflight["satisfied"], preflight["opensAt"]) == (True, window[0])
        # 5. The timelock opens while the bundle travels.
        assert gap.vault.clock.now() < stamp + 60 * MINUTE
        carried = (await gap.view(request_id))["inputOfflineHsm"]
        assert carried["signRequest"]["requestId"] == request_id
        gap.vault.clock.set(stamp + 60 * MINUTE)
        result = await gap.execute(request_id, carried)
        # 6. The result counts; its time is the HSM's.
        await gap.bring_back(result)
        view = await gap.view(request_id)
        assert (view["status"], view["result"]) == ("EXECUTED", result["result"])
        assert view["executionTime"] == iso(stamp + 60 * MINUTE)
        assert attributes["json"]["label"] == "treasury"


async def test_a_bundle_that_arrives_early_waits_in_the_vault_and_a_refusal_for_earliness_ends_nothing(
    gap: Gap,
) -> None:
    await gap.key("treasury", LOCKED)
    request_id = await stamped(gap)
    carried = (await gap.view(request_id))["inputOfflineHsm"]
    gap.both_clocks(60 * MINUTE - 1)
    early = await gap.execute(request_id, carried)
    assert early["refused"]["refusal"] == "approvals.too-early"
    await gap.bring_back(early)
    view = await gap.view(request_id)
    assert view["status"] == "PENDING"
    assert "refused" in view["failure"]
    gap.both_clocks(1)
    await gap.bring_back(await gap.execute(request_id, carried))
    assert (await gap.view(request_id))["status"] == "EXECUTED"


@pytest.mark.rule("R24")
async def test_r24_older_approvals_that_came_too_late_do_not_end_a_newer_request_for_the_same(gap: Gap) -> None:
    await gap.key("treasury", LOCKED)
    old = await stamped(gap)
    carried_old = (await gap.view(old))["inputOfflineHsm"]
    gap.both_clocks(121 * MINUTE)
    new = await stamped(gap)
    carried = (await gap.view(new))["inputOfflineHsm"]
    # A hostile courier sends the approvals of the old request under the id of the new one.
    mixed = {"signRequest": carried["signRequest"] | {"signedApprovals": carried_old["signRequest"]["signedApprovals"]}}
    refusal = await gap.execute(new, mixed)
    assert refusal["refused"]["refusal"] == "approvals.too-late"
    await gap.bring_back(refusal)
    assert (await gap.view(new))["status"] == "PENDING"
    gap.both_clocks(60 * MINUTE)
    await gap.bring_back(await gap.execute(new, carried))
    assert (await gap.view(new))["status"] == "EXECUTED"


@pytest.mark.rule("R24")
async def test_r24_a_timeout_that_passes_on_the_way_is_refused_offline_and_told_online_with_a_receipt(gap: Gap) -> None:
    await gap.key("treasury", LOCKED)
    in_time, too_late = await stamped(gap), await stamped(gap)
    carried = {each: (await gap.view(each))["inputOfflineHsm"] for each in (in_time, too_late)}
    gap.both_clocks(121 * MINUTE - 1)
    # The last second counts.
    await gap.bring_back(await gap.execute(in_time, carried[in_time]))
    assert (await gap.view(in_time))["status"] == "EXECUTED"
    gap.both_clocks(1)
    # Whether the courier was in time, the office cannot know; it only says what it would say of a bundle that leaves.
    assert (await gap.view(too_late))["status"] == "PENDING"
    preflight = await gap.preflight(too_late)
    assert (preflight["satisfied"], "passed" in preflight["reason"]) == (False, True)
    refusal = await gap.execute(too_late, carried[too_late])
    assert refusal["refused"]["refusal"] == "approvals.too-late"
    defects: dict[str, dict[str, Any]] = {
        "result.needs-receipt": {"receipt": None, "receiptSignature": None},
        "receipt.incomplete": {"receiptSignature": None},
        "receipt.bad-signature": {"receipt": flipped(refusal["receipt"])},
        "receipt.other-result": {"refused": refusal["refused"] | {"refusal": "approvals.missing"}},
        "receipt.other-request": {"id": await stamped(gap)},
        "receipt.other-outcome": {"refused": None, "result": None},
    }
    for word, defect in defects.items():
        body = {name: value for name, value in (refusal | defect).items() if value is not None}
        if word == "receipt.other-outcome":
            # A signature that was never made cannot be claimed with the receipt of a refusal either.
            body["result"] = (await gap.view(in_time))["result"]
        assert await gap.turned_away(body) == word
        assert (await gap.view(too_late))["status"] == "PENDING"
    await gap.bring_back(refusal)
    await gap.bring_back(refusal)
    view = await gap.view(too_late)
    assert (view["status"], view["notYetApprovedBy"]) == ("EXPIRED", [])
    assert view["failure"].startswith(f"The offline HSM refused at {iso(gap.vault.clock.now())}")
    assert "inputOfflineHsm" not in view


async def test_refusals_that_others_can_cure_go_on_waiting_and_those_that_nobody_cures_fail(gap: Gap) -> None:
    await gap.key("treasury", PLAIN)
    request_id = await gap.sign("treasury")
    await gap.approve(request_id, ADA)
    missing = await gap.in_the_vault(request_id)
    assert missing["refused"]["refusal"] == "approvals.missing"
    await gap.bring_back(missing)
    assert (await gap.view(request_id))["status"] == "PENDING"
    await gap.approve(request_id, BEN)
    await gap.bring_back(await gap.in_the_vault(request_id))
    assert (await gap.view(request_id))["status"] == "EXECUTED"

    blocked = await gap.sign("treasury")
    await gap.approve(blocked, ADA, BEN)
    block_id = await gap.status_change("block", "treasury")
    await gap.approve(block_id, ADA, BEN)
    await gap.in_the_vault(block_id)
    refusal = await gap.in_the_vault(blocked)
    assert refusal["refused"]["refusal"] == "key.blocked"
    await gap.bring_back(refusal)
    assert (await gap.view(blocked))["status"] == "FAILED"
    assert await gap.turned_away(missing | {"id": blocked}) == "request.closed"


async def test_only_the_timestamp_that_was_asked_for_is_taken_and_taken_once(gap: Gap) -> None:
    await gap.key("treasury", LOCKED)
    await gap.key("other", LOCKED)
    gap.both_clocks(10)
    request_id = await gap.sign("treasury")
    other_payload = await gap.sign("treasury", b"pay 7 to eve")
    good = await gap.ask_the_time(request_id)
    answer = good["timestampAnswer"]
    ((name, inner),) = (await gap.view(request_id))["inputOfflineHsm"].items()
    unblock = await gap.vault.post("/v1/synchronousTimestamp", {name: {"keyName": "treasury", "operation": "unblock"}})
    blob = decode_timestamp(b64decode(answer["timestamp"]))
    edited = encode_timestamp(Timestamp(blob.seconds + 1, blob.key_name, blob.action_payload))
    foreign = encode_timestamp(Timestamp(blob.seconds, "attestation", blob.action_payload))
    wrong: dict[str, list[dict[str, Any]]] = {
        "timestamp.form": [
            {},
            answer | {"more": "1"},
            answer | {"timestamp": "!"},
            answer | {"timestamp": "AAAA"},
            answer | {"timestampKeyName": 7},
        ],
        "timestamp.other-key": [
            answer | {"timestampKeyName": "attestation"},
            answer | {"timestamp": b64(foreign)},
        ],
        "timestamp.bad-signature": [
            answer | {"timestampSignature": flipped(answer["timestampSignature"])},
            answer | {"timestamp": b64(edited)},
            answer | {"timestampSignatureAlgorithm": "SHA1_WITH_ECDSA"},
            answer | {"timestampSignatureAlgorithm": "SHA256_WITH_RSA"},
        ],
        "timestamp.wrong-payload": [(await gap.ask_the_time(other_payload))["timestampAnswer"], unblock],
    }
    for word, answers in wrong.items():
        for each in answers:
            assert await gap.turned_away({"id": request_id, "timestampAnswer": each}) == word, each
            assert "timestampRequest" in (await gap.view(request_id))["inputOfflineHsm"]
    assert inner["keyName"] == "treasury"
    await gap.bring_back(good)
    gap.both_clocks(1)
    later = await gap.vault.post("/v1/synchronousTimestamp", {name: inner})
    assert await gap.turned_away({"id": request_id, "timestampAnswer": later}) == "timestamp.other"
    await gap.bring_back(good)
    untimed = await gap.key("untimed", PLAIN)
    assert untimed["json"]["policy"] is not None
    plain = await gap.sign("untimed")
    assert await gap.turned_away({"id": plain, "timestampAnswer": answer}) == "timestamp.not-awaited"
    await gap.office.http.delete(f"/v1/request/{other_payload}")
    assert await gap.turned_away({"id": other_payload, "timestampAnswer": answer}) == "request.closed"


@pytest.mark.parametrize(
    ("office_jump", "word"),
    [
        (-3_601, "timestamp.off"),
        (3_601, "timestamp.off"),
        (121 * MINUTE, "timestamp.closed"),
    ],
    ids=["HSM ahead", "HSM behind", "too long on the way"],
)
@pytest.mark.rule("R12")
async def test_r12_a_timestamp_of_another_time_than_the_request_is_told_from_a_good_one(
    gap: Gap, office_jump: int, word: str
) -> None:
    await gap.key("treasury", LOCKED)
    gap.both_clocks(10)
    if word == "timestamp.off":
        gap.office.clock.advance(office_jump)
    request_id = await gap.sign("treasury")
    answer = await gap.ask_the_time(request_id)
    if word == "timestamp.closed":
        gap.office.clock.advance(office_jump)
    assert await gap.turned_away(answer) == word
    # One second less, and it serves.
    gap.office.clock.advance(1 if office_jump == -3_601 else -1)
    if office_jump == 3_601:
        request_id = await gap.sign("treasury")
        answer = await gap.ask_the_time(request_id)
    await gap.bring_back(answer)
    assert await gap.office.tasks(ADA, request_id)


@pytest.mark.rule("R18")
async def test_r18_the_second_key_of_a_label_needs_the_hsms_time_though_its_policy_sets_no_limit(gap: Gap) -> None:
    await gap.key("treasury", PLAIN)
    first = await gap.sign("treasury")
    assert len(await gap.office.tasks(ADA, first)) == 1
    await gap.vault.http.request("DELETE", "/v1/key/treasury")
    await gap.office.http.request("DELETE", "/v1/offlineKey/treasury")
    gap.both_clocks(2)
    await gap.key("treasury", PLAIN)
    gap.both_clocks(2)
    request_id = await stamped(gap)
    await gap.bring_back(await gap.in_the_vault(request_id))
    assert (await gap.view(request_id))["status"] == "EXECUTED"


@pytest.mark.rule("R15")
async def test_r15_an_unblock_serves_once_without_a_time_and_asks_for_one_from_then_on(gap: Gap) -> None:
    await gap.key("treasury", PLAIN)

    async def change(word: str) -> str:
        gap.both_clocks(60)
        request_id = await gap.status_change(word, "treasury")
        if "timestampRequest" in ((await gap.view(request_id)).get("inputOfflineHsm") or {}):
            assert (await gap.preflight(request_id))["timestampMissing"] is True
            await gap.bring_back(await gap.ask_the_time(request_id))
        await gap.approve(request_id, ADA, BEN)
        body = await gap.in_the_vault(request_id)
        assert "keyAttributes" in body, body
        await gap.bring_back(body)
        assert (await gap.view(request_id))["status"] == "EXECUTED"
        return request_id

    async def has_time(request_id: str) -> bool:
        return (await gap.preflight(request_id))["timestamp"] is not None

    assert not await has_time(await change("block"))
    assert not await has_time(await change("unblock"))
    assert not await has_time(await change("block")), "a block may be repeated as often as people like"
    assert await has_time(await change("unblock"))


@pytest.mark.rule("R15")
async def test_r15_a_stamp_from_before_the_registered_state_does_not_serve_a_modify(gap: Gap) -> None:
    timed = quorum(1, ADA, timeout=600 * MINUTE)
    await gap.key("treasury", make_policy(use=timed, modify=timed))
    wanted = make_policy(use=quorum(1, ADA, timeout=60 * MINUTE), modify=timed)
    first, second = await gap.modify("treasury", wanted), await gap.modify("treasury", make_policy(use=timed))
    gap.both_clocks(2)
    old = await gap.ask_the_time(second)
    gap.both_clocks(2)
    await gap.bring_back(await gap.ask_the_time(first))
    await gap.approve(first, ADA)
    await gap.bring_back(await gap.in_the_vault(first))
    assert (await gap.view(first))["status"] == "EXECUTED"
    assert await gap.turned_away(old) == "timestamp.stale"
    gap.both_clocks(2)
    await gap.bring_back(await gap.ask_the_time(second))
    await gap.approve(second, ADA)
    await gap.bring_back(await gap.in_the_vault(second))
    assert (await gap.view(second))["status"] == "EXECUTED"


@pytest.mark.rule("R15")
async def test_r15_an_unblock_that_was_stamped_before_a_later_block_ends_when_that_block_is_told(gap: Gap) -> None:
    await gap.key(
        "treasury",
        make_policy(
            use=quorum(2, ADA, BEN),
            block=quorum(1, EVE),
            unblock=quorum(1, ADA, timeout=600 * MINUTE),
            modify=quorum(2, ADA, BEN),
        ),
    )

    async def block() -> dict[str, Any]:
        request_id = await gap.status_change("block", "treasury")
        await gap.approve(request_id, EVE)
        return await gap.in_the_vault(request_id)

    async def unblock() -> str:
        request_id = await gap.status_change("unblock", "treasury")
        await gap.bring_back(await gap.ask_the_time(request_id))
        await gap.approve(request_id, ADA)
        return request_id

    await gap.bring_back(await block())
    gap.both_clocks(60)
    before = await unblock()
    gap.both_clocks(60)
    again = await block()
    refusal = await gap.in_the_vault(before)
    assert refusal["refused"]["refusal"] == "approvals.missing"
    await gap.bring_back(refusal)
    assert (await gap.view(before))["status"] == "PENDING"
    await gap.bring_back(again)
    view = await gap.view(before)
    assert (view["status"], view["notYetApprovedBy"]) == ("EXPIRED", [])
    assert "blocked again" in view["failure"]
    gap.both_clocks(60)
    after = await unblock()
    await gap.bring_back(await gap.in_the_vault(after))
    assert (await gap.view(after))["status"] == "EXECUTED"


@pytest.mark.rule("R15")
async def test_r15_of_two_first_unblocks_asked_at_once_one_waits_for_a_time(gap: Gap) -> None:
    await gap.key("treasury", PLAIN)
    asked = await asyncio.gather(*(gap.status_change("unblock", "treasury") for _ in range(2)))
    carried = [(await gap.view(request_id)).get("inputOfflineHsm") for request_id in asked]
    assert sorted(body is None for body in carried) == [False, True]
    (waiting,) = [request_id for request_id, body in zip(asked, carried, strict=True) if body is not None]
    await gap.bring_back(await gap.ask_the_time(waiting))
    assert len(await gap.office.tasks(ADA, waiting)) == 1


async def test_while_it_waits_for_time_a_request_follows_a_change_of_policy_and_survives_a_restart(
    tmp_path: Path,
) -> None:
    async with timely_world(tmp_path / "vault") as vault:
        chain = (await vault.get("/v1/attestation"))["attestationCertificateChain"]
        clock = ManualClock(vault.clock.now())
        async with office_of(tmp_path / "office", chain, clock) as office:
            gap = Gap(vault, office)
            await gap.key("treasury", LOCKED)
            request_id = await gap.sign("treasury")
            gap.both_clocks(5)
            new = make_policy(use=quorum(1, EVE, timelock=MINUTE), modify=quorum(1, EVE))
            change = await gap.modify("treasury", new)
            await gap.approve(change, ADA, BEN)
            await gap.bring_back(await gap.in_the_vault(change))
            gap.both_clocks(5)
            answer = await gap.ask_the_time(request_id)
        async with office_of(tmp_path / "office", chain, clock) as office:
            again = Gap(vault, office)
            await again.bring_back(answer)
            assert await office.tasks(ADA, request_id) == []
            await again.approve(request_id, EVE)
            again.both_clocks(MINUTE)
            await again.bring_back(await again.in_the_vault(request_id))
            assert (await again.view(request_id))["status"] == "EXECUTED"
