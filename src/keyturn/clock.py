"""Time as a thing that is passed in (law 4).

Nothing in keyturn reads the system's time but `SystemClock`. Tests pass a `ManualClock` and never sleep.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's real-time clock."""

    def now(self) -> float:
        """Seconds since the Unix epoch, from the system."""
        return time.time()


class ManualClock:
    """A clock that moves only when told to.

    Args:
        start: Seconds since the Unix epoch at which it stands.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Seconds since the Unix epoch, as last set."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock by `seconds`; a negative number moves it back."""
        self._now += seconds

    def set(self, moment: float) -> None:
        """Put the clock to `moment`, seconds since the Unix epoch."""
        self._now = moment


def iso(seconds: float) -> str:
    """Render seconds since the epoch as the API's `YYYY-MM-DDThh:mm:ssZ` (rest-api.md section 1.2)."""
    return datetime.fromtimestamp(int(seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
