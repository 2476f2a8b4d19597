"""What would the decision be, if these people approved under one timestamp? Nothing here is verified.

Times are counted from that timestamp, which is second 0.

Source: decisions 18, 20; ska-wire-format.md section 8.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.decision import weigh
from keyturn.ska.policy import RULE_TAGS
from keyturn.ska.policy_rules import listed_approvers
from keyturn.ska.reasons import approver_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keyturn.ska.actions import Action
    from keyturn.ska.findings import Decision
    from keyturn.ska.policy import Policy

MIN_DIGITS: Final = 8
"""Fewest digits by which a fingerprint is known."""
_DELAY: Final = re.compile(r"\+?(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,8})m)?(?:(\d{1,10})s)?", re.ASCII)
_PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")


def suppose(policy: Policy, action: Action, approved: Iterable[str], delay: int) -> Decision:
    """Answer what `decide` would say if these approvers had approved under one timestamp.

    Args:
        policy: The policy.
        action: What is to be done.
        approved: Names as the policy has them, or at least eight hex digits with which a fingerprint begins.
        delay: Seconds since the timestamp.

    Returns:
        The decision, in seconds since the timestamp.

    Raises:
        FormatError: `simulate.unknown-approver`, `simulate.ambiguous-approver`.
    """
    listed = {a.identity: a for kind in RULE_TAGS for a in listed_approvers(policy.rule(kind))}
    # The same key may have other names in other rules.
    names: dict[str, set[bytes]] = {}
    for kind in RULE_TAGS:
        for token in policy.rule(kind).tokens:
            for group in token.groups:
                for approver in group.approvers:
                    names.setdefault(approver_words(approver), set()).add(approver.identity)
    fingerprints = {load_approver_key(identity).fingerprint: identity for identity in listed}
    stamps: dict[bytes, set[int | None]] = {}
    for name in approved:
        found = set(names.get(name, ()))
        prefix = name.lower()
        if _PREFIX.fullmatch(prefix):
            found |= {identity for print_, identity in fingerprints.items() if print_.startswith(prefix)}
        if not found:
            raise FormatError(
                f"The policy lists nobody called {name!r}; it lists {', '.join(map(repr, sorted(names))) or 'nobody'}. "
                f"Give a name, or at least {MIN_DIGITS} digits of a key's fingerprint.",
                refusal="simulate.unknown-approver",
            )
        if len(found) > 1:
            keys = ", ".join(sorted(p[:16] for p, identity in fingerprints.items() if identity in found))
            raise FormatError(
                f"The policy lists {len(found)} keys as {name!r}; say which by its fingerprint: {keys}.",
                refusal="simulate.ambiguous-approver",
            )
        stamps[found.pop()] = {0}
    return weigh(policy.rule(action), stamps, delay)


def parse_delay(text: str) -> int:
    """Read a length of time such as `+2h`, `+1d12h`, `+90s`.

    Args:
        text: Days, hours, minutes, seconds in this order, each with its letter; the plus may be left out.

    Returns:
        Seconds.

    Raises:
        FormatError: `simulate.delay`.
    """
    match = _DELAY.fullmatch(text)
    if match is None or not any(match.groups()):
        raise FormatError(
            f"{text!r} is no length of time; write it as +2h, +1d12h, +30m or +90s.", refusal="simulate.delay"
        )
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
