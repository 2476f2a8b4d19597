"""`keyturn hsm deleted`: keys that were deleted and lie sealed for a time (R28)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from keyturn.cli.examples import examples
from keyturn.cli.hsm_admin import admin_options, json_option, socket_of, with_admin
from keyturn.clock import iso
from keyturn.hsm import admin

if TYPE_CHECKING:
    from pathlib import Path


@click.group(
    short_help="Keys that were deleted: list, restore, erase.",
    epilog=examples("keyturn hsm deleted list --data-dir /var/lib/keyturn-hsm"),
)
def deleted() -> None:
    """Show deleted keys, bring one back, or erase one before its time.

    A deleted key lies sealed for `deletedKeyRetentionDays` (30 unless set otherwise). Nobody can use it meanwhile.
    """


@deleted.command(
    "list",
    short_help="Show deleted keys and when each will be erased.",
    epilog=examples("keyturn hsm deleted list --data-dir /var/lib/keyturn-hsm"),
)
@admin_options
@json_option
def list_deleted(data_dir: Path | None, admin_socket: Path | None, *, as_json: bool) -> None:
    """Show deleted keys and when each will be erased."""
    found: list[admin.DeletedKey] = with_admin(socket_of(data_dir, admin_socket), _all)
    if as_json:
        shown = [{name: getattr(key, name) for name in key.__struct_fields__} for key in found]
        click.echo(json.dumps(shown, indent=2))
        return
    for key in found:
        policy = ", with a policy" if key.governed else ""
        times = f"deleted {iso(key.deleted)}, erased {iso(key.erased)}"
        click.echo(f"{key.label}, uuid {key.uuid}, {key.algorithm}{policy}: {times}")
    if not found:
        click.echo("there are no deleted keys")


async def _all(client: admin.AdminClient) -> list[admin.DeletedKey]:
    keys: list[admin.DeletedKey] = []
    after = ""
    while True:
        page = await client.call(admin.GetDeleted(after), admin.DeletedAre)
        keys += page.keys
        if not page.next:
            return keys
        after = page.next


@deleted.command(
    short_help="Bring a deleted key back.",
    epilog=examples(
        "keyturn hsm deleted restore 6f1c1a52-8a2f-4a3d-9a52-0e6f0d6f1b11 --data-dir /var/lib/keyturn-hsm",
    ),
)
@click.argument("uuid")
@click.option("--label", default="", help="The label it is to bear, if its own is taken by now.")
@admin_options
def restore(uuid: str, label: str, data_dir: Path | None, admin_socket: Path | None) -> None:
    """Bring a deleted key back, under a label that is free.

    It is the same key with the same uuid, policy and password. What was approved before does not count for it.
    """
    message = admin.RestoreDeleted(uuid, label)
    with_admin(socket_of(data_dir, admin_socket), lambda client: client.call(message, admin.AdminDone))
    click.echo("restored")


@deleted.command(
    short_help="Erase a deleted key for good, before its time.",
    epilog=examples(
        "keyturn hsm deleted erase 6f1c1a52-8a2f-4a3d-9a52-0e6f0d6f1b11 --yes --data-dir /var/lib/keyturn-hsm",
    ),
)
@click.argument("uuid")
@click.option("--yes", is_flag=True, help="Do not ask.")
@admin_options
def erase(uuid: str, data_dir: Path | None, admin_socket: Path | None, *, yes: bool) -> None:
    """Erase a deleted key for good, before its time. Nothing brings it back but a backup from before."""
    if not yes:
        click.confirm(f"Erase the deleted key {uuid} for good?", abort=True)
    message = admin.EraseDeleted(uuid)
    with_admin(socket_of(data_dir, admin_socket), lambda client: client.call(message, admin.AdminDone))
    click.echo("erased")
