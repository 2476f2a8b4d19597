"""`keyturn hsm ledger`: what later approvals are measured against."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from keyturn.cli.examples import examples
from keyturn.cli.hsm_admin import admin_options, json_option, socket_of, with_admin
from keyturn.clock import iso
from keyturn.hsm import admin
from keyturn.plain import counted

if TYPE_CHECKING:
    from pathlib import Path

_WORDS = {
    "blocked": "last blocked",
    "unblocked": "last unblocked",
    "modified": "last modified",
    "use": "used, and never again",
    "spent-unblock": "has unblocked, and never again",
    "spent-modify": "has replaced the policy, and never again",
    "withdrawn": "taken back by a signer",
    "forgotten-withdrawal": "no timestamp up to this one counts from this signer",
    "forgotten": "no timestamp up to this one counts for use",
}
_SHOWN = 16
"""Hexadecimal digits of a digest on the screen; JSON has all of them."""


@dataclass
class _Found:
    keys: list[admin.LedgerKey] = field(default_factory=list)
    lines: list[admin.LedgerLine] = field(default_factory=list)


@click.command(
    short_help="Show what the ledger remembers: used approvals, blocks, withdrawals.",
    epilog=examples(
        "keyturn hsm ledger --data-dir /var/lib/keyturn-hsm",
        "keyturn hsm ledger --data-dir /var/lib/keyturn-hsm --label treasury --json",
    ),
)
@click.option("--label", default="", help="The lines of this key; without it all keys with the number of their lines.")
@admin_options
@json_option
def ledger(label: str, data_dir: Path | None, admin_socket: Path | None, *, as_json: bool) -> None:
    """Show what the HSM remembers about keys to measure later approvals against.

    Statements are given by the SHA-256 of the approved bytes. Nothing in it is secret.
    """
    found: _Found = with_admin(socket_of(data_dir, admin_socket), lambda client: _all(client, label))
    if as_json:
        click.echo(json.dumps({"keys": [_key_json(key, found, label) for key in found.keys]}, indent=2))
        return
    for key in found.keys:
        kind = " (single use)" if key.single_use else ""
        lines = ", ".join(f"{kind}: {count}" for kind, count in key.counts.items()) or "nothing"
        click.echo(f"{key.label}{kind}, uuid {key.uuid}: {lines}")
    for line in found.lines:
        click.echo("  " + _line(line))
    if not found.keys:
        click.echo("there are no keys")
    elif label:
        click.echo(counted(len(found.lines), "line"))


async def _all(client: admin.AdminClient, label: str) -> _Found:
    found = _Found()
    after = b""
    while True:
        page = await client.call(admin.GetLedger(label, after), admin.LedgerIs)
        found.keys = page.keys if label else found.keys + page.keys
        found.lines += page.lines
        if not page.next:
            return found
        after = page.next


def _line(line: admin.LedgerLine) -> str:
    parts = [iso(line.time), _WORDS[line.kind]]
    if line.statement:
        parts.append(f"statement {line.statement.hex()[:_SHOWN]}")
    if line.signer:
        parts.append(f"signer {line.signer.hex()[:_SHOWN]}")
    if line.stamp is not None:
        parts.append(f"timestamp {iso(line.stamp)}")
    if line.operation:
        parts.append(f"operation {line.operation.hex()}, result {'kept' if line.kept else 'not kept any more'}")
    return ", ".join(parts)


def _key_json(key: admin.LedgerKey, found: _Found, label: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "label": key.label,
        "uuid": key.uuid,
        "singleUse": key.single_use,
        "counts": key.counts,
    }
    if label:
        shown["lines"] = [_line_json(line) for line in found.lines]
    return shown


def _line_json(line: admin.LedgerLine) -> dict[str, Any]:
    shown = {
        "kind": line.kind,
        "time": line.time,
        "statement": line.statement.hex(),
        "signer": line.signer.hex(),
        "stamp": line.stamp,
        "operation": line.operation.hex(),
    }
    if line.operation:
        shown["resultKept"] = line.kept
    return {name: value for name, value in shown.items() if value not in ("", None)}
