"""Start and stop what is measured: keyturn itself, and the minimal handler on the same HTTP server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(url: str, headers: Mapping[str, str], seconds: float = 20) -> float:
    """Seconds until `url` answered 200."""
    start = time.perf_counter()
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=1) as answer:
                if answer.status == 200:
                    return time.perf_counter() - start
        except OSError:
            if time.perf_counter() - start > seconds:
                raise
        time.sleep(0.01)


@contextmanager
def keyturn(
    data_dir: Path, *, api_keys: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """A `keyturn serve --profile local`; yields its URL, its process and the seconds it took to answer.

    Its standard error, and that of the HSM beside it, is kept beside `data_dir`; the end of it is shown when a
    measurement fails.

    Args:
        data_dir: Where it keeps its state.
        api_keys: Setting below `apiAuthentication` to API key, `serviceToken` among them; None for no authentication.
    """
    port = free_port()
    command = [str(Path(sys.executable).with_name("keyturn")), "serve", "--profile", "local"]
    environment, headers = dict(os.environ), {}
    if api_keys is not None:
        environment["KEYTURN_APIAUTHENTICATION__ENABLED"] = "true"
        for setting, key in api_keys.items():
            hashed = f"sha256:{sha256(key.encode()).hexdigest()}"
            environment[f"KEYTURN_APIAUTHENTICATION__{setting.upper()}"] = hashed
        headers["X-API-KEY"] = api_keys["serviceToken"]
    notes = data_dir.with_name(f"{data_dir.name}.stderr")
    with notes.open("ab") as stderr:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        ready = wait_for(f"{url}/v1/versionInfo", headers)
        yield url, process, ready
    except Exception:
        print(f"The last that keyturn wrote to its standard error:\n{tail(notes)}", file=sys.stderr)
        raise
    finally:
        process.terminate()
        process.wait(10)


def tail(path: Path, lines: int = 40) -> str:
    """The last lines of a file."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def minimal_handler(kind: str) -> Iterator[str]:
    """The minimal handler under uvicorn with the options that keyturn uses; yields its URL."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable, "-m", "uvicorn", "minimal_handler:app", "--port", str(port), "--loop", "uvloop", "--http",
            "httptools", "--ws", "none", "--no-access-log", "--log-level", "warning",
        ],
        cwd=HERE,
        env={**os.environ, "BENCH_KEY": kind},
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        time.sleep(0.3)
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > deadline:
                raise TimeoutError("the minimal handler did not start")
            time.sleep(0.02)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def memory(pid: int) -> dict[str, float]:
    """Resident and proportional memory in MB of `pid` and its descendants, each by its command."""
    figures: dict[str, float] = {}
    for process in [pid, *descendants(pid)]:
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            name = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        words = {word.decode(errors="replace") for word in name}
        part = "worker" if any("worker" in w for w in words) else "hsm" if "hsm" in words else "broker"
        for line in rollup.splitlines():
            if line.startswith(("Rss:", "Pss:")):
                key = f"{part} {line[:3].upper()}"
                figures[key] = round(figures.get(key, 0) + int(line.split()[1]) / 1024, 1)
    return figures


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *descendants(int(child))]
    return found
