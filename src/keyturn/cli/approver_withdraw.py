"""`keyturn approver approvals | withdraw`: what was approved from here, and taking it back (R26)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from keyturn.approver.payload import view_payload
from keyturn.approver.review import require_approval
from keyturn.approver.terminal import visible, visible_bytes
from keyturn.cli.examples import examples
from keyturn.cli.officer import json_option, key_option, memory_option, open_memory, server_options, session
from keyturn.cli.officer_view import SUMMARY, console, finish
from keyturn.clock import iso
from keyturn.ska.actions import Action
from keyturn.ska.words import APPROVAL_DOMAIN, checksum_words

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.approver.client import Sent
    from keyturn.approver.memory import SentApproval


@click.command(
    "approvals",
    short_help="List what you approved and could withdraw.",
    epilog=examples("keyturn approver approvals --key ada.key"),
)
@key_option
@memory_option
@json_option
def approvals(*, key_path: Path, memory_path: Path | None, as_json: bool) -> None:
    """List what you approved from here, the newest first. What was executed since cannot be withdrawn any more.

    What you withdrew stays at the end of the list, so that you can take the withdrawal to another server, too.
    No server is asked, and the key file is not opened.
    """
    sent = open_memory(key_path, memory_path).sent()
    if as_json:
        click.echo(json.dumps([_described(one) for one in sent], indent=2))
        return
    table = Table(title="Approved from here", title_justify="left")
    for name, width in (("Task", 18), ("Approved", 10), ("Key", 10), ("What", 30)):
        table.add_column(name, overflow="fold", min_width=width)
    for one in sent:
        label, what = _summary(one)
        if one.withdrawn_at is not None:
            what = f"WITHDRAWN {iso(one.withdrawn_at)}: {what}"
        table.add_row(Text(visible(one.task_id)), Text(iso(one.sent_at)), Text(label), Text(what))
    console().print(table if sent else "Nothing is remembered that you approved from here.")


@click.command(
    "withdraw",
    short_help="Take an approval back before it is used.",
    epilog=examples(
        "keyturn approver withdraw 0b7e0a52-6c0f-4f0e-9d0c-2b1a33445566 --url http://127.0.0.1:8080 --key ada.key"
    ),
)
@click.argument("task_ids", metavar="TASK...", nargs=-1, required=True)
@server_options
@click.option("--yes", is_flag=True, help="Do not ask; what is withdrawn is still printed.")
@json_option
def withdraw(*, task_ids: tuple[str, ...], yes: bool, as_json: bool, **options: Any) -> None:
    """Withdraw your approval of TASKs. What was executed already stays executed.

    The withdrawal is signed over the approval's own bytes, which your client kept. `approvals` lists them. It goes
    through the server: if the server may be hostile, block the key, too, or give the same command with another
    server's --url.
    """
    memory = open_memory(options["key_path"], options["memory_path"])
    chosen = [one for task_id in dict.fromkeys(task_ids) for one in memory.approvals(task_id)]
    screen = console(err=as_json)
    sent: list[Sent] = []
    with session(**options) as client:
        for one in chosen:
            label, what = _summary(one)
            screen.print(f"Your approval of {iso(one.sent_at)}, key {label}, {what}")
            if one.withdrawn_at is not None:
                screen.print(f"You withdrew it at {iso(one.withdrawn_at)}; it is withdrawn here once more.")
            if one.server.rstrip("/") != options["url"].rstrip("/"):
                screen.print(f"You approved it at {visible(one.server)}, which is not where this withdrawal goes.")
            screen.print(f"Checksum words: {' '.join(checksum_words(one.approval, domain=APPROVAL_DOMAIN))}")
            if not yes and not click.confirm("Withdraw it?", default=False, err=True):
                screen.print(f"Not withdrawn: {visible(one.task_id)}")
                continue
            sent.append(client.withdraw(one))
            screen.print(f"Withdrawn: {visible(one.task_id)}. You cannot approve this request again.")
    finish(sent, "withdrawn", as_json=as_json, complete=len(sent) == len(chosen))


def _summary(one: SentApproval) -> tuple[str, str]:
    """The key and what is to be done with it, read from the bytes that were signed."""
    token = require_approval(one.approval)
    what = token.action.name.lower()
    if token.action is Action.USE and token.payload is not None:
        view = view_payload(token.payload)
        line = " ".join(view.shown.split())
        what = f"{what}, {view.kind}: {line if len(line) <= SUMMARY else line[:SUMMARY] + '…'}"
    return visible_bytes(token.label), what


def _described(one: SentApproval) -> dict[str, Any]:
    token = require_approval(one.approval)
    return {
        "taskId": one.task_id,
        "approvedAt": iso(one.sent_at),
        "withdrawnAt": None if one.withdrawn_at is None else iso(one.withdrawn_at),
        "server": one.server,
        "operation": token.action.name.lower(),
        "keyLabel": visible_bytes(token.label),
        "words": list(checksum_words(one.approval, domain=APPROVAL_DOMAIN)),
        "approval": base64.b64encode(one.approval).decode("ascii"),
    }
