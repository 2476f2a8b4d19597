"""Settings and passphrases of the HSM: from its own file and flags, checked before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keyturn.errors import KeyturnError
from keyturn.hsm.passphrase import development_passphrase, read_passphrase_file
from keyturn.hsm.rate_limit import RateLimit
from keyturn.hsm.settings import HsmSettings, load_settings


def _refusal(file: Path | None, **flags: object) -> str:
    with pytest.raises(KeyturnError) as caught:
        load_settings(file, flags)
    return caught.value.refusal


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "hsm.yaml"
    made.write_text("dataDir: /srv/hsm\nallowWeakKeys: true\nallowUids: [1001]\n")
    made.chmod(0o600)
    return made


def test_flags_win_over_the_file(file: Path) -> None:
    settings = load_settings(file, {"data_dir": "/elsewhere", "require_protected_modify": True})
    assert settings == HsmSettings(
        data_dir="/elsewhere", allow_weak_keys=True, allow_uids=(1001,), require_protected_modify=True
    )
    assert settings.weakening_switches == ("allowWeakKeys",)
    assert settings.uids == {1001}
    assert str(settings.address) == "unix:/elsewhere/hsm.sock"
    assert settings.admin_path == Path("/elsewhere/admin.sock")


def test_a_file_that_others_could_change_is_refused_and_a_private_one_taken(file: Path) -> None:
    file.chmod(0o620)
    assert _refusal(file) == "config.writable"
    file.chmod(0o640)
    assert load_settings(file, {}).allow_weak_keys


@pytest.mark.parametrize(
    "text", ["- a\n", "dataDir: [", "dataDir: 5\n", "dataDir: x\nhost: y\n", "dataDir: x\nworkers: -1\n", ""]
)
def test_a_file_with_a_defect_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "hsm.yaml"
    file.write_text(text)
    file.chmod(0o600)
    assert _refusal(file) == "config.invalid"
    file.write_text("dataDir: x\n")
    assert load_settings(file, {}).data_dir == "x"


def test_without_a_data_directory_the_message_names_the_flag() -> None:
    with pytest.raises(KeyturnError, match=r"give --data-dir$") as refused:
        load_settings(None, {})
    assert refused.value.refusal == "config.invalid"
    assert load_settings(None, {"data_dir": "x"}).data_dir == "x"


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    assert _refusal(None) == "config.invalid"
    assert _refusal(tmp_path / "none.yaml") == "config.unreadable"
    assert _refusal(None, data_dir="x", listen="tcp://0.0.0.0:1") == "tls.required"
    tls = {"tls_cert": "a", "tls_key": "b"}
    assert _refusal(None, data_dir="x", listen="tcp://0.0.0.0:1", **tls) == "tls.required"
    assert _refusal(None, data_dir="x", timestamp_key_name="k", attestation_key_name="k") == "config.invalid"
    assert _refusal(None, data_dir="x", receipt_key_name="timestamp-key") == "config.invalid"
    assert _refusal(None, data_dir="x", kdf_memory_kib=8191) == "config.invalid"
    load_settings(None, {"data_dir": "x", "listen": "tcp://0.0.0.0:1", "tls_client_ca": "c", **tls})


@pytest.mark.parametrize(
    ("name", "default", "smallest", "largest"),
    [("clock_tolerance", 2, 0, 3600), ("clock_bound", 7_776_000, 60, 316_224_000)],
)
def test_the_limits_of_the_clock_have_defaults_and_cannot_be_switched_off(
    name: str, default: float, smallest: float, largest: float
) -> None:
    assert getattr(load_settings(None, {"data_dir": "x"}), name) == default
    for within in (smallest, largest):
        assert getattr(load_settings(None, {"data_dir": "x", name: within}), name) == within
    for outside in (smallest - 1, largest + 1, float("nan"), float("inf")):
        assert _refusal(None, data_dir="x", **{name: outside}) == "config.invalid"


def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEYTURN_ALLOWWEAKKEYS", "KEYTURN_HSM__ALLOWWEAKKEYS", "KEYTURN_HSM_ALLOW_WEAK_KEYS"):
        monkeypatch.setenv(name, "true")
    assert load_settings(None, {"data_dir": "x"}).weakening_switches == ()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700 | 0o010])
def test_a_passphrase_file_that_others_can_read_is_refused_and_a_private_one_read(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(b"a good passphrase\n")
    file.chmod(mode)
    with pytest.raises(KeyturnError) as caught:
        read_passphrase_file(file)
    assert caught.value.refusal == "passphrase.file-mode"
    file.chmod(0o600)
    assert read_passphrase_file(file) == b"a good passphrase"


def test_a_passphrase_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    with pytest.raises(KeyturnError) as caught:
        read_passphrase_file(file)
    assert caught.value.refusal == "passphrase.file"
    os.mkfifo(file, 0o600)
    with pytest.raises(KeyturnError) as caught:
        read_passphrase_file(file)
    assert caught.value.refusal == "passphrase.file-mode"


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"x" * 1025])
def test_a_passphrase_of_a_length_that_can_only_be_a_mistake_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(KeyturnError) as caught:
        read_passphrase_file(file)
    assert caught.value.refusal == "passphrase.length"
    file.write_bytes(b"x" * 1024)
    assert len(read_passphrase_file(file)) == 1024


def test_the_development_passphrase_is_made_once_and_its_notice_names_the_cure(tmp_path: Path) -> None:
    passphrase, notice = development_passphrase(tmp_path)
    assert development_passphrase(tmp_path)[0] == passphrase
    assert (tmp_path / "passphrase").stat().st_mode & 0o777 == 0o600
    assert "--passphrase-file" in notice
    assert passphrase.decode() not in notice


def test_a_rate_limit_gives_its_burst_and_then_its_rate() -> None:
    now = 100.0
    limit = RateLimit("timestamps", 2.0, 3, lambda: now)
    for _ in range(3):
        limit.take()
    with pytest.raises(KeyturnError) as caught:
        limit.take()
    assert caught.value.refusal == "rate.limited"
    now += 0.5
    limit.take()
    now += 1000.0
    for _ in range(3):
        limit.take()
    with pytest.raises(KeyturnError, match="timestamps"):
        limit.take()
