"""Reading QR codes from pictures, the safe side: hands them to `qr_child` and survives what happens there (R29)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from keyturn.errors import FormatError
from keyturn.transport.files import read_bounded
from keyturn.transport.limits import MAX_IMAGE_FILE, MAX_IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BATCH_IMAGES: Final = 64
"""Most pictures one child is asked to read."""
BATCH_BYTES: Final = MAX_IMAGE_FILE
"""Most bytes of pictures one child is handed, unless a single picture has more."""
START_SECONDS: Final = 20.0
"""Longest wait for a child to start on a busy machine."""
SECONDS_PER_IMAGE: Final = 30.0
"""Longest wait for one picture; the child's own limit of processor time is shorter."""


@dataclass(frozen=True, slots=True)
class ReadImage:
    """What one picture gave.

    Args:
        name: Its file name.
        texts: The texts of all symbols found; may be empty.
        problem: Why it could not be read at all, empty if it could.
    """

    name: str
    texts: tuple[str, ...]
    problem: str = ""


class _Answer(msgspec.Struct):
    texts: list[str] = []
    problem: str = ""


def read_images(paths: Sequence[Path]) -> list[ReadImage]:
    """Read the QR codes of PNG files.

    Args:
        paths: The files, in any order.

    Returns:
        One entry per file in the same order; a file that cannot be read spoils none of the others.

    Raises:
        FormatError: `qr.too-many-images` if there are more than 4096.
    """
    if len(paths) > MAX_IMAGES:
        raise FormatError(
            f"{len(paths)} pictures are more than {MAX_IMAGES}; no set of ours has as many.",
            refusal="qr.too-many-images",
        )
    found: list[ReadImage] = []
    for batch in _batches(paths):
        found.extend(_read_batch(batch))
    return found


def _batches(paths: Sequence[Path]) -> Iterator[list[tuple[str, bytes | FormatError]]]:
    batch: list[tuple[str, bytes | FormatError]] = []
    size = 0
    for path in paths:
        try:
            content: bytes | FormatError = read_bounded(path, MAX_IMAGE_FILE)
        except FormatError as error:
            content = error
        length = len(content) if isinstance(content, bytes) else 0
        if batch and (len(batch) >= BATCH_IMAGES or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((path.name, content))
        size += length
    if batch:
        yield batch


def _read_batch(batch: Sequence[tuple[str, bytes | FormatError]]) -> list[ReadImage]:
    found: dict[int, ReadImage] = {}
    waiting: list[tuple[int, str, bytes]] = []
    for at, (name, content) in enumerate(batch):
        if isinstance(content, bytes):
            waiting.append((at, name, content))
        else:
            found[at] = ReadImage(name, (), content.message)
    while waiting:
        answers = _ask_child([content for _, _, content in waiting])
        for (at, name, _), answer in zip(waiting, answers, strict=False):
            found[at] = ReadImage(name, tuple(answer.texts), answer.problem)
        waiting = waiting[len(answers) :]
        if waiting:
            # The child ended over this picture. It is left out; a new child reads the rest.
            at, name, _ = waiting.pop(0)
            found[at] = ReadImage(name, (), "the reader gave up on it: too large, too slow or damaged")
    return [found[at] for at in range(len(batch))]


def _ask_child(pictures: Sequence[bytes]) -> list[_Answer]:
    """Answers of a fresh child, in order; fewer than pictures if it ended early."""
    asked = b"".join(len(picture).to_bytes(4, "big") + picture for picture in pictures)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "keyturn.transport.qr_child"],
            input=asked,
            capture_output=True,
            timeout=START_SECONDS + SECONDS_PER_IMAGE * len(pictures),
            check=False,
            env={},
            cwd="/",
        )
        output = done.stdout
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
    answers: list[_Answer] = []
    while len(output) >= 4:
        size = int.from_bytes(output[:4], "big")
        if len(output) < 4 + size:
            break
        try:
            answers.append(msgspec.json.decode(output[4 : 4 + size], type=_Answer))
        except msgspec.MsgspecError:
            break
        output = output[4 + size :]
    return answers[: len(pictures)]
