"""R12, decisions 18: how old the HSM's timestamp is, when an approval counts, and what is refused when seen late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.address_book import AddressBook
from keyturn.approver.client import ApproverClient
from keyturn.approver.keys import ApproverKey
from keyturn.approver.memory import OfficerMemory
from keyturn.approver.windows import about, moment, relative, window_words, windows_of
from keyturn.clock import ManualClock
from keyturn.errors import KeyturnError
from keyturn.ska.policy import Rule, TimeUnit
from keyturn_testing.approval_tasks import STAMPED_AT, b64, block_token, honest_task, sign_token
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.one_task_server import OneTaskServer
from keyturn_testing.reviews import ADA, BEN, EVE, HSM, PAYLOAD, review

if TYPE_CHECKING:
    from pathlib import Path

QUARTER = 15 * 60
LIMITED = make_policy(quorum(2, ADA, BEN, timelock=7200, timeout=10_800))


def officer(server: OneTaskServer, now: int, memory: OfficerMemory | None = None) -> ApproverClient:
    """Ada's client at a moment."""
    return ApproverClient(
        server,
        ApproverKey(ADA.key),
        AddressBook.empty(),
        device_certificate=HSM.certificate,
        memory=memory,
        clock=ManualClock(now),
    )


def stamped(payload: bytes = PAYLOAD) -> dict[str, Any]:
    return honest_task(ADA, HSM.stamp(sign_token(payload)), hsm=HSM, policy=LIMITED)


@pytest.mark.rule("R12")
def test_r12_a_stamp_that_is_older_than_a_quarter_of_an_hour_at_first_sight_is_not_approved() -> None:
    for late in (0, 1):
        server = OneTaskServer(stamped())
        client = officer(server, STAMPED_AT + QUARTER + late)
        (task,) = client.tasks()
        shown = client.review(task)
        if not late:
            client.approve(shown)
            assert len(server.approved) == 1
            assert not any("--accept-old-timestamp" in warning for warning in shown.warnings)
            continue
        with pytest.raises(KeyturnError) as error:
            client.approve(shown)
        assert error.value.refusal == "review.old-timestamp"
        assert "15 minutes 1 second old when you were first shown" in error.value.message
        assert "--accept-old-timestamp" in shown.warnings[0]
        assert server.approved == []
        client.reject(shown)
        client.approve(shown, accept_old_timestamp=True)
        assert len(server.approved) == 2


@pytest.mark.rule("R12")
def test_r12_who_was_shown_the_request_in_time_may_decide_later(tmp_path: Path) -> None:
    memory = OfficerMemory(tmp_path / "ada.key.memory")
    server = OneTaskServer(stamped())
    client = officer(server, STAMPED_AT + 30, memory)
    client.review(client.tasks()[0])
    next_day = officer(server, STAMPED_AT + 86_400, OfficerMemory(tmp_path / "ada.key.memory"))
    next_day.approve(next_day.review(next_day.tasks()[0]))
    assert len(server.approved) == 1


@pytest.mark.rule("R12")
def test_r12_a_stamp_that_was_seen_for_one_request_does_not_stand_for_another() -> None:
    """For block and unblock a timestamp names neither key nor operation: it could be shown early with another label."""
    memory = OfficerMemory()
    stamp = HSM.stamp(block_token())
    seen = honest_task(ADA, stamp, hsm=HSM, policy=LIMITED)
    other = HSM.stamp(block_token("petty cash"))
    assert other.timestamp == stamp.timestamp
    late = honest_task(ADA, other, hsm=HSM, policy=LIMITED, attested={"label": "petty cash"})
    early_client = officer(OneTaskServer(seen), STAMPED_AT + 30, memory)
    early_client.review(early_client.tasks()[0])
    for task, refused in ((seen, False), (late, True)):
        server = OneTaskServer(task)
        client = officer(server, STAMPED_AT + 7200, memory)
        shown = client.review(client.tasks()[0])
        if refused:
            with pytest.raises(KeyturnError) as error:
                client.approve(shown)
            assert error.value.refusal == "review.old-timestamp"
        else:
            client.approve(shown)
        assert len(server.approved) == (not refused)


