"""Synchronous signing beside the loop and the minimal handler: six kinds of keys, 1, 8 and 64 connections.

keyturn runs as it is installed: an HSM process of its own, the decision log, and an API key for each role, of which
every request brings one. What is compared is measured in the same round, one after the other, on keep-alive connections
over loopback.
"""

from __future__ import annotations

import base64
import json
import secrets
import statistics
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from kinds import KINDS, PAYLOAD
from load import wrk_rate
from raw_limits import loop_rate
from servers import keyturn, memory, minimal_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

CONNECTIONS = (1, 8, 64)
TARGETS = {
    "RSA-2048 of the loop, 8 connections": 0.90,
    "RSA-2048 of the loop, 64 connections": 0.90,
    "P-256 of the minimal handler, 8 connections": 0.75,
    "P-256 of the minimal handler, 64 connections": 0.75,
}
ROLES = ("keyManagementToken", "keyOperationToken", "approverToken", "approverKeyManagementToken", "serviceToken")


def sign_figures(
    scratch: Path, kinds: Sequence[str], rounds: int, seconds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """What was measured.

    Args:
        scratch: Where the data directory is made.
        kinds: Names in `KINDS`.
        rounds: How often everything is measured.
        seconds: How long each measurement takes.
        say: Is told what is being done.

    Returns:
        Name to figure: shares, seconds until ready, memory in MB, and all rates per second.
    """
    raw: dict[str, list[float]] = {}
    result: dict[str, Any] = {}
    api_keys = {role: secrets.token_urlsafe(32) for role in ROLES}
    operation = {"X-API-KEY": api_keys["keyOperationToken"]}
    say("first start")
    with keyturn(scratch, api_keys=api_keys) as (url, _, ready):
        result["seconds until ready (first start, keys made)"] = round(ready, 2)
        for name in kinds:
            _make_key(url, api_keys["keyManagementToken"], name)
    say("later start")
    with ExitStack() as running:
        url, process, ready = running.enter_context(keyturn(scratch, api_keys=api_keys))
        minimal = {name: running.enter_context(minimal_handler(name)) for name in kinds}
        result["seconds until ready (later start)"] = round(ready, 2)
        result["memory at rest"] = memory(process.pid)
        for turn in range(rounds):
            for name in kinds:
                say(f"round {turn + 1} of {rounds}: {name}")
                body = _body(name)
                raw.setdefault(f"{name} loop", []).append(loop_rate(name, seconds))
                for count in CONNECTIONS:
                    ours = wrk_rate(f"{url}/v1/synchronousSign", body, count, seconds, operation)
                    raw.setdefault(f"{name} keyturn {count}", []).append(ours)
                    theirs = wrk_rate(f"{minimal[name]}/", body, count, seconds, operation)
                    raw.setdefault(f"{name} minimal {count}", []).append(theirs)
        result["memory after load"] = memory(process.pid)
    rates = {name: statistics.median(values) for name, values in raw.items()}
    result |= _shares(kinds, rates)
    result["signatures per second, median"] = {name: round(rate, 1) for name, rate in rates.items()}
    return result


def _shares(kinds: Sequence[str], rates: dict[str, float]) -> dict[str, float]:
    shares = {}
    for name in kinds:
        for count in CONNECTIONS:
            ours, word = rates[f"{name} keyturn {count}"], "connection" if count == 1 else "connections"
            shares[f"{name} of the loop, {count} {word}"] = round(ours / rates[f"{name} loop"], 3)
            shares[f"{name} of the minimal handler, {count} {word}"] = round(ours / rates[f"{name} minimal {count}"], 3)
    return shares


def _body(name: str) -> dict[str, Any]:
    request = {"signKeyName": f"bench-{name}", "signatureAlgorithm": KINDS[name].algorithm}
    return {"signRequest": {"payload": base64.b64encode(PAYLOAD).decode(), **request}}


def _make_key(url: str, api_key: str, name: str) -> None:
    attributes = {"sign": True, "decrypt": False, "unwrap": False, "destroyable": True}
    body = {"label": f"bench-{name}", "attributes": attributes, "policy": None, **KINDS[name].spec}
    headers = {"Content-Type": "application/json", "X-API-KEY": api_key}
    request = urllib.request.Request(f"{url}/v1/key", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
