"""About half a minute of coverage-guided fuzzing in every run of the tests; `make fuzz` does it at length.

Where atheris has no wheel these are skipped, and the corpus is replayed all the same (test_replay).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fuzz import planted, session
from fuzz.catalogue import all_targets
from fuzz.harness import Finding, check

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 30
"""Of all targets together, in one process: to load what is fuzzed, line by line counted, takes seconds each time."""

pytestmark = [
    pytest.mark.skipif(not session.AVAILABLE, reason="atheris has wheels for Linux on x86-64 alone"),
    pytest.mark.rule("R29"),
]


def test_no_parser_of_the_boundary_breaks_under_fuzzing_r29(tmp_path: Path) -> None:
    targets = all_targets()
    outcome = session.fuzz(targets, SECONDS, tmp_path)
    assert not outcome.findings, f"save it under tests/fuzz/crashes: {outcome.findings}\n{outcome.log[-3000:]}"
    assert outcome.executions > 0, outcome.log[-3000:]
    assert outcome.covered > 0, outcome.log[-3000:]
    assert outcome.reached == {target.name for target in targets}


def test_the_fuzzer_finds_a_planted_bug_behind_five_branches_r29(tmp_path: Path) -> None:
    outcome = session.fuzz(planted.TARGETS, 60, tmp_path, seed=1)
    ((name, data),) = outcome.findings
    assert name == "planted.bug"
    assert data.startswith(planted.WORD)
    # It came there step by step: each branch that was passed is one more edge, and its input was kept.
    assert outcome.covered > 5
    assert any(data.startswith(planted.WORD[:2]) for _, data in outcome.discovered)
    with pytest.raises(Finding):
        check(planted.TARGETS[0], data)
