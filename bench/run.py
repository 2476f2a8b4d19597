"""Measure keyturn against the raw limits, in one run, interleaved; medians of five.

    make bench                       # a table, and bench-output/bench.json
    .venv/bin/python bench/run.py --rounds 1 --seconds 1

The *loop* is the library called in one process; the *minimal handler* is raw ASGI on the same server in one process.
Figures of two machines cannot be compared; the ratios within one run can.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import statistics
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from flows import flows_per_second
from ledger import ledger_figures
from load import wrk_rate
from raw_limits import durable_commit_rate, loop_rate
from release import decision_costs, release_figures
from rich.console import Console
from rich.table import Table
from servers import keyturn, memory, minimal_handler

CONNECTIONS = (1, 8, 64)
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "RSA-2048": ({"algorithm": "RSA", "keySize": 2048}, "SHA256_WITH_RSA"),
    "P-256": ({"algorithm": "EC", "curveOid": "1.2.840.10045.3.1.7"}, "SHA256_WITH_ECDSA"),
}
TARGETS = {
    "RSA-2048 of the loop, 8 connections": 0.80,
    "RSA-2048 of the loop, 64 connections": 0.80,
    "P-256 of the minimal handler, 8 connections": 0.60,
    "P-256 of the minimal handler, 64 connections": 0.60,
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--flows", type=int, default=600)
    parser.add_argument("--out", type=Path, default=Path("bench-output/bench.json"))
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch, console.status("measuring") as status:
        figures = measure(Path(scratch), arguments, status.update)
    derive(figures)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures, console)
    console.print(f"JSON: {arguments.out}")


def measure(scratch: Path, arguments: argparse.Namespace, say: Any) -> dict[str, Any]:
    raw: dict[str, list[float]] = {}
    result: dict[str, Any] = {}
    data = scratch / "data"
    say("first start")
    with keyturn(data) as (url, _, ready):
        result["seconds until ready (first start, keys made)"] = round(ready, 2)
        for name, (spec, _) in KINDS.items():
            attributes = {"sign": True, "decrypt": False, "unwrap": False, "destroyable": True}
            post(url + "/v1/key", {"label": f"bench-{name}", "attributes": attributes, "policy": None, **spec})
    say("later start")
    with (
        keyturn(data) as (url, process, ready),
        minimal_handler("P-256") as minimal_ec,
        minimal_handler("RSA-2048") as minimal_rsa,
    ):
        result["seconds until ready (later start)"] = round(ready, 2)
        result["memory at rest"] = memory(process.pid)
        handlers = {"P-256": minimal_ec, "RSA-2048": minimal_rsa}
        for turn in range(arguments.rounds):
            for name, (_, algorithm) in KINDS.items():
                say(f"round {turn + 1} of {arguments.rounds}: {name}")
                body = {
                    "signRequest": {
                        "payload": base64.b64encode(b"x" * 32).decode(),
                        "signKeyName": f"bench-{name}",
                        "signatureAlgorithm": algorithm,
                    }
                }
                raw.setdefault(f"{name} loop", []).append(loop_rate(name, arguments.seconds))
                for count in CONNECTIONS:
                    for what, target in (("keyturn", url + "/v1/synchronousSign"), ("minimal", handlers[name] + "/")):
                        rate = wrk_rate(target, body, count, arguments.seconds)
                        raw.setdefault(f"{name} {what} {count}", []).append(rate)
        result["memory after load"] = memory(process.pid)
    say("flows")
    with keyturn(scratch / "flows") as (url, process, _):
        ratios: list[float] = []
        for _turn in range(arguments.rounds):
            raw.setdefault("disk", []).append(durable_commit_rate(scratch, 1))
            plain, bound = asyncio.run(both_kinds(url, arguments.flows, len(ratios)))
            raw.setdefault("flows", []).append(plain)
            raw.setdefault("flows, bound", []).append(bound)
            ratios.append(bound / plain)
        result["flows with bound approvals, of those without"] = round(statistics.median(ratios), 3)
        result["memory after flows"] = memory(process.pid)
    say("10 000 requests wait, 400 are released")
    result |= release_figures(scratch / "release")
    say("decisions")
    result |= decision_costs(arguments.rounds)
    say("a million consumed statements")
    result |= ledger_figures(scratch / "ledger", arguments.rounds)
    result["rates per second, median"] = {name: round(statistics.median(values), 1) for name, values in raw.items()}
    return result


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


def derive(figures: dict[str, Any]) -> None:
    rates = figures["rates per second, median"]
    for name in KINDS:
        for count in CONNECTIONS:
            ours = rates[f"{name} keyturn {count}"]
            word = "connection" if count == 1 else "connections"
            figures[f"{name} of the loop, {count} {word}"] = round(ours / rates[f"{name} loop"], 3)
            figures[f"{name} of the minimal handler, {count} {word}"] = round(
                ours / rates[f"{name} minimal {count}"], 3
            )
    figures["flows per second"] = rates["flows"]
    figures["durable commits per second of the disk itself"] = rates["disk"]
    both = [value for key, value in figures["memory after flows"].items() if key in ("broker RSS", "hsm RSS")]
    figures["MB of broker and HSM together"] = round(sum(both), 1)


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


def post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


if __name__ == "__main__":
    main()
