"""A plugin of the test run: collects which documented endpoints and algorithms work, for docs/compatibility.md.

A test that shows a row carries `pytest.mark.compatible(kind=…, name=…, outcome=…)`: kind and name are those of
tests/compat/rows.yaml, the outcome one of `OUTCOMES`, and a `note` says more where it must. With
`--compat-records FILE` the run writes one record for each such mark, and with `--compat-page PAGE` it fails when the
second part of the page is not what `scripts/compatibility.py` makes of these records. A row that stands under `open`
may fail; it is printed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from keyturn_testing.run_records import Collector, place

if TYPE_CHECKING:
    from collections.abc import Mapping

PROPERTY: Final = "compatible"
OUTCOMES: Final = ("works", "refused by name", "not applicable")
ROWS: Final = Path(__file__).parent.parent / "compat" / "rows.yaml"
SCRIPT: Final = Path(__file__).parent.parent.parent / "scripts" / "compatibility.py"


@cache
def rows() -> dict[str, Any]:
    """The documented rows by kind; under `open` those that are not there yet, by kind."""
    read: dict[str, Any] = yaml.safe_load(ROWS.read_text(encoding="utf-8"))
    return read


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add both options."""
    group = parser.getgroup("compatibility", "the table of compatibility")
    group.addoption("--compat-records", metavar="FILE", help="write which documented rows work")
    group.addoption("--compat-page", metavar="PAGE", help="fail unless this page is made of these records")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to collect, in the process that receives all reports."""
    if config.getoption("--compat-records") and not hasattr(config, "workerinput"):
        records, page = config.getoption("--compat-records"), config.getoption("--compat-page")
        collector = Collector(PROPERTY, "row", SCRIPT, Path(records), page, "table of compatibility")
        config.pluginmanager.register(collector, "compat-collector")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test's reports the record of its row; the outcome is added where they arrive."""
    for mark in item.iter_markers("compatible"):
        record = _record(item, mark.kwargs)
        item.user_properties.append((PROPERTY, record))
        if record["open"]:
            item.add_marker(pytest.mark.xfail(reason="stands under `open` in rows.yaml", strict=False))


def _record(item: pytest.Item, row: Mapping[str, Any]) -> dict[str, Any]:
    kind, name, outcome = row.get("kind"), row.get("name"), row.get("outcome")
    if set(row) - {"note"} != {"kind", "name", "outcome"} or outcome not in OUTCOMES:
        raise pytest.UsageError(f"{item.nodeid}: a row has kind, name and outcome, one of {', '.join(OUTCOMES)}")
    if kind not in rows() or name not in rows()[kind]:
        raise pytest.UsageError(f"{item.nodeid}: there is no {kind} {name!r} in {ROWS.name}")
    return {
        "kind": kind,
        "name": name,
        "expected": outcome,
        "note": row.get("note", ""),
        "row": f"{kind}: {name}",
        "open": name in (rows()["open"].get(kind) or ()),
        "test": item.nodeid,
        "place": place(item),
    }
