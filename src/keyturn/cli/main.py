"""The `keyturn` command: a table of sub-commands, each imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final

import click

from keyturn import __version__
from keyturn.errors import KeyturnError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {
    "approver": ("keyturn.cli.approver:approver", "Keys, tasks and decisions of a person who approves."),
    "hsm": ("keyturn.cli.hsm:hsm", "The HSM process: serve, status, unseal, backup, restore, log."),
    "inspect": ("keyturn.cli.inspect:inspect", "Decode any token, timestamp, policy or bundle to JSON."),
    "serve": ("keyturn.cli.serve:serve", "The broker with its REST API."),
    "transport": ("keyturn.cli.transport:transport", "Carry requests and results across the gap."),
    "trust": ("keyturn.cli.trust:trust", "First trust: compare an HSM's device certificate as words, then pin it."),
}


class LazyGroup(click.Group):
    """A group that imports a sub-command's module when it is used, so that small commands start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all sub-commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the sub-command `cmd_name`, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - A wrong table is a bug of ours.
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="keyturn")
def root() -> None:
    """Keys that act only when enough listed keys agree, enforced by the HSM."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a refusal prints its reason and exits with 1.

    Args:
        arguments: Words of the command line, those of the process if None.
    """
    try:
        root.main(args=None if arguments is None else list(arguments), prog_name="keyturn", standalone_mode=True)
    except KeyturnError as error:
        from keyturn.approver.terminal import visible

        # A message may quote a server, a bundle or a file.
        click.echo(
            f"keyturn: {visible(error.message, lines=True)} [{error.code.number} {error.refusal or error.code.reason}]",
            err=True,
        )
        sys.exit(1)
