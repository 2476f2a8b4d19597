"""Questions for the one decision, asked in a line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from keyturn.ska.actions import Action
from keyturn.ska.decision import (
    Decision,
    Question,
    decide,
)
from keyturn_testing.ska import (
    LABEL,
    PAYLOAD,
    group,
    integrity_key,
    token,
    use_policy,
)

if TYPE_CHECKING:
    from keyturn.ska.policy import Policy

NOW = 1_700_000_000
TWO_OF_THREE = use_policy(token(group(2, "alice", "bob", "carol")))
ALICE = use_policy(token(group(1, "alice")))
TIMED = use_policy(token(group(2, "alice", "bob"), timelock=120, timeout=600))
KEYS = (integrity_key(),)


def ask(policy: Policy, *approvals: bytes, now: int | None = NOW, **changes: object) -> Decision:
    """Decide a use of `LABEL` with `PAYLOAD`, or what `changes` make of the question."""
    question = Question(
        policy=policy,
        action=Action.USE,
        label=LABEL,
        payload=PAYLOAD,
        approvals=approvals,
        now=now,
        integrity_keys=KEYS,
    )
    return decide(replace(question, **changes))  # type: ignore[arg-type] # Any field may be changed by a story.


def words(decision: Decision) -> list[str]:
    """Why each approval did not count, empty where it did."""
    return [found.refusal for found in decision.approvals]


def flip(data: bytes, position: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)
