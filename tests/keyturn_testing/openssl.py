"""The `openssl` command as an independent judge of signatures."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = Callable[[str, str, str], list[str]]


def dgst_accepts(spki: bytes, signature: bytes, data: bytes, digest: str, options: Sequence[str] = ()) -> bool:
    """Ask `openssl dgst -verify`; `digest` as openssl spells it, such as `sha3-256`."""
    arguments = ["dgst", f"-{digest}", *(part for option in options for part in ("-sigopt", option))]
    return _accepts(spki, signature, data, lambda key, sig, text: [*arguments, "-verify", key, "-signature", sig, text])


def pkeyutl_accepts(spki: bytes, signature: bytes, data: bytes, options: Sequence[str] = ()) -> bool:
    """Ask `openssl pkeyutl -verify`: over the bytes as they are."""
    return _accepts(
        spki,
        signature,
        data,
        lambda key, sig, text: ["pkeyutl", "-verify", "-pubin", "-inkey", key, "-sigfile", sig, "-in", text, *options],
    )


def _accepts(spki: bytes, signature: bytes, data: bytes, command: Command) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder) / name for name in ("key.pem", "signature", "data")]
        pem = subprocess.run(
            ["openssl", "pkey", "-pubin", "-inform", "DER"], input=spki, capture_output=True, check=True
        ).stdout
        for name, content in zip(names, (pem, signature, data), strict=True):
            name.write_bytes(content)
        judged = subprocess.run(["openssl", *command(*map(str, names))], capture_output=True, text=True, check=False)
    accepted = judged.returncode == 0
    # A command line that openssl does not understand must not pass for a refusal.
    words = ("Verified OK", "Signature Verified") if accepted else ("Verification failure", "Verification Failure")
    assert any(word in judged.stdout + judged.stderr for word in words), judged.stdout + judged.stderr
    return accepted
