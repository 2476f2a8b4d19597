"""Every help can be read: one line per command that is not cut, and an example with options that exist."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from keyturn.cli.main import root

if TYPE_CHECKING:
    from collections.abc import Iterator


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            if not inner.hidden:
                yield from walk(inner, (*path, name))


COMMANDS = dict(walk(root))


def help_of(path: tuple[str, ...]) -> str:
    done = CliRunner().invoke(root, [*path, "--help"], terminal_width=80)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if isinstance(command, click.Group)])
def test_no_line_in_a_list_of_commands_is_cut(path: tuple[str, ...]) -> None:
    listed = help_of(path).partition("Commands:")[2].partition("Example")[0]
    assert listed
    assert "..." not in listed
    assert "…" not in listed


@pytest.mark.parametrize("path", list(COMMANDS), ids=" ".join)
def test_every_help_ends_with_an_example_whose_options_exist(path: tuple[str, ...]) -> None:
    text = help_of(path)
    head, found, tail = text.rpartition("Example")
    assert found, head
    lines = [line.strip() for line in tail.partition("\n")[2].replace("\\\n", " ").splitlines() if line.strip()]
    called = [line[line.index("keyturn ") :] for line in lines if "_COMPLETE" not in line]
    assert any(line.startswith(" ".join(("keyturn", *path))) for line in called)
    for line in called:
        words = shlex.split(line)[1:]
        inner = max((known for known in COMMANDS if tuple(words[: len(known)]) == known), key=len)
        options = {name for option in COMMANDS[inner].params for name in (*option.opts, *option.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= options, line
        missing = [
            option.opts[0]
            for option in COMMANDS[inner].params
            if isinstance(option, click.Option) and option.required and not set(option.opts) & set(words)
        ]
        assert not missing, line
