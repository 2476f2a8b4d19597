"""What the HSM process gives up, seen from outside and by its own report."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn.hsm import admin
from keyturn.hsm.client import HsmClient
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import operation_id

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def inherited() -> Iterator[tuple[int, int]]:
    """A pipe of which the HSM inherits both ends, as from a careless parent."""
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _proc(pid: int | str, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def _status(hsm: HsmProcess) -> admin.Status:
    client = await admin.AdminClient.connect(hsm.admin_socket)
    try:
        return await client.status()
    finally:
        await client.close()


async def test_no_core_dumps_no_tracing_no_new_privileges_and_a_closed_umask(hsm: HsmProcess) -> None:
    limits = _proc(hsm.pid, "limits")
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    status = _proc(hsm.pid, "status")
    assert "NoNewPrivs:\t1" in status
    assert "Umask:\t0077" in status
    # The kernel keeps the dumpable flag to itself; the process reads it back with prctl.
    hardening = (await _status(hsm)).hardening
    assert (hardening["dumpable"], hardening["core_limit"], hardening["no_new_privileges"]) == (0, 0, 1)


def test_an_inherited_descriptor_is_closed(tmp_path: Path, inherited: tuple[int, int]) -> None:
    reading, writing = inherited
    with HsmProcess(tmp_path / "hsm", pass_fds=inherited):
        os.close(writing)
        # End of file: nobody else holds the writing end any more, the HSM least of all.
        ready, _, _ = select.select([reading], [], [], 5)
        assert ready
        assert os.read(reading, 1) == b""


def test_the_environment_changes_nothing_and_does_not_stay(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "KEYTURN_HSM__ALLOWWEAKKEYS": "true",
        "KEYTURN_ALLOW_WEAK_KEYS": "1",
        "SECRET_OF_THE_BROKER": "x",
    }
    with HsmProcess(tmp_path / "hsm", env=environment) as hsm:
        assert not any("allowWeakKeys" in notice for notice in hsm.ready["notices"])


def test_files_of_the_hsm_are_for_its_user_alone(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm"):
        assert (tmp_path / "hsm").stat().st_mode & 0o777 == 0o700
        for file in (tmp_path / "hsm").rglob("*"):
            assert file.stat().st_mode & 0o077 == 0, file


async def test_workers_are_hardened_too_and_die_with_a_killed_parent(hsm: HsmProcess, label: str) -> None:
    client = await HsmClient.connect(hsm.address)
    await client.create(operation_id(), label, "RSA", key_size=2048, attributes={"sign": True})
    await client.close()
    workers = _proc(hsm.pid, f"task/{hsm.pid}/children").split()
    assert workers
    for worker in workers:
        assert "Umask:\t0077" in _proc(worker, "status")
        limits = _proc(worker, "limits")
        assert next(line for line in limits.splitlines() if "core file" in line).split()[4] == "0"
    hsm.kill()
    deadline = 100
    while any(_alive(int(worker)) for worker in workers) and deadline:
        select.select([], [], [], 0.05)
        deadline -= 1
    assert deadline, "a worker outlived its HSM"
    hsm.start()


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process as somebody else")
def test_for_another_user_even_the_list_of_descriptors_is_closed(tmp_path: Path) -> None:
    """As an ordinary user: /proc of a process that cannot be dumped belongs to root."""
    script = (
        "import os; from keyturn.hsm import hardening;"
        "os.setgid(65534); os.setuid(65534);"
        # Changing the user has made it undumpable already; an ordinary user's process begins dumpable.
        "hardening._prctl(4, 1); before = os.stat('/proc/self/environ').st_uid;"
        "hardening.harden_process();"
        "print(before, os.stat('/proc/self/environ').st_uid)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert said.stdout.split() == ["65534", "0"]
