"""How many different keys it takes, at least, to fulfil a rule (rule R10).

One key counts in every group that lists it, so the answer is not the sum of the quorums: it is the smallest set of
keys that meets all quorums of a token at once. Keys that stand in the same groups are interchangeable, so it is
enough to choose how many of each sort to take, and groups that share no key can be counted apart. What is left is
small for every policy that people write. For those written to be hard, the work is bounded and the answer is a range.

Source: docs/security/rules.md R10; ska-wire-format.md section 8, rules 6 to 8.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from keyturn.ska.policy import Rule, Token

WORK_LIMIT: Final = 1_000_000
"""Numbers looked at before the exact search is given up: some tenths of a second, and once for each policy."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A number of keys; both ends are equal when it is known exactly.

    Args:
        least: No fewer keys fulfil it.
        most: So many keys can fulfil it.
    """

    least: int
    most: int


@lru_cache(maxsize=256)
def cost_of_rule(rule: Rule) -> Cost | None:
    """Count the keys that the cheapest way to fulfil a rule takes.

    Args:
        rule: The rule.

    Returns:
        The number, 0 if no approval is needed; None if nobody can ever fulfil it.

    Raises:
        FormatError: If a listed key cannot be read.
    """
    costs = [cost for token in rule.tokens if (cost := _cost_of_token(token)) is not None]
    if not costs:
        return None
    return Cost(min(cost.least for cost in costs), min(cost.most for cost in costs))


def _cost_of_token(token: Token) -> Cost | None:
    if not token.groups:
        # Times without a group cannot be judged, so such a token never authorises.
        return None if token.time_bound else Cost(0, 0)
    members = [frozenset(approver.identity for approver in group.approvers) for group in token.groups]
    quorums = [group.quorum for group in token.groups]
    if any(quorum > len(group) for quorum, group in zip(quorums, members, strict=True)):
        return None
    least = most = 0
    for part in _connected(members):
        cost = _cost_of_part([members[index] for index in part], [quorums[index] for index in part])
        least += cost.least
        most += cost.most
    return Cost(least, most)


def _connected(members: list[frozenset[bytes]]) -> list[list[int]]:
    """Split the groups into parts that share no key."""
    parts: list[tuple[set[bytes], list[int]]] = []
    for index, group in enumerate(members):
        touching = [part for part in parts if not part[0].isdisjoint(group)]
        keys, indexes = set(group), [index]
        for part in touching:
            keys |= part[0]
            indexes += part[1]
            parts.remove(part)
        parts.append((keys, indexes))
    return [indexes for _, indexes in parts]


def _cost_of_part(members: list[frozenset[bytes]], quorums: list[int]) -> Cost:
    if len(members) == 1:
        return Cost(quorums[0], quorums[0])
    sorts = Counter(
        tuple(index for index, group in enumerate(members) if key in group) for key in frozenset().union(*members)
    )
    # From the keys that help in most groups downwards: good answers early keep the table small.
    ordered = sorted(sorts.items(), key=lambda item: -len(item[0]))
    costs: dict[tuple[int, ...], int] = {tuple(quorums): 0}
    work = 0
    for groups, available in ordered:
        reached = dict(costs)
        for missing, cost in costs.items():
            useful = min(available, max(missing[index] for index in groups))
            work += (useful + 1) * len(missing)
            if work > WORK_LIMIT:
                return Cost(max(quorums), sum(quorums))
            current = list(missing)
            for taken in range(1, useful + 1):
                for index in groups:
                    current[index] = max(0, current[index] - 1)
                state = tuple(current)
                if reached.get(state, cost + taken + 1) > cost + taken:
                    reached[state] = cost + taken
        costs = reached
    # Every quorum is within its group, so taking all keys always reaches zero.
    cheapest = costs[(0,) * len(quorums)]
    return Cost(cheapest, cheapest)
