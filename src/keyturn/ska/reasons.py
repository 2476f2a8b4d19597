"""The sentences of a decision: what is missing, and what a person can do about it.

Source: CONTRIBUTING.md ("explanations are values"); decisions 18 for the times.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.ska.approver_keys import certificate_name
from keyturn.ska.iso_time import format_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.ska.findings import ApprovalFinding, GroupFinding, TokenFinding
    from keyturn.ska.policy import Approver

MAX_NAMED: Final = 8
"""So many outstanding approvers are named in a sentence; the findings have all of them."""
MAX_NAME: Final = 40
"""Characters of a name where approvals that did not count are told: the clause comes whole through every limit."""


def explain(tokens: Sequence[TokenFinding], now: int | None) -> tuple[str, str]:
    """Put a decision into words.

    Args:
        tokens: Findings for all tokens of the rule.
        now: The question's time.

    Returns:
        The refusal word, empty if authorised, and a sentence.
    """
    if not tokens:
        return "rule.never", "The policy rules this action out: its rule has no token, so that no approval can help."
    satisfied = [token for token in tokens if token.satisfied]
    if satisfied:
        return "", f"{_token(satisfied[0], tokens)} is fulfilled."
    complete = [token for token in tokens if token.complete]
    waiting = [t for t in complete if t.opens_at is not None and now is not None and now < t.opens_at]
    if waiting:
        first = min(waiting, key=lambda token: token.opens_at or 0)
        return (
            "approvals.too-early",
            (
                f"The approvals are complete, but the timelock of {_token(first, tokens)} ends at "
                f"{moment(first.opens_at)}; ask again then."
            ),
        )
    if complete:
        last = max(complete, key=lambda token: token.closes_at or 0)
        return (
            "approvals.too-late",
            (
                f"The approvals were complete, but the time of {_token(last, tokens)} ended at "
                f"{moment(last.closes_at)}; open a new request and have it approved again."
            ),
        )
    return "approvals.missing", " Or: ".join(_what_is_missing(token, tokens) for token in tokens)


def tell_uncounted(tokens: Sequence[TokenFinding], approvals: Sequence[ApprovalFinding]) -> str:
    """Tell which approvals were given and do not count: whoever is only called outstanding would be asked in vain.

    Args:
        tokens: Findings for all tokens of the rule.
        approvals: Findings for all approvals.

    Returns:
        A sentence with a space behind it, to stand before what is missing; empty where nothing is to be told.
    """
    outstanding = {
        identity: approver
        for token in tokens
        for group in token.groups
        for approver in group.outstanding
        if (identity := approver_identity(approver)) is not None
    }
    told: dict[str, None] = {}
    others: dict[str, int] = {}
    for found in approvals:
        if not found.refusal:
            continue
        if found.identity is None:
            others[found.refusal] = others.get(found.refusal, 0) + 1
        elif found.identity in outstanding:
            name = approver_words(outstanding[found.identity])
            short = name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"
            told[f"{short} ({found.refusal})"] = None
    clauses = list(told)
    if len(clauses) > MAX_NAMED:
        clauses[MAX_NAMED:] = [f"{len(clauses) - MAX_NAMED} more"]
    clauses += [f"{count} of nobody listed ({word})" for word, count in others.items()]
    return f"Given, but not counted: {', '.join(clauses)}. " if clauses else ""


def moment(seconds: int | None) -> str:
    """Write a moment as `YYYY-MM-DDThh:mm:ssZ`; what no calendar has stays a number."""
    if seconds is None:
        return "no time"
    try:
        return format_time(seconds)
    except FormatError:
        return f"second {seconds}"


def approver_words(approver: Approver) -> str:
    """Name an approver: by name, else by common name, else by the beginning of the fingerprint."""
    if approver.name:
        return approver.name
    try:
        if approver.certificate is not None:
            return certificate_name(approver.certificate)
        return key_words(approver.identity)
    except FormatError:
        return "a key that cannot be read"


def approver_identity(approver: Approver) -> bytes | None:
    """The identity of an approver, None if the listed key cannot be read."""
    try:
        return approver.identity
    except FormatError:
        return None


def key_words(identity: bytes) -> str:
    """Name a key by the beginning of its fingerprint."""
    return f"key {hashlib.sha256(identity).hexdigest()[:16]}"


def _token(token: TokenFinding, tokens: Sequence[TokenFinding]) -> str:
    if token.name:
        return f"token {token.name!r}"
    return "the rule" if len(tokens) == 1 else f"token number {tokens.index(token) + 1}"


def _what_is_missing(token: TokenFinding, tokens: Sequence[TokenFinding]) -> str:
    parts = [
        _missing_in(group, position)
        for position, group in enumerate(token.groups, 1)
        if group.missing or not group.quorum
    ]
    prefix = f"{_token(token, tokens)}: " if len(tokens) > 1 else ""
    if parts:
        return f"{prefix}{'; '.join(parts)}."
    if token.groups:
        return (
            f"{prefix}the approvals carry timestamps too far apart, so that their times never overlap; collect them "
            "again under one timestamp."
        )
    return f"{prefix}it sets times but lists nobody whose approval could carry a timestamp; modify the policy."


def _missing_in(group: GroupFinding, position: int) -> str:
    name = f"group {group.name!r}" if group.name else f"group number {position}"
    if not group.quorum:
        return f"{name} has quorum 0, which never authorises"
    names = [approver_words(approver) for approver in group.outstanding]
    more = len(names) - MAX_NAMED
    named = ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
    verb = "is" if group.missing == 1 else "are"
    return f"{group.missing} of {group.quorum} approvals in {name} {verb} missing; outstanding: {named or 'nobody'}"
