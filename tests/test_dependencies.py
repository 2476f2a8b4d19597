"""Every package that is asked for is pinned with its hashes, and stands with its reason in docs/dependencies.md."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
REQUIREMENTS: Final = ROOT / "requirements"
PAGE: Final = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def asked_for(text: str) -> set[str]:
    """Names of the packages in a file of requirements, as they are written there."""
    lines = (line.strip() for line in text.splitlines())
    return {name[0] for line in lines if (name := _NAME.match(line))}


def pinned(text: str) -> set[str]:
    """Names of the packages that a lock pins to one version with at least one hash, in small letters."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {
        block.partition("==")[0].partition("[")[0].strip().lower()
        for block in blocks
        if re.match(r"[\w.\[\]-]+==\S+", block) and "--hash=sha256:" in block
    }


@pytest.mark.parametrize("source", sorted(REQUIREMENTS.glob("*.in")), ids=lambda path: path.stem)
def test_what_is_asked_for_is_pinned_and_has_its_reason(source: Path) -> None:
    names = asked_for(source.read_text(encoding="utf-8"))
    assert names
    lock = source.with_suffix(".txt").read_text(encoding="utf-8")
    assert {name.lower() for name in names} - pinned(lock) == set()
    words = {word.lower().strip(".-") for word in _NAME.findall(PAGE)}
    assert {name for name in names if name.lower() not in words} == set()


def test_the_package_asks_for_what_the_lock_was_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for asked, file in (
        (project["dependencies"], "runtime.in"),
        (project["optional-dependencies"]["postgresql"], "postgresql.in"),
    ):
        lines = (REQUIREMENTS / file).read_text(encoding="utf-8").splitlines()
        assert sorted(asked) == sorted(line for line in lines if _NAME.match(line))


def test_a_package_without_a_hash_is_not_pinned() -> None:
    assert pinned("one==1 \\\n    --hash=sha256:ab\ntwo==2\nthree>=3 \\\n    --hash=sha256:ab\n") == {"one"}
