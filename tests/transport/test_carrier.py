"""Files, folders and pictures become one message, or a refusal that says what to do."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from keyturn.errors import FormatError
from keyturn.transport import qr, qr_reader, ur
from keyturn.transport.carrier import collect
from keyturn_testing.carriers import forge

if TYPE_CHECKING:
    from pathlib import Path

SEALED = forge()


def other() -> bytes:
    return b"\xd2" + random.Random(5).randbytes(900)


def draw(folder: Path, content: bytes, extra: int = 0) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for at, picture in enumerate(qr.qr_pngs(content, max_version=12, extra=extra)):
        paths.append(folder / f"{at}.png")
        paths[-1].write_bytes(picture)
    return paths


def test_a_file_a_folder_and_pictures_give_the_same(tmp_path: Path) -> None:
    file = tmp_path / "bundle.ktb"
    file.write_bytes(SEALED)
    pictures = draw(tmp_path / "qr", SEALED)
    assert len(pictures) > 1
    for sources in ([file], [tmp_path], [tmp_path / "qr"], pictures[::-1], [file, *pictures]):
        carried = collect(sources)
        assert carried.require_one().content == SEALED
        assert carried.notes == ()


def test_carrier_nothing_and_unknown(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FormatError) as refused:
        collect([tmp_path])
    assert refused.value.refusal == "carrier.nothing"
    with pytest.raises(FormatError) as refused:
        collect([tmp_path / "notes.txt"])
    assert refused.value.refusal == "carrier.unknown"
    with pytest.raises(FormatError) as refused:
        collect([tmp_path / "missing.ktb"])
    assert refused.value.refusal == "file.unreadable"
    (tmp_path / "bundle.ktb").write_bytes(SEALED)
    assert collect([tmp_path]).require_one().content == SEALED


def test_what_cannot_be_read_in_a_folder_is_named_and_left_aside(tmp_path: Path) -> None:
    draw(tmp_path, SEALED)
    (tmp_path / "empty.ktb").write_bytes(b"")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (tmp_path / "site.png").write_bytes(qr.qr_pngs("https://example.org")[0])
    carried = collect([tmp_path])
    assert carried.require_one().content == SEALED
    notes = " ".join(carried.notes)
    for name in ("empty.ktb", "broken.png", "site.png"):
        assert name in notes


def test_a_file_larger_than_any_bundle_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "big.ktb").write_bytes(b"\xd2" + bytes(1 << 20))
    with pytest.raises(FormatError) as refused:
        collect([tmp_path / "big.ktb"])
    assert refused.value.refusal == "file.too-large"


def test_two_messages_are_refused_by_name_and_a_stray_part_is_not_in_the_way(tmp_path: Path) -> None:
    ours, theirs = draw(tmp_path / "ours", SEALED), draw(tmp_path / "theirs", other())
    with pytest.raises(ur.SeveralMessagesError) as refused:
        collect([*ours, *theirs]).require_one()
    assert ur.content_name(SEALED) in refused.value.message
    assert ur.content_name(other()) in refused.value.message
    received = collect([*ours, *theirs[1:]]).require_one()
    assert received.content == SEALED
    assert [stray.name for stray in received.strays] == [ur.content_name(other())]


def test_missing_parts_name_the_unreadable_pictures_too(tmp_path: Path) -> None:
    pictures = draw(tmp_path, SEALED)
    pictures[1].write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(ur.IncompleteError, match=r"missing simple parts: 2.*1\.png: left aside"):
        collect([tmp_path]).require_one()


@pytest.mark.rule("R29")
def test_r29_a_hostile_file_in_the_folder_does_not_spoil_the_good_one(tmp_path: Path) -> None:
    (tmp_path / "bundle.ktb").write_bytes(SEALED)
    assert collect([tmp_path]).require_one().content == SEALED
    (tmp_path / "a-big.ktb").write_bytes(b"\xd2" + bytes(1 << 20))
    os.mkfifo(tmp_path / "b-pipe.png")
    (tmp_path / "c-zero.png").symlink_to("/dev/zero")
    (tmp_path / "d-loop.png").symlink_to("d-loop.png")
    carried = collect([tmp_path])
    assert carried.require_one().content == SEALED
    assert len(carried.notes) == 1
    assert "a-big.ktb" in carried.notes[0]


@pytest.mark.rule("R29")
def test_r29_a_pipe_or_device_that_is_named_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bundle.ktb")
    (tmp_path / "zero.ktb").symlink_to("/dev/zero")
    for name in ("bundle.ktb", "zero.ktb"):
        with pytest.raises(FormatError, match="not a regular file") as refused:
            collect([tmp_path / name])
        assert refused.value.refusal == "file.unreadable"
    (tmp_path / "bundle.ktb").unlink()
    (tmp_path / "bundle.ktb").write_bytes(SEALED)
    assert collect([tmp_path / "bundle.ktb"]).require_one().content == SEALED


def test_a_picture_full_of_foreign_codes_is_told_in_a_few_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "wall.png"
    picture.write_bytes(qr.qr_pngs("https://example.org")[0])
    foreign = qr_reader.ReadImage("wall.png", ("https://example.org",) * 256)
    monkeypatch.setattr(qr_reader, "read_images", lambda _: [foreign])
    notes = collect([picture]).notes
    assert len(notes) < 10
    assert "250 more codes" in notes[-1]
