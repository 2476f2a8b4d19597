"""When are all quorums of a token met at once?

Each approval counts from its own opening to its own closing. A token is fulfilled at a moment if, at that moment,
every group has its quorum of different people. For a token without times that is a matter of counting; otherwise
the moments are found by walking once along all openings and closings.

Source: ska-wire-format.md section 8, rules 6 to 15; decisions 18, 20.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.ska.window import closes_at, opens_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from keyturn.ska.policy import Token

Span = tuple[int | None, int | None]
"""From a second, inclusive, to a second, exclusive; None for no beginning, no end."""


def spans(token: Token, groups: Sequence[Sequence[bytes]], stamps: dict[bytes, set[int | None]]) -> list[Span]:
    """Find the spans of time in which a token is fulfilled.

    Args:
        token: The token.
        groups: Listed identities of each of its groups.
        stamps: For each identity, the timestamps of its good approvals, None for one without.

    Returns:
        The spans in order, not touching each other; none if the token is never fulfilled.
    """
    quorums = [group.quorum for group in token.groups]
    if not all(quorums):
        # Quorum 0 is a form of the samples that never authorises (decisions 21).
        return []
    if not token.time_bound:
        met = all(sum(i in stamps for i in group) >= quorum for group, quorum in zip(groups, quorums, strict=True))
        return [(None, None)] if met else []
    if not groups:
        # Without approvals there is no timestamp, so the window cannot be judged.
        return []
    return _walk(quorums, groups, _events(token, groups, stamps))


def _events(
    token: Token, groups: Sequence[Sequence[bytes]], stamps: dict[bytes, set[int | None]]
) -> list[tuple[int, int, bytes]]:
    """All openings (+1) and closings (-1) of approvals, in order of time."""
    events: list[tuple[int, int, bytes]] = []
    for identity in {identity for group in groups for identity in group if identity in stamps}:
        for stamp in stamps[identity]:
            if stamp is None:
                continue
            events.append((opens_at(stamp, token), 1, identity))
            end = closes_at(stamp, token)
            if end is not None:
                events.append((end, -1, identity))
    events.sort()
    return events


def _walk(
    quorums: Sequence[int], groups: Sequence[Sequence[bytes]], events: Iterable[tuple[int, int, bytes]]
) -> list[Span]:
    groups_of: dict[bytes, list[int]] = {}
    for index, group in enumerate(groups):
        for identity in group:
            groups_of.setdefault(identity, []).append(index)
    active: dict[bytes, int] = {}
    present = [0] * len(groups)
    unmet = len(groups)
    found: list[Span] = []
    since: int | None = None
    moment: int | None = None

    def settle(at: int) -> None:
        """Note what holds after everything that happens at one moment."""
        nonlocal since
        if unmet == 0 and since is None:
            since = at
        elif unmet > 0 and since is not None:
            found.append((since, at))
            since = None

    for time, change, identity in events:
        if moment is not None and time != moment:
            settle(moment)
        moment = time
        before = active.get(identity, 0)
        after = active[identity] = before + change
        if (before > 0) == (after > 0):
            continue
        for index in groups_of[identity]:
            was_met = present[index] >= quorums[index]
            present[index] += change
            unmet += was_met - (present[index] >= quorums[index])
    if moment is not None:
        settle(moment)
    if since is not None:
        found.append((since, None))
    return found
