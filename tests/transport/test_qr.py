"""QR codes: drawn by segno, read by zxing-cpp in a process with limits (decisions 16 and 17, R29)."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
import segno
from PIL import Image

from keyturn.errors import ErrorCode, FormatError
from keyturn.transport import qr, qr_child, qr_reader, qr_sheet, ur

if TYPE_CHECKING:
    from pathlib import Path


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def read_one(folder: Path, picture: bytes) -> qr_reader.ReadImage:
    (folder / "picture").write_bytes(picture)
    (read,) = qr_reader.read_images([folder / "picture"])
    return read


def read_all(folder: Path) -> bytes:
    collector = ur.URCollector()
    for image in qr_reader.read_images(sorted(folder.glob("*.png"))):
        assert not image.problem
        for text in image.texts:
            collector.receive(text, image.name)
    return ur.require_one(collector.messages()).content


# --- drawing --------------------------------------------------------------------------------------------------------


def test_one_symbol_when_one_is_enough(tmp_path: Path) -> None:
    (image,) = qr.qr_pngs(noise(200), extra=3)
    (tmp_path / "one.png").write_bytes(image)
    assert read_all(tmp_path) == noise(200)


@pytest.mark.parametrize("level", ["L", "M", "Q", "H"])
@pytest.mark.parametrize("version", [6, 10, 26, 27])
def test_no_symbol_is_larger_than_allowed(level: str, version: int) -> None:
    symbols = qr.qr_set(noise(1500), error_correction=level, max_version=version, extra=2)
    assert len(symbols.texts) == symbols.total + (2 if symbols.total > 1 else 0)
    # Drawing is slow, and the parts are as long as each other but for their numbers.
    for text in {min(symbols.texts, key=len), max(symbols.texts, key=len)}:
        code = segno.make_qr(text, error=level, boost_error=False)
        assert isinstance(code.version, int)
        assert code.version <= version
        assert code.mode == "alphanumeric"
    assert ur.decode(symbols.texts) == noise(1500)


@pytest.mark.parametrize("version", [1, 9, 10, 26, 27, 40])
@pytest.mark.parametrize("level", ["L", "H"])
def test_capacity_is_that_of_the_standard(version: int, level: str) -> None:
    capacity = qr.alphanumeric_capacity(version, level)
    assert segno.make_qr("A" * capacity, error=level, boost_error=False).version == version
    if version < 40:
        assert segno.make_qr("A" * (capacity + 1), error=level, boost_error=False).version == version + 1


def test_every_symbol_has_its_quiet_zone() -> None:
    for drawn in qr.qr_pngs(noise(1500), scale=2):
        with Image.open(io.BytesIO(drawn)) as image:
            grey = image.convert("L")
            edge = qr.QUIET_ZONE * 2
            for box in ((0, 0, grey.width, edge), (0, 0, edge, grey.height)):
                assert grey.crop(box).getextrema() == (255, 255)


def test_plain_text_fits_one_symbol_or_is_refused(tmp_path: Path) -> None:
    text = '{"signRequest":{"payload":"ä"}}'
    (image,) = qr.qr_pngs(text)
    assert read_one(tmp_path, image).texts == (text,)
    with pytest.raises(FormatError, match="format=ur") as refused:
        qr.qr_pngs("x" * 3000, max_version=40)
    assert refused.value.refusal == "qr.too-large"
    assert refused.value.code is ErrorCode.VALIDATION_FAILED
    assert len(qr.qr_pngs("x" * 2331, max_version=40)) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"error_correction": "X"}, "errorCorrection"),
        ({"error_correction": ""}, "errorCorrection"),
        ({"error_correction": "LM"}, "errorCorrection"),
        ({"max_version": 0}, "maxVersion"),
        ({"max_version": 41}, "maxVersion"),
        ({"extra": -1}, "extra"),
        ({"extra": 257}, "extra"),
    ],
)
def test_qr_parameter(change: dict[str, str | int], field: str) -> None:
    good: dict[str, str | int] = {"error_correction": "M", "max_version": 10, "extra": 0}
    assert set_with(good).texts
    with pytest.raises(FormatError, match=field) as refused:
        set_with(good | change)
    assert refused.value.refusal == "qr.parameter"


def set_with(options: dict[str, str | int]) -> qr.QRSet:
    return qr.qr_set(
        noise(300),
        error_correction=str(options["error_correction"]),
        max_version=int(options["max_version"]),
        extra=int(options["extra"]),
    )


def test_symbols_too_small_for_the_message_are_refused() -> None:
    with pytest.raises(FormatError, match="maxVersion") as refused:
        qr.qr_set(noise(300), max_version=1)
    assert refused.value.refusal == "ur.too-many-parts"
    assert ur.decode(qr.qr_set(noise(300), max_version=5).texts) == noise(300)


# --- reading --------------------------------------------------------------------------------------------------------


def test_pictures_in_any_order_with_repetitions_and_one_lost(tmp_path: Path) -> None:
    images = qr.qr_pngs(noise(2500), extra=2)
    assert len(images) == 8
    del images[2]
    for at, image in enumerate([*reversed(images), *images[:3]]):
        (tmp_path / f"{at:02}.png").write_bytes(image)
    assert read_all(tmp_path) == noise(2500)


def test_a_printed_sheet_is_read_as_a_whole(tmp_path: Path) -> None:
    symbols = qr.qr_set(noise(2500), extra=2)
    pages = qr_sheet.sheet_pngs(symbols, "request 0f1e for vault ä")
    assert len(pages) == 2
    for at, page in enumerate(pages):
        (tmp_path / f"page-{at}.png").write_bytes(page)
    read = qr_reader.read_images(sorted(tmp_path.glob("*.png")))
    assert [len(image.texts) for image in read] == [6, 2]
    assert read_all(tmp_path) == noise(2500)
    assert symbols.caption(2) == "part 3 of 6"


def test_a_scanned_sheet_turned_grey_and_noisy_is_read(tmp_path: Path) -> None:
    symbols = qr.qr_set(noise(900), max_version=10)
    for at, page in enumerate(qr_sheet.sheet_pngs(symbols, "scan")):
        with Image.open(io.BytesIO(page)) as image:
            scanned = image.convert("L").rotate(2.5, fillcolor=255, expand=True).resize((1300, 1800)).point(_faded)
        (tmp_path / f"scan-{at}.png").write_bytes(png(scanned))
    assert read_all(tmp_path) == noise(900)


def _faded(value: int) -> float:
    return 60 + value * 0.6


def test_r29_a_bad_picture_spoils_none_of_the_others(tmp_path: Path) -> None:
    for at, image in enumerate(qr.qr_pngs(noise(900), max_version=15)):
        (tmp_path / f"good-{at}.png").write_bytes(image)
    (tmp_path / "a-text.png").write_bytes(b"no picture")
    (tmp_path / "b-cut.png").write_bytes((tmp_path / "good-0.png").read_bytes()[:-200])
    (tmp_path / "c-blank.png").write_bytes(png(Image.new("L", (50, 50), 255)))
    (tmp_path / "d-gif.png").write_bytes(b"GIF89a" + bytes(20))
    (tmp_path / "e-folder.png").mkdir()
    read = {image.name: image for image in qr_reader.read_images(sorted(tmp_path.glob("*.png")))}
    assert "not a PNG" in read["a-text.png"].problem
    assert read["b-cut.png"].problem
    assert read["c-blank.png"] == qr_reader.ReadImage("c-blank.png", ())
    assert "not a PNG" in read["d-gif.png"].problem
    assert "Cannot read" in read["e-folder.png"].problem
    texts = [text for image in read.values() for text in image.texts]
    assert ur.decode(texts) == noise(900)


def header_only_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.rule("R29")
def test_r29_more_than_forty_megapixels_are_not_decoded(tmp_path: Path) -> None:
    largest = Image.new("1", (8000, 5000), 1)
    assert read_one(tmp_path, png(largest)) == qr_reader.ReadImage("picture", ())
    assert "megapixels" in read_one(tmp_path, png(Image.new("1", (8001, 5000), 1))).problem
    assert "megapixels" in read_one(tmp_path, header_only_png(60_000, 60_000)).problem


@pytest.mark.rule("R29")
def test_r29_a_reader_that_dies_over_a_picture_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The second picture ends the child; the first and third are read all the same."""
    real = qr_reader._ask_child
    asked: list[int] = []

    def dying(pictures: list[bytes]) -> list[qr_reader._Answer]:
        asked.append(len(pictures))
        alive = [picture for picture in pictures if picture != b"killer"]
        return real(alive[: pictures.index(b"killer")] if b"killer" in pictures else alive)

    monkeypatch.setattr(qr_reader, "_ask_child", dying)
    images = qr.qr_pngs(noise(900), max_version=15)
    (tmp_path / "1.png").write_bytes(images[0])
    (tmp_path / "2.png").write_bytes(b"killer")
    (tmp_path / "3.png").write_bytes(images[1])
    read = qr_reader.read_images(sorted(tmp_path.glob("*.png")))
    assert [bool(image.texts) for image in read] == [True, False, True]
    assert "gave up" in read[1].problem
    assert asked == [3, 1]


