"""`make fuzz`: coverage-guided fuzzing of every target, ten minutes unless `FUZZ_SECONDS` says otherwise.

    PYTHONPATH=tests python -m fuzz.run [--keep] [TARGET …]

The time is the wall time of the whole run, shared by all targets; `FUZZ_JOBS` of them, as many as there are processors
unless it is set, are fuzzed side by side. What is found lies under tests/fuzz/crashes afterwards, where pytest replays
it for ever; the run ends with 1 then. `--keep` adds to tests/fuzz/corpus what reaches lines that nothing there reaches.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fuzz import corpus, session
from fuzz.catalogue import CRASHES, all_targets, stored
from fuzz.harness import Finding, check

if TYPE_CHECKING:
    from fuzz.harness import AnyTarget

DEFAULT_SECONDS: Final = 600
LEAST_SECONDS: Final = 2
"""Of one target; less is spent on loading."""
_LOADING: Final = 3
"""Seconds that a session takes beside its fuzzing, about."""


def main(arguments: list[str]) -> int:
    """Fuzz.

    Args:
        arguments: As above.

    Returns:
        0 when nothing was found, 1 when something was, 2 when this machine cannot fuzz.
    """
    parser = argparse.ArgumentParser(prog="make fuzz", description="Coverage-guided fuzzing of every boundary parser.")
    parser.add_argument("--keep", action="store_true", help="add to the corpus what reaches new lines")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="only these, such as structures.policy")
    options = parser.parse_args(arguments)
    targets = {target.name: target for target in all_targets()}
    if unknown := set(options.targets) - targets.keys():
        print(f"There is no target {', '.join(sorted(unknown))}; there are {', '.join(targets)}.", file=sys.stderr)
        return 2
    if not session.AVAILABLE:
        print(
            "atheris is not installed: it has wheels for Linux on x86-64 and Python 3.11 to 3.14 alone. Here the tests "
            "replay the corpus (pytest tests/fuzz), and that is all.",
            file=sys.stderr,
        )
        return 2
    chosen = [targets[name] for name in options.targets] or list(targets.values())
    jobs = int(os.environ.get("FUZZ_JOBS") or 0) or os.cpu_count() or 1
    total = int(os.environ.get("FUZZ_SECONDS") or DEFAULT_SECONDS)
    seconds = max(LEAST_SECONDS, total * min(jobs, len(chosen)) // len(chosen) - _LOADING)
    print(f"{len(chosen)} targets, {seconds} s each, {jobs} side by side")
    found: list[tuple[Path, str]] = []
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="keyturn-fuzz-") as scratch, ThreadPoolExecutor(jobs) as pool:
        waiting = {
            pool.submit(session.fuzz, [target], seconds, Path(scratch) / target.name): target for target in chosen
        }
        for number, future in enumerate(as_completed(waiting), 1):
            target, outcome = waiting[future], future.result()
            # At once: a run that is broken off keeps what it found.
            found += _keep_findings(target, outcome)
            if options.keep:
                corpus.store(target, [data for _, data in outcome.discovered])
            print(
                f"[{number:2}/{len(chosen)}, {time.monotonic() - begin:4.0f} s] {target.name:26} "
                f"{outcome.executions:>9} inputs, {outcome.covered:>5} edges, {len(outcome.discovered):>4} new"
                + ("   FOUND SOMETHING" if outcome.findings else ""),
                flush=True,
            )
    for path, why in found:
        print(f"\n{path}\n  {why}")
    if found:
        print(f"\n{len(found)} found. `pytest tests/fuzz` fails until they are mended; commit them with the mending.")
    return 1 if found else 0


def _keep_findings(target: AnyTarget, outcome: session.Outcome) -> list[tuple[Path, str]]:
    """Save what was found and say what is wrong with it."""
    saved = []
    known = stored(CRASHES, target)
    for _, data in outcome.findings:
        folder = CRASHES / target.name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / hashlib.sha256(data).hexdigest()[:16]
        if data not in known:
            path.write_bytes(data)
        try:
            check(target, data)
            why = "It is no finding outside the engine: it was slow or large there. Look at:\n" + outcome.log[-2000:]
        except Finding as finding:
            why = str(finding)[:500]
        saved.append((path, why))
    if not outcome.executions and not outcome.findings:
        saved.append((Path(target.name), "The engine did not run:\n" + outcome.log[-2000:]))
    return saved


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
