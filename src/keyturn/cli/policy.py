"""`keyturn policy check | explain | simulate`: look at a policy before a key has it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from keyturn.api.codec import encode, read_body, read_json
from keyturn.api.endpoints.parts import chosen_attributes, chosen_limits, key_algorithm
from keyturn.api.schemas.keys import CreateKeyBody
from keyturn.approver.onboarded import Unresolved
from keyturn.approver.policy_words import ACTION_WORDS, Reader, describe_policy, duration
from keyturn.approver.terminal import visible
from keyturn.cli.examples import examples
from keyturn.cli.officer import OfficerGroup, address_book_option, json_option, open_address_book, read_file
from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.key_lint import lint_key
from keyturn.ska.policy_json import policy_from_json
from keyturn.ska.policy_lint import lint_policy
from keyturn.ska.policy_rules import check_policy, is_protected, open_modify, open_unblock
from keyturn.ska.policy_supposition import parse_delay, suppose
from keyturn.ska.reasons import approver_words

if TYPE_CHECKING:
    from keyturn.ska.findings import Decision, TokenFinding
    from keyturn.ska.policy import Policy
    from keyturn.ska.policy_lint import LintWarning

MAX_FILE: Final = 1 << 20
"""Most bytes of JSON; the binary form has at most 65 535."""
ACTIONS: Final = {action.name.lower(): action for action in Action}

source_argument = click.argument("source", metavar="FILE|-")


@click.group(
    cls=OfficerGroup,
    epilog=examples(
        "keyturn policy check payments.json",
        "keyturn policy simulate payments.json --action use --approved Ada,Ben --at +2h",
    ),
)
def policy() -> None:
    """Look at a policy before a key has it: check, explain, simulate."""


@policy.command(
    "check",
    short_help="Refuse what a server would refuse; warn of what is weak.",
    epilog=examples(
        "keyturn policy check payments.json",
        "keyturn policy check --strict whole-body-of-post-v1-key.json",
        "keyturn policy check --modify --strict - < new-policy.json",
    ),
)
@source_argument
@click.option("--modify", is_flag=True, help="As a new policy of an existing key: all four rules, no keyStatus.")
@click.option("--allow-seconds", is_flag=True, help="As a server with general.allowSecondsInPolicies.")
@click.option("--destroyable", is_flag=True, help="The key is to have the attribute `destroyable`.")
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings, too.")
@json_option
def check(*, source: str, modify: bool, allow_seconds: bool, destroyable: bool, strict: bool, as_json: bool) -> None:
    """Apply the rules for new policies to the policy (JSON) in FILE, and warn of weak but legal shapes.

    FILE may also hold the whole body of `POST /v1/key`: then it warns of what the key's attributes and limits leave
    open, too.

    Exits with 1 if a server would refuse the policy. Warnings do not change the exit code, unless --strict is given.
    Onboarded approvers are listed by names that only a server can look up; here each counts as one person.
    """
    names = Unresolved()
    try:
        value, body = _creation(_read(source), modify=modify)
        checked, _ = _checked(value, names, modify=modify, allow_seconds=allow_seconds)
        of_key = _lint_body(body, checked) if body is not None else ()
    except KeyturnError as error:
        if not as_json:
            raise
        refused = {"code": error.code.number, "refusal": error.refusal, "message": error.message}
        click.echo(json.dumps({"accepted": False, "refused": refused, "warnings": [], "unresolvedNames": []}, indent=2))
        raise click.exceptions.Exit(1) from None
    destroyable = destroyable or bool(body and body.attributes.get("destroyable"))
    warnings = (*lint_policy(checked, destroyable=destroyable), *of_key)
    if as_json:
        listed = [asdict(warning) for warning in warnings]
        answer = {"accepted": True, "refused": None, "warnings": listed, "unresolvedNames": list(names.names)}
        click.echo(json.dumps(answer, indent=2))
    else:
        for warning in warnings:
            click.echo(f"warning: {visible(warning.sentence)} [{warning.word}]")
        _tell_unresolved(names)
        count = {0: "no warnings", 1: "1 warning"}.get(len(warnings), f"{len(warnings)} warnings")
        click.echo(f"The policy is accepted, with {count}.")
    if strict and warnings:
        raise click.exceptions.Exit(1)


@policy.command(
    "explain",
    short_help="Say in plain words who can do what and when.",
    epilog=examples("keyturn policy explain payments.json --address-book colleagues.json"),
)
@source_argument
@address_book_option
def explain(*, source: str, address_book_path: Path | None) -> None:
    """Say in plain words who can do what and when by the policy (JSON) in FILE."""
    names = Unresolved()
    explained, blocked = _looked_at(_read(source), names)
    for line in describe_policy(explained, Reader(open_address_book(address_book_path), stands_for=names.name)):
        click.echo(line)
    _tell_unresolved(names)
    if blocked:
        click.echo("The key starts BLOCKED: it does nothing until it is unblocked.")
    if is_protected(explained):
        for is_open, line in (
            (open_modify(explained), "This policy can be REPLACED more easily than the key can be used (openModify)."),
            (open_unblock(explained), "A block can be LIFTED more easily than the key can be used (openUnblock)."),
        ):
            if is_open:
                click.echo(line)


@policy.command(
    "simulate",
    short_help="Say what would be decided if these people approved.",
    epilog=examples("keyturn policy simulate payments.json --action use --approved Ada,Ben --at +2h"),
)
@source_argument
@click.option(
    "--action",
    "action_name",
    type=click.Choice(list(ACTIONS)),
    default="use",
    show_default=True,
    help="What is to be done.",
)
@click.option(
    "--approved", default="", metavar="NAME,NAME…", help="Names in the policy, or the first digits of fingerprints."
)
@click.option("--at", "at", default="+0s", show_default=True, help="How long after the HSM's timestamp.")
@json_option
def simulate(*, source: str, action_name: str, approved: str, at: str, as_json: bool) -> None:
    """Say what would be decided by the policy (JSON) in FILE if these people approved under one timestamp.

    No signature is looked at: whether an approval will be good is not said.
    """
    supposed, _ = _looked_at(_read(source), Unresolved())
    delay = parse_delay(at)
    names = [name.strip() for name in approved.split(",") if name.strip()]
    decision = suppose(supposed, ACTIONS[action_name], names, delay)
    if as_json:
        click.echo(json.dumps(_decision_json(decision), indent=2))
        return
    verdict = "YES" if decision.authorised else "NO"
    click.echo(f"To {ACTION_WORDS[ACTIONS[action_name]]}, {duration(delay)} after the HSM's timestamp: {verdict}.")
    if not decision.tokens:
        click.echo(decision.reason)
    for position, token in enumerate(decision.tokens, 1):
        click.echo(f"  token {_shown(token.name, position)}: {_state(token, delay)}")
        for number, group in enumerate(token.groups, 1):
            line = f"    group {_shown(group.name, number)}: {len(group.approved)} of {group.quorum} approvals"
            if group.missing:
                others = ", ".join(visible(approver_words(approver)) for approver in group.outstanding)
                line += f", {group.missing} missing; could still approve: {others}"
            click.echo(line)


def _read(source: str) -> object:
    data = sys.stdin.buffer.read(MAX_FILE + 1) if source == "-" else read_file(Path(source), MAX_FILE)
    if len(data) > MAX_FILE:
        raise FormatError(f"The policy is larger than {MAX_FILE} bytes.", refusal="file.unreadable")
    value: object = read_json(data)
    return value


def _creation(value: object, *, modify: bool) -> tuple[object, CreateKeyBody | None]:
    """The policy, and the body of `POST /v1/key` if it stands in one; none of a policy's members is called `policy`."""
    if modify or not isinstance(value, dict) or "policy" not in value:
        return value, None
    # The policy is read on its own, with messages that name its rules.
    return value["policy"], read_body(encode({**value, "policy": None}), CreateKeyBody)