@pytest.mark.rule("R12")
def test_r12_a_task_that_lies_is_not_remembered_as_seen() -> None:
    memory = OfficerMemory()
    early = officer(OneTaskServer(stamped() | {"payload": b64(b"Pay 10000 to Eve.")}), STAMPED_AT + 30, memory)
    with pytest.raises(KeyturnError) as error:
        early.review(early.tasks()[0])
    assert error.value.refusal == "review.payload"
    late = officer(OneTaskServer(stamped()), STAMPED_AT + 7200, memory)
    with pytest.raises(KeyturnError) as error:
        late.approve(late.review(late.tasks()[0]))
    assert error.value.refusal == "review.old-timestamp"


@pytest.mark.rule("R12")
def test_r12_an_approval_without_a_stamp_has_no_age() -> None:
    server = OneTaskServer(honest_task(ADA, sign_token(PAYLOAD), hsm=HSM, policy=make_policy(quorum(1, ADA))))
    client = officer(server, STAMPED_AT + 86_400)
    client.approve(client.review(client.tasks()[0]))
    assert len(server.approved) == 1


@pytest.mark.rule("R12")
def test_r12_a_stamp_ahead_of_the_officers_clock_is_pointed_out() -> None:
    for ahead, told in ((120, False), (121, True)):
        shown = review(stamped(), now=STAMPED_AT - ahead)
        assert any("ahead of your clock" in warning for warning in shown.warnings) is told


def test_the_last_second_is_the_true_one_by_decision_18() -> None:
    shown = review(stamped())
    (window,) = shown.windows
    assert (window.opens, window.last) == (STAMPED_AT + 7200, STAMPED_AT + 10_800 + 59)
    assert window_words(window, STAMPED_AT + 60) == (
        "opens 2023-11-15T00:13:20Z (in 1 hour 59 minutes), last second 2023-11-15T01:14:19Z (in 2 hours 59 minutes)"
    )
    seconds = Rule((*quorum(1, ADA, timelock=5, timeout=5, unit=TimeUnit.SECONDS).tokens, *quorum(1, BEN).tokens))
    assert [(window.opens, window.last, window.listed) for window in windows_of(seconds, 1000, ADA.spki)] == [
        (1005, 1005, True),
        (1000, None, False),
    ]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (STAMPED_AT + 7199, None),
        (STAMPED_AT + 7200, "over already: it happens as soon as enough have approved"),
        (STAMPED_AT + 10_859, "over already: it happens as soon as enough have approved"),
        (STAMPED_AT + 10_860, "an approval given now would not count"),
    ],
)
def test_a_waiting_period_that_is_over_and_a_closed_window_are_pointed_out(now: int, words: str | None) -> None:
    found = [warning for warning in review(stamped(), now=now).warnings if "over" in warning]
    assert bool(found) is (words is not None)
    assert words is None or any(words in warning for warning in found)


def test_a_limit_without_a_timestamp_is_pointed_out() -> None:
    shown = review(honest_task(ADA, sign_token(PAYLOAD), hsm=HSM, policy=LIMITED))
    assert any("carries no timestamp" in warning for warning in shown.warnings)
    assert shown.windows == ()
    free = review(honest_task(ADA, sign_token(PAYLOAD), hsm=HSM, policy=make_policy(quorum(1, ADA, EVE))))
    assert free.warnings == ()


def test_an_officer_who_is_listed_nowhere_sees_every_window() -> None:
    gil = Officer("gil")
    task = honest_task(gil, HSM.stamp(sign_token(PAYLOAD)), hsm=HSM, policy=LIMITED)
    assert [window.listed for window in review(task, who=gil).windows] == [False]


def test_lengths_and_moments_in_words() -> None:
    assert [about(seconds) for seconds in (0, 59, 61, 3599, 3661, 90_061)] == [
        "0 seconds", "59 seconds", "1 minute 1 second", "59 minutes 59 seconds", "1 hour 1 minute", "1 day 1 hour",
    ]  # fmt: skip
    assert [relative(seconds, 100) for seconds in (100, 99, 160)] == ["now", "1 second ago", "in 1 minute"]
    assert moment(2**40) == "after the year 9999"
