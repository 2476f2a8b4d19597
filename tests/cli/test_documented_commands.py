"""Every `keyturn …` that stands in a page as a command exists, with the options that it is given there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import pytest

from keyturn.cli.main import root

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [
    *sorted(ROOT.glob("*.md")),
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "adr"),
]
"""Records of decisions are left out: they say what was so at their time."""
_FENCE: Final = re.compile(r"^\s*```.*?$(.*?)^\s*```", re.DOTALL | re.MULTILINE)
_IN_LINE: Final = re.compile(r"`(keyturn [^`]+)`")
_BEHIND: Final = re.compile(r"\s(?:#|\||>|<|&&|;).*|\$\(.*?\)|\"[^\"]*\"|'[^']*'")
"""What is no word of the command: comments, pipes, what is quoted."""
_OPTION: Final = re.compile(r"--?[a-z][a-z-]*")


def commands_in(text: str) -> Iterator[str]:
    """The commands that stand in a page, in its blocks of code and between its lines."""
    for block in _FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            start = re.match(r"\s*(?:\$ )?(?:\w+=\S+ )*(keyturn .*)", line)
            if start:
                yield start[1]
    yield from (" ".join(found.split()) for found in _IN_LINE.findall(_FENCE.sub("", text)))


def complaint(line: str) -> str:
    """What is wrong with a command; empty if nothing is."""
    words = _BEHIND.sub(" ", line).split()[1:]
    command: click.Command = root
    options = {"--version", "--help", "-h"}
    for word in words:
        if word.startswith("-"):
            name = _OPTION.match(word)
            if name and name[0] not in options:
                return f"{line!r}: {name[0]} is no option of `{command.name}`"
            continue
        inner = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if inner is not None:
            command = inner
            options |= {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", word):
            return f"{line!r}: `{command.name}` has no sub-command {word}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_page_exists(page: Path) -> None:
    found = [wrong for line in commands_in(page.read_text(encoding="utf-8")) if (wrong := complaint(line))]
    assert found == []


def test_a_command_that_does_not_exist_is_found() -> None:
    text = "Say `keyturn hsm dance` or\n```sh\nkeyturn serve --loudly # now\nkeyturn serve --port 1\n```\n"
    found = list(commands_in(text))
    assert found == ["keyturn serve --loudly # now", "keyturn serve --port 1", "keyturn hsm dance"]
    assert [bool(complaint(line)) for line in found] == [True, False, True]
    assert sum(len(list(commands_in(page.read_text(encoding="utf-8")))) for page in PAGES) > 100
