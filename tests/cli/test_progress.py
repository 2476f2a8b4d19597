"""What takes seconds says so on a terminal, and on a terminal only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def on_a_terminal(words: list[str], *, until: bytes = b"") -> tuple[int, bytes, str]:
    """Run a command whose standard error is a terminal: exit status, standard output, what the terminal got."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "keyturn", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        got = b""
        with suppress(OSError):  # The end of a terminal whose other side closed.
            while piece := os.read(ours, 4096):
                got += piece
                if until and until in got:
                    process.send_signal(signal.SIGTERM)
                    until = b""
        os.close(ours)
        assert process.stdout is not None
        out = process.stdout.read()
    return process.returncode, out, got.decode()


def keygen(tmp_path: Path, key_type: str) -> list[str]:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("four words drawn at random\n")
    return [
        *("approver", "keygen", "--type", key_type, "--out", str(tmp_path / key_type)),
        *("--passphrase-file", str(passphrase), "--json"),
    ]


def test_making_an_rsa_key_is_said_on_a_terminal_only(tmp_path: Path) -> None:
    status, out, said = on_a_terminal(keygen(tmp_path, "rsa-3072"))
    assert status == 0
    assert out.startswith(b"{")
    assert "Making an RSA-3072 key …" in said
    assert on_a_terminal(keygen(tmp_path, "ed25519"))[2] == ""
    (tmp_path / "rsa-3072").unlink()
    words = [sys.executable, "-m", "keyturn", *keygen(tmp_path, "rsa-3072")]
    assert subprocess.run(words, capture_output=True, check=True).stderr == b""


def test_starting_the_hsm_beside_the_server_is_said_on_a_terminal(tmp_path: Path) -> None:
    words = ["serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    status, _, said = on_a_terminal(words, until=b"ready at")
    assert status == 0
    assert "Starting an HSM beside this server …" in said
    assert said.index("Starting an HSM") < said.index("ready at")
