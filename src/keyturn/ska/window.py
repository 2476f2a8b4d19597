"""The time window of a token: the only two functions that know when it opens and closes.

Elapsed time since the signed timestamp is counted in whole units of the policy's encoding, truncated. It must be at
least the timelock and, unless the timeout is 0, at most the timeout. Truncation makes the last unit count whole.

Source: decisions 18 (replaces ska-wire-format.md 9.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyturn.ska.policy import Token


def opens_at(stamp: int, token: Token) -> int:
    """When an approval with this timestamp begins to count for the token.

    Args:
        stamp: Seconds since the epoch in the signed timestamp.
        token: The token.

    Returns:
        The first second, since the epoch, at which it counts.
    """
    return stamp + token.timelock


def closes_at(stamp: int, token: Token) -> int | None:
    """When an approval with this timestamp ceases to count for the token.

    Args:
        stamp: Seconds since the epoch in the signed timestamp.
        token: The token.

    Returns:
        The first second, since the epoch, at which it no longer counts; None if it always does.
    """
    if token.timeout == 0:
        return None
    return stamp + token.timeout + token.unit.seconds
