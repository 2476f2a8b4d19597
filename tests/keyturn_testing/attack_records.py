"""A plugin of the test run: collects what became of every line of the table of attacks.

A test that shows a line carries `pytest.mark.attack(subject=…, attack=…, refused=…, rule=…)`; where the attack was made
on several kinds of keys, `keys={kind: outcome}` stands in the place of `refused`. With
`--attack-records FILE` the run writes one record for each such test into a file, and with `--attack-page PAGE` it fails
when the page is not what `scripts/attacks.py` makes of these records, or when a line is not green. Both are given where
the whole suite runs; a part of it neither writes nor fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from keyturn_testing.run_records import Collector, place

if TYPE_CHECKING:
    from collections.abc import Mapping

PROPERTY: Final = "attack"
SCRIPT: Final = Path(__file__).parent.parent.parent / "scripts" / "attacks.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add both options."""
    group = parser.getgroup("attacks", "the table of attacks")
    group.addoption("--attack-records", metavar="FILE", help="write what became of every line of the table of attacks")
    group.addoption("--attack-page", metavar="PAGE", help="fail unless this page is made of these records")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to collect, in the process that receives all reports."""
    if config.getoption("--attack-records") and not hasattr(config, "workerinput"):
        records, page = config.getoption("--attack-records"), config.getoption("--attack-page")
        collector = Collector(PROPERTY, "attack", SCRIPT, Path(records), page, "table of attacks")
        config.pluginmanager.register(collector, "attack-collector")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test's reports the record of its line; the outcome is added where they arrive."""
    for mark in item.iter_markers("attack"):
        item.user_properties.append((PROPERTY, _record(item, mark.kwargs)))


def _record(item: pytest.Item, line: Mapping[str, Any]) -> dict[str, Any]:
    answers = {"keys"} if "keys" in line else {"refused"}
    if set(line) - {"profile"} != {"subject", "attack", "rule"} | answers:
        raise pytest.UsageError(f"{item.nodeid}: an attack has subject, attack, refused and rule")
    callspec = getattr(item, "callspec", None)
    parameters = {} if callspec is None else callspec.params
    return {
        **line,
        "profile": line.get("profile", parameters.get("profile", "")),
        "test": item.nodeid,
        "place": place(item),
    }
