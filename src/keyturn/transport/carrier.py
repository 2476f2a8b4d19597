"""From what a courier brought (a file, a folder, pictures) to the sealed bytes of one bundle.

Everything goes through one collector, whatever it came as: the same message as a file and as pictures is one message,
parts may come in any order and twice, pictures that cannot be read are named and left aside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.plain import counted
from keyturn.transport import qr_reader, ur
from keyturn.transport.files import read_bounded
from keyturn.transport.limits import MAX_BUNDLE, MAX_IMAGES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_BUNDLE: Final = b"\xd2"
_SUFFIXES: Final = (".ktb", ".png")
_MAX_NOTES: Final = 6
"""Most codes of one picture about which a sentence is written: a picture full of foreign codes is told once."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a courier brought.

    Args:
        messages: Messages of which at least a part was found, complete ones first.
        notes: Sentences about what was left aside, with file names.
    """

    messages: tuple[ur.Message, ...]
    notes: tuple[str, ...]

    def require_one(self) -> ur.Received:
        """The one complete message; raises as `ur.require_one` does, with the notes in the message."""
        try:
            return ur.require_one(self.messages)
        except FormatError as error:
            error.message = " ".join((error.message, *self.notes))
            error.args = (error.message,)
            raise


def collect(paths: Sequence[Path]) -> Carried:
    """Read files and folders.

    Args:
        paths: `.ktb` files, PNG pictures, or folders with such files (their sub-folders are not read).

    Returns:
        What was found.

    Raises:
        FormatError: `carrier.nothing` if there is no such file, `carrier.unknown` if a file that was named is neither a
            bundle nor a picture, `file.unreadable`, `qr.too-many-images`.
    """
    collector = ur.URCollector()
    notes: list[str] = []
    pictures: list[Path] = []
    for path, named in _files(paths):
        try:
            head = _head(path)
            whole = read_bounded(path, MAX_BUNDLE) if head.startswith(_BUNDLE) else b""
        except FormatError as error:
            if named:
                raise
            notes.append(f"{path.name}: left aside. {error.message}")
            continue
        if head == _PNG:
            pictures.append(path)
        elif whole:
            collector.receive_whole(whole, path.name)
        elif named:
            raise FormatError(
                f"{path} is neither a bundle (.ktb) nor a PNG picture. Photographs in other formats must be converted "
                "to PNG.",
                refusal="carrier.unknown",
            )
        else:
            notes.append(f"{path.name}: left aside, it is neither a bundle nor a PNG picture.")
    for image in qr_reader.read_images(pictures):
        notes.extend(_take(collector, image))
    return Carried(collector.messages(), tuple(notes))


def _take(collector: ur.URCollector, image: qr_reader.ReadImage) -> list[str]:
    if image.problem:
        return [f"{image.name}: left aside, {image.problem}."]
    if not image.texts:
        return [f"{image.name}: no QR code was found in it. Scan it again, straighter or with more light."]
    problems = []
    for text in image.texts:
        try:
            collector.receive(text, image.name)
        except FormatError as error:
            problems.append(error.message)
    notes = [f"{image.name}: a code was left aside. {problem}" for problem in problems[:_MAX_NOTES]]
    if len(problems) > _MAX_NOTES:
        more = len(problems) - _MAX_NOTES
        notes.append(f"{image.name}: {counted(more, 'more code was', 'more codes were')} left aside.")
    return notes


def _files(paths: Sequence[Path]) -> list[tuple[Path, bool]]:
    """Every file to look at, and whether it was named itself (not found in a folder)."""
    found: list[tuple[Path, bool]] = []
    for path in paths:
        if not path.is_dir():
            found.append((path, True))
            continue
        try:
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _SUFFIXES)
            found.extend((entry, False) for entry in inside if entry.is_file())
        except OSError as error:
            raise FormatError(f"Cannot read {path}: {error.strerror}.", refusal="file.unreadable") from error
    if not found:
        raise FormatError(
            "There is no bundle (.ktb) and no PNG picture here. Name a file, or the folder the courier brought.",
            refusal="carrier.nothing",
        )
    if len(found) > MAX_IMAGES:
        raise FormatError(
            f"{len(found)} files are more than {MAX_IMAGES}; no set of ours has as many.",
            refusal="qr.too-many-images",
        )
    return found


def _head(path: Path) -> bytes:
    return read_bounded(path, len(_PNG), whole=False)
