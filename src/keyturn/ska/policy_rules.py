"""What a policy must satisfy beyond its form, and what it amounts to.

`check_policy` is asked before a policy is stored. The other functions answer questions about a policy: whether it
protects its key, whether it can be replaced or a block be lifted too easily, whom it lists.

Source: decisions 20; docs/security/rules.md R10, R13; rest-api.md section 5.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Final, NoReturn

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_name, load_approver_key
from keyturn.ska.attestation_policy import attested_size
from keyturn.ska.key_effort import KeyEffort
from keyturn.ska.policy import RULE_TAGS, Rule, encode_policy
from keyturn.ska.policy_cost import cost_of_rule
from keyturn.ska.xml_tree import MAX_XML

if TYPE_CHECKING:
    from keyturn.ska.policy import Approver, Group, Policy, Token

MAX_NAME: Final = 256
"""Longest name of a token, group or approver, in UTF-8 bytes; they stand in one line of the attested attributes."""
MAX_ATTESTED: Final = MAX_XML - 16 * 1024
"""Most bytes that a policy may take in attested attributes, where every apostrophe takes six. The rest is left for what
stands beside it, which grows with use: a key must never become one that cannot be shown."""
RULE_NAMES: Final = {
    Action.USE: "ruleUse",
    Action.BLOCK: "ruleBlock",
    Action.UNBLOCK: "ruleUnblock",
    Action.MODIFY: "ruleModify",
}
"""The rules by the names of the REST API."""


def check_policy(policy: Policy, *, blocked: bool = False) -> None:
    """Refuse a policy that cannot mean what somebody wants.

    Args:
        policy: The policy that is to be stored.
        blocked: Whether the key is to start blocked.

    Raises:
        KeyturnError: With 600 unless said otherwise, and a message that names rule, token and group:
            `policy.use-never` (ruleUse that nobody can satisfy), `policy.no-unblock` (blocked for good),
            `policy.always-beside-token` (R10), `policy.unmeasurable-window` (times without a group),
            `policy.timeout-below-timelock`, `policy.quorum-zero`, `policy.quorum-above-group`,
            `policy.too-large`, `policy.empty-group` (401), `policy.duplicate-approver`, `policy.bad-name`, and the
            words of `load_approver_key` (R13).
        FormatError: If it is larger than the binary form may be; `policy.too-much-checking` (see `key_effort`).
    """
    if not policy.use.tokens:
        _refuse("use-never", "ruleUse has no token, so that nobody could ever use the key; name a token, or write null")
    if blocked and not policy.unblock.tokens:
        _refuse(
            "no-unblock",
            "the key is to start blocked, but ruleUnblock has no token, so that nobody could ever unblock it; name a "
            "token, or do not block it",
        )
    _check_effort(policy)
    for action in RULE_TAGS:
        _check_rule(policy.rule(action), RULE_NAMES[action])
    encode_policy(policy)
    if attested_size(policy) > MAX_ATTESTED:
        _refuse("too-large", f"it would take more than {MAX_ATTESTED} bytes in attested attributes; use shorter names")


def is_protected(policy: Policy | None) -> bool:
    """Whether using the key can need at least one approval; no policy means no protection."""
    return policy is not None and not is_always_fulfilled(policy.use)


def is_always_fulfilled(rule: Rule) -> bool:
    """Whether the rule is fulfilled without any approval."""
    return any(not token.groups and not token.time_bound for token in rule.tokens)


def serves_once(policy: Policy, action: Action) -> bool:
    """Whether what was approved once for unblock or modify must never serve again (R15).

    That is so on protected keys, and beyond the rule wherever the action itself can need an approval: an emergency stop
    that only officers may lift is worth nothing if an approval of theirs from last year lifts it.

    Args:
        policy: The key's policy.
        action: Unblock or modify.
    """
    return is_protected(policy) or not is_always_fulfilled(policy.rule(action))


def open_modify(policy: Policy) -> bool:
    """Whether the policy can be replaced without approvals, or by fewer listed keys than using the key takes (R10).

    Args:
        policy: The key's policy.

    Returns:
        True if so. Exact, except that for a policy of very many overlapping groups it may be True where a longer
        calculation would find False.
    """
    return _is_cheaper(policy.modify, policy.use)


def open_unblock(policy: Policy) -> bool:
    """Whether a block can be lifted without approvals, or by fewer listed keys than using the key takes (R10).

    Args:
        policy: The key's policy.

    Returns:
        As `open_modify`.
    """
    return _is_cheaper(policy.unblock, policy.use)


def required_timestamp(rule: Rule) -> bool:
    """Whether some way to fulfil the rule needs an HSM timestamp in the approvals."""
    return any(token.time_bound for token in rule.tokens)


def listed_approvers(rule: Rule) -> tuple[Approver, ...]:
    """All approvers of a rule, each person once, in the order in which they first stand.

    Args:
        rule: The rule.

    Returns:
        The approvers, distinct by identity.

    Raises:
        FormatError: If a listed key cannot be read.
    """
    found: dict[bytes, Approver] = {}
    for token in rule.tokens:
        for group in token.groups:
            for approver in group.approvers:
                found.setdefault(approver.identity, approver)
    return tuple(found.values())


def _is_cheaper(rule: Rule, use: Rule) -> bool:
    cost = cost_of_rule(rule)
    if cost is None:
        return False
    reference = cost_of_rule(use)
    # The least that the one can cost against the most that the other can: doubt is shown as open.
    return cost.least == 0 or reference is None or cost.least < reference.most


def _check_effort(policy: Policy) -> None:
    effort = KeyEffort()
    for action in RULE_TAGS:
        for token in policy.rule(action).tokens:
            for group in token.groups:
                for approver in group.approvers:
                    effort.add(approver.spki)


def _check_rule(rule: Rule, where: str) -> None:
    if len(rule.tokens) > 1:
        for position, token in enumerate(rule.tokens, 1):
            if not token.groups:
                _refuse(
                    "always-beside-token",
                    f"{_token_place(where, token, position)} has no groups and so makes the other tokens of the rule "
                    "pointless; remove it, or the others",
                )
    for position, token in enumerate(rule.tokens, 1):
        _check_token(token, _token_place(where, token, position))


def _check_token(token: Token, where: str) -> None:
    _check_name(token.name, where)
    if token.time_bound and not token.groups:
        _refuse(
            "unmeasurable-window",
            f"{where} has a timelock or timeout but no groups: without approvals no signed timestamp reaches the HSM, "
            "which could not tell when the window opens; set both to 0, or name a group",
        )
    if 0 < token.timeout < token.timelock:
        _refuse(
            "timeout-below-timelock",
            f"{where} ends {token.timeout} s after the timestamp, before it begins after {token.timelock} s; raise the "
            "timeout, or set it to 0 for no end",
        )
    for position, group in enumerate(token.groups, 1):
        _check_group(group, f"{where}, group {_shown(group.name, position)}")


def _check_group(group: Group, where: str) -> None:
    _check_name(group.name, where)
    if not group.approvers:
        _refuse("empty-group", f"{where} lists no approvers; name some", ErrorCode.MISSING_APPROVAL)
    if group.quorum < 1:
        _refuse("quorum-zero", f"{where} has quorum {group.quorum}; it must be at least 1")
    if group.quorum > len(group.approvers):
        _refuse(
            "quorum-above-group",
            f"{where} demands {group.quorum} approvals but lists {len(group.approvers)} approvers; nobody could ever "
            "satisfy it",
        )
    for position, approver in enumerate(group.approvers, 1):
        _check_approver(approver, f"{where}, approver {_shown(approver.name, position)}")
    counts = Counter(approver.identity for approver in group.approvers)
    for position, approver in enumerate(group.approvers, 1):
        if counts[approver.identity] > 1:
            _refuse(
                "duplicate-approver",
                f"{where} lists approver {_shown(approver.name, position)} twice; one person counts once, whether "
                "listed by key or by certificate",
            )


def _check_approver(approver: Approver, where: str) -> None:
    _check_name(approver.name, where)
    try:
        load_approver_key(approver.spki)
        if approver.certificate is not None:
            common_name = certificate_name(approver.certificate)
            _check_name(common_name, where)
            if approver.name not in (None, common_name):
                _refuse("bad-name", f"{where} has another name than its certificate, which says {common_name!r}")
    except KeyturnError as error:
        if error.refusal.startswith("policy."):
            raise
        raise KeyturnError(error.code, f"{where}: {error.message}", refusal=error.refusal) from None


def _check_name(name: str | None, where: str) -> None:
    if name is None:
        return
    # Surrogates cannot be encoded; asking for the length must not be the place where that shows.
    if len(name.encode(errors="replace")) > MAX_NAME:
        _refuse("bad-name", f"{where}: its name is longer than {MAX_NAME} bytes")
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") or c in "\ufffe\uffff" for c in name):
        _refuse("bad-name", f"{where}: its name has invisible or control characters; use plain text")


def _token_place(where: str, token: Token, position: int) -> str:
    return f"{where}, token {_shown(token.name, position)}"


def _shown(name: str | None, position: int) -> str:
    return f"number {position}" if not name else repr(name)


def _refuse(word: str, why: str, code: ErrorCode = ErrorCode.VALIDATION_FAILED) -> NoReturn:
    raise KeyturnError(code, f"The policy is refused: {why}.", refusal=f"policy.{word}")
