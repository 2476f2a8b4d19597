"""`keyturn file`: what is encrypted comes back, and a file bears its name only when it is whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cli.conftest import run

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.client import RestClient
    from keyturn_testing.rest_server import ServeProcess


def test_a_file_is_encrypted_and_decrypted(vault: ServeProcess, rest: RestClient, tmp_path: Path) -> None:
    uses = {"decrypt": True, "sign": False, "unwrap": False, "derive": True}
    rest.create_key("cli-archive", "EC", curve_oid="1.3.132.0.34", attributes=uses, password="pässword")
    plain, sealed, back = tmp_path / "report.pdf", tmp_path / "report.enc", tmp_path / "back.pdf"
    plain.write_bytes(os.urandom(100_000))
    password, wrong = tmp_path / "password", tmp_path / "wrong"
    password.write_text("pässword\n")
    wrong.write_text("passwort\n")
    key = ("--key", "cli-archive", "--url", vault.url)

    made = run("file", "encrypt", plain, "--out", sealed, *key, "--json").json()
    assert made == {"file": str(sealed), "bytes": sealed.stat().st_size}
    assert sealed.stat().st_mode & 0o777 == 0o600
    opened = run("file", "decrypt", sealed, "--out", back, *key, "--password-file", password)
    assert opened.out == f"100000 bytes written to {back}\n"
    assert back.read_bytes() == plain.read_bytes()

    assert run("file", "encrypt", plain, "--out", back, *key).refusal == "file.exists"
    assert back.read_bytes() == plain.read_bytes()
    there = sorted(tmp_path.iterdir())
    damaged = tmp_path / "damaged"
    damaged.write_bytes(sealed.read_bytes()[:-1])
    for source, secret, word in ((damaged, password, "file.damaged"), (sealed, wrong, "key.password")):
        lost = run("file", "decrypt", source, "--out", tmp_path / "lost", *key, "--password-file", secret)
        assert lost.refusal == word
    assert sorted(tmp_path.iterdir()) == sorted([*there, damaged]), "no piece is left"
