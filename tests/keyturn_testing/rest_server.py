"""Real `keyturn serve` processes for tests, and officers who talk to them as approval programs do.

with ServeProcess(tmp_path / "vault") as vault, vault.client() as rest:
    request = rest.sign({...})
    (task,) = fetch(rest, ada)
    approve(rest, ada, task)
"""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyturn.cli.serve import HSM_DIRECTORY
from keyturn.client import RestClient
from keyturn_testing.made_stores import make_embedded_store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from keyturn.client.approval import TaskKind
    from keyturn.ska.policy import Policy
    from keyturn_testing.officers import Officer

READY_WITHIN = 90.0
"""Seconds a start may take on a loaded machine before a test gives up; longer than a server waits for its own HSM."""
P256 = "1.2.840.10045.3.1.7"

_moments = itertools.count()


class ServeProcess:
    """One `keyturn serve` on a free port of 127.0.0.1; a context manager that starts and stops it.

    Args:
        directory: Data directory, made if missing.
        profile: `local` or `air-gapped`.
        options: Further words for the command.
        first_start: Whether the HSM beside it makes its own store, as it does for people.
    """

    def __init__(
        self, directory: Path, profile: str = "local", options: Sequence[str] = (), *, first_start: bool = False
    ) -> None:
        self.directory = directory
        if profile == "local" and not options and not first_start:
            make_embedded_store(directory / HSM_DIRECTORY)
        self.words = ["--profile", profile, "--data-dir", str(directory), "--port", "0", "--json", *options]
        self.ready: dict[str, Any] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.said = ""
        """What it wrote to standard error, all of it, once it has ended."""
        self._errors = tempfile.NamedTemporaryFile(prefix="kt-serve-")  # noqa: SIM115 - Closed with the process.

    def __enter__(self) -> ServeProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(signal.SIGTERM)
        self.said = self.errors
        self._errors.close()

    @property
    def url(self) -> str:
        """Where it answers."""
        return str(self.ready["url"])

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return Path(self._errors.name).read_text()

    def client(self) -> RestClient:
        """A client of it."""
        return RestClient(self.url)

    def start(self) -> ServeProcess:
        """Start it and wait until it says that it is ready."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "keyturn", "serve", *self.words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self.ready = json.loads(self._first_line())
        return self

    def _first_line(self) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + READY_WITHIN
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(descriptor, 4096) if ready else b""
            if not piece:
                self.end(signal.SIGKILL)
                raise AssertionError(f"the server did not become ready: {line!r}\n{self.errors}")
            line += piece
        return line

    def end(self, number: signal.Signals) -> int:
        """End it with a signal; returns its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def restart(self, number: signal.Signals = signal.SIGTERM) -> ServeProcess:
        """End it and start it again on the same directory; the port is another one."""
        self.end(number)
        return self.start()


def b64(data: bytes) -> str:
    """Base64 as the API writes it."""
    return base64.b64encode(data).decode("ascii")


def moment() -> str:
    """A timestamp of now, never the same twice."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{now}.{next(_moments) % 1_000_000:06d}Z"


def proof(officer: Officer, timestamp: str | None = None, *, certificate: bool = False) -> dict[str, Any]:
    """The members of a body by which an officer proves possession of their key."""
    text = timestamp or moment()
    name, value = ("approverCertificate", officer.certificate) if certificate else ("approverPublicKey", officer.spki)
    return {
        "timestamp": text,
        "timestampSignature": b64(officer.sign(text.encode())),
        "timestampDigestAlgorithm": officer.digest,
        name: b64(value),
    }


def fetch(
    rest: RestClient, officer: Officer, *, kind: TaskKind = "All", level: int = 5, **more: Any
) -> list[dict[str, Any]]:
    """Fetch an officer's tasks."""
    return rest.tasks(proof(officer) | {"detailLevel": f"level{level}"} | more, kind)


def signed_approval(officer: Officer, task: dict[str, Any], *, prefix: bytes = b"") -> dict[str, Any]:
    """The body with which an officer approves a task; with the prefix `REJECTED:` they reject it."""
    data = prefix + base64.b64decode(task["approvalToBeSigned"])
    return {
        "id": task["id"],
        "approvalToBeSigned": b64(data),
        "signature": b64(officer.sign(data)),
        "approvalDigestAlgorithm": officer.digest,
        "approverPublicKey": b64(officer.spki),
    }


def approve(rest: RestClient, officer: Officer, task: dict[str, Any]) -> None:
    """Approve a task."""
    rest.approve(signed_approval(officer, task))


def reject(rest: RestClient, officer: Officer, task: dict[str, Any]) -> None:
    """Reject a task with a signed timestamp."""
    rest.reject({"id": task["id"], **proof(officer)})


def policy_json(policy: Policy, *, new: bool) -> dict[str, Any]:
    """A policy as JSON: of a new key with `keyStatus`, for a modify request without."""
    from keyturn.ska.policy_json import policy_to_json

    return policy_to_json(policy, blocked=False if new else None)


def create_ec_key(rest: RestClient, label: str, policy: Policy | None, **attributes: bool) -> dict[str, Any]:
    """Create a P-256 key that may sign and can be destroyed."""
    return rest.create_key(
        label,
        "EC",
        curve_oid=P256,
        attributes={"decrypt": False, "sign": True, "unwrap": False, "destroyable": True, **attributes},
        policy=None if policy is None else policy_json(policy, new=True),
    )
