"""Who may connect, and how answers leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from keyturn.clock import SystemClock
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol, service
from keyturn.hsm.addresses import Address, parse_address
from keyturn.hsm.client import HsmClient
from keyturn.hsm.framing import encode_frame
from keyturn.hsm.gate import AnswerGate
from keyturn.hsm.listening import isolation
from keyturn.hsm.server import MAX_CONNECTIONS, MAX_HELD_BACK, SocketServer
from keyturn.hsm.service import HsmService
from keyturn.hsm.settings import HsmSettings
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import create_ec
from keyturn_testing.raw_line import RawLine
from keyturn_testing.tls import CertificateAuthority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path


class _Disk:
    """A durability that the test commands."""

    def __init__(self) -> None:
        self.pending = False
        self.commits = 0
        self.flushes = 0
        self.fail = False
        self._release = asyncio.Event()

    async def durable(self) -> None:
        await self._release.wait()
        if self.fail:
            raise KeyturnError(ErrorCode.HSM_FAILURE, "the disk is gone", refusal="store.commit-failed")
        self.commits += 1

    def flush(self) -> None:
        self.flushes += 1

    def release(self) -> None:
        self.pending = False
        self._release.set()


class _Echo:
    """Answers every lookup with a verdict; a label `slow` waits, `change` leaves something pending."""

    def __init__(self, disk: _Disk) -> None:
        self.disk = disk
        self.slow = asyncio.Event()
        self.refused: list[str] = []

    def handle(self, message: protocol.Call, peer: str) -> protocol.Verdict | Awaitable[protocol.Verdict]:
        if isinstance(message, protocol.Lookup) and message.label == "slow":
            return self._later()
        if isinstance(message, protocol.Lookup) and message.label == "change":
            self.disk.pending = True
        return protocol.Verdict(valid=True)

    async def _later(self) -> protocol.Verdict:
        await self.slow.wait()
        return protocol.Verdict(valid=False)

    def refuse_frame(self, error: FormatError, peer: str) -> protocol.Refused:
        self.refused.append(error.refusal)
        return protocol.Refused(error.code.name, error.refusal, error.message)


class _Room:
    """A server without an HSM behind it."""

    def __init__(self, path: Path) -> None:
        self.disk = _Disk()
        self.echo = _Echo(self.disk)
        self.gate = AnswerGate(self.disk)
        self.server: SocketServer[protocol.Call] = SocketServer(
            self.echo, protocol.Call, self.gate, allowed_uids={os.getuid()}
        )
        self.address = self.server.listen(Address(path=path))

    async def line(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.address.path))


@pytest.fixture
async def room(hsm_run: Path) -> AsyncIterator[_Room]:
    made = _Room(hsm_run / "s.sock")
    yield made
    await made.server.close()
    await asyncio.sleep(0)


async def _answers(reader: asyncio.StreamReader, count: int) -> list[int]:
    numbers = []
    for _ in range(count):
        (size,) = struct.unpack(">I", await reader.readexactly(4))
        body = await reader.readexactly(size)
        numbers.append(body[1])
    return numbers


async def _nothing(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(0.05):
            return not await reader.read(1)
    except TimeoutError:
        return True


async def test_with_nothing_pending_answers_leave_at_once(room: _Room) -> None:
    reader, writer = await room.line()
    writer.write(b"".join(encode_frame(number, protocol.Lookup("x")) for number in range(5)))
    assert await _answers(reader, 5) == [0, 1, 2, 3, 4]
    assert room.disk.commits == 0
    writer.close()


@pytest.mark.rule("R31")
async def test_no_answer_leaves_before_what_was_decided_before_it_is_durable(room: _Room) -> None:
    reader, writer = await room.line()
    other_reader, other_writer = await room.line()
    writer.write(encode_frame(0, protocol.Lookup("change")))
    assert await _nothing(reader)
    # Another connection's answer, decided later, waits as well.
    other_writer.write(encode_frame(1, protocol.Lookup("x")))
    assert await _nothing(other_reader)
    room.disk.release()
    assert await _answers(reader, 1) == [0]
    assert await _answers(other_reader, 1) == [1]
    writer.close()
    other_writer.close()


async def test_after_a_failed_commit_no_answer_leaves_and_the_line_is_cut(room: _Room) -> None:
    reader, writer = await room.line()
    writer.write(encode_frame(0, protocol.Lookup("change")))
    assert await _nothing(reader)
    room.disk.fail = True
    room.disk.release()
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()


async def test_a_slow_answer_does_not_hold_up_the_others(room: _Room) -> None:
    reader, writer = await room.line()
    writer.write(encode_frame(0, protocol.Lookup("slow")) + encode_frame(1, protocol.Lookup("x")))
    assert await _answers(reader, 1) == [1]
    room.echo.slow.set()
    assert await _answers(reader, 1) == [0]
    writer.close()


async def test_who_sends_faster_than_commits_come_is_not_read_from(room: _Room) -> None:
    reader, writer = await room.line()
    writer.write(encode_frame(0, protocol.Lookup("change")))
    assert await _nothing(reader)
    connection = next(iter(room.server.connections))
    connection.held_back(MAX_HELD_BACK)
    flushes = room.disk.flushes
    writer.write(encode_frame(1, protocol.Lookup("x")))
    assert await _nothing(reader)
    assert room.disk.flushes == flushes
    connection.held_back(-MAX_HELD_BACK)
    room.disk.release()
    assert await _answers(reader, 2) == [0, 1]
    writer.close()


async def test_the_number_of_connections_is_bounded(room: _Room) -> None:
    lines = [await room.line() for _ in range(MAX_CONNECTIONS)]
    for reader, writer in lines:
        writer.write(encode_frame(0, protocol.Lookup("x")))
        await _answers(reader, 1)
    reader, surplus = await room.line()
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    assert room.echo.refused == ["peer.too-many"]
    surplus.close()
    for _, writer in lines:
        writer.close()


async def test_a_socket_left_by_a_killed_process_is_taken_over_and_a_living_one_is_not(
    hsm_run: Path, room: _Room
) -> None:
    stale = hsm_run / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    taken = _Room(stale)
    with pytest.raises(KeyturnError) as caught:
        _Room(stale)
    assert caught.value.refusal == "address.in-use"
    await taken.server.close()


@pytest.mark.parametrize("name", ["admin.sock", "hsm.sock"])
async def test_a_socket_that_a_dying_process_still_holds_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, hsm_run: Path, name: str
) -> None:
    """The system closes what a killed HSM held one after the other: the lock first, as it was opened first."""
    settings = HsmSettings(
        data_dir=str(hsm_run), listen=f"unix:{hsm_run}/hsm.sock", admin_socket=f"{hsm_run}/admin.sock"
    )
    with socket.socket(socket.AF_UNIX) as dying:
        dying.bind(str(hsm_run / name))
        dying.listen()
        # Without patience, and for good, it is somebody else's.
        with monkeypatch.context() as impatient:
            impatient.setattr(service, "PATIENCE", 0.0)
            hasty = HsmService(settings, SystemClock(), [])
            with pytest.raises(KeyturnError) as caught:
                hasty.serve()
            assert caught.value.refusal == "address.in-use"
            await hasty.close()
        patient = HsmService(settings, SystemClock(), [])
        ending = threading.Timer(0.2, dying.close)
        ending.start()
        patient.serve()
        ending.join()
    reader, writer = await asyncio.open_unix_connection(hsm_run / name)
    writer.close()
    await patient.close()
    assert not await reader.read()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can connect as somebody else")
@pytest.mark.rule("R2")
async def test_another_user_is_turned_away_by_peer_credentials_not_only_by_file_modes(
    hsm_run: Path, room: _Room
) -> None:
    assert room.address.path is not None
    for path, mode in ((hsm_run, 0o755), (room.address.path, 0o666)):
        os.chmod(path, mode)  # noqa: PTH101 - pathlib's methods are frowned upon within async functions.
    script = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); os.setgid(65534); os.setuid(65534);"
        "s.connect(sys.argv[1]);\n"
        "try: print(len(s.recv(1)))\n"
        "except ConnectionResetError: print(0)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(room.address.path)), stdout=subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert said == b"0\n"
    assert room.echo.refused == ["peer.not-allowed"]
    reader, writer = await room.line()
    writer.write(encode_frame(0, protocol.Lookup("x")))
    assert await _answers(reader, 1) == [0]
    writer.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can connect as somebody else")
@pytest.mark.rule("R1")
def test_a_broker_under_another_user_is_served_and_the_hsms_own_user_is_not(tmp_path: Path, hsm_run: Path) -> None:
    hsm_run.chmod(0o711)
    address = f"unix:{hsm_run}/hsm.sock"
    with HsmProcess(tmp_path / "hsm", listen=address, options=("--allow-uid", "65534")) as hsm:
        assert hsm.ready["isolation"] == "user"
        with RawLine(address) as line:
            assert line.closed()
        assert hsm.last_refusal()["refusal"] == "peer.not-allowed"
        script = (
            "import asyncio, os, sys; from keyturn.hsm.client import HsmClient; import encodings.idna\n"
            "async def main():\n"
            " client = await HsmClient.connect(sys.argv[1])\n"
            " print((await client.info()).isolation)\n"
            " try: open(sys.argv[2])\n"
            " except PermissionError: print('files closed')\n"
            " await client.close()\n"
            "os.setgid(65534); os.setuid(65534); asyncio.run(main())"
        )
        words = [sys.executable, "-c", script, address, str(tmp_path / "hsm" / "hsm.db")]
        said = subprocess.run(words, capture_output=True, text=True, check=True)
        assert said.stdout.splitlines() == ["user", "files closed"]


@pytest.mark.rule("R1")
@pytest.mark.parametrize(
    ("address", "uids", "expected"),
    [
        ("unix:/run/x.sock", {1000}, "none"),
        ("unix:/run/x.sock", {1001}, "user"),
        ("unix:/run/x.sock", {1001, 1000}, "none"),
        ("unix:/run/x.sock", {1001, 0}, "none"),
        ("tcp://127.0.0.1:1", {1000}, "none"),
        ("tcp://[::1]:1", {1000}, "none"),
        ("tcp://localhost:1", {1000}, "none"),
        ("tcp://192.0.2.1:1", {1000}, "machine"),
        ("tcp://vault.example:1", {1000}, "machine"),
    ],
)
def test_isolation_is_what_the_set_up_gives_and_no_more(address: str, uids: set[int], expected: str) -> None:
    assert isolation(parse_address(address), uids, 1000) == expected


@pytest.mark.parametrize(
    "text",
    ["", "unix:", "tcp://", "tcp://host", "tcp://host:99999", "http://host:1", "tcp://u@h:1", "unix:" + "x" * 108],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(KeyturnError) as caught:
        parse_address(text)
    assert caught.value.refusal == "address.invalid"
    for good in ("unix:/a/b.sock", "tcp://host:1", "tcp://[::1]:80"):
        assert str(parse_address(good)) == good


async def test_tcp_is_served_with_mutual_tls_only(tmp_path: Path) -> None:
    servers, clients = CertificateAuthority(tmp_path, "servers"), CertificateAuthority(tmp_path, "clients")
    strangers = CertificateAuthority(tmp_path, "strangers")
    hsm_files = servers.issue("hsm", trusting=clients)
    options = (
        *("--tls-cert", str(hsm_files.certificate), "--tls-key", str(hsm_files.key)),
        *("--tls-client-ca", str(hsm_files.ca)),
    )
    with HsmProcess(tmp_path / "hsm", listen="tcp://127.0.0.1:0", options=options) as hsm:
        client = await HsmClient.connect(hsm.address, tls=clients.issue("broker", trusting=servers))
        await create_ec(client, "k")
        assert await client.sign(b"", "k", b"x", "SHA256_WITH_ECDSA")
        # Loopback is not another machine, whatever runs over it.
        assert (await client.info()).isolation == "none"

        with pytest.raises(KeyturnError) as caught:
            await HsmClient.connect(hsm.address)
        assert caught.value.refusal == "tls.required"
        # A client of another CA: with TLS 1.3 the refusal comes with the first read.
        with pytest.raises(KeyturnError) as caught:
            await (await HsmClient.connect(hsm.address, tls=strangers.issue("x", trusting=servers))).info()
        assert caught.value.code is ErrorCode.CONNECTIVITY
        # An HSM of another CA.
        with pytest.raises(KeyturnError) as caught:
            await HsmClient.connect(hsm.address, tls=clients.issue("y", trusting=strangers))
        assert caught.value.code is ErrorCode.CONNECTIVITY
        # A client with no certificate at all, and one with TLS 1.1.
        bare = ssl.create_default_context(cafile=str(servers.file))
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            await asyncio.to_thread(_hello, hsm.address, bare)
        # Plain bytes.
        port = parse_address(hsm.address).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(encode_frame(0, protocol.GetInfo()))
        assert not (await reader.read()).startswith(b"\0")
        writer.close()
        assert (await client.info()).sealed is False
        await client.close()
        assert any(line["refusal"] == "peer.tls-failed" for line in hsm.decisions())


def _hello(address: str, context: ssl.SSLContext) -> None:
    port = parse_address(address).port
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        line.sendall(encode_frame(0, protocol.GetInfo()))
        if not line.recv(1):
            raise EOFError


def test_tcp_without_a_client_ca_is_refused_at_start(tmp_path: Path) -> None:
    ca = CertificateAuthority(tmp_path, "ca")
    files = ca.issue("hsm", trusting=ca)
    for options in (
        (),
        ("--tls-cert", str(files.certificate), "--tls-key", str(files.key)),
    ):
        with pytest.raises(AssertionError, match=r"tls\.required"):
            HsmProcess(tmp_path / "hsm", listen="tcp://127.0.0.1:0", options=options).start()


def test_a_line_cut_in_the_middle_of_a_frame_harms_nobody(hsm: HsmProcess) -> None:
    with RawLine(hsm.address) as line:
        line.send(encode_frame(0, protocol.GetInfo())[:-1])
    with RawLine(hsm.address) as line:
        assert isinstance(line.ask(protocol.GetInfo()), protocol.Info)


def test_who_does_not_read_does_not_keep_others_waiting(hsm: HsmProcess) -> None:
    with RawLine(hsm.address) as deaf, RawLine(hsm.address) as other:
        deaf._socket.setblocking(False)
        frames = encode_frame(0, protocol.GetInfo()) * 1000
        with contextlib.suppress(BlockingIOError):
            for _ in range(200):
                deaf.send(frames)
        assert isinstance(other.ask(protocol.GetInfo()), protocol.Info)
