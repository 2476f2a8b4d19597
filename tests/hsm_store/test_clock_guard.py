"""The clock never runs backwards and never leaps, unless a person says so (law 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyturn.clock import ManualClock
from keyturn.errors import KeyturnError
from keyturn.hsm.clock_guard import BOUND, ClockCondition, ClockGuard
from keyturn_testing.hsm_store import create_store, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.hsm.store import Store

START = 1_700_000_000


@pytest.fixture
def guard(clock: ManualClock, store: Store) -> ClockGuard:
    return ClockGuard(clock, store)


def test_the_time_is_the_clocks(clock: ManualClock, guard: ClockGuard) -> None:
    assert guard.now() == START
    clock.advance(1.9)
    assert guard.now() == START + 1
    assert guard.status.condition is ClockCondition.GOOD


def test_clock_behind(clock: ManualClock, guard: ClockGuard) -> None:
    clock.advance(100)
    guard.now()
    clock.advance(-2.1)
    with pytest.raises(KeyturnError, match="Set the clock right") as refused:
        guard.now()
    assert refused.value.refusal == "clock.behind"
    assert guard.status.condition is ClockCondition.BEHIND
    assert (guard.status.reading, guard.status.mark) == (START + 97.9, START + 100)
    clock.advance(0.2)
    assert guard.now() == START + 100  # Within the tolerance it stands still.


def test_clock_ahead(clock: ManualClock, guard: ClockGuard) -> None:
    clock.advance(BOUND + 1)
    with pytest.raises(KeyturnError, match="confirm") as refused:
        guard.now()
    assert refused.value.refusal == "clock.ahead"
    assert guard.status.condition is ClockCondition.AHEAD
    clock.advance(-1)
    assert guard.now() == START + BOUND


def test_a_jump_counts_once_it_is_confirmed(clock: ManualClock, guard: ClockGuard, store: Store) -> None:
    clock.advance(BOUND * 3)
    with pytest.raises(KeyturnError):
        guard.now()
    guard.confirm(guard.status.reading)
    assert store.pending
    store.commit_now()
    assert guard.now() == START + BOUND * 3


def test_clock_confirmation_differs(clock: ManualClock, guard: ClockGuard, store: Store) -> None:
    clock.advance(BOUND * 3)
    shown = guard.status.reading
    clock.advance(301)
    with pytest.raises(KeyturnError) as refused:
        guard.confirm(shown)
    assert refused.value.refusal == "clock.confirmation-differs"
    with pytest.raises(KeyturnError):
        guard.now()
    clock.advance(-1)
    guard.confirm(shown)
    guard.now()


@pytest.mark.parametrize("reading", [float("nan"), float("inf"), float("-inf"), 1e300, -1e300])
def test_clock_confirmation_differs_also_where_the_reading_is_no_date(
    clock: ManualClock, guard: ClockGuard, reading: float
) -> None:
    """NaN differs from nothing by more than a bound; infinity cannot be shown as a date."""
    with pytest.raises(KeyturnError) as refused:
        guard.confirm(reading)
    assert refused.value.refusal == "clock.confirmation-differs"
    guard.confirm(clock.now())


def test_going_back_must_be_said(clock: ManualClock, guard: ClockGuard) -> None:
    clock.advance(86_400)
    guard.now()
    clock.advance(-86_400)
    with pytest.raises(KeyturnError) as refused:
        guard.confirm(clock.now())
    assert refused.value.refusal == "clock.behind"
    guard.confirm(clock.now(), backwards=True)
    assert guard.now() == START


def test_the_mark_survives_a_restart(directory: Path, clock: ManualClock, store: Store, guard: ClockGuard) -> None:
    clock.advance(1000)
    guard.now()
    assert not store.pending  # It rides with the next commit, or with the last.
    store.close()
    clock.advance(-500)
    again = open_store(directory, clock)
    with pytest.raises(KeyturnError) as refused:
        ClockGuard(clock, again).now()
    assert refused.value.refusal == "clock.behind"
    clock.advance(500)
    assert ClockGuard(clock, again).now() == START + 1000
    again.close()


def test_a_stamp_that_was_made_durable_survives_a_crash(directory: Path, clock: ManualClock) -> None:
    store = create_store(directory, clock)
    clock.advance(50)
    with store.change() as change:
        change.advance_clock(ClockGuard(clock, store).now())
    store.commit_now()
    store._lock.release()  # As if the process had ended here.
    again = open_store(directory, clock)
    assert again.clock_mark == START + 50
    again.close()
    store._committer.stop()
    store._container.close()
    store.log.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(st.floats(-5, 1e7, allow_nan=False)))
def test_what_it_hands_out_never_decreases(store: Store, steps: list[float]) -> None:
    clock = ManualClock(store.clock_mark)
    guard = ClockGuard(clock, store)
    last = 0
    for step in steps:
        clock.advance(step)
        reading, mark = clock.now(), store.clock_mark
        try:
            now = guard.now()
        except KeyturnError:
            assert not mark - 2 <= reading <= mark + BOUND
        else:
            assert mark - 2 <= reading <= mark + BOUND
            assert now >= last
            last = now
