"""The one clock of the HSM, and the refusal to run backwards (law 4).

The store's clock mark is the highest time that was ever used and committed. The guard hands out whole seconds that
never decrease, and refuses where the system's clock cannot be believed:

* behind the mark by more than the tolerance: `clock.behind`. Within the tolerance (a step by a time daemon) time stands
  still;
* ahead of the mark by more than the bound: `clock.ahead`. A wrong clock that far in the future would open every
  timelock; a person confirms it, over the administration socket (rule R2).

What it cannot know: a clock that is wrong by less than the bound, or an HSM that was off. The mark moves with every
commit; a time that leaves the HSM (a timestamp) must be durable first, which the caller sees to with
`Change.advance_clock` and `Store.durable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from keyturn.clock import iso
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from keyturn.clock import Clock
    from keyturn.hsm.store import Store

TOLERANCE: Final = 2.0
"""Seconds the clock may be behind: what time daemons step without a person noticing."""
BOUND: Final = 90 * 86_400.0
"""Seconds the clock may be ahead of the last use: a vault opened once a quarter needs no ceremony."""
CONFIRMATION_WINDOW: Final = 300.0
"""Seconds between what the administrator was shown and the clock at confirmation."""


class ClockCondition(StrEnum):
    """Whether the clock can be believed."""

    GOOD = "good"
    BEHIND = "behind"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True)
class ClockStatus:
    """What the guard sees.

    Args:
        condition: Whether `now` would answer.
        reading: The system's clock, seconds since the epoch.
        mark: Highest time used so far.
        tolerance: Seconds the reading may be behind.
        bound: Seconds it may be ahead.
    """

    condition: ClockCondition
    reading: float
    mark: float
    tolerance: float
    bound: float


class ClockGuard:
    """Hands out the time.

    Args:
        clock: The system's clock.
        store: Keeps the mark.
        tolerance: Seconds the clock may be behind.
        bound: Seconds it may be ahead.
    """

    def __init__(self, clock: Clock, store: Store, *, tolerance: float = TOLERANCE, bound: float = BOUND) -> None:
        self._clock = clock
        self._store = store
        self._tolerance = tolerance
        self._bound = bound

    def now(self) -> int:
        """The time, never less than before.

        Returns:
            Whole seconds since the epoch.

        Raises:
            KeyturnError: `clock.behind`, `clock.ahead`.
        """
        reading = self._clock.now()
        mark = self._store.clock_mark
        if reading < mark - self._tolerance:
            raise _refusal(
                "clock.behind",
                f"The system clock says {iso(reading)}, but {iso(mark)} has been used. Set the clock right; if the "
                "earlier time was wrong, "
                "an administrator can confirm the step back.",
            )
        if reading > mark + self._bound:
            raise _refusal(
                "clock.ahead",
                f"The system clock says {iso(reading)}; {iso(mark)} was used last. Set the clock right, or have an "
                "administrator confirm it.",
            )
        self._store.observe_clock(reading)
        return int(max(reading, mark))

    def latest(self) -> int:
        """The time, or where the clock is not believed the highest time used so far; for what must not wait for it."""
        try:
            return self.now()
        except KeyturnError:
            return int(self._store.clock_mark)

    @property
    def status(self) -> ClockStatus:
        """What the guard sees now; never refuses."""
        reading, mark = self._clock.now(), self._store.clock_mark
        condition = ClockCondition.GOOD
        if reading < mark - self._tolerance:
            condition = ClockCondition.BEHIND
        elif reading > mark + self._bound:
            condition = ClockCondition.AHEAD
        return ClockStatus(condition, reading, mark, self._tolerance, self._bound)

    def confirm(self, reading: float, *, backwards: bool = False) -> None:
        """Believe the system's clock, on an administrator's word; `Store.durable` follows.

        Args:
            reading: The time the administrator was shown and found right, seconds since the epoch.
            backwards: The time used before was wrong, and the mark goes back. Windows that had closed open again until
                the time they close; say it only after looking at what was signed meanwhile.

        Raises:
            KeyturnError: `clock.confirmation-differs`: the clock says something else by now; `clock.behind`: it is
                behind the mark and `backwards` was not said.
        """
        actual = self._clock.now()
        # So written that NaN is refused; and shown as a number, for not every number is a date.
        if not abs(actual - reading) <= CONFIRMATION_WINDOW:
            raise _refusal(
                "clock.confirmation-differs",
                f"The time confirmed is {reading:.0f} seconds since the epoch, the clock says {actual:.0f} "
                f"({iso(actual)}). Look at the clock again, then confirm.",
            )
        if actual < self._store.clock_mark - self._tolerance and not backwards:
            raise _refusal(
                "clock.behind",
                f"The clock says {iso(actual)}, but {iso(self._store.clock_mark)} has been used. Say that the mark "
                "shall go back.",
            )
        with self._store.change() as change:
            if backwards:
                change.turn_clock_back(actual)
            else:
                change.advance_clock(actual)


def _refusal(word: str, message: str) -> KeyturnError:
    return KeyturnError(ErrorCode.HSM_FAILURE, message, refusal=word)
