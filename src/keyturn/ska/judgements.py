"""What another process of ours found out about approvers' keys, so that it is not found out again here.

Judging a key (`approver_keys.load_approver_key`) can take seconds. A process that must not wait has it done elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_JUDGED: Final = 4096
"""Most keys that are remembered, more than two policies can list; the oldest make room."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What `load_approver_key` said of a key.

    Args:
        code: Name of the `ErrorCode`; like the others empty for a key that may stand in a policy.
        refusal: The stable word.
        message: What is wrong with it.
    """

    code: str = ""
    refusal: str = ""
    message: str = ""


_judged: Final[dict[bytes, Judgement]] = {}


def judgement_of(spki: bytes) -> Judgement | None:
    """What was found out about a key, None if it was not judged elsewhere.

    Args:
        spki: DER SubjectPublicKeyInfo.
    """
    return _judged.get(spki)


def remember(spki: bytes, judgement: Judgement) -> None:
    """Take over a judgement.

    Args:
        spki: DER SubjectPublicKeyInfo, exactly as it was judged, or the identity of a sound one.
        judgement: What `load_approver_key` said of it, in a process that is trusted like this one.
    """
    while len(_judged) >= MAX_JUDGED:
        del _judged[next(iter(_judged))]
    _judged[spki] = judgement
