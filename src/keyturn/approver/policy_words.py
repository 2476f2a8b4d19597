"""A policy in plain words: who can do what, and which of them this officer knows.

Names that stand in the policy are shown as what the policy calls somebody. Who it is, is said by the officer's own
address book and the fingerprint (R11).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.approver.terminal import spaced_fingerprint, visible
from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_name, read_approver_key
from keyturn.ska.policy_rules import is_always_fulfilled, listed_approvers
from keyturn.ska.window import closes_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.approver.address_book import AddressBook
    from keyturn.ska.policy import Approver, Group, Policy, Rule, Token

ACTION_WORDS: Final = {
    Action.USE: "use the key (sign, decrypt, unwrap)",
    Action.BLOCK: "block the key",
    Action.UNBLOCK: "unblock the key",
    Action.MODIFY: "change this policy",
}
_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True, slots=True)
class Reader:
    """For whom a policy is put into words.

    Args:
        book: The officer's address book.
        own_fingerprint: The officer's own key, 64 hex digits, or empty.
        stands_for: For a fingerprint that only stands in for an onboarded approver's name, that name.
    """

    book: AddressBook
    own_fingerprint: str = ""
    stands_for: Callable[[str], str | None] = lambda _: None

    def who(self, fingerprint: str) -> str:
        """How the officer knows a key: by name, as their own, or not at all.

        Args:
            fingerprint: 64 hex digits.
        """
        if fingerprint == self.own_fingerprint:
            return "YOU"
        name = self.book.name(fingerprint)
        return "NOT IN YOUR ADDRESS BOOK" if name is None else visible(name)


def duration(seconds: int) -> str:
    """A length of time in the largest units that state it exactly.

    Args:
        seconds: Not negative.
    """
    parts = []
    for size, name in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(parts) or "0 seconds"


def describe_policy(policy: Policy, reader: Reader) -> tuple[str, ...]:
    """All four rules as lines of text, indented by meaning; rules that are the same are told once.

    Args:
        policy: The policy.
        reader: For whom.
    """
    lines: list[str] = []
    for actions, rule in _same_rules(policy):
        lines += describe_rule(rule, actions, reader)
    return tuple(lines)


def describe_rule(rule: Rule, actions: tuple[Action, ...], reader: Reader) -> list[str]:
    """One rule as lines of text.

    Args:
        rule: The rule.
        actions: What it governs.
        reader: For whom.
    """
    what = f"To {_listed([ACTION_WORDS[action] for action in actions])}:"
    if not rule.tokens:
        return [f"{what} never possible, nobody can."]
    if is_always_fulfilled(rule):
        return [f"{what} NO APPROVAL IS NEEDED. Whoever reaches the HSM can."]
    if len(rule.tokens) == 1:
        return [what, *_describe_token(rule.tokens[0], reader, "  ")]
    lines = [f"{what} one of these {len(rule.tokens)} ways is enough:"]
    for number, token in enumerate(rule.tokens, 1):
        lines += [f"  way {number}:", *_describe_token(token, reader, "    ")]
    return lines


def describe_changes(before: Policy, after: Policy, reader: Reader) -> tuple[str, ...]:
    """What a new policy changes, rule by rule.

    Args:
        before: The policy in force, as attested.
        after: The policy to be approved.
        reader: For whom.
    """
    changes: dict[tuple[Rule, Rule], list[Action]] = {}
    for action in Action:
        changes.setdefault((before.rule(action), after.rule(action)), []).append(action)
    lines: list[str] = []
    for (old, new), actions in changes.items():
        what = f"To {_listed([ACTION_WORDS[action] for action in actions])}:"
        if old == new:
            lines.append(f"{what} unchanged.")
            continue
        lines.append(f"{what} CHANGED.")
        old_people = {approver.identity: approver for approver in listed_approvers(old)}
        new_people = {approver.identity: approver for approver in listed_approvers(new)}
        for words, people, others in (
            ("no longer listed:", old_people, new_people),
            ("newly listed:", new_people, old_people),
        ):
            different = [approver for identity, approver in people.items() if identity not in others]
            if different:
                lines.append(f"  {words}")
                lines += [line for approver in different for line in _person(approver, reader, "    ")]
        if old_people.keys() == new_people.keys():
            lines.append("  the same people, under other conditions")
    return tuple(lines)


def _same_rules(policy: Policy) -> list[tuple[tuple[Action, ...], Rule]]:
    """The rules of a policy, each once, with the actions that it governs."""
    governed: dict[Rule, list[Action]] = {}
    for action in Action:
        governed.setdefault(policy.rule(action), []).append(action)
    return [(tuple(actions), rule) for rule, actions in governed.items()]


def _listed(parts: list[str]) -> str:
    """Words joined as in a sentence."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def strangers(policy: Policy, reader: Reader) -> tuple[str, ...]:
    """Fingerprints in a policy that the reader's address book does not know.

    Args:
        policy: The policy.
        reader: For whom.
    """
    found: dict[str, None] = {}
    for action in Action:
        for approver in listed_approvers(policy.rule(action)):
            fingerprint = read_approver_key(approver.identity).fingerprint
            if fingerprint != reader.own_fingerprint and reader.book.name(fingerprint) is None:
                found[fingerprint] = None
    return tuple(found)


def _times(token: Token, indent: str) -> list[str]:
    lines = []
    if token.timelock:
        lines.append(f"{indent}not earlier than {duration(token.timelock)} after the HSM's timestamp")
    closes = closes_at(0, token)
    if closes is not None:
        # The last second that counts: the last unit of the policy's encoding counts whole (decisions 18).
        lines.append(f"{indent}not later than {duration(closes - 1)} after the HSM's timestamp")
    return lines


def _describe_token(token: Token, reader: Reader, indent: str) -> list[str]:
    lines = [f'{indent}(the policy calls this way "{visible(token.name)}")'] if token.name else []
    lines += _times(token, indent)
    for number, group in enumerate(token.groups):
        lines.append(f"{indent}{'and ' if number else ''}{_quorum(group)}:")
        lines += [line for approver in group.approvers for line in _person(approver, reader, f"{indent}  ")]
    return lines


def _quorum(group: Group) -> str:
    size = len({approver.identity for approver in group.approvers})
    named = f' (group "{visible(group.name)}")' if group.name else ""
    if size == 1:
        return f"this one person{named}"
    return f"{'all' if group.quorum == size else group.quorum} of these {size} people{named}"


def _person(approver: Approver, reader: Reader, indent: str) -> list[str]:
    """An approver in lines of their own, so that no name in a policy can pass for a fingerprint or for the reader."""
    fingerprint = read_approver_key(approver.spki).fingerprint
    onboarded = reader.stands_for(fingerprint)
    if onboarded is not None:
        return [f'{indent}- "{visible(onboarded)}", BY NAME ONLY: the server looks it up, nothing here can']
    lines = [f"{indent}- {reader.who(fingerprint)}", f"{indent}  key {spaced_fingerprint(fingerprint)}"]
    name = approver.name
    if name is None and approver.certificate is not None:
        with suppress(FormatError):  # Without a common name the fingerprint alone must do.
            name = certificate_name(approver.certificate)
    return [*lines, f'{indent}  the policy calls them "{visible(name)}"'] if name else lines
