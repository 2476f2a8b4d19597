"""What small calls could make the HSM pile up, and what strangers could make it write."""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keyturn.hsm import protocol
from keyturn.hsm.addresses import Address
from keyturn.hsm.authority import _parse_large, parse_policy
from keyturn.hsm.framing import encode_frame
from keyturn.hsm.gate import AnswerGate
from keyturn.hsm.server import MAX_TURN, MAX_UNDER_WAY, TOLD_AT_ONCE, SocketServer
from keyturn.ska.actions import Action
from keyturn.ska.policy import Approver, Group, Rule, TimeUnit, Token, encode_policy
from keyturn_testing.keys import create_ec
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from keyturn.errors import FormatError
    from keyturn.hsm.client import HsmClient
    from keyturn_testing.hsm_process import HsmProcess

LARGE = 64 * 1024


class _NothingPending:
    """A store with nothing to wait for."""

    pending = False

    async def durable(self) -> None: ...

    def flush(self) -> None: ...


class _Generous:
    """Answers a list with 64 KiB; a lookup is answered when `released` is set."""

    def __init__(self) -> None:
        self.begun = 0
        self.refused: list[str] = []
        self.released = asyncio.Event()

    def handle(self, message: protocol.Call, peer: str) -> protocol.Labels | Awaitable[protocol.Labels]:
        self.begun += 1
        if isinstance(message, protocol.Lookup):
            return self._later()
        return protocol.Labels(["x" * LARGE])

    async def _later(self) -> protocol.Labels:
        await self.released.wait()
        return protocol.Labels([])

    def refuse_frame(self, error: FormatError, peer: str) -> protocol.Refused:
        self.refused.append(error.message)
        return protocol.Refused(error.code.name, error.refusal, error.message)


class _Room:
    """A server without an HSM behind it."""

    def __init__(self, path: Path, uid: int) -> None:
        self.handler = _Generous()
        self.server: SocketServer[protocol.Call] = SocketServer(
            self.handler, protocol.Call, AnswerGate(_NothingPending()), allowed_uids={uid}
        )
        self.address = self.server.listen(Address(path=path))

    async def line(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.address.path))


@pytest.fixture
async def room(hsm_run: Path) -> AsyncIterator[_Room]:
    made = _Room(hsm_run / "s.sock", os.getuid())
    yield made
    await made.server.close()
    await asyncio.sleep(0)


async def _quiet(room: _Room) -> int:
    """How many calls were begun once nothing moves any more."""
    before = -1
    while room.handler.begun != before:
        before = room.handler.begun
        await asyncio.sleep(0.05)
    return before


async def _read(reader: asyncio.StreamReader) -> int:
    (size,) = struct.unpack(">I", await reader.readexactly(4))
    body = await reader.readexactly(size)
    return body[1]


async def test_a_flood_of_small_calls_with_large_answers_does_not_fill_the_memory(room: _Room) -> None:
    calls = 100
    reader, writer = await room.line()
    writer.write(b"".join(encode_frame(number, protocol.ListKeys()) for number in range(calls)))
    # Nobody reads: beside what one turn may answer, only what fits into the buffers of sockets and transports is made.
    begun = await _quiet(room)
    assert begun * LARGE <= 2 * MAX_TURN + (2 << 20)
    assert begun < calls
    # Another line is served meanwhile.
    other_reader, other_writer = await room.line()
    other_writer.write(encode_frame(7, protocol.ListKeys()))
    assert await _read(other_reader) == 7
    # Whoever reads gets every answer, in order.
    assert [await _read(reader) for _ in range(calls)] == list(range(calls))
    assert room.handler.begun == calls + 1
    # And the line goes on.
    writer.write(encode_frame(8, protocol.ListKeys()))
    assert await _read(reader) == 8
    writer.close()
    other_writer.close()


async def test_a_flood_of_repeats_of_a_slow_call_is_taken_up_to_a_bound(room: _Room) -> None:
    calls = 3 * MAX_UNDER_WAY
    reader, writer = await room.line()
    for number in range(calls):
        writer.write(encode_frame(number % 128, protocol.Lookup("slow")))
    assert await _quiet(room) == MAX_UNDER_WAY
    room.handler.released.set()
    assert len([await _read(reader) for _ in range(calls)]) == calls
    writer.close()


async def test_what_a_lost_line_had_not_begun_is_not_begun_any_more(room: _Room) -> None:
    _, writer = await room.line()
    for number in range(2 * MAX_UNDER_WAY):
        writer.write(encode_frame(number, protocol.Lookup("slow")))
    assert await _quiet(room) == MAX_UNDER_WAY
    writer.transport.abort()
    room.handler.released.set()
    assert await _quiet(room) == MAX_UNDER_WAY
    assert not room.server.connections


async def test_calls_before_broken_framing_are_answered_and_none_behind_it(room: _Room) -> None:
    reader, writer = await room.line()
    writer.write(encode_frame(1, protocol.ListKeys()) + b"\0\0\0\1\xc1" + encode_frame(2, protocol.ListKeys()))
    assert [await _read(reader), await _read(reader)] == [1, 0]
    assert await reader.read() == b""
    assert room.handler.begun == 1
    writer.close()


async def test_strangers_cannot_fill_the_decision_log(hsm_run: Path) -> None:
    room = _Room(hsm_run / "closed.sock", os.getuid() + 1)
    for _ in range(TOLD_AT_ONCE + 50):
        reader, writer = await room.line()
        assert await reader.read() == b""
        writer.close()
    assert TOLD_AT_ONCE <= len(room.handler.refused) < TOLD_AT_ONCE + 25
    # What was left out is counted in the next line that is written.
    async with asyncio.timeout(5):
        while "more were not served" not in room.handler.refused[-1]:
            await asyncio.sleep(0.1)
            reader, writer = await room.line()
            assert await reader.read() == b""
            writer.close()
    await room.server.close()


def _resident(pid: int) -> int:
    """Memory of a process in KiB."""
    with Path(f"/proc/{pid}/status").open() as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _wide_policy(number: int) -> bytes:
    """A policy blob of some 30 KiB, another one for every number."""
    groups = tuple(
        Group(name=f"{number}-{index}", quorum=1, approvers=(Approver(number.to_bytes(8, "big")),))
        for index in range(700)
    )
    wide = Rule(tokens=(Token(name=None, timelock=0, timeout=0, unit=TimeUnit.MINUTES, groups=groups),))
    return encode_policy(replace(make_policy(use=quorum(1, Officer("ada"))), use=wide))


@pytest.mark.slow
async def test_timestamps_for_ever_new_policies_do_not_fill_the_memory(hsm: HsmProcess, client: HsmClient) -> None:
    await create_ec(client, "stamped", make_policy(use=quorum(1, Officer("ada"))))
    blobs = [_wide_policy(number) for number in range(150)]
    for blob in blobs[:20]:
        await client.stamp("stamped", Action.MODIFY, blob)
    before = _resident(hsm.pid)
    for blob in blobs[20:]:
        await client.stamp("stamped", Action.MODIFY, blob)
    # Kept, each of them took 230 KiB.
    assert _resident(hsm.pid) - before < 10_000


@pytest.mark.slow
def test_few_large_policies_are_kept_parsed() -> None:
    for number in range(80):
        assert parse_policy(_wide_policy(number)).use.tokens[0].groups[0].name == f"{number}-0"
    assert _parse_large.cache_info().currsize <= 64
    small = encode_policy(make_policy(use=quorum(1, Officer("ada"))))
    assert parse_policy(small) is parse_policy(small)
