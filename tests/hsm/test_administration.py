"""The administrator's side: a socket of its own, and nothing of it in the broker's protocol (R2)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import admin, protocol
from keyturn.hsm.client import HsmClient, HsmRefusedError
from keyturn.ska.attestation import parse_attestation
from keyturn_testing.hsm_process import PASSPHRASE, HsmProcess
from keyturn_testing.keys import create_ec, operation_id
from keyturn_testing.raw_line import RawLine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ADMINISTRATION: list[admin.AdminCall] = [
    admin.GetDeleted(),
    admin.RestoreDeleted("6f1c1a52-8a2f-4a3d-9a52-0e6f0d6f1b11"),
    admin.EraseDeleted("6f1c1a52-8a2f-4a3d-9a52-0e6f0d6f1b11"),
    admin.GetStatus(),
    admin.Unseal(PASSPHRASE),
    admin.ConfirmClock(0.0),
    admin.MakeBackup("/nowhere"),
    admin.ChangePassphrase(PASSPHRASE, PASSPHRASE),
    admin.Shutdown(),
    admin.PresentWitness("receipt", b"", b""),
    admin.AcceptRollback(0, 1),
    admin.GetLedger(),
]


def keyturn(*words: str, input_text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as an administrator does."""
    return subprocess.run(
        [sys.executable, "-m", "keyturn", *words], capture_output=True, text=True, input=input_text, check=False
    )


