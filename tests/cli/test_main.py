"""How the command ends: a refusal, a full disk, Ctrl-C or a closed pipe is a sentence; a bug keeps its traceback."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from keyturn.cli import main as command

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "ska-vectors.json").read_text())


def ending(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int | str | None:
    """How the command ends when `error` is raised in it."""

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(command.root, "invoke", fail)
    with pytest.raises(SystemExit) as ended:
        command.main(["serve"])
    return ended.value.code


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "/a/file: the disk is full. Make room"),
        (errno.EACCES, "/a/file: this user may not. Be the user"),
        (errno.ENOENT, "/a/file: there is no such file. Look"),
        (errno.EISDIR, "/a/file: it is a folder. Name a file"),
        (errno.ELOOP, "/a/file: too many levels of symbolic links. "),
    ],
)
def test_what_the_system_refuses_is_said_with_the_path_and_a_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, words: str
) -> None:
    assert ending(monkeypatch, OSError(number, os.strerror(number), "/a/file")) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"keyturn: {words}")
    assert "Errno" not in said


def test_ctrl_c_ends_with_130_and_a_word_and_no_is_no_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.strip() == "keyturn: stopped."
    hidden = click.Abort()
    hidden.__context__ = KeyboardInterrupt()  # As prompts raise it.
    assert ending(monkeypatch, hidden) == 130
    capsys.readouterr()
    assert ending(monkeypatch, click.Abort()) == 1
    assert capsys.readouterr().err == "Aborted!\n"


def test_bugs_are_never_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for bug in (ValueError("a bug"), KeyError("a bug"), OSError("raised by hand, without a number"), AssertionError()):

        def fail(_: object, bug: Exception = bug) -> None:
            raise bug

        monkeypatch.setattr(command.root, "invoke", fail)
        with pytest.raises(type(bug)):
            command.main(["serve"])


def test_wrong_words_and_help_end_as_always(capsys: pytest.CaptureFixture[str]) -> None:
    for words, status in ((["--help"], 0), (["--version"], 0), (["nonsense"], 2), (["hsm", "status"], 2)):
        with pytest.raises(SystemExit) as ended:
            command.main(words)
        assert ended.value.code == status, words
    assert "say which HSM" in capsys.readouterr().err


def keyturn(*words: str, stdout: int | None = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "keyturn", *words], stdout=stdout, stderr=subprocess.PIPE)


def test_a_reader_that_goes_away_is_no_trouble() -> None:
    read, write = os.pipe()
    os.close(read)
    with keyturn("inspect", VECTORS[0]["base64"], stdout=write) as process:
        os.close(write)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (1, b"")
    with keyturn("inspect", VECTORS[0]["base64"]) as process:
        assert process.communicate(timeout=20)[0].startswith(b"{")
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_under_the_output_is_said() -> None:
    with (
        Path("/dev/full").open("wb") as full,
        keyturn("inspect", VECTORS[0]["base64"], stdout=full.fileno()) as process,
    ):
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"the disk is full" in said
    assert b"Traceback" not in said


def waits_for_input(pid: int) -> bool:
    """Whether a process has done its imports and reads standard input (`read` is 0 on x86-64, 63 on arm64)."""
    try:
        return Path(f"/proc/{pid}/syscall").read_text().startswith(("0 0x0 ", "63 0x0 "))
    except OSError:
        return False


def test_ctrl_c_at_a_waiting_process_is_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "keyturn", "inspect", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that runs the tests in its background has Ctrl-C ignored, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        patience = time.monotonic() + 60
        while not waits_for_input(process.pid):
            assert time.monotonic() < patience, "it never came to read its input"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.decode().strip() == "keyturn: stopped."
