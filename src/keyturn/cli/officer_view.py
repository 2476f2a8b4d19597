"""How a review looks: on a terminal for people, as JSON for programs.

Foreign blocks (payload, policy names, claims) stand inside frames, so that no line of theirs can pass for one of ours.
Rich markup is never interpreted in foreign text: everything goes in as `Text`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from keyturn.approver.review import Review
from keyturn.approver.terminal import visible, visible_bytes
from keyturn.approver.windows import moment, relative, window_words
from keyturn.clock import iso
from keyturn.ska.policy_json import policy_to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.approver.client import Sent
    from keyturn.approver.tasks import Task
    from keyturn.errors import KeyturnError

PLAIN_WIDTH: Final = 120
"""Columns where no terminal says how wide it is: a fingerprint with its name fits."""
SUMMARY: Final = 48
"""Characters of a payload shown in the list; `show` shows all."""


def console(*, err: bool = False) -> Console:
    """A console on the current standard output or error.

    Args:
        err: Standard error, where standard output carries JSON.
    """
    plain = Console(stderr=err, highlight=False, markup=False, emoji=False)
    if not plain.is_terminal and "COLUMNS" not in os.environ:
        plain.width = PLAIN_WIDTH
    return plain


def show_review(review: Review, to: Console) -> None:
    """Print everything an officer must see before deciding.

    Args:
        review: The review.
        to: Where.
    """
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    facts.add_row("Operation", Text(review.operation))
    facts.add_row("Key", Text(review.label))
    alarm = "bold red" if review.acceptance.alarming else "none"
    facts.add_row("", Text(visible(review.acceptance.words), style=alarm))
    facts.add_row("HSM's timestamp", Text(_stamp_text(review)))
    for words in _window_texts(review):
        facts.add_row("Counts", Text(words))
    if review.windows and review.attested is not None:
        # An old attestation verifies as well as a new one, so its time is told.
        facts.add_row("", Text(f"by the policy of {iso(review.attested.attestation.attest_time)}"))
    facts.add_row("Checksum words", Text(" ".join(review.words), style="bold"))
    facts.add_row("", Text("the courier and the other side see the same words, if nothing was changed on the way"))
    facts.add_row("Task", Text(review.task_id))
    to.print(_panel("What your signature would cover", facts))
    if review.bound:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(no_wrap=True)
        rows.add_column(overflow="fold")
        for words, value in review.bound:
            rows.add_row(Text(words), Text(visible(value)))
        to.print(_panel("BOUND to exactly this, from the bytes to be signed", rows))
    if review.meaning:
        to.print(_panel("What would happen, from the bytes to be signed", Text("\n".join(review.meaning))))
    if review.certificate:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(no_wrap=True)
        rows.add_column(overflow="fold")
        for words, value in review.certificate:
            rows.add_row(Text(words), Text(visible(value)))
        to.print(_panel("The CERTIFICATE that the signature would make, from the bytes to be signed", rows))
    elif review.payload is not None:
        view = review.payload
        head = Text(f"{view.kind}, {view.size} bytes, SHA-256 {view.sha256}")
        blocks = [
            head,
            *([Text(f"! {view.note}", style="bold yellow")] if view.note else []),
            Text(""),
            Text(view.shown),
        ]
        to.print(_panel("Payload, from the bytes to be signed", Group(*blocks)))
    if review.policy is not None:
        to.print(_panel("The NEW policy, from the bytes to be signed", Text("\n".join(review.policy_lines))))
        if review.attested is not None and review.change_lines:
            source = "attested" if review.attested.verified else "unverified"
            # An old attestation verifies as well as a new one, so its time is told.
            title = f"Against the policy of {iso(review.attested.attestation.attest_time)} ({source})"
            to.print(_panel(title, Text("\n".join(review.change_lines))))
    if review.claims:
        lines = "\n".join(f"{claim.name}: {claim.text}" for claim in review.claims)
        to.print(_panel("CLAIMS of the server, which your signature does NOT cover", Text(lines), "yellow"))
    if review.warnings:
        to.print(_panel("Read this", Text("\n".join(f"! {warning}" for warning in review.warnings)), "red"))


def review_json(review: Review) -> dict[str, Any]:
    """A review as JSON: facts from the signed bytes, claims apart.

    Args:
        review: The review.
    """
    payload = review.payload
    return {
        "taskId": review.task_id,
        "operation": review.token.action.name.lower(),
        "keyLabel": review.label,
        "acceptance": {"standing": review.acceptance.standing.value, "words": visible(review.acceptance.words)},
        "timestamp": None
        if review.stamp is None
        else {
            "time": iso(review.stamp.seconds),
            "integrityKey": visible_bytes(review.stamp.key_name.encode()),
            "verified": review.stamp.verified,
            "note": review.stamp.note,
        },
        "counts": [
            {
                "name": None if window.name is None else visible(window.name),
                "opensAt": moment(window.opens),
                "lastSecond": None if window.last is None else moment(window.last),
                "listsYou": window.listed,
            }
            for window in review.windows
        ],
        "policyAttestedAt": None if review.attested is None else iso(review.attested.attestation.attest_time),
        "kind": review.kind,
        "meaning": list(review.meaning),
        "unwrap": None
        if review.unwrap is None
        else {
            "label": review.unwrap.label,
            "wrappedKeySize": review.unwrap.size,
            "wrappedKeySha256": review.unwrap.sha256,
            "capabilities": list(review.unwrap.capabilities),
            "access": list(review.unwrap.access),
        },
        "bound": dict(review.bound) or None,
        "certificate": {words: visible(value) for words, value in review.certificate} or None,
        "payload": None
        if payload is None
        else {
            "kind": payload.kind,
            "size": payload.size,
            "sha256": payload.sha256,
            "base64": base64.b64encode(_used_bytes(review)).decode("ascii"),
            "note": payload.note,
        },
        "policy": None if review.policy is None else policy_to_json(review.policy, blocked=None),
        "policyInWords": list(review.policy_lines),
        "changes": list(review.change_lines),
        "keyAttributesVerified": None if review.attested is None else review.attested.verified,
        "claims": [{"name": claim.name, "text": claim.text} for claim in review.claims],
        "warnings": list(review.warnings),
        "words": list(review.words),
        "approvalToBeSigned": base64.b64encode(review.approval).decode("ascii"),
        "approvalSha256": hashlib.sha256(review.approval).hexdigest(),
    }


def _used_bytes(review: Review) -> bytes:
    """What the key would process: the data of a statement, else the payload."""
    return (review.token.payload or b"") if review.statement is None else review.statement.data


def show_tasks(found: Sequence[tuple[Task, Review | KeyturnError]], to: Console, *, timeless: int = 0) -> None:
    """Print the list of waiting tasks.

    Args:
        found: Each task with its review, or with the refusal to show it as honest.
        to: Where.
        timeless: How many requests wait for the HSM's time, before anybody can be asked to approve them.
    """
    if not found:
        to.print("Nothing waits for you." if not timeless else _before_time(timeless))
        return
    table = Table(title="Waiting for you", title_justify="left")
    table.add_column("Task", overflow="fold", min_width=18)
    table.add_column("Operation", overflow="fold")
    table.add_column("Key", overflow="fold", min_width=10)
    table.add_column("What", overflow="fold", min_width=30)
    for task, outcome in found:
        operation, label, what = _summary(outcome)
        table.add_row(Text(task.id), Text(operation), Text(label), Text(what))
    to.print(table)


def _before_time(timeless: int) -> str:
    waiting = "1 request waits" if timeless == 1 else f"{timeless} requests wait"
    return f"Nothing waits for you yet. {waiting} for the HSM's time, which a courier fetches before anybody is asked."


def task_json(task: Task, outcome: Review | KeyturnError) -> dict[str, Any]:
    """One line of the list as JSON.

    Args:
        task: The task.
        outcome: Its review, or the refusal.
    """
    if isinstance(outcome, Review):
        return review_json(outcome)
    return {"taskId": task.id, "refused": {"refusal": outcome.refusal, "message": outcome.message}}


def _summary(outcome: Review | KeyturnError) -> tuple[str, str, str]:
    if not isinstance(outcome, Review):
        return "REFUSED", "", outcome.message
    what = "new policy" if outcome.policy is not None else ""
    if outcome.unwrap is not None:
        what = f"new key: {outcome.unwrap.label}"
    if outcome.payload is not None:
        line = " ".join(outcome.payload.shown.split())
        if outcome.payload.kind == "ciphertext":
            line = f"{outcome.payload.size} bytes"
        what = f"{outcome.payload.kind}: {line if len(line) <= SUMMARY else line[:SUMMARY] + '…'}"
    if outcome.certificate:
        made = dict(outcome.certificate)
        what = visible(f"{made['makes']} for {made['subject']}")
    standing = outcome.acceptance.standing.value.replace("-", " ")
    key = f"{outcome.label} ({standing.upper() if outcome.acceptance.alarming else standing})"
    return outcome.token.action.name.lower(), key, what


def _stamp_text(review: Review) -> str:
    stamp = review.stamp
    if stamp is None:
        return "none; time limits, if any, are not bound to a moment"
    made = f"{iso(stamp.seconds)} ({relative(stamp.seconds, review.now)})"
    if stamp.verified:
        return f"{made}, verified under the pinned device certificate"
    return f"{made}, NOT VERIFIED. {stamp.note}"


def _window_texts(review: Review) -> list[str]:
    """When the approval counts: the ways that list the officer, or all of them where none does."""
    mine = [window for window in review.windows if window.listed] or list(review.windows)
    unverified = "" if review.attested is None or review.attested.verified else "by the server's word, NOT VERIFIED: "
    return [
        unverified
        + (f'way "{visible(window.name)}" ' if window.name and len(mine) > 1 else "")
        + window_words(window, review.now)
        for window in mine
    ]


def _panel(title: str, content: Any, style: str = "none") -> Panel:
    return Panel(content, title=Text(title, style="bold"), title_align="left", border_style=style)


def finish(sent: Sequence[Sent], decision: str, *, as_json: bool, complete: bool) -> None:
    """Print what was signed for programs; leave with 1 when the person declined something.

    Args:
        sent: What was signed and sent.
        decision: `approved`, `rejected` or `withdrawn`.
        as_json: Whether to print it.
        complete: Whether everything was decided so.

    Raises:
        click.exceptions.Exit: With 1, when it was not.
    """
    if as_json:
        described = [
            {
                "taskId": one.task_id,
                "decision": decision,
                "signed": base64.b64encode(one.signed).decode("ascii"),
                "signature": base64.b64encode(one.signature).decode("ascii"),
                "digestAlgorithm": one.digest,
                "approverPublicKey": base64.b64encode(one.spki).decode("ascii"),
            }
            for one in sent
        ]
        click.echo(json.dumps(described, indent=2))
    if not complete:
        raise click.exceptions.Exit(1)
