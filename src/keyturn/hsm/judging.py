"""Judging the approver keys of a new policy in a worker, before the call that brings it is decided.

Whether a DSA domain or a large RSA modulus is sound takes up to seconds to find out, and whoever may create keys
chooses them. The one loop that decides must not wait for that, so that nobody stops other callers with it. The worker
says what `load_approver_key` says there; then the call is decided as always, in one turn, and finds these answers.

Source: docs/security/rules.md R13, R29; docs/adr/0122.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.errors import KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import identity_of
from keyturn.ska.judgements import Judgement, judgement_of, remember
from keyturn.ska.key_effort import KeyEffort
from keyturn.ska.policy import decode_policy

if TYPE_CHECKING:
    from keyturn.hsm import protocol
    from keyturn.hsm.worker import WorkerPool

AT_ONCE: Final = 100
"""Most effort of one call, in the unit of `key_effort`, that is made in the loop itself: some four keys of RSA-2048."""


def unjudged(call: protocol.Call) -> list[bytes]:
    """The keys that a worker must judge before a call is decided.

    Args:
        call: Any call.

    Returns:
        SubjectPublicKeyInfo of each; none where the call brings no policy, one that is cheap to check, or one that is
        refused before its keys are looked at.
    """
    blob = getattr(call, "policy", b"")
    if not blob:
        return []
    found: list[bytes] = []
    effort = KeyEffort()
    try:
        policy = decode_policy(blob)
        for action in Action:
            for token in policy.rule(action).tokens:
                for group in token.groups:
                    for approver in group.approvers:
                        if judgement_of(approver.spki) is None:
                            effort.add(approver.spki)
                            found.append(approver.spki)
    except KeyturnError:
        return []
    return list(dict.fromkeys(found)) if effort.spent > AT_ONCE else []


async def judge(keys: list[bytes], workers: WorkerPool) -> None:
    """Have keys judged in a worker, and remember what it says.

    Args:
        keys: As `unjudged` gave them.
        workers: The pool.

    Raises:
        KeyturnError: As `WorkerPool.generate`.
    """
    for key, judgement in zip(keys, await workers.judge(keys), strict=True):
        remember(key, Judgement(*judgement))
        if not judgement[1]:
            # Signatures are verified with the key in its normal form.
            remember(identity_of(key), Judgement())
