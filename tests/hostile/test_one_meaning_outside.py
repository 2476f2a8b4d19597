"""Attacks that the HSM cannot see: on officers, by a timestamp fetched long ago, and on an office, by its courier.

Those on officers succeed against a program that checks nothing, on every key: the HSM cannot know when officers were
first asked. Our client refuses. Those on an office never worked, bound approvals or not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from keyturn.approver.address_book import AddressBook
from keyturn.approver.client import ApproverClient
from keyturn.approver.keys import ApproverKey
from keyturn.clock import ManualClock
from keyturn.errors import KeyturnError
from keyturn.hsm import protocol
from keyturn.ska.actions import Action
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.statement import encode_statement
from keyturn_testing.approval_tasks import STAMPED_AT, honest_task, sign_token
from keyturn_testing.bound_tasks import bound_task
from keyturn_testing.gap_world import Gap, gap_of
from keyturn_testing.hostile import ADA, BEN, ECDSA, ONE_USER, PAYLOAD
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import operation_id
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.one_meaning import BOUND, DOCUMENTED, KINDS, SINGLE, SUBJECT, SUCCEEDS, new_request
from keyturn_testing.one_task_server import OneTaskServer
from keyturn_testing.reviews import ADA as REVIEWER
from keyturn_testing.reviews import HSM, POLICY

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.ska.messages import ApprovalToken

HOUR: Final = 3600
LOCKED: Final = make_policy(quorum(2, ADA, BEN, timelock=HOUR))
EVE: Final = Officer("eve", "P-384")
PLAIN: Final = make_policy(quorum(2, ADA, BEN, EVE))
COURIERS: Final = {"decrypt": False, "sign": True, "unwrap": False, "destroyable": True}


def line(attack: str, rule: str, *outcomes: str) -> pytest.MarkDecorator:
    """The record of a line, with its outcome on each kind of key."""
    keys = dict(zip(KINDS, outcomes, strict=True))
    return pytest.mark.attack(subject=SUBJECT, attack=attack, rule=rule, keys=keys, profile=ONE_USER)


# --- timestamps fetched long ago ---------------------------------------------------------------------------


def _statement(room: Room, label: str, request_id: str) -> bytes:
    facts = room.ask(protocol.Lookup(label))
    key = BoundKey(facts.uuid, facts.public_key, facts.policy)
    return encode_statement(key.sign(request_id, PAYLOAD, ECDSA, ""))


def _sign(room: Room, token: ApprovalToken, request_id: str) -> Any:
    approvals = [officer.approve(token) for officer in (ADA, BEN)]
    label = token.label.decode()
    return room.ask(protocol.Sign(operation_id(), label, PAYLOAD, ECDSA, "", approvals, request_id))


@pytest.mark.rule("R12")
@line(
    "Hoarded timestamp: fetched before anybody was asked, so that the timelock is over; officers check nothing",
    "R12",
    SUCCEEDS,
    SUCCEEDS,
    SUCCEEDS,
)
def test_r12_the_hsm_cannot_tell_a_hoarded_timestamp_on_any_key(tmp_path: Path) -> None:
    """The documented format allows this, and so do bound keys: a hostile broker chooses the request id, too."""
    room = Room(tmp_path)
    for kind, attributes in KINDS.items():
        room.create(kind, LOCKED, **attributes)
        request_id = new_request()
        covered = _statement(room, kind, request_id) if kind == BOUND else PAYLOAD
        hoarded = room.stamp(kind, Action.USE, covered)
        room.clock.advance(2 * HOUR)
        # Only now are the officers asked; what they sign can be used at once.
        assert isinstance(_sign(room, hoarded, request_id), protocol.Signed)
        # A timestamp of the moment when they are asked gives them their hour.
        fresh = room.stamp(kind, Action.USE, covered)
        early = _sign(room, fresh, request_id)
        assert isinstance(early, protocol.Refused)
        assert early.refusal == "approvals.too-early"
    room.close()


@pytest.mark.rule("R7")
@line(
    "Hoarded timestamp: fetched for these bytes, used for a request that somebody else makes later",
    "R7, R12",
    SUCCEEDS,
    "approvals.missing, approval.timestamp-wrong-payload",
    SUCCEEDS,
)
def test_r7_a_timestamp_for_bytes_alone_serves_no_request_of_a_bound_key(tmp_path: Path) -> None:
    """The documented format allows this on the others: the timestamp is for bytes, whoever asks for them and when."""
    room = Room(tmp_path)
    for kind, attributes in KINDS.items():
        room.create(kind, LOCKED, **attributes)
        # For a bound key nothing but a statement is stamped; so we guess what the request will say.
        guess = _statement(room, kind, new_request()) if kind == BOUND else PAYLOAD
        hoarded = room.stamp(kind, Action.USE, guess)
        room.clock.advance(2 * HOUR)
        request_id = new_request()
        covered = _statement(room, kind, request_id) if kind == BOUND else PAYLOAD
        answer = _sign(room, replace(hoarded, payload=covered), request_id)
        if kind == BOUND:
            assert isinstance(answer, protocol.Refused)
            words = [word for _, word in answer.bad_approvals]
            assert (answer.refusal, set(words)) == ("approvals.missing", {"approval.timestamp-wrong-payload"})
            stamped = room.stamp(kind, Action.USE, covered)
            room.clock.advance(2 * HOUR)
            answer = _sign(room, stamped, request_id)
        assert isinstance(answer, protocol.Signed)
    room.close()


OLD = "review.old-timestamp"


@pytest.mark.rule("R12")
@line("Hoarded timestamp: the same, and an officer looks with our client", "R12", OLD, OLD, OLD)
def test_r12_our_client_does_not_approve_under_a_timestamp_that_was_old_at_first_sight() -> None:
    tasks = {
        DOCUMENTED: honest_task(REVIEWER, HSM.stamp(sign_token(PAYLOAD)), hsm=HSM, policy=POLICY),
        BOUND: bound_task("sign"),
        SINGLE: honest_task(
            REVIEWER,
            HSM.stamp(sign_token(PAYLOAD)),
            hsm=HSM,
            policy=POLICY,
            attested={"attributes": COURIERS | {SINGLE: True, "extractable": False}, **_third_edition()},
        ),
    }
    assert set(tasks) == set(KINDS)
    for task in tasks.values():
        for age, refused in ((2 * HOUR, True), (30, False)):
            server = OneTaskServer(task)
            client = ApproverClient(
                server,
                ApproverKey(REVIEWER.key),
                AddressBook.empty(),
                device_certificate=HSM.certificate,
                clock=ManualClock(STAMPED_AT + age),
            )
            shown = client.review(client.tasks()[0])
            if refused:
                with pytest.raises(KeyturnError) as error:
                    client.approve(shown)
                assert error.value.refusal == OLD
            else:
                client.approve(shown)
            assert len(server.approved) == (not refused)


def _third_edition() -> dict[str, Any]:
    """What attested attributes of keys with promises have beside them."""
    return {"receipt_key": HSM.integrity_spki, "store_counter": 9, "accepted_rollbacks": 0}


# --- what a courier brings ---------------------------------------------------------------------------------


async def _half_approved(gap: Gap, label: str, payload: bytes = PAYLOAD) -> str:
    """A request to sign with one approval of two; where the key needs the HSM's time for it, it has that."""
    request_id = await gap.sign(label, payload)
    if "timestampRequest" in (await gap.view(request_id)).get("inputOfflineHsm", {}):
        await gap.bring_back(await gap.ask_the_time(request_id))
    await gap.approve(request_id, ADA)
    return request_id


