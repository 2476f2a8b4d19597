"""The stage of the demo: how a scene is announced, a command is run and shown, a server is started and stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYTURN = str(Path(sys.executable).with_name("keyturn"))


class DemoError(Exception):
    """A step of the demo did not do what it must; the demo ends with exit code 1."""


class Stage:
    """Shows scenes and runs commands.

    Args:
        folder: Where everything the demo makes is left.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.console = Console(highlight=False)
        self.started = time.monotonic()
        self._scene = 0

    def scene(self, title: str, text: str = "") -> None:
        """Announce the next scene."""
        self._scene += 1
        elapsed = time.monotonic() - self.started
        self.console.print()
        self.console.rule(f"[bold]{self._scene}. {title}[/bold]  [dim]{elapsed:.0f} s[/dim]", align="left")
        if text:
            self.say(text)

    def say(self, text: str) -> None:
        """One sentence of the story."""
        self.console.print(Padding(text, (0, 0, 0, 2)))

    def good(self, text: str) -> None:
        """Something that went as it must."""
        self.console.print(Padding(f"[green]✔[/green] {text}", (0, 0, 0, 2)))

    def refused(self, text: str) -> None:
        """Something that was refused, as it must be."""
        self.console.print(Padding(f"[red]✘[/red] {text}", (0, 0, 0, 2)))

    def words(self, title: str, words: list[str]) -> None:
        """Words that two people read to each other."""
        half = len(words) // 2
        lines = " ".join(words[:half]) + "\n" + " ".join(words[half:])
        self.console.print(Padding(Panel.fit(Text(lines, style="bold"), title=title, title_align="left"), (0, 0, 0, 2)))

    def quote(self, text: str, lines: int = 40) -> None:
        """What a command printed, set in."""
        kept = [line for line in text.strip().splitlines() if line.strip()]
        shown = kept[:lines] + (["…"] if len(kept) > lines else [])
        self.console.print(Padding(Text("\n".join(shown), style="dim", overflow="fold"), (0, 0, 0, 4)))

    def command(self, *words: str | Path, expect: int = 0, show: bool = True) -> subprocess.CompletedProcess[str]:
        """Show and run a `keyturn` command.

        Args:
            words: Its words, without `keyturn`.
            expect: Exit code it must end with.
            show: Whether the command line is printed.

        Returns:
            The finished process.

        Raises:
            DemoError: When it ended otherwise.
        """
        texts = [str(word) for word in words]
        if show:
            line = " ".join(short(text, self.folder) for text in texts)
            self.console.print(Padding(Text(f"$ keyturn {line}", style="cyan"), (0, 0, 0, 2)))
        width = str(max(60, self.console.width - 6))
        environment = {**os.environ, "COLUMNS": width}
        done = subprocess.run([KEYTURN, *texts], capture_output=True, text=True, check=False, env=environment)
        if done.returncode != expect:
            raise DemoError(f"keyturn {' '.join(texts)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def data(self, *words: str | Path, expect: int = 0) -> Any:
        """Show and run a `keyturn` command with `--json`, and return what it printed."""
        return json.loads(self.command(*words, "--json", expect=expect).stdout)

    @contextmanager
    def server(self, name: str, *words: str | Path) -> Iterator[str]:
        """Run `keyturn serve …` while the block runs; yields its URL. Its log is `NAME.log` in the folder."""
        texts = [str(word) for word in ("serve", *words, "--port", "0", "--json")]
        line = " ".join(short(text, self.folder) for text in texts)
        self.console.print(Padding(Text(f"$ keyturn {line}", style="cyan"), (0, 0, 0, 2)))
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [KEYTURN, *texts], stdout=subprocess.PIPE, stderr=log, text=True, env=dict(os.environ)
            )
        try:
            assert process.stdout is not None  # noqa: S101 - It was asked for above.
            ready = process.stdout.readline()
            if not ready:
                raise DemoError((self.folder / f"{name}.log").read_text())
            info = json.loads(ready)
            self.good(f"{name}: profile {info['profile']}, process {info['pid']}, {info['url']}")
            yield str(info["url"])
        finally:
            process.terminate()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


def short(text: str, folder: Path) -> str:
    """A word of a command line as a person would type it: relative paths, long values cut, spaces quoted."""
    text = text.replace(f"{folder}/", "")
    if len(text) > 60:
        text = f"{text[:44]}…"
    return f"'{text}'" if " " in text else text