def _lint_body(body: CreateKeyBody, found: Policy) -> tuple[LintWarning, ...]:
    limits = chosen_limits("attributes", body.attributes)
    return lint_key(
        found,
        algorithm=key_algorithm(body),
        attributes=chosen_attributes("attributes", body.attributes),
        allowed_operations=limits["allowed_operations"],
        allowed_algorithms=limits["allowed_algorithms"],
    )


def _checked(value: object, names: Unresolved, *, modify: bool, allow_seconds: bool) -> tuple[Policy, bool]:
    """The policy as a server would take it at creation or modification."""
    if isinstance(value, dict):
        if modify and "keyStatus" in value:
            raise FormatError(
                "policy.keyStatus is not known in a modify: blocking is not changed with the policy.",
                refusal="policy.key-status",
            )
        if not modify and value.get("keyStatus") is None:
            raise FormatError("policy.keyStatus must be given for a new key.", refusal="policy.key-status")
    found, blocked = policy_from_json(value, allow_seconds=allow_seconds, resolve=names, require_all_rules=modify)
    check_policy(found, blocked=blocked)
    return found, blocked


def _looked_at(value: object, names: Unresolved) -> tuple[Policy, bool]:
    """A policy that makes sense, whether it is for creation or modification."""
    found, blocked = policy_from_json(value, allow_seconds=True, resolve=names)
    check_policy(found, blocked=blocked)
    return found, blocked


def _tell_unresolved(names: Unresolved) -> None:
    """Say which names were not looked up, and by what to check them (R22)."""
    if names.names:
        click.echo(
            f"Not looked up: {', '.join(visible(name) for name in names.names)}. The server puts the certificate in "
            "the place of the name; compare its fingerprint (`keyturn approver list`)."
        )


def _shown(name: str | None, position: int) -> str:
    return f'"{visible(name)}"' if name else f"number {position}"


def _state(token: TokenFinding, delay: int) -> str:
    if not token.complete:
        return "approvals are missing"
    if token.opens_at is None:
        return "fulfilled, at any time"
    opens, closes = duration(token.opens_at), token.closes_at
    until = "never closes" if closes is None else f"closes at {duration(closes)}"
    if token.satisfied:
        return f"fulfilled; opened at {opens}, {until}"
    if delay < token.opens_at:
        return f"too early; opens at {opens}, {until}"
    return f"too late; {until.replace('closes', 'closed')}"


def _decision_json(decision: Decision) -> dict[str, Any]:
    """The decision, with times in seconds after the timestamp."""
    return {
        "authorised": decision.authorised,
        "rule": decision.rule_kind.value,
        "refusal": decision.refusal,
        "opensAfter": decision.opens_at,
        "closesAfter": decision.closes_at,
        "tokens": [
            {
                "name": token.name,
                "satisfied": token.satisfied,
                "complete": token.complete,
                "opensAfter": token.opens_at,
                "closesAfter": token.closes_at,
                "groups": [
                    {
                        "name": group.name,
                        "quorum": group.quorum,
                        "approved": len(group.approved),
                        "missing": group.missing,
                        "outstanding": [approver_words(approver) for approver in group.outstanding],
                    }
                    for group in token.groups
                ],
            }
            for token in decision.tokens
        ],
    }
