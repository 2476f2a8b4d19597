"""Where the courier's commands write: a `.ktb` file, and folders of QR codes for screens and paper."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.transport import qr
from keyturn.transport.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_EXTRA: Final = 2
"""Spare parts of a set when nobody says otherwise: any one page may be lost, and most pairs."""
ANSWER_ROOM: Final = 64 << 10
"""Bytes for which there must be room in a set of codes before the HSM is asked: more than any answer has."""
SHEETS: Final = "print"
"""Sub-folder with the pages to print; import reads the folder above it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a bundle goes.

    Args:
        file: The `.ktb` file, or None.
        folder: The folder for QR codes, or None.
        extra: Spare parts.
        max_version: Largest symbol version.
        error_correction: `L`, `M`, `Q` or `H`.
    """

    file: Path | None
    folder: Path | None
    extra: int
    max_version: int
    error_correction: str

    @property
    def named(self) -> bool:
        """Whether there is any place at all."""
        return self.file is not None or self.folder is not None

    def require_free(self) -> None:
        """Refuse a folder that holds something: parts of two exports must not lie in one folder.

        Raises:
            KeyturnError: `export.folder-not-empty`.
        """
        if (
            self.folder is not None
            and self.folder.exists()
            and (not self.folder.is_dir() or any(self.folder.iterdir()))
        ):
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"{self.folder} is not an empty folder; parts of two sets must not be mixed. Name another one.",
                refusal="export.folder-not-empty",
            )

    def require_ready(self) -> None:
        """Refuse a place where the answer could not be written, before the HSM is asked for it.

        Raises:
            KeyturnError: `export.folder-not-empty`, `export.not-writable`, `export.small-symbols`.
        """
        self.require_free()
        for place in (self.file, self.folder):
            if place is None:
                continue
            above = place.absolute().parent
            if place is self.folder:  # It is made with its parents.
                above = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())
            if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
                raise KeyturnError(
                    ErrorCode.VALIDATION_FAILED,
                    f"{place} cannot be written: {above} is no folder in which you may write. Nothing was executed.",
                    refusal="export.not-writable",
                )
        room = qr.room(error_correction=self.error_correction, max_version=self.max_version, extra=self.extra)
        if self.folder is not None and room < ANSWER_ROOM:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"Symbols of version {self.max_version} at level {self.error_correction} are too small for an answer. "
                "Nothing was executed; allow a larger --max-version or a lower --error-correction.",
                refusal="export.small-symbols",
            )

    def write(self, sealed: bytes, title: str) -> dict[str, Any]:
        """Write a bundle to every place.

        Args:
            sealed: The bundle.
            title: What it is, for the head of printed pages.

        Returns:
            What was written, ready for JSON.
        """
        written: dict[str, Any] = {"bytes": len(sealed)}
        if self.file is not None:
            write_atomically(self.file, sealed)
            written["file"] = str(self.file)
        if self.folder is not None:
            written["qr"] = self._draw(self.folder, sealed, title)
        return written

    def _draw(self, folder: Path, sealed: bytes, title: str) -> dict[str, Any]:
        # Pages need Pillow, which no other command loads.
        from keyturn.transport.qr_sheet import sheet_pngs

        symbols = qr.qr_set(
            sealed, error_correction=self.error_correction, max_version=self.max_version, extra=self.extra
        )
        sheets = folder / SHEETS
        try:
            sheets.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KeyturnError(
                ErrorCode.TECHNICAL, f"Cannot create {sheets}: {error.strerror}.", refusal="file.unwritable"
            ) from error
        digits = len(str(len(symbols.texts)))
        names = []
        for index in range(len(symbols.texts)):
            plain = index < symbols.total
            number = index + 1 if plain else index + 1 - symbols.total
            name = f"{'part' if plain else 'spare'}-{number:0{digits}}.png"
            write_atomically(folder / name, qr.draw(symbols, index))
            names.append(name)
        pages = sheet_pngs(symbols, title)
        for number, page in enumerate(pages, 1):
            write_atomically(sheets / f"page-{number:02}.png", page)
        return {
            "folder": str(folder),
            "name": symbols.name,
            "parts": symbols.total,
            "spares": len(symbols.texts) - symbols.total,
            "files": names,
            "pages": len(pages),
        }


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options from which `target` is made.

    Args:
        command: The function behind a command.
    """
    for option in (
        click.option(
            "--error-correction",
            type=click.Choice(["L", "M", "Q", "H"]),
            default=qr.DEFAULT_ERROR_CORRECTION,
            show_default=True,
            help="How much of a code may be damaged: 7, 15, 25 or 30 percent.",
        ),
        click.option(
            "--max-version",
            type=click.IntRange(1, 40),
            default=qr.DEFAULT_MAX_VERSION,
            show_default=True,
            help="Largest code drawn; smaller ones are easier to scan, but there are more of them.",
        ),
        click.option(
            "--extra",
            type=click.IntRange(0, qr.MAX_EXTRA),
            default=DEFAULT_EXTRA,
            show_default=True,
            help="Spare codes beside those that hold the bundle; each makes up for a lost one.",
        ),
        click.option(
            "--qr",
            "folder",
            type=click.Path(file_okay=False, path_type=Path),
            help=f"Empty folder for QR codes, one PNG each; pages to print go to its sub-folder {SHEETS}.",
        ),
        click.option("--out", "file", type=click.Path(dir_okay=False, path_type=Path), help="Bundle file (.ktb)."),
    ):
        command = option(command)
    return command
