"""The raw limits: the library called in a loop in one process, and the disk's own durable commits."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

if TYPE_CHECKING:
    from pathlib import Path


def loop_rate(kind: str, seconds: float) -> float:
    """Signatures per second of the library alone."""
    payload = b"x" * 32
    if kind == "P-256":
        key = ec.generate_private_key(ec.SECP256R1())
        scheme = ec.ECDSA(hashes.SHA256())

        def sign() -> bytes:
            return key.sign(payload, scheme)

    else:
        big = rsa.generate_private_key(65537, 2048)
        pad = padding.PKCS1v15()

        def sign() -> bytes:
            return big.sign(payload, pad, hashes.SHA256())

    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds:
        sign()
        count += 1
    return count / (time.perf_counter() - start)


def durable_commit_rate(folder: Path, seconds: float) -> float:
    """Appends of 512 bytes per second, each followed by fdatasync."""
    path = folder / "probe"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds:
        os.write(handle, b"x" * 512)
        os.fdatasync(handle)
        count += 1
    os.close(handle)
    path.unlink()
    return count / (time.perf_counter() - start)