@pytest.mark.rule("R29")
def test_r29_the_child_has_limits_and_ends_when_it_passes_them() -> None:
    program = (
        "import resource\n"
        "from keyturn.transport import qr_child\n"
        "qr_child._limit(resource.RLIMIT_AS, qr_child.MEMORY)\n"
        "qr_child._allow_time()\n"
        "soft, _ = resource.getrlimit(resource.RLIMIT_CPU)\n"
        "assert 0 < soft <= qr_child.SECONDS_PER_IMAGE + 30, soft\n"
        "try:\n"
        "    bytearray(2 * qr_child.MEMORY)\n"
        "except MemoryError:\n"
        "    print('bounded')\n"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "bounded\n"
    assert qr_child.MEMORY == 1 << 30


def test_child_answers_garbage_on_its_input_with_silence() -> None:
    import subprocess
    import sys

    for garbage in (b"", b"\0", b"\xff\xff\xff\xff", os.urandom(3)):
        done = subprocess.run(
            [sys.executable, "-I", "-m", "keyturn.transport.qr_child"], input=garbage, capture_output=True, check=True
        )
        assert done.stdout == b""


def test_qr_too_many_images(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as refused:
        qr_reader.read_images([tmp_path / "x.png"] * 4097)
    assert refused.value.refusal == "qr.too-many-images"
    assert qr_reader.read_images([]) == []


def test_small_commands_do_not_load_the_picture_libraries() -> None:
    import subprocess
    import sys

    program = (
        "import sys\n"
        "from keyturn.transport import qr, qr_reader, qr_sheet, station\n"
        "heavy = {'PIL', 'segno', 'zxingcpp'} & {name.partition('.')[0] for name in sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
