"""A token bucket: how often something free of approvals may be asked (R31)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimit:
    """Allows `per_second` calls in the long run and `burst` at once.

    Args:
        what: Plural noun for the message, such as `timestamps`.
        per_second: Calls per second that refill the bucket.
        burst: Size of the bucket, in calls.
        monotonic: A clock that never goes back, in seconds; the wall clock could be set to refill the bucket.
    """

    def __init__(self, what: str, per_second: float, burst: int, monotonic: Callable[[], float]) -> None:
        self._what = what
        self._per_second = per_second
        self._burst = float(burst)
        self._monotonic = monotonic
        self._left = float(burst)
        self._last = monotonic()

    def take(self) -> None:
        """Take one call out of the bucket.

        Raises:
            KeyturnError: `rate.limited` when it is empty.
        """
        now = self._monotonic()
        self._left = min(self._burst, self._left + (now - self._last) * self._per_second)
        self._last = now
        if self._left < 1:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"too many {self._what} were asked for: the HSM gives {self._per_second:g} per second; try again later",
                refusal="rate.limited",
            )
        self._left -= 1
