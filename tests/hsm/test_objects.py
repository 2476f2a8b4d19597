"""Data objects: kept under a name, sealed, and changed only as their attributes allow."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from keyturn.clock import ManualClock
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import objects, protocol
from keyturn.hsm.client import HsmClient, HsmRefusedError
from keyturn.hsm.records import ObjectRecord
from keyturn.hsm.store import Store
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.hsm_room import Room
from keyturn_testing.keys import operation_id

if TYPE_CHECKING:
    from collections.abc import Awaitable


GOLDEN = Path(__file__).parent.parent / "hsm_store" / "golden" / "v3"
ALL = {"private": True, "modifiable": True, "destroyable": True}


async def refusal(answer: Awaitable[object]) -> tuple[str, ErrorCode]:
    with pytest.raises(HsmRefusedError) as refused:
        await answer
    return refused.value.refusal, refused.value.code


async def test_an_object_is_kept_read_changed_and_deleted(client: HsmClient, label: str) -> None:
    await client.put_object(operation_id(), label, b"first", {})
    found = await client.object(label)
    assert (found.name, found.value, found.attributes) == (label, b"first", ALL)
    await client.put_object(operation_id(), label, b"second", {}, replace=True)
    assert (await client.object(label)).value == b"second"
    await client.delete_object(operation_id(), label)
    assert await refusal(client.object(label)) == ("object.unknown", ErrorCode.DATA_OBJECT_NOT_EXISTENT)
    await client.put_object(operation_id(), label, b"again", {})


async def test_a_name_is_taken_once(client: HsmClient, label: str) -> None:
    await client.put_object(operation_id(), label, b"first", {})
    again = client.put_object(operation_id(), label, b"other", {})
    assert await refusal(again) == ("object.exists", ErrorCode.DATA_OBJECT_ALREADY_EXISTING)
    assert (await client.object(label)).value == b"first"
    await client.put_object(operation_id(), f"{label}-2", b"other", {})
    replaced = client.put_object(operation_id(), f"{label}-3", b"other", {}, replace=True)
    assert (await refusal(replaced))[0] == "object.unknown"


async def test_a_name_of_a_key_is_not_taken_by_an_object(client: HsmClient, label: str) -> None:
    await client.put_object(operation_id(), label, b"x", {})
    await client.create(operation_id(), label, "AES", key_size=256, attributes={"decrypt": True})


async def test_what_an_object_was_made_with_only_becomes_stricter(client: HsmClient, label: str) -> None:
    await client.put_object(operation_id(), label, b"1", {"private": False})
    await client.put_object(operation_id(), label, b"2", {"private": True}, replace=True)
    looser = client.put_object(operation_id(), label, b"3", {"private": False}, replace=True)
    assert (await refusal(looser))[0] == "object.attribute-looser"
    await client.put_object(operation_id(), label, b"3", {"modifiable": False, "destroyable": False}, replace=True)
    frozen = client.put_object(operation_id(), label, b"4", {}, replace=True)
    assert await refusal(frozen) == ("object.not-modifiable", ErrorCode.OPERATION_FORBIDDEN_FOR_KEY)
    assert (await refusal(client.delete_object(operation_id(), label)))[0] == "object.not-destroyable"
    found = await client.object(label)
    assert (found.value, found.attributes) == (b"3", {"private": True, "modifiable": False, "destroyable": False})


@pytest.mark.parametrize("size", [0, objects.MAX_VALUE + 1])
async def test_a_value_has_one_byte_to_64_kib(client: HsmClient, label: str, size: int) -> None:
    put = client.put_object(operation_id(), label, bytes(size), {})
    assert await refusal(put) == ("object.value-size", ErrorCode.DATA_OBJECT_INVALID_VALUE)
    await client.put_object(operation_id(), label, bytes(min(max(size, 1), objects.MAX_VALUE)), {})


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("", "empty"),
        ("a/b", "slash"),
        (" a", "space"),
        ("a\u202e", "character"),
        ("..", "dots"),
        ("ü" * 65, "too-long"),
    ],
)
async def test_names_follow_the_rules_of_labels(client: HsmClient, label: str, name: str, word: str) -> None:
    put = client.put_object(operation_id(), name, b"x", {})
    assert await refusal(put) == (f"object.name-{word}", ErrorCode.VALIDATION_FAILED)
    await client.put_object(operation_id(), f"{label}ü", b"x", {})


async def test_other_attributes_are_refused(client: HsmClient, label: str) -> None:
    put = client.put_object(operation_id(), label, b"x", {"sign": True})
    assert (await refusal(put))[0] == "object.attribute-unknown"
    await client.put_object(operation_id(), label, b"x", {"private": True})


async def test_a_repeated_call_is_done_once(client: HsmClient, label: str) -> None:
    one = operation_id()
    await client.put_object(one, label, b"x", {})
    await client.put_object(one, label, b"x", {})
    assert (await refusal(client.put_object(one, label, b"y", {})))[0] == "operation.input-differs"
    deletion = operation_id()
    await client.delete_object(deletion, label)
    await client.delete_object(deletion, label)


@pytest.mark.rule("R6")
async def test_objects_survive_a_power_cut_sealed_and_count_as_a_change(tmp_path: Path) -> None:
    secret = b"nobody reads this in the file"
    with HsmProcess(tmp_path / "hsm") as process:
        client = await HsmClient.connect(process.address)
        before = (await client.statistics())["stateCounter"]
        await client.put_object(operation_id(), "kept", secret, {"modifiable": False})
        figures = await client.statistics()
        assert (figures["dataObjects"], figures["stateCounter"]) == (1, before + 1)
        await client.close()
        process.kill()
        for file in process.directory.iterdir():
            if file.is_file():
                assert secret not in file.read_bytes(), file
        process.start()
        client = await HsmClient.connect(process.address)
        found = await client.object("kept")
        assert (found.value, found.attributes["modifiable"]) == (secret, False)
        await client.close()
        assert [line["note"] for line in process.decisions() if line["kind"] == "object-put"] == ["data object 'kept'"]


def test_a_store_of_an_older_version_has_none_and_takes_some(tmp_path: Path) -> None:
    directory = tmp_path / "store"
    shutil.copytree(GOLDEN, directory)
    directory.chmod(0o700)
    store = Store.open(directory, b"golden, for tests only", clock=ManualClock())
    assert store.object_names("data") == []
    with store.change() as change:
        change.put_object(ObjectRecord("data", "new", 1, 1, {}), b"value")
    store.close()
    again = Store.open(directory, b"golden, for tests only", clock=ManualClock())
    record = again.object("data", "new")
    assert record is not None
    assert again.object_value(record) == b"value"
    with pytest.raises(KeyturnError, match="seal") as refused:
        again.object_value(replace(record, name="other"))
    assert refused.value.refusal == "store.seal-broken"
    again.close()


@pytest.fixture
def small_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(objects, "MAX_OBJECTS", 3)
    return Room(tmp_path / "store")


def test_there_are_so_many_objects_and_no_more(small_room: Room) -> None:
    def put(name: str, *, replace: bool = False) -> str:
        answer = small_room.ask(protocol.PutObject(operation_id(), name, b"x", {}, replace))
        return answer.refusal if isinstance(answer, protocol.Refused) else ""

    assert [put(name) for name in ("a", "b", "c", "d")] == ["", "", "", "object.too-many"]
    assert put("c", replace=True) == ""
    small_room.close()
