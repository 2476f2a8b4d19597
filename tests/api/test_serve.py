"""`keyturn serve` as a process: what it says, where it listens, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from keyturn.cli.serve import banner, embedded_options
from keyturn.config import Settings
from keyturn_testing.rest_server import ServeProcess

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `keyturn serve` that is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "keyturn", "serve", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def test_with_nothing_configured_it_serves_and_says_what_is_for_development(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with ServeProcess(directory, first_start=True) as server:
        assert httpx.get(f"{server.url}/v1/versionInfo", trust_env=False).status_code == 200
        assert server.ready["isolation"] == "none"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for path in directory.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert server.process is not None
        assert server.end(signal.SIGTERM) == 0
    for words in ("profile local", "isolation=none", "no authentication", "development default"):
        assert words in server.said
    assert "Traceback" not in server.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_good_order_and_takes_the_hsm_with_it(tmp_path: Path, number: signal.Signals) -> None:
    with ServeProcess(tmp_path / "data") as server:
        assert server.process is not None
        children = children_of(server.process.pid)
        assert children
        assert server.end(number) == 0
        assert not any(alive(child) for child in children)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=1)


def test_when_its_hsm_dies_it_stops_and_says_so(tmp_path: Path) -> None:
    with ServeProcess(tmp_path / "data") as server:
        assert server.process is not None
        (hsm, *_) = children_of(server.process.pid)
        os.kill(hsm, signal.SIGKILL)
        assert server.process.wait(15) == 1
        assert "The HSM process ended by itself" in server.errors


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - Not a file on a disk.
        return [int(word) for word in file.read().split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.rule("R30")
def test_r30_a_public_address_is_refused_and_nothing_is_created(tmp_path: Path) -> None:
    done = run("--data-dir", str(tmp_path / "data"), "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - Refused.
    assert done.returncode == 1
    assert "no authentication is configured" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_taken_port_is_named_and_nothing_is_created(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--data-dir", str(tmp_path / "data"), "--port", str(port))
    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("--profile", "air-gapped", "--port", "0", "--data-dir", str(tmp_path / "file" / "data"))
    assert done.returncode == 1
    assert "Choose another with --data-dir." in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_setting_stops_the_start_with_file_and_name(tmp_path: Path) -> None:
    file = tmp_path / "k.yaml"
    file.write_text("general:\n  allowSecondInPolicies: true\n")
    done = run("--config", str(file), "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "'general.allowSecondInPolicies'" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("--data-dir", str(tmp_path / "data"), environment={"KEYTURN_SERVER__PROT": "1"})
    assert "KEYTURN_SERVER__PROT" in done.stderr


def test_an_hsm_that_does_not_answer_is_named(tmp_path: Path) -> None:
    done = run("--data-dir", str(tmp_path / "data"), "--port", "0", "--hsm", f"unix:{tmp_path}/x.sock")
    assert done.returncode == 1
    assert "x.sock" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    for content in (None, b"nonsense", b"\xff"):
        file = tmp_path / "device.pem"
        if content is not None:
            file.write_bytes(content)
        words = ["--profile", "air-gapped", "--data-dir", str(tmp_path / "data"), "--port", "0"]
        done = run(*words, "--attestation-cert", str(file))
        assert done.returncode == 1, done.stderr
        assert "certificate" in done.stderr.lower()
        assert "Errno" not in done.stderr
        assert "Traceback" not in done.stderr


def test_an_air_gapped_server_starts_no_hsm_and_says_that_none_is_pinned(tmp_path: Path) -> None:
    with ServeProcess(tmp_path / "data", "air-gapped") as server:
        assert server.process is not None
        assert children_of(server.process.pid) == []
        assert "no key can be registered" in server.errors
        assert json.loads(httpx.get(f"{server.url}/v1/key", trust_env=False).text) == []


def test_seconds_in_policies_are_a_setting(tmp_path: Path) -> None:
    from keyturn_testing.officers import Officer, make_policy, quorum
    from keyturn_testing.rest_server import create_ec_key

    file = tmp_path / "k.yaml"
    file.write_text("general:\n  allowSecondsInPolicies: true\nhsm:\n  timestampKeyName: clock-1\n")
    with ServeProcess(tmp_path / "data", options=["--config", str(file)]) as server, server.client() as rest:
        attested = create_ec_key(rest, "k", make_policy(quorum(1, Officer("Ada"), timelock=5, timeout=30)))
        assert attested["json"]["policy"]["ruleUse"]["tokens"][0]["timelock"] == 5
        assert "clock-1" in attested["xml"]


@pytest.mark.rule("R1")
def test_r1_the_brokers_settings_reach_only_the_hsm_it_starts_itself() -> None:
    assert embedded_options(Settings()) == []
    settings = Settings(hsm_allow_weak_keys=True, hsm_timestamp_key_name="t")
    assert embedded_options(settings) == ["--allow-weak-keys", "--timestamp-key-name", "t"]
    assert embedded_options(Settings(hsm_rfc_timestamp_key_name="c")) == ["--rfc-timestamp-key-name", "c"]
    settings = Settings(hsm_receipt_key_name="r", hsm_clock_tolerance=0, hsm_clock_bound=86_400)
    assert embedded_options(settings) == [
        *("--receipt-key-name", "r", "--clock-tolerance", "0", "--clock-bound", "86400")
    ]


def test_weakening_switches_are_said_at_the_start() -> None:
    text = "\n".join(banner(Settings(), "http://127.0.0.1:1", {"switches": ["allowWeakKeys"]}, ("note",)))
    assert "weakened by: allowWeakKeys" in text
    assert "note" in text
    assert "weakened" not in "\n".join(banner(Settings(), "http://127.0.0.1:1", {"switches": []}, ()))
