"""Weak but legal shapes of a policy: what somebody may want, but should have looked at.

`policy_rules.check_policy` refuses what nobody can want. What is left is legal; these warnings stop nothing.

Source: docs/security/rules.md R10, R23; decisions 18, 20.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.ska.actions import Action
from keyturn.ska.policy import RULE_TAGS
from keyturn.ska.policy_rules import (
    RULE_NAMES,
    is_always_fulfilled,
    is_protected,
    listed_approvers,
    open_modify,
    open_unblock,
)
from keyturn.ska.quorum import spans
from keyturn.ska.reasons import MAX_NAMED, approver_words
from keyturn.ska.roll_call import roll_call
from keyturn.ska.server_made import is_server_made

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from keyturn.ska.policy import Approver, Policy, Rule, Token

_NUMBERED: Final = re.compile(r"number \d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class LintWarning:
    """One weak shape.

    Args:
        word: Stable word such as `lint.modify-weaker`.
        rule: Name of the rule in the REST API; empty where the whole policy is meant.
        token: Name of the token, `number 2` if it has none; None where the whole rule is meant.
        group: The same of the group; None where the whole token is meant.
        sentence: What is weak, and what to do about it. It quotes names of the policy as they are.
    """

    word: str
    rule: str
    token: str | None
    group: str | None
    sentence: str


def lint_policy(policy: Policy, *, destroyable: bool = False) -> tuple[LintWarning, ...]:
    """Find weak but legal shapes.

    Args:
        policy: A policy that `check_policy` accepts.
        destroyable: Whether the key is to have the attribute `destroyable`.

    Returns:
        `lint.modify-weaker`, `lint.unblock-weaker`, `lint.modify-earlier`, `lint.one-key-alone`,
        `lint.timelock-without-block`, `lint.key-in-two-groups`, `lint.no-timeout`, `lint.server-made`,
        `lint.destroyable`; none if there is nothing to say.
    """
    return tuple(_warnings(policy, destroyable=destroyable))


def _warnings(policy: Policy, *, destroyable: bool) -> Iterator[LintWarning]:
    if is_protected(policy):
        yield from _weaker_than_use(policy)
        yield from _one_key_alone(policy)
    for action in RULE_TAGS:
        for position, token in enumerate(policy.rule(action).tokens, 1):
            name = token.name or f"number {position}"
            if action is Action.USE and token.timelock:
                yield from _nobody_to_stop(policy.block, token, name)
            yield from _token(token, RULE_NAMES[action], name)
    yield from _server_made(policy)
    if destroyable:
        yield LintWarning(
            "lint.destroyable",
            "",
            None,
            None,
            "The key is destroyable: whoever reaches the API can delete it, and no rule is asked. Leave `destroyable` "
            "false unless the key may be lost.",
        )


def _weaker_than_use(policy: Policy) -> Iterator[LintWarning]:
    if open_modify(policy):
        yield LintWarning(
            "lint.modify-weaker",
            "ruleModify",
            None,
            None,
            f"ruleModify {_how(policy.modify)}, and whoever can replace the policy can use the key. Demand at least as "
            "many of the same keys in ruleModify, or write tokens: null for never.",
        )
    elif policy.modify.tokens and _soonest(policy.modify) < _soonest(policy.use):
        yield LintWarning(
            "lint.modify-earlier",
            "ruleModify",
            None,
            None,
            "ruleModify has a shorter timelock than ruleUse, so the wait can be removed without waiting. Give every "
            "token of ruleModify at least the timelock of ruleUse.",
        )
    if open_unblock(policy):
        yield LintWarning(
            "lint.unblock-weaker",
            "ruleUnblock",
            None,
            None,
            f"ruleUnblock {_how(policy.unblock)}, so a block is easily lifted. Demand at least as many of the same "
            "keys in ruleUnblock, or write tokens: null for never.",
        )


def _how(rule: Rule) -> str:
    if is_always_fulfilled(rule):
        return "needs no approval"
    return "can be satisfied by fewer listed keys than ruleUse"


def _soonest(rule: Rule) -> int:
    return min(token.timelock for token in rule.tokens)


def _one_key_alone(policy: Policy) -> Iterator[LintWarning]:
    # A rule that is never fulfilled keeps everybody out alike, so it does not make one key less powerful than others.
    rules = [rule for rule in map(policy.rule, RULE_TAGS) if rule.tokens]
    alone = [
        approver
        for approver in listed_approvers(policy.use)
        if all(_fulfilled_by(approver.identity, rule) for rule in rules)
    ]
    if alone:
        yield LintWarning(
            "lint.one-key-alone",
            "",
            None,
            None,
            f"One key alone satisfies every rule that can be satisfied: {_names(alone)}. Whoever steals it has "
            "everything; raise a quorum.",
        )


def _fulfilled_by(identity: bytes, rule: Rule) -> bool:
    return any(
        spans(token, groups, {identity: {0}}) for token, groups in zip(rule.tokens, roll_call(rule).groups, strict=True)
    )


def _nobody_to_stop(block: Rule, token: Token, name: str) -> Iterator[LintWarning]:
    if not block.tokens:
        why = "ruleBlock is never fulfilled, so nobody can stop in the meantime what was approved"
    elif is_always_fulfilled(block):
        why = "ruleBlock needs no approval, so nobody who answers for it is named to stop what was approved"
    elif _soonest(block) >= token.timelock:
        why = "ruleBlock opens no sooner, so it comes too late to stop what was approved"
    else:
        return
    yield LintWarning(
        "lint.timelock-without-block",
        "ruleUse",
        name,
        None,
        f"ruleUse, token {_quoted(name)}, waits for a timelock, but {why}. Name in ruleBlock who may stop it at once.",
    )


def _token(token: Token, rule: str, name: str) -> Iterator[LintWarning]:
    seen: set[bytes] = set()
    for position, group in enumerate(token.groups, 1):
        again = [approver for approver in group.approvers if approver.identity in seen]
        seen.update(approver.identity for approver in group.approvers)
        if again:
            shown = group.name or f"number {position}"
            yield LintWarning(
                "lint.key-in-two-groups",
                rule,
                name,
                shown,
                f"{rule}, token {_quoted(name)}, group {_quoted(shown)} lists who stands in an earlier group already: "
                f"{_names(again)}. One approval counts in both groups; list each key once.",
            )
    if token.groups and not token.timeout:
        yield LintWarning(
            "lint.no-timeout",
            rule,
            name,
            None,
            f"{rule}, token {_quoted(name)}, has timeout 0: an approval for it never expires. Set a timeout.",
        )


def server_made(policy: Policy) -> tuple[Approver, ...]:
    """Those listed anywhere in a policy whose certificate says that a server made their key (R23), each once."""
    listed = {
        approver.identity: approver for rule in map(policy.rule, RULE_TAGS) for approver in listed_approvers(rule)
    }
    return tuple(one for one in listed.values() if one.certificate is not None and is_server_made(one.certificate))


def _server_made(policy: Policy) -> Iterator[LintWarning]:
    made = server_made(policy)
    if made:
        yield LintWarning(
            "lint.server-made",
            "",
            None,
            None,
            f"Keys that a server made for their officers, and gave to them: {_names(made)}. Whoever held that server "
            "then may have them, too. Have officers make their keys themselves (keyturn approver keygen).",
        )


def _quoted(name: str) -> str:
    return name if _NUMBERED.fullmatch(name) else repr(name)


def _names(approvers: Iterable[Approver]) -> str:
    names = [repr(approver_words(approver)) for approver in approvers]
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
