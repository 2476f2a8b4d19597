"""What the commands of the HSM's administrator share: which HSM, the line to it, and how they tell what was done."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyturn.hsm import admin
from keyturn.hsm.settings import admin_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def admin_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name an HSM."""
    for option in (
        click.option("--admin-socket", type=FILE, help="The HSM's administration socket."),
        click.option("--data-dir", type=DIRECTORY, help="The HSM's data directory; its socket is found there."),
    ):
        command = option(command)
    return command


def socket_of(data_dir: Path | None, admin_socket: Path | None) -> Path:
    """Path of the administration socket.

    Args:
        data_dir: The HSM's data directory, or None.
        admin_socket: The socket itself, or None.
    """
    if admin_socket is not None:
        return admin_socket
    if data_dir is not None:
        return admin_path(data_dir)
    raise click.UsageError("say which HSM: --data-dir or --admin-socket")


def with_admin(path: Path, act: Callable[[admin.AdminClient], Awaitable[Any]]) -> Any:
    """Talk to an HSM as its administrator.

    Args:
        path: Its administration socket.
        act: What to say; its result is returned.
    """

    async def run() -> Any:
        client = await admin.AdminClient.connect(path)
        try:
            return await act(client)
        finally:
            await client.close()

    return asyncio.run(run())


def tell(sentence: str, done: dict[str, Any], *, as_json: bool) -> None:
    """Say what was done: one sentence, or one JSON object for programs."""
    click.echo(json.dumps(done) if as_json else sentence)
