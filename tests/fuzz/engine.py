"""The process in which atheris drives some targets of one module; `session` starts it.

    PYTHONPATH=tests python -m fuzz.engine MODULE NAMES FLAGS… FOLDERS…

The first byte of an input says which of the targets the rest is for. The flags and folders are libFuzzer's own. The
process ends as libFuzzer does: 0 when the time is up, another number after a finding.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

CPU_SECONDS: Final = 10.0
"""Most processor time of one input here, where every line is counted."""


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process.

    Args:
        arguments: Module, names of its targets with commas between, libFuzzer's arguments.
    """
    module, names = arguments[0], arguments[1].split(",")
    # Loaded by name: there is no such package where it has no wheel, and the types are not its concern.
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["keyturn", "fuzz.planted"]):
        importlib.import_module(f"fuzz.{module}")
    harness: Any = importlib.import_module("fuzz.harness")
    known = {target.name: target for target in importlib.import_module(f"fuzz.{module}").TARGETS}
    targets = [known[name] for name in names]

    def one(data: bytes) -> None:
        if data:
            harness.check(targets[data[0] % len(targets)], data[1:], seconds=CPU_SECONDS)

    atheris.Setup([sys.argv[0], *arguments[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
