"""What the HSM gives without being approved: randomness, its log, dated hashes; and within limits (R31)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from keyturn.errors import ErrorCode
from keyturn.hsm import giving, protocol
from keyturn.hsm.client import HsmClient, HsmRefusedError
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.hsm_room import NOW, Room
from keyturn_testing.keys import operation_id
from keyturn_testing.timestamps import openssl_judges

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from pathlib import Path


async def refusal(answer: Awaitable[object]) -> tuple[str, ErrorCode]:
    with pytest.raises(HsmRefusedError) as refused:
        await answer
    return refused.value.refusal, refused.value.code


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path / "store")
    yield made
    made.close()


async def test_random_bytes_have_the_length_that_was_asked_for(client: HsmClient) -> None:
    for length in (1, 32, giving.MAX_RANDOM):
        assert len(await client.random(length)) == length
    assert await client.random(32) != await client.random(32)


@pytest.mark.parametrize("length", [0, -1, giving.MAX_RANDOM + 1, 2**40])
async def test_random_bytes_out_of_range_are_refused(client: HsmClient, length: int) -> None:
    assert await refusal(client.random(length)) == ("random.length", ErrorCode.INVALID_NUMBER_RANGE)
    assert len(await client.random(giving.MAX_RANDOM)) == giving.MAX_RANDOM


@pytest.mark.rule("R31")
async def test_whoever_asks_too_often_is_refused(tmp_path: Path) -> None:
    options = ("--random-per-second", "0.1", "--stamps-per-second", "0.1")
    with HsmProcess(tmp_path / "hsm", options=options) as process:
        client = await HsmClient.connect(process.address)
        assert len(await client.random(8)) == 8
        assert await refusal(client.random(8)) == ("rate.limited", ErrorCode.IN_HSM)
        assert await client.date_with_rfc3161(b"x", "SHA256")
        assert await refusal(client.date_with_rfc3161(b"x", "SHA256")) == ("rate.limited", ErrorCode.IN_HSM)
        looks = await asyncio.gather(*(client.log_lines() for _ in range(100)), return_exceptions=True)
        refused = [look for look in looks if isinstance(look, HsmRefusedError)]
        assert {one.refusal for one in refused} == {"rate.limited"}
        assert 0 < len(refused) < 100
        await client.close()


async def test_the_log_is_shown_from_its_end_with_the_newest_line_last(client: HsmClient, label: str) -> None:
    await client.put_object(operation_id(), label, b"secret value", {})
    lines = await client.log_lines()
    newest = json.loads(lines[-1])
    assert (newest["kind"], newest["outcome"], newest["note"]) == ("object-put", "granted", f"data object {label!r}")
    assert "secret value" not in "".join(lines)
    numbers = [json.loads(line)["seq"] for line in lines]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_a_long_log_is_shown_in_part(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(giving.LOG_LINES + 50):
        room.ask(protocol.GetObject(f"{number}"))
        room.ask(protocol.DeleteObject(operation_id(), f"{number}"))
    shown = room.ask(protocol.GetLog())
    assert len(shown.lines) == giving.LOG_LINES
    monkeypatch.setattr(giving, "LOG_TAIL", 2000)
    few = room.ask(protocol.GetLog())
    assert 1 < len(few.lines) < 10
    assert [json.loads(line)["kind"] for line in few.lines] == ["object-delete"] * len(few.lines)
    assert few.lines == room.ask(protocol.GetLog()).lines


@pytest.mark.rule("R5")
async def test_a_timestamp_is_signed_by_a_key_of_its_own(hsm: HsmProcess, client: HsmClient, tmp_path: Path) -> None:
    info = await client.info()
    response = await client.date_with_rfc3161(b"contract", "SHA256")
    assert openssl_judges(tmp_path, response, b"contract", info.rfc_timestamp_certificate)
    assert not openssl_judges(tmp_path, response, b"Contract", info.rfc_timestamp_certificate)
    device = "".join(info.device_chain).encode()
    assert info.rfc_timestamp_certificate not in device
    for attempt in (
        client.create(operation_id(), "rfc-timestamp-key", "EC", curve_oid="1.2.840.10045.3.1.7", attributes={}),
        client.delete(operation_id(), "rfc-timestamp-key"),
        client.sign(operation_id(), "rfc-timestamp-key", b"x", "SHA256_WITH_ECDSA"),
    ):
        assert (await refusal(attempt))[0] in {"label.system-key", "key.unknown"}


@pytest.mark.rule("R5")
async def test_another_name_makes_another_key_and_the_old_timestamps_stay_good(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm") as process:
        client = await HsmClient.connect(process.address)
        first, made = (await client.info()).rfc_timestamp_certificate, await client.date_with_rfc3161(b"x", "SHA256")
        await client.close()
        process.options = ("--rfc-timestamp-key-name", "rfc-2")
        process.restart()
        client = await HsmClient.connect(process.address)
        second = (await client.info()).rfc_timestamp_certificate
        assert first != second
        assert openssl_judges(tmp_path, made, b"x", first)
        assert not openssl_judges(tmp_path, await client.date_with_rfc3161(b"x", "SHA256"), b"x", first)
        assert openssl_judges(tmp_path, await client.date_with_rfc3161(b"x", "SHA256"), b"x", second)
        await client.close()


async def test_what_cannot_be_dated_is_refused(client: HsmClient) -> None:
    assert (await refusal(client.date_with_rfc3161(b"x", "SHA1")))[0] == "timestamp.hash-algorithm"
    assert (await refusal(client.date_with_rfc3161(bytes(65537), "SHA256")))[0] == "payload.too-large"
    assert await client.date_with_rfc3161(bytes(65536), "SHA256")


def test_the_time_is_the_guarded_one_and_never_before_what_was_given(room: Room) -> None:
    room.clock.set(NOW + 1000)
    dated = room.ask(protocol.DateWithRfc3161(b"x", "SHA256"))
    assert isinstance(dated, protocol.Dated)
    assert room.store.clock_mark >= NOW + 1000
    room.clock.set(NOW)
    refused = room.ask(protocol.DateWithRfc3161(b"x", "SHA256"))
    assert isinstance(refused, protocol.Refused)
    assert refused.refusal.startswith("clock.")


async def test_a_sealed_hsm_gives_nothing(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "hsm", passphrase=None, options=("--sealed",)) as process:
        client = await HsmClient.connect(process.address)
        for attempt in (client.random(8), client.log_lines(), client.date_with_rfc3161(b"x", "SHA256")):
            assert (await refusal(attempt))[0] == "hsm.sealed"
        assert (await client.info()).rfc_timestamp_certificate == b""
        await client.close()
