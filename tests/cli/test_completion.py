"""Tab completes commands, sub-commands and options, though sub-commands are imported only when they are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

START = "from keyturn.cli.main import main; main()"


def completed(line: str, shell: str = "bash") -> set[str]:
    """What the shell is told for a line whose last word is being typed."""
    environment = {**os.environ, "_KEYTURN_COMPLETE": f"{shell}_complete", "COMP_WORDS": line}
    environment["COMP_CWORD"] = str(len(line.split(" ")) - 1)
    done = subprocess.run(
        [sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    return {answer.partition(",")[2] for answer in done.stdout.split()}


def test_commands_and_sub_commands_are_completed() -> None:
    assert completed("keyturn ") >= {"approver", "hsm", "inspect", "serve", "transport", "trust"}
    assert completed("keyturn tr") == {"transport", "trust"}
    assert completed("keyturn hsm ") >= {"backup", "clock", "unseal"}
    assert completed("keyturn hsm clock c") == {"confirm"}
    assert completed("keyturn approver contacts ") == {"add", "list", "remove"}


def test_options_and_their_choices_are_completed() -> None:
    assert completed("keyturn hsm backup --adm") == {"--admin-socket"}
    assert completed("keyturn approver keygen --type rsa") == {"rsa-3072", "rsa-4096"}
    assert completed("keyturn --ver") == {"--version"}


def test_completing_a_first_word_imports_no_command() -> None:
    script = (
        "import sys\nfrom keyturn.cli.main import root\nimport click\n"
        "root.shell_complete(click.Context(root), '')\n"
        "print([name for name in sys.modules if name in ('keyturn.cli.serve', 'keyturn.hsm', 'keyturn.transport')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_takes_the_script() -> None:
    environment = {**os.environ, "_KEYTURN_COMPLETE": "bash_source"}
    script = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, check=True).stdout
    assert b"_KEYTURN_COMPLETE=bash_complete" in script
    loaded = subprocess.run(
        ["bash", "--norc", "-c", script.decode() + "\ncomplete -p keyturn"], capture_output=True, check=True
    )
    assert b"keyturn" in loaded.stdout
