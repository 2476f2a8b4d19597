"""One session of coverage-guided fuzzing: prepare inputs, run the engine in a process, collect what it found."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fuzz.catalogue import CORPUS, CRASHES, stored
from fuzz.engine import REACHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fuzz.harness import AnyTarget

TESTS: Final = Path(__file__).parent.parent
AVAILABLE: Final = importlib.util.find_spec("atheris") is not None
"""Whether coverage-guided fuzzing can be done here: atheris has wheels for Linux on x86-64 alone."""
LONGEST: Final = 4096
"""Longest input made, in bytes."""
GRACE: Final = 90
"""Seconds that a session may take beyond its time, to load and to end."""
INPUT_SECONDS: Final = 25
"""Wall time after which libFuzzer calls one input endless."""

_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_REACHED: Final = re.compile(rf"{REACHED} (\S+)")
_COVERED: Final = re.compile(r"cov: (\d+)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a session did.

    Args:
        executions: How many inputs were tried; 0 when libFuzzer could not say, as after a hang.
        covered: Most edges of our code that were reached.
        reached: Names of the targets that got an input.
        findings: Target's name and input of each finding; at most one for each session.
        discovered: Target's name and input of what reached something new.
        log: What the engine said.
    """

    executions: int
    covered: int
    reached: frozenset[str]
    findings: tuple[tuple[str, bytes], ...]
    discovered: tuple[tuple[str, bytes], ...]
    log: str


def fuzz(targets: Sequence[AnyTarget], seconds: int, scratch: Path, *, seed: int = 0) -> Outcome:
    """Fuzz targets together, in one process.

    Args:
        targets: The targets, at most 256: one byte of the input tells them apart.
        seconds: How long.
        scratch: An empty folder for the session.
        seed: Of the engine's randomness; 0 takes one from the clock.

    Returns:
        What was found; the engine ends at the first finding.
    """
    folders = {name: scratch / name for name in ("found", "begin", "findings")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for number, target in enumerate(targets):
        known = {*target.seeds(), *stored(CORPUS, target), *stored(CRASHES, target)}
        for place, data in enumerate(sorted(known)):
            (folders["begin"] / f"{number}-{place}").write_bytes(bytes([number]) + data)
    command = [
        *(sys.executable, "-m", "fuzz.engine", ",".join(target.name for target in targets)),
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-timeout={INPUT_SECONDS}",
        "-rss_limit_mb=2048",
        f"-seed={seed}",
        f"-artifact_prefix={folders['findings']}/",
        "-print_final_stats=1",
        *(str(folders["found"]), str(folders["begin"])),
    ]
    log = _run(command, seconds + GRACE, scratch)
    return Outcome(
        executions=int(found[1]) if (found := _EXECUTED.search(log)) else 0,
        covered=max(map(int, _COVERED.findall(log)), default=0),
        reached=frozenset(_REACHED.findall(log)),
        findings=_read(folders["findings"], targets),
        discovered=_read(folders["found"], targets),
        log=log,
    )


def _run(command: list[str], limit: float, folder: Path) -> str:
    # The engine counts lines itself; a second counter in the same process only slows it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(TESTS)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
    return output.decode(errors="replace")


def _read(folder: Path, targets: Sequence[AnyTarget]) -> tuple[tuple[str, bytes], ...]:
    contents = (path.read_bytes() for path in sorted(folder.iterdir()))
    return tuple((targets[data[0] % len(targets)].name, data[1:]) for data in contents if data)
