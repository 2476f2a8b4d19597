"""Every input that ever mattered goes through its target again: seeds, the corpus, and what was a finding once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fuzz.catalogue import CORPUS, CRASHES, all_targets, stored
from fuzz.harness import Finding, check
from fuzz.planted import TARGETS as PLANTED
from fuzz.planted import WORD

if TYPE_CHECKING:
    from fuzz.harness import AnyTarget

TARGETS = all_targets()


def named(target: AnyTarget) -> str:
    return target.name


@pytest.mark.parametrize("target", TARGETS, ids=named)
@pytest.mark.rule("R29")
def test_every_parser_takes_its_seeds_and_keeps_its_invariant_on_the_corpus_r29(target: AnyTarget) -> None:
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        assert check(target, seed) is not target.refuses_all
    for data in stored(CORPUS, target):
        check(target, data)


@pytest.mark.parametrize("target", [target for target in TARGETS if stored(CRASHES, target)], ids=named)
@pytest.mark.rule("R29")
def test_what_was_a_finding_once_is_none_any_more_r29(target: AnyTarget) -> None:
    for data in stored(CRASHES, target):
        check(target, data)


def test_folders_of_inputs_belong_to_targets_and_are_small() -> None:
    names = {target.name for target in TARGETS}
    assert len(names) == len(TARGETS)
    for folder in (CORPUS, CRASHES):
        assert {path.name for path in folder.iterdir() if path.is_dir()} <= names
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 2 << 20


def test_a_planted_bug_is_a_finding() -> None:
    assert check(PLANTED[0], b"hello")
    with pytest.raises(Finding, match="ZeroDivisionError left the parser"):
        check(PLANTED[0], WORD + b"x")
