"""Measure keyturn against the raw limits, in one run, interleaved; medians of five.

    make bench                                        # everything: a table, and bench-output/bench.json
    .venv/bin/python bench/run.py --only sign --quick

The *loop* is the library called in one process; the *minimal handler* is raw ASGI on the same server in one process.
Figures of two machines cannot be compared; the ratios within one run can.

How long it takes is set by `--rounds` and `--seconds`: signing takes 42 measurements a round for all six kinds of keys,
seven minutes with five rounds of two seconds each. The other parts do a fixed amount of work, minutes each; flows and
the ledger repeat a part of it in every round. `--quick` is for seeing that everything runs: its figures are noise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import flows_per_second
from kinds import KINDS
from ledger import ledger_figures
from raw_limits import durable_commit_rate
from release import decision_costs, release_figures
from rich.console import Console
from rich.table import Table
from servers import keyturn, memory
from signing import TARGETS as SIGNING_TARGETS
from signing import sign_figures

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS = ("sign", "flows", "release", "ledger")
TARGETS = SIGNING_TARGETS | {
    "flows per second": 150,
    "flows with bound approvals, of those without": 0.90,
    "seconds until ready (first start, keys made)": 2.0,
    "seconds until ready (later start)": 2.0,
    "MB of broker and HSM together": 200,
    "seconds late at release, 99th percentile": 1.0,
    "share released within a second": 0.99,
    "milliseconds per approval, decision on 1 approval": 0.15,
    "milliseconds per approval, decision on 10 approvals": 0.15,
    "milliseconds per approval, decision on 100 approvals": 0.15,
    "seconds until the HSM is ready (a million consumed statements)": 2.0,
    "single uses, a million consumed statements of an empty ledger": 0.9,
}
AT_MOST = ("seconds ", "MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each measurement, of which the median counts")
    parser.add_argument("--seconds", type=int, default=2, help="length of one measurement of signing, whole seconds")
    parser.add_argument("--flows", type=int, default=600, help="flows of each kind in a round")
    parser.add_argument("--quick", action="store_true", help="one round, one second each, 60 flows")
    parser.add_argument("--only", choices=PARTS, help="this part alone (release: lateness and decisions)")
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="keys to sign with")
    parser.add_argument("--out", type=Path, default=Path("bench-output/bench.json"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.flows = 1, 1, 60
    console = Console()
    with tempfile.TemporaryDirectory() as scratch, console.status("measuring") as status:
        figures = measure(Path(scratch), arguments, status.update)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures, console)
    console.print(f"JSON: {arguments.out}")


def measure(scratch: Path, arguments: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    rounds: int = arguments.rounds
    parts = PARTS if arguments.only is None else (arguments.only,)
    if "sign" in parts:
        result |= sign_figures(scratch / "sign", arguments.kinds, rounds, arguments.seconds, say)
    if "flows" in parts:
        say("flows")
        result |= flow_figures(scratch, arguments.flows, rounds)
    if "release" in parts:
        say("10 000 requests wait, 400 are released")
        result |= release_figures(scratch / "release")
        say("decisions")
        result |= decision_costs(rounds)
    if "ledger" in parts:
        say("a million consumed statements")
        result |= ledger_figures(scratch / "ledger", rounds)
    return result


def flow_figures(scratch: Path, count: int, rounds: int) -> dict[str, Any]:
    """Flows on both kinds of keys, and how often the disk itself could commit meanwhile."""
    disk: list[float] = []
    flows: dict[str, list[float]] = {"plain": [], "bound": []}
    ratios: list[float] = []
    with keyturn(scratch / "flows") as (url, process, _):
        for turn in range(rounds):
            disk.append(durable_commit_rate(scratch, 1))
            plain, bound = asyncio.run(both_kinds(url, count, turn))
            flows["plain"].append(plain)
            flows["bound"].append(bound)
            ratios.append(bound / plain)
        used = memory(process.pid)
    return {
        "flows per second": round(statistics.median(flows["plain"]), 1),
        "flows per second, bound approvals": round(statistics.median(flows["bound"]), 1),
        "flows with bound approvals, of those without": round(statistics.median(ratios), 3),
        "durable commits per second of the disk itself": round(statistics.median(disk), 1),
        "MB of broker and HSM together": round(used["broker RSS"] + used["hsm RSS"], 1),
        "memory after flows": used,
    }


async def both_kinds(url: str, count: int, turn: int, batches: int = 6) -> tuple[float, float]:
    """Flows per second on keys as documented and with bound approvals, in short batches of each by turns.

    What else the machine does, and the growth of the store, then meets both alike.
    """
    seconds = {False: 0.0, True: 0.0}
    each = max(1, count // batches)
    for number in range(batches):
        for bound in (False, True) if number % 2 == 0 else (True, False):
            label = f"bench-flows-{turn}-{number}{'-bound' if bound else ''}"
            seconds[bound] += each / await flows_per_second(url, each, at_once=16, label=label, bound=bound)
    return batches * each / seconds[False], batches * each / seconds[True]


def show(figures: dict[str, Any], console: Console) -> None:
    table = Table("what", "measured", "target", "")
    for name, value in figures.items():
        if isinstance(value, dict):
            continue
        target = TARGETS.get(name)
        if target is None:
            table.add_row(name, f"{value:g}", "", "")
            continue
        good = value <= target if any(word in name for word in AT_MOST) else value >= target
        table.add_row(name, f"{value:g}", f"{target:g}", "met" if good else "[red]missed[/red]")
    console.print(table)


if __name__ == "__main__":
    main()
