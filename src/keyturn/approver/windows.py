"""When an approval counts: from which second, and until which, by the key's present policy and the HSM's timestamp.

The policy is the one in the attested attributes, so it is as true as these are. The two functions that know when a
token opens and closes are those of the HSM (`ska.window`).

Source: decisions 18; docs/security/rules.md R12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.approver.policy_words import duration
from keyturn.approver.stamps import LAST_SECOND
from keyturn.clock import iso
from keyturn.ska.window import closes_at, opens_at

if TYPE_CHECKING:
    from keyturn.ska.policy import Rule

MAX_FIRST_SIGHT: Final = 15 * 60
"""Seconds that a timestamp may be old when an officer's client sees it first (R12)."""
AHEAD: Final = 120
"""Seconds that the HSM's clock may be ahead of the officer's before it is pointed out."""


@dataclass(frozen=True, slots=True)
class Window:
    """When an approval counts for one way (token) of a rule.

    Args:
        name: What the policy calls the way, or None.
        opens: The first second, since the epoch, at which it counts.
        last: The last second at which it counts; None when it never ceases to.
        listed: Whether this way lists the officer.
    """

    name: str | None
    opens: int
    last: int | None
    listed: bool


def windows_of(rule: Rule, stamp: int, identity: bytes) -> tuple[Window, ...]:
    """The windows of every way of a rule.

    Args:
        rule: The rule that governs the action.
        stamp: Seconds since the epoch in the HSM's timestamp.
        identity: The officer's normalised SPKI.
    """
    windows = []
    for token in rule.tokens:
        closes = closes_at(stamp, token)
        listed = any(identity == approver.identity for group in token.groups for approver in group.approvers)
        windows.append(Window(token.name, opens_at(stamp, token), None if closes is None else closes - 1, listed))
    return tuple(windows)


def moment(seconds: int) -> str:
    """A second as ISO 8601, also where no calendar here reaches.

    Args:
        seconds: Seconds since the epoch.
    """
    return iso(seconds) if seconds <= LAST_SECOND else "after the year 9999"


def relative(seconds: int, now: int) -> str:
    """How far a moment is from now, in words.

    Args:
        seconds: The moment, seconds since the epoch.
        now: Seconds since the epoch.
    """
    if seconds > now:
        return f"in {about(seconds - now)}"
    return f"{about(now - seconds)} ago" if seconds < now else "now"


def about(seconds: int) -> str:
    """A length of time in its two largest units; nobody counts the seconds of a day.

    Args:
        seconds: Not negative.
    """
    for unit, finer in ((86_400, 3_600), (3_600, 60)):
        if seconds >= unit:
            return duration(seconds - seconds % finer)
    return duration(seconds)


def window_words(window: Window, now: int) -> str:
    """One way's window as a sentence.

    Args:
        window: The window.
        now: Seconds since the epoch, by the officer's clock.
    """
    opening = f"opens {moment(window.opens)} ({relative(window.opens, now)})"
    if window.last is None:
        return f"{opening}, never closes"
    closing = f"last second {moment(window.last)} ({relative(window.last, now)})"
    return f"{opening}, {closing}{'; CLOSED' if window.last < now else ''}"


def late_sight(stamp: int, first_seen: int) -> str:
    """Why a timestamp was too old when it was first seen; empty when it was not (R12).

    Args:
        stamp: Seconds since the epoch in the HSM's timestamp.
        first_seen: Seconds since the epoch, by the officer's clock, when these bytes were first seen.
    """
    age = first_seen - stamp
    if age <= MAX_FIRST_SIGHT:
        return ""
    return (
        f"The HSM's timestamp was {about(age)} old when you were first shown this. A server can fetch a timestamp "
        "early and ask you late, so that a waiting period passes unnoticed."
    )
