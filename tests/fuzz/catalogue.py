"""Where the targets are."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fuzz.harness import AnyTarget

HERE: Final = Path(__file__).parent
CORPUS: Final = HERE / "corpus"
"""Inputs that reach different lines, a folder for each target."""
CRASHES: Final = HERE / "crashes"
"""Inputs that were findings once, a folder for each target."""
MODULES: Final = ("structures", "certificates", "keys", "texts", "lines", "carried", "shown", "verdicts", "uploads")


def targets_of(module: str) -> tuple[AnyTarget, ...]:
    """The targets of one module of this folder."""
    found: tuple[AnyTarget, ...] = importlib.import_module(f"fuzz.{module}").TARGETS
    return found


def all_targets() -> tuple[AnyTarget, ...]:
    """Every target."""
    return tuple(target for module in MODULES for target in targets_of(module))


def stored(folder: Path, target: AnyTarget) -> list[bytes]:
    """The inputs of a target in `CORPUS` or `CRASHES`."""
    return [path.read_bytes() for path in sorted((folder / target.name).glob("*")) if path.is_file()]