WRONG = "result.wrong"


@pytest.mark.rule("R24")
@line("Stale attestation as result: the courier brings what an earlier block came to", "R24", WRONG, WRONG, WRONG)
async def test_r24_an_older_attestation_is_the_result_of_nothing_on_any_key(tmp_path: Path) -> None:
    """This never worked: a change is done when the same key is attested so, later than it was registered."""
    async with gap_of(tmp_path) as gap:
        for kind, attributes in KINDS.items():
            await gap.key(kind, PLAIN, attributes=COURIERS | attributes)
            first = await gap.status_change("block", kind)
            await gap.approve(first, ADA, BEN)
            blocked = await gap.in_the_vault(first)
            await gap.bring_back(blocked)
            unblock = await gap.status_change("unblock", kind)
            await gap.approve(unblock, ADA, BEN)
            await gap.bring_back(await gap.in_the_vault(unblock))
            # An emergency: the officers block again. The courier leaves the vault alone, and brings what it kept.
            again = await gap.status_change("block", kind)
            await gap.approve(again, ADA, BEN)
            stale = {"id": again, "keyAttributes": blocked["keyAttributes"]}
            assert await gap.turned_away(stale) == WRONG
            assert (await gap.view(again))["status"] == "PENDING"
            await gap.bring_back(await gap.in_the_vault(again))
            assert (await gap.view(again))["status"] == "EXECUTED"


NEEDS = "result.needs-receipt"


@pytest.mark.rule("R24")
@line("Courier's fake refusal: a request is said to have failed that nobody carried in", "R24", NEEDS, NEEDS, NEEDS)
async def test_r24_a_refusal_that_the_hsm_did_not_sign_ends_nothing_on_any_key(tmp_path: Path) -> None:
    """This never worked: a refusal counts with the HSM's receipt alone, for this request and these words."""
    async with gap_of(tmp_path) as gap:
        for kind, attributes in KINDS.items():
            await gap.key(kind, PLAIN, attributes=COURIERS | attributes)
            refused, request_id = await _half_approved(gap, kind), await _half_approved(gap, kind, b"pay 7 to Eve")
            genuine = await gap.in_the_vault(refused)
            assert genuine["refused"]["refusal"] == "approvals.missing"
            fake = {"id": request_id, "refused": genuine["refused"]}
            assert await gap.turned_away(fake) == NEEDS
            # Nor with the receipt of another request.
            assert await gap.turned_away(genuine | {"id": request_id}) == "receipt.other-request"
            assert (await gap.view(request_id))["status"] == "PENDING"
            await gap.bring_back(genuine)
