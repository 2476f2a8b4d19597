"""R12, R26: what an officer's client remembers; it survives, is bounded, and belongs to its owner."""

from __future__ import annotations

import json
import stat
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.approver.memory import MAX_SEEN, MAX_SENT, OfficerMemory, SentApproval
from keyturn.errors import KeyturnError

if TYPE_CHECKING:
    from pathlib import Path


def sent(number: int, approval: bytes = b"approval") -> SentApproval:
    return SentApproval(f"{number:08x}-0000-4000-8000-000000000000", approval, "http://127.0.0.1:8080", 1000 + number)


@pytest.mark.rule("R12")
def test_r12_the_first_sight_is_remembered_and_nothing_later_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "ada.key.memory"
    assert OfficerMemory(path).first_seen(b"one", 100) == 100
    assert OfficerMemory(path).first_seen(b"one", 5000) == 100
    assert OfficerMemory(path).first_seen(b"onf", 5000) == 5000
    assert OfficerMemory(None).first_seen(b"one", 7) == 7
    one_call = OfficerMemory()
    assert [one_call.first_seen(b"one", moment) for moment in (7, 8)] == [7, 7]


@pytest.mark.rule("R26")
def test_r26_what_was_approved_is_remembered_and_marked_when_it_is_withdrawn(tmp_path: Path) -> None:
    path = tmp_path / "ada.key.memory"
    for number in (1, 2, 3):
        OfficerMemory(path).remember(sent(number))
    assert [one.task_id for one in OfficerMemory(path).sent()] == [sent(number).task_id for number in (3, 2, 1)]
    assert OfficerMemory(path).approvals(sent(2).task_id.upper()) == (sent(2),)
    OfficerMemory(path).mark_withdrawn(sent(2), 5000)
    assert OfficerMemory(path).approvals(sent(2).task_id) == (replace(sent(2), withdrawn_at=5000),)
    assert [one.task_id for one in OfficerMemory(path).sent()] == [sent(number).task_id for number in (3, 1, 2)]
    OfficerMemory(path).remember(sent(2))
    assert OfficerMemory(path).sent() == (sent(2), sent(3), sent(1))
    with pytest.raises(KeyturnError) as error:
        OfficerMemory(path).approvals(sent(4).task_id)
    assert error.value.refusal == "withdraw.unknown"
    OfficerMemory(path).remember(sent(1))
    assert OfficerMemory(path).approvals(sent(1).task_id) == (sent(1),)
    # The server gives the ids: one that gives an id twice must not make the first approval forgotten.
    OfficerMemory(path).remember(sent(1, b"other bytes"))
    assert [one.approval for one in OfficerMemory(path).approvals(sent(1).task_id)] == [b"other bytes", b"approval"]
    OfficerMemory(path).mark_withdrawn(sent(1, b"other bytes"), 5000)
    assert [one.withdrawn_at for one in OfficerMemory(path).approvals(sent(1).task_id)] == [None, 5000]


def test_the_memory_is_its_owners_alone(tmp_path: Path) -> None:
    OfficerMemory(tmp_path / "m").remember(sent(1))
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert {file.name for file in tmp_path.iterdir()} == {"m", "m.lock"}


def test_what_is_oldest_is_forgotten_first_and_then_counts_as_never_seen(tmp_path: Path) -> None:
    path = tmp_path / "m"
    seen = {f"{number:064x}": 1000 + number for number in range(MAX_SEEN)}
    path.write_text(json.dumps({"version": 1, "seen": seen, "sent": []}))
    OfficerMemory(path).first_seen(b"new", 10_000)
    kept = json.loads(path.read_text())["seen"]
    assert len(kept) == MAX_SEEN
    assert f"{0:064x}" not in kept
    assert f"{1:064x}" in kept
    assert OfficerMemory(path).first_seen(b"new", 20_000) == 10_000


def test_approvals_are_bounded_by_number_and_by_bytes() -> None:
    memory = OfficerMemory()
    for number in range(MAX_SENT + 2):
        memory.remember(sent(number))
    assert len(memory.sent()) == MAX_SENT
    assert memory.sent()[0] == sent(MAX_SENT + 1)
    # What was withdrawn goes first, however new it is.
    memory.mark_withdrawn(sent(MAX_SENT + 1), 5000)
    memory.remember(sent(MAX_SENT + 2))
    assert len(memory.sent()) == MAX_SENT
    assert sent(2) in memory.sent()
    assert all(one.withdrawn_at is None for one in memory.sent())
    memory = OfficerMemory()
    for number in range(70):
        memory.remember(sent(number, bytes(65_535)))
    assert len(memory.sent()) == 64
    assert memory.sent()[0].task_id == sent(69).task_id


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"version": 2, "seen": {}, "sent": []}', b'{"version": 1, "seen": [], "sent": []}',
        b'{"version": 1, "seen": {"0": 1}, "sent": []}', b'{"version": 1, "seen": {}, "sent": [{}]}',
        b'{"version": 1, "seen": {"%s": true}, "sent": []}' % (b"0" * 64),
        b'{"version": 1, "seen": {"%s": -1}, "sent": []}' % (b"0" * 64),
        b'{"version": 1, "seen": {}, "sent": [{"taskId": 1, "approval": "AAAA", "server": "", "sentAt": 1}]}',
        b'{"version": 1, "seen": {}, "sent": [{"taskId": "1", "approval": "?", "server": "", "sentAt": 1}]}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_memory_is_refused_and_not_written_over(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m"
    path.write_bytes(content)
    for act in (lambda: OfficerMemory(path).first_seen(b"x", 1), lambda: OfficerMemory(path).sent()):
        with pytest.raises(KeyturnError) as error:
            act()
        assert error.value.refusal == "officer-memory.unreadable"
    assert path.read_bytes() == content
    path.unlink()
    assert OfficerMemory(path).first_seen(b"x", 1) == 1


def test_a_memory_that_cannot_be_kept_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError) as error:
        OfficerMemory(tmp_path / "missing" / "m").first_seen(b"x", 1)
    assert error.value.refusal == "officer-memory.unwritable"
    assert "--memory" in error.value.message
    (tmp_path / "m").mkdir()
    with pytest.raises(KeyturnError) as error:
        OfficerMemory(tmp_path / "m").sent()
    assert error.value.refusal == "officer-memory.unreadable"


def test_two_commands_at_a_time_forget_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "m"

    def note(first: int) -> None:
        for number in range(first, first + 10):
            OfficerMemory(path).remember(sent(number))

    threads = [threading.Thread(target=note, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(OfficerMemory(path).sent()) == 30


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.integers(0, 10**10)), max_size=12))
def test_whatever_is_seen_when_the_answer_is_the_first_time(tmp_path: Path, sights: list[tuple[bytes, int]]) -> None:
    path = tmp_path / "m"
    path.unlink(missing_ok=True)
    first: dict[bytes, int] = {}
    for approval, moment in sights:
        first.setdefault(approval, moment)
        assert OfficerMemory(path).first_seen(approval, moment) == first[approval]
