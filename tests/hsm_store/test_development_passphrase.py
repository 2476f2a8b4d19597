"""The development default's passphrase is whole or not there, whenever the first start is interrupted."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from keyturn.hsm.passphrase import development_passphrase

if TYPE_CHECKING:
    from pathlib import Path


def test_a_first_start_that_was_interrupted_leaves_no_half_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty file kept every later start from succeeding, and no message named the cure."""

    def power_cut(_: int) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr("keyturn.hsm.passphrase.os.fsync", power_cut)
        with pytest.raises(RuntimeError):
            development_passphrase(tmp_path)
    assert not (tmp_path / "passphrase").exists()
    passphrase, _ = development_passphrase(tmp_path)
    assert development_passphrase(tmp_path)[0] == passphrase
    assert [file.name for file in tmp_path.iterdir()] == ["passphrase"]
    assert stat.S_IMODE((tmp_path / "passphrase").stat().st_mode) == 0o600


def test_of_two_first_starts_both_take_the_same_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link
    other: list[bytes] = []

    def late(source: str, target: Path) -> None:
        monkeypatch.setattr("keyturn.hsm.passphrase.os.link", link)
        other.append(development_passphrase(tmp_path)[0])
        link(source, target)

    monkeypatch.setattr("keyturn.hsm.passphrase.os.link", late)
    assert development_passphrase(tmp_path)[0] == other[0]
