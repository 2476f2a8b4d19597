"""The process in which atheris drives some targets; `session` starts it.

    PYTHONPATH=tests python -m fuzz.engine NAMES FLAGS… FOLDERS…

The first byte of an input says which of the targets the rest is for. The flags and folders are libFuzzer's own. When a
target gets its first input, a line says so. The process ends as libFuzzer does: 0 when the time is up, another
number after a finding.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

CPU_SECONDS: Final = 10.0
"""Most processor time of one input here, where every line is counted."""
REACHED: Final = "reached the target"
"""What stands before the name of a target when it gets its first input."""


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process.

    Args:
        arguments: Names of the targets with commas between, libFuzzer's arguments.
    """
    names = arguments[0].split(",")
    # Loaded by name: there is no such package where it has no wheel, and the types are not its concern.
    atheris: Any = importlib.import_module("atheris")
    modules = dict.fromkeys(f"fuzz.{name.partition('.')[0]}" for name in names)
    with atheris.instrument_imports(include=["keyturn", "fuzz.planted"]):
        known = {target.name: target for module in modules for target in importlib.import_module(module).TARGETS}
    harness: Any = importlib.import_module("fuzz.harness")
    targets = [known[name] for name in names]
    waiting = set(names)

    def one(data: bytes) -> None:
        if data:
            target = targets[data[0] % len(targets)]
            if target.name in waiting:
                waiting.remove(target.name)
                print(REACHED, target.name, flush=True)
            harness.check(target, data[1:], seconds=CPU_SECONDS)

    atheris.Setup([sys.argv[0], *arguments[1:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
