"""The examples of docs/examples run as they stand there, against a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyturn_testing.rest_server import ServeProcess

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def run(name: str, *words: str) -> str:
    done = subprocess.run([sys.executable, EXAMPLES / name, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sign_and_verify(vault: ServeProcess) -> None:
    assert run("sign_and_verify.py", vault.url) == "valid: True\n"


def test_many_requests(vault: ServeProcess, plain: str) -> None:
    lines = run("many_requests.py", vault.url, plain).splitlines()
    assert len(lines) == 20
    assert {line.split()[1] for line in lines} == {"EXECUTED"}


def test_no_example_is_forgotten() -> None:
    said = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in said] == []
