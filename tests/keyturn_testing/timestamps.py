"""`openssl ts` as the judge of timestamps of RFC 3161."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from pathlib import Path


def openssl_judges(folder: Path, response: bytes, data: bytes, authority: bytes) -> bool:
    """Whether `openssl ts -verify` accepts a response for data under the authority's certificate (DER)."""
    pem = x509.load_der_x509_certificate(authority).public_bytes(Encoding.PEM)
    names = [folder / name for name in ("response", "data", "authority.pem")]
    for name, content in zip(names, (response, data, pem), strict=True):
        name.write_bytes(content)
    judged = subprocess.run(
        ["openssl", "ts", "-verify", "-in", names[0], "-data", names[1], "-CAfile", names[2]],
        capture_output=True,
        text=True,
        check=False,
    )
    said = judged.stdout + judged.stderr
    # A command line that openssl does not understand must not pass for a refusal.
    assert ("Verification: OK" if judged.returncode == 0 else "Verification: FAILED") in said, said
    return judged.returncode == 0
