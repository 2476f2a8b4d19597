"""The `keyturn` command: a table of sub-commands, each imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from keyturn import __version__
from keyturn.cli.examples import examples
from keyturn.errors import KeyturnError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {
    "approver": ("keyturn.cli.approver:approver", "Keys, tasks and decisions of a person who approves."),
    "approver-management": (
        "keyturn.cli.approver_management:approver_management",
        "Approvers whose keys the HSM makes (off by default).",
    ),
    "certificate": ("keyturn.cli.certificate:certificate", "Requests for certificates, and certificates of keys."),
    "config": ("keyturn.cli.config:config", "Settings of the server: check, show, begin; make API keys."),
    "file": ("keyturn.cli.file:file", "Encrypt files for a key, and decrypt them."),
    "hsm": ("keyturn.cli.hsm:hsm", "The HSM process: serve, status, unseal, backup, restore, log."),
    "inspect": ("keyturn.cli.inspect:inspect", "Decode any token, timestamp, policy or bundle to JSON."),
    "key": ("keyturn.cli.key:key", "Accept keys by their attestation; import, export, derive."),
    "policy": ("keyturn.cli.policy:policy", "Check, explain and simulate a policy before a key has it."),
    "receipt": ("keyturn.cli.receipt:receipt", "Check what an HSM says it did or refused."),
    "serve": ("keyturn.cli.serve:serve", "The broker with its REST API."),
    "transport": ("keyturn.cli.transport:transport", "Carry requests and results across the gap."),
    "trust": ("keyturn.cli.trust:trust", "First trust: compare an HSM's device certificate as words, then pin it."),
}

EXIT_INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells count."""


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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a sub-command's name from the table, without importing any: a Tab must not take a second."""
        names = [name for name in sorted(COMMANDS) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=COMMANDS[name][1]) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "keyturn serve",
        "keyturn approver keygen --type ec-p256 --out ada.key",
        'eval "$(_KEYTURN_COMPLETE=bash_source keyturn)"    # Tab completes',
    ),
)
@click.version_option(__version__, prog_name="keyturn")
def root() -> None:
    """Keys that act only when enough listed keys agree, enforced by the HSM."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a refusal prints its reason and exits with 1.

    What people and machines cause (a refusal, a full disk, Ctrl-C, a reader that went away) ends in a sentence.
    Everything else is a bug of ours and keeps its traceback.

    Args:
        arguments: Words of the command line, those of the process if None.
    """
    words = None if arguments is None else list(arguments)
    try:
        code = root.main(args=words, prog_name="keyturn", standalone_mode=False)
        # What lies in a buffer could still meet a closed pipe or a full disk.
        sys.stdout.flush()
    except KeyturnError as error:
        _fail(f"{error.message}", f" [{error.code.number} {error.refusal or error.code.reason}]")
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as error:
        # A prompt hides the cause (`from None`); the context keeps it.
        interrupted = isinstance(error.__cause__ or error.__context__, KeyboardInterrupt)
        click.echo("keyturn: stopped." if interrupted else "Aborted!", err=True)
        sys.exit(EXIT_INTERRUPTED if interrupted else 1)
    except BrokenPipeError:
        _leave_quietly()
    except OSError as error:
        if error.errno is None:
            raise
        from keyturn.cli.trouble import in_words

        _fail(in_words(error), " [system]")
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, word: str) -> NoReturn:
    from keyturn.approver.terminal import visible

    # A message may quote a server, a bundle or a file.
    click.echo(f"keyturn: {visible(message, lines=True)}{word}", err=True)
    sys.exit(1)


def _leave_quietly() -> NoReturn:
    """Whoever read the output is gone and wants no more; the interpreter's own last flush must not complain either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
