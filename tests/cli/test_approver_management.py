"""`keyturn approver-management` against a real server: from creation to the file with which its officer approves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from keyturn.approver.keyfiles import read_key_file
from keyturn.cli.main import root
from keyturn.errors import KeyturnError
from keyturn_testing.rest_server import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "a backup password"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server with approver management, whose backup key may be open."""
    directory = tmp_path_factory.mktemp("desk")
    (directory / "keyturn.yaml").write_text("approverManagement: {enabled: true}\nhsm: {allowOpenBackupKey: true}\n")
    with ServeProcess(directory / "data", options=["--config", str(directory / "keyturn.yaml")]) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with passwords."""
    (tmp_path / "first").write_text(PASSWORD + "\n")
    (tmp_path / "second").write_text("another backup password\n")
    (tmp_path / "wrong").write_text("none of them\n")
    return tmp_path


def run(desk: ServeProcess, *words: str) -> Result:
    return CliRunner().invoke(root, ["approver-management", *words, "--url", desk.url])


def code_of(desk: ServeProcess, *words: str) -> str:
    done = run(desk, *words)
    assert done.exit_code == 0, done.output
    code = done.output.strip()
    assert len(code) == 6
    return code


def test_from_creation_to_a_key_file_and_back_from_the_backup(desk: ServeProcess, files: Path) -> None:
    first, second = str(files / "first"), str(files / "second")
    code = code_of(desk, "create", "ada", "--key-size", "2048", "--password-file", first)
    shown = json.loads(run(desk, "status", "--json").output)
    assert [one["approverName"] for one in shown["pending"]] == ["ada"]
    code = code_of(desk, "renew", "ada")
    (files / "code").write_text(code)
    out = files / "ada.p12"
    taken = run(desk, "onboard", "ada", "--code-file", str(files / "code"), "--out", str(out))
    assert taken.exit_code == 0, taken.output
    key, certificate = read_key_file(out, PASSWORD.encode())
    assert certificate is not None
    assert out.stat().st_mode & 0o777 == 0o600
    assert "onboarded  ada" in run(desk, "status").output
    # A file that is there is never written over, and the code is not spent on that.
    (files / "code").write_text(code_of(desk, "restore", "ada", "--forgot", "--password-file", second))
    again = run(desk, "onboard", "ada", "--code-file", str(files / "code"), "--out", str(out))
    assert isinstance(again.exception, KeyturnError)
    assert again.exception.refusal == "file.exists"
    other = files / "other.p12"
    assert run(desk, "onboard", "ada", "--code-file", str(files / "code"), "--out", str(other)).exit_code == 0
    assert read_key_file(other, b"another backup password")[1] == certificate
    change = ("change-password", "ada", "--password-file", first, "--old-password-file")
    refused = run(desk, *change, str(files / "wrong"))
    assert isinstance(refused.exception, KeyturnError)
    assert refused.exception.refusal == "approver.backup-password"
    assert run(desk, *change, second).output == "done\n"
    restored = json.loads(run(desk, "restore", "ada", "--json").output)
    assert set(restored) == {"oneTimeCode"}
    assert json.loads(run(desk, "delete", "ada", "--json").output) == {"deleted": "ada"}
    assert run(desk, "status").output == ""
    del key


def test_nobody_is_asked_where_there_is_no_terminal(desk: ServeProcess, files: Path) -> None:
    done = run(desk, "create", "ben")
    assert done.exit_code == 2
    assert "give a file" in done.output
    done = run(desk, "restore", "ben", "--password-file", str(files / "first"))
    assert done.exit_code == 2
    assert "--forgot" in done.output