def ok(*words: str) -> str:
    done = keyturn(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Callable[[bytes], str]:
    def make(passphrase: bytes) -> str:
        file = tmp_path / f"passphrase-{passphrase[:3].hex()}"
        file.write_bytes(passphrase + b"\n")
        file.chmod(0o600)
        return str(file)

    return make


async def test_every_administration_command_says_in_one_object_what_was_done(
    tmp_path: Path, passphrase_file: Callable[[bytes], str]
) -> None:
    def done(*words: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(ok("hsm", *words, "--json"))
        return said

    right, new, file = passphrase_file(PASSPHRASE), passphrase_file(b"a new passphrase"), str(tmp_path / "b.ktbackup")
    with HsmProcess(tmp_path / "hsm", passphrase=None, options=("--sealed",)) as hsm:
        path = str(hsm.admin_socket)
        socket = ("--admin-socket", path)
        opened = done("unseal", *socket, "--passphrase-file", right, "--create")
        assert opened == {"done": "unseal", "adminSocket": path, "created": True, "acceptedLogLoss": False}
        assert done("backup", file, *socket) == {"done": "backup", "file": file}
        believed = done("clock", "confirm", "--yes", *socket)
        assert (believed["done"], believed["backwards"]) == ("clock confirm", False)
        assert believed["confirmed"].endswith("Z")
        changed = done("passphrase", *socket, "--old-file", right, "--new-file", new)
        assert changed == {"done": "passphrase", "adminSocket": path}
        assert done("stop", *socket) == {"done": "stop", "adminSocket": path}
    restored = done("restore", file, "--data-dir", str(tmp_path / "two"), "--passphrase-file", right)
    assert restored == {"done": "restore", "file": file, "dataDir": str(tmp_path / "two")}


def test_with_json_the_clock_is_shown_beside_the_object(hsm: HsmProcess) -> None:
    words = ("hsm", "clock", "confirm", "--json", "--admin-socket", str(hsm.admin_socket))
    refused = keyturn(*words, input_text="n\n")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Is the clock right?" in refused.stderr
    assert json.loads(keyturn(*words, input_text="y\n").stdout)["done"] == "clock confirm"


@pytest.mark.rule("R2")
def test_every_administration_message_is_refused_on_the_brokers_socket(hsm: HsmProcess) -> None:
    assert {type(message) for message in ADMINISTRATION} == set(admin.AdminCall.__args__)
    with RawLine(hsm.address) as line:
        for message in ADMINISTRATION:
            answer = line.ask(message)
            assert isinstance(answer, protocol.Refused)
            assert answer.refusal == "message.malformed"
            assert hsm.last_refusal()["refusal"] == "message.malformed"
        # The line and the HSM live, and the broker's own messages are served.
        assert isinstance(line.ask(protocol.GetInfo()), protocol.Info)


@pytest.mark.rule("R2")
def test_the_brokers_messages_are_refused_on_the_administration_socket(hsm: HsmProcess) -> None:
    with RawLine(f"unix:{hsm.admin_socket}") as line:
        assert line.ask(protocol.ListKeys()).refusal == "message.malformed"


@pytest.mark.rule("R2")
async def test_a_sealed_hsm_says_who_it_is_and_nothing_else_until_it_is_unsealed(
    tmp_path: Path, passphrase_file: Callable[[bytes], str]
) -> None:
    with HsmProcess(tmp_path / "hsm", passphrase=None, options=("--sealed",)) as hsm:
        assert hsm.ready["sealed"]
        socket = ("--admin-socket", str(hsm.admin_socket))
        client = await HsmClient.connect(hsm.address)
        assert (await client.info()).sealed
        with pytest.raises(HsmRefusedError) as caught:
            await client.labels()
        assert (caught.value.code, caught.value.refusal) == (ErrorCode.HSM_FAILURE, "hsm.sealed")

        right, wrong = passphrase_file(PASSPHRASE), passphrase_file(b"wrong passphrase")
        missing = keyturn("hsm", "unseal", *socket, "--passphrase-file", right)
        assert (missing.returncode, "store.missing" in missing.stderr) == (1, True)
        ok("hsm", "unseal", *socket, "--passphrase-file", right, "--create")
        again = keyturn("hsm", "unseal", *socket, "--passphrase-file", right)
        assert "hsm.not-sealed" in again.stderr
        assert await client.labels() == []
        await create_ec(client, "k")
        await client.close()

        hsm.restart()
        refused = keyturn("hsm", "unseal", *socket, "--passphrase-file", wrong)
        assert "store.wrong-passphrase" in refused.stderr
        client = await HsmClient.connect(hsm.address)
        assert (await client.info()).sealed
        ok("hsm", "unseal", *socket, "--passphrase-file", right)
        assert await client.labels() == ["k"]
        await client.close()


async def test_status_tells_what_an_administrator_must_know(hsm: HsmProcess) -> None:
    found: dict[str, Any] = json.loads(ok("hsm", "status", "--json", "--admin-socket", str(hsm.admin_socket)))
    assert (found["pid"], found["sealed"], found["isolation"], found["clock"]) == (hsm.pid, False, "none", "good")
    assert any("isolation=none" in notice for notice in found["notices"])
    text = ok("hsm", "status", "--admin-socket", str(hsm.admin_socket))
    assert found["instance_id"] in text
    # Both times: what the system says, and the highest that was ever used.
    assert re.search(r"clock good: \d{4}-\S+Z, highest time used \d{4}-\S+Z", text)
    assert found["clock_reading"] >= found["clock_mark"] > 0


async def test_backup_and_restore_are_one_command_each(tmp_path: Path, passphrase_file: Callable[[bytes], str]) -> None:
    file = str(tmp_path / "backup.ktbackup")
    with HsmProcess(tmp_path / "one") as hsm:
        client = await HsmClient.connect(hsm.address)
        before = parse_attestation((await create_ec(client, "k")).xml)
        ok("hsm", "backup", file, "--admin-socket", str(hsm.admin_socket))
        twice = keyturn("hsm", "backup", file, "--admin-socket", str(hsm.admin_socket))
        assert "store.backup-exists" in twice.stderr
        await create_ec(client, "later")
        await client.close()
    ok("hsm", "restore", file, "--data-dir", str(tmp_path / "two"), "--passphrase-file", passphrase_file(PASSPHRASE))
    with HsmProcess(tmp_path / "two") as hsm:
        client = await HsmClient.connect(hsm.address)
        after = parse_attestation((await client.attest("k")).xml)
        assert (after.uuid, after.public_key) == (before.uuid, before.public_key)
        assert (after.instance_id, after.restore_epoch) == (before.instance_id, before.restore_epoch + 1)
        assert await client.labels() == ["k"]
        await client.close()


async def test_the_passphrase_is_changed_and_the_old_one_opens_no_more(
    tmp_path: Path, passphrase_file: Callable[[bytes], str]
) -> None:
    old, new = passphrase_file(PASSPHRASE), passphrase_file(b"a new passphrase")
    with HsmProcess(tmp_path / "hsm") as hsm:
        socket = ("--admin-socket", str(hsm.admin_socket))
        wrong = keyturn("hsm", "passphrase", *socket, "--old-file", new, "--new-file", old)
        assert "store.wrong-passphrase" in wrong.stderr
        ok("hsm", "passphrase", *socket, "--old-file", old, "--new-file", new)
        hsm.stop()
        with pytest.raises(AssertionError, match=r"store\.wrong-passphrase"):
            hsm.start()
        hsm.passphrase = b"a new passphrase"
        hsm.start()


def test_the_clock_is_confirmed_after_it_was_shown(hsm: HsmProcess) -> None:
    said = ok("hsm", "clock", "confirm", "--yes", "--admin-socket", str(hsm.admin_socket))
    assert "confirmed" in said
    assert hsm.decisions()[-1]["kind"] == "clock-confirm"
    with RawLine(f"unix:{hsm.admin_socket}") as line:
        line.send(b"")
    asked = keyturn("hsm", "clock", "confirm", "--admin-socket", str(hsm.admin_socket), input_text="n\n")
    assert asked.returncode == 1


def test_a_clock_confirmed_blindly_is_refused(hsm: HsmProcess) -> None:
    async def confirm() -> None:
        client = await admin.AdminClient.connect(hsm.admin_socket)
        try:
            status = await client.status()
            with pytest.raises(HsmRefusedError) as caught:
                await client.call(admin.ConfirmClock(status.clock_reading - 3600), admin.AdminDone)
            assert caught.value.refusal == "clock.confirmation-differs"
            await client.call(admin.ConfirmClock(status.clock_reading), admin.AdminDone)
        finally:
            await client.close()

    asyncio.run(confirm())


async def test_the_log_is_verified_without_the_hsm_and_one_changed_letter_is_found(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        client = await HsmClient.connect(hsm.address)
        await create_ec(client, "k")
        await client.sign(b"", "k", b"x", "SHA256_WITH_ECDSA")
        await client.close()
    said = json.loads(ok("hsm", "log", "verify", "--data-dir", str(tmp_path / "hsm"), "--json"))
    assert said["sequence"] == len(hsm.decisions())
    log = next((tmp_path / "hsm").glob("decisions*.log"))
    log.write_text(log.read_text().replace('"label":"k"', '"label":"m"', 1))
    broken = keyturn("hsm", "log", "verify", str(log))
    assert (broken.returncode, "store.log-broken" in broken.stderr) == (1, True)


def test_the_administrator_stops_the_hsm(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        ok("hsm", "stop", "--admin-socket", str(hsm.admin_socket))
        assert hsm.process is not None
        assert hsm.process.wait(10) == 0
        gone = keyturn("hsm", "status", "--admin-socket", str(hsm.admin_socket))
        assert "hsm.unreachable" in gone.stderr


def test_two_processes_cannot_have_one_store(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm"):
        other = HsmProcess(tmp_path / "hsm")
        with pytest.raises(AssertionError, match=r"store\.locked"):
            other.start()


def test_an_administration_socket_that_others_may_not_reach(hsm: HsmProcess) -> None:
    assert hsm.admin_socket.stat().st_mode & 0o777 == 0o600
    assert os.stat(hsm.address.removeprefix("unix:")).st_mode & 0o777 == 0o600  # noqa: PTH116 - The address is text.


async def test_a_client_without_an_hsm_says_how_to_cure_it(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match="keyturn hsm serve") as caught:
        await HsmClient.connect(f"unix:{tmp_path}/none.sock")
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.CONNECTIVITY, "hsm.unreachable")
    assert "none.sock: there is no such file; is" in caught.value.message
    gone = keyturn("hsm", "status", "--data-dir", str(tmp_path))
    assert "there is no such file; is it running" in gone.stderr
    assert "Errno" not in caught.value.message + gone.stderr


async def test_a_client_reconnects_when_the_hsm_comes_back(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm") as hsm:
        client = await HsmClient.connect(hsm.address)
        operation = operation_id()
        first = await client.create(operation, "k", "EC", curve_oid="1.2.840.10045.3.1.7", attributes={"sign": True})
        hsm.kill()
        with pytest.raises(KeyturnError) as caught:
            await client.labels()
        assert caught.value.code is ErrorCode.CONNECTIVITY
        hsm.start()
        assert await client.labels() == ["k"]
        again = await client.create(operation, "k", "EC", curve_oid="1.2.840.10045.3.1.7", attributes={"sign": True})
        assert again == first
        await client.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can listen as somebody else")
@pytest.mark.rule("R2")
def test_r2_no_passphrase_is_sent_to_a_process_of_another_user_at_the_administrations_path(
    hsm: HsmProcess, hsm_run: Path
) -> None:
    path = hsm_run / "admin.sock"
    hsm_run.chmod(0o777)
    script = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        "s.bind(sys.argv[1]); s.listen(); print('listening', flush=True); c, _ = s.accept(); print(len(c.recv(4096)))"
    )
    words = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as impostor:
        assert impostor.stdout is not None
        assert impostor.stdout.readline() == "listening\n"
        with pytest.raises(KeyturnError) as caught:
            asyncio.run(_sealed(path))
        assert caught.value.refusal == "admin.other-user"
        assert impostor.stdout.readline() == "0\n"
    # The same at a socket of this user's own HSM.
    assert asyncio.run(_sealed(hsm.admin_socket)) is False


async def _sealed(path: Path) -> bool:
    client = await admin.AdminClient.connect(path)
    try:
        return (await client.status()).sealed
    finally:
        await client.close()
