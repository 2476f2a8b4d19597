"""Settings are read once, from three places in order, and a wrong one stops the start."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from keyturn.cli.serve import embedded_options
from keyturn.config import NAMES, Settings, load_settings
from keyturn.errors import KeyturnError


def from_text(tmp_path: Path, text: str, environment: dict[str, str] | None = None, **flags: object) -> Settings:
    file = tmp_path / "keyturn.yaml"
    file.write_text(text)
    return load_settings(file=file, environment=environment or {}, flags=flags)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(KeyturnError) as caught:
        from_text(tmp_path, text)
    assert caught.value.code.number == 301
    assert str(tmp_path / "keyturn.yaml") in caught.value.message
    return caught.value.message


def test_nothing_configured_gives_the_defaults_on_loopback() -> None:
    settings = load_settings(file=None, environment={"PATH": "/bin"}, flags={})
    assert settings == Settings()
    assert (settings.profile, settings.host, settings.port, settings.allow_seconds) == (
        "local",
        "127.0.0.1",
        8080,
        False,
    )


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(Settings(), "port", 1)  # noqa: B010 - The type checker knows already that this cannot be done.


def test_every_setting_has_a_name_and_every_name_a_setting() -> None:
    assert sorted(NAMES.values()) == sorted(Settings.__dataclass_fields__)


def test_flags_win_over_the_environment_and_the_environment_over_the_file(tmp_path: Path) -> None:
    text = (
        "server: {host: 127.0.0.1, port: 1001}\n"
        "general:\n  allowSecondsInPolicies: true\n  maxTimestampDiffApprovalClient: 60\n"
    )
    environment = {"KEYTURN_SERVER__PORT": "1002", "keyturn_general__maxTimestampDiffApprovalClient": "61"}
    settings = from_text(tmp_path, text, environment, **{"server.port": 1003, "server.host": None})
    assert settings.port == 1003
    assert settings.max_timestamp_age == 61
    assert settings.allow_seconds is True


def test_the_environment_is_read_whatever_its_case() -> None:
    environment = {"KEYTURN_GENERAL__ALLOWSECONDSINPOLICIES": "True", "Keyturn_Profile": "air-gapped"}
    settings = load_settings(file=None, environment=environment, flags={})
    assert settings.allow_seconds
    assert settings.profile == "air-gapped"


def test_an_unknown_setting_stops_the_start_and_is_named(tmp_path: Path) -> None:
    from_text(tmp_path, "general:\n  allowSecondsInPolicies: false\n")
    message = refused(tmp_path, "general:\n  allowSecondInPolicies: false\n")
    assert "'general.allowSecondInPolicies'" in message
    assert "did you mean 'general.allowSecondsInPolicies'?" in message
    assert "line 2: 'apiAuthentication.enable'" in refused(tmp_path, "apiAuthentication:\n  enable: true\n")


def test_an_unknown_variable_stops_the_start_and_is_named() -> None:
    with pytest.raises(KeyturnError, match="Environment variable KEYTURN_SERVER__PROT"):
        load_settings(file=None, environment={"KEYTURN_SERVER__PROT": "1"}, flags={})
    load_settings(file=None, environment={"KEYTURN_SERVER__PORT": "1", "KEYTURN_CACHE": "/x"}, flags={})


def test_one_setting_in_two_variables_is_refused() -> None:
    with pytest.raises(KeyturnError, match="same setting"):
        load_settings(file=None, environment={"KEYTURN_PROFILE": "local", "keyturn_profile": "local"}, flags={})


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        ("server: {port: 80}", "server: {port: '80'}", "whole number"),
        ("server: {port: 80}", "server: {port: true}", "whole number"),
        ("server: {port: 65535}", "server: {port: 65536}", "between 0 and 65535"),
        ("swaggerUI: {enabled: false}", "swaggerUI: {enabled: 'no'}", "true or false"),
        ("profile: local", "profile: remote", "local, air-gapped"),
        ("profile: local", "profile: ''", "not empty"),
        ("dataDir: x", "dataDir: 7", "text"),
        ("files: {maxSize: 10MB}", "files: {maxSize: 10 megabytes}", "such as 10MB"),
        ("files: {maxSize: 1024}", "files: {maxSize: -1}", "between 1 and"),
        ("files: {maxWaiting: 1TB}", "files: {maxWaiting: 99999999999999999999TB}", "between 1 and"),
        (
            "profile: air-gapped\nofflineHsm: {attestationCertificates: [a.pem]}",
            "profile: air-gapped\nofflineHsm: {attestationCertificates: a.pem}",
            "list of paths",
        ),
        ("server: {port: 1}", "server: {port: 1, port: 2}", "more than once"),
        ("server: {port: 1}", "server: {port: 1", "not readable YAML"),
        ("server: {port: 1}", "- server", "settings by name"),
        ("server: {port: 1}", "server: 1", "'server'"),
        ("server: {port: 1}", "a: &a [x]\nb: *a\n", "'a'"),
        ("dataDir: x", "dataDir: !!python/object/apply:os.getcwd []", "not readable YAML"),
    ],
)
def test_a_wrong_value_stops_the_start(tmp_path: Path, good: str, bad: str, why: str) -> None:
    from_text(tmp_path, good)
    assert why in refused(tmp_path, bad)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(KeyturnError, match=r"nowhere.yaml: cannot be read"):
        load_settings(file=tmp_path / "nowhere.yaml", environment={}, flags={})


_TLS: dict[str, object] = {"tls.certificate": Path("c.pem"), "tls.key": Path("k.pem")}


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"profile": "air-gapped", "hsm.address": "unix:x"}, "has no HSM"),
        ({"offlineHsm.attestationCertificates": (Path("a.pem"),)}, "only the air-gapped profile"),
        ({"hsm.address": "unix:x", "hsm.passphraseFile": Path("p")}, "none is"),
        ({"profile": "air-gapped", "hsm.allowWeakKeys": True}, "none is"),
        ({"hsm.address": "tcp://h:1"}, "mutual TLS"),
        ({"hsm.address": "unix:x", "hsm.tls.ca": Path("a.pem")}, "tcp://"),
        ({"apiAuthentication.enabled": True}, "nobody could call"),
        ({"apiAuthentication.serviceToken": "a-service-key"}, "not asked for"),
        ({"apiAuthentication.jwt.issuer": "https://id.example"}, "all three"),
        ({"apiAuthentication.jwt.jwksFile": Path("keys.json")}, "all three"),
        ({"apiAuthentication.jwt.roleClaim": "groups"}, "does nothing without"),
        ({"tls.certificate": Path("c.pem")}, "both tls.certificate and tls.key"),
        ({"tls.minimumVersion": "TLSv1.3"}, "does nothing without TLS"),
        ({"files.maxSize": "2GB", "files.maxWaiting": "1GB"}, "fits into files.maxWaiting"),
        ({"files.maxWaiting": "1GB"}, "fits into files.maxWaiting"),
        ({"files.maxSize": "2GB", "files.maxRequestSize": "1GB"}, "at least as large"),
        (_TLS | {"tls.clientAuthentication": "need"}, "go together"),
        (_TLS | {"tls.clientCa": Path("ca.pem")}, "go together"),
        (_TLS | {"tls.clientCa": Path("ca.pem"), "tls.clientAuthentication": "want"}, "everybody could come in"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(flags: dict[str, object], why: str) -> None:
    with pytest.raises(KeyturnError, match=why):
        load_settings(file=None, environment={}, flags=flags)


def test_sizes_have_units_and_the_documented_names_of_limits_are_known_too(tmp_path: Path) -> None:
    settings = from_text(tmp_path, "spring: {servlet: {multipart: {max-file-size: 10MB, max-request-size: 20 MB}}}")
    assert (settings.max_file_size, settings.max_file_request_size) == (10 << 20, 20 << 20)
    settings = load_settings(
        file=None, environment={"KEYTURN_SPRING__SERVLET__MULTIPART__MAX_FILE_SIZE": "3GB"}, flags={}
    )
    assert settings.max_file_size == 3 << 30
    assert from_text(tmp_path, "files: {maxSize: 7B, maxWaiting: 4KB}").max_spooled == 4096


def test_every_setting_is_documented_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows for name in re.findall(r"`([^`]+)`", row)) == sorted(NAMES)


@pytest.mark.parametrize(
    ("defect", "honest"),
    [
        ("hsm: {timestampKeyName: 2026-13-45}", "hsm: {timestampKeyName: stamps}"),
        ("hsm: {timestampKeyName: 2026-01-01 99:99:99}", "hsm: {timestampKeyName: 'stamps of 2026'}"),
        (f"server: {{port: {'9' * 5000}}}", "server: {port: 9}"),
        ("server: {[a]: 9}", "server: {port: 9}"),
        ("server: {{a: 1}: 9}", "server: {port: 9}"),
        ("x: &x {port: 9}\nserver: {<<: *x}", "server: &x {port: 9}"),
        ("server.port: 8\nserver: {port: 9}", "server.host: localhost\nserver: {port: 9}"),
        ('dataDir: "a\\0b"', "dataDir: ab"),
        ("server: &s {port: *s}", "server: &s {port: 9}"),
    ],
)
def test_a_file_that_confuses_its_reader_is_refused_by_name(tmp_path: Path, defect: str, honest: str) -> None:
    from_text(tmp_path, honest)
    assert "Traceback" not in refused(tmp_path, defect)


def test_a_file_of_many_names_is_refused_without_delay(tmp_path: Path) -> None:
    text = "".join(f"k{number}: 1\n" for number in range(20_000))
    assert "is not a setting" in refused(tmp_path, text)
    assert "stands more than once" in refused(tmp_path, text + "k0: 1\n")


def test_a_number_of_thousands_of_digits_in_the_environment_is_refused() -> None:
    environment = {"KEYTURN_SERVER__PORT": "9"}
    assert load_settings(file=None, environment=environment, flags={}).port == 9
    with pytest.raises(KeyturnError, match="whole number"):
        load_settings(file=None, environment={"KEYTURN_SERVER__PORT": "9" * 5000}, flags={})


def test_a_databases_password_is_never_shown(tmp_path: Path) -> None:
    settings = from_text(tmp_path, "general: {databaseUrl: 'postgresql://broker:hidden-word@/keyturn'}\n")
    assert settings.database_url == "postgresql://broker:hidden-word@/keyturn"
    assert "hidden-word" not in repr(settings)
    message = refused(tmp_path, "general: {databaseUrl: [postgresql://broker:hidden-word@/keyturn]}\n")
    assert "general.databaseUrl" in message
    assert "hidden-word" not in message


def test_a_contradiction_is_named_with_file_line_and_setting(tmp_path: Path) -> None:
    from_text(tmp_path, "profile: air-gapped\nofflineHsm:\n  attestationCertificates: [a.pem]\n")
    message = refused(tmp_path, "profile: local\nofflineHsm:\n  attestationCertificates: [a.pem]\n")
    assert f"{tmp_path / 'keyturn.yaml'}, line 3: offlineHsm.attestationCertificates: only the air-gapped" in message
    message = refused(tmp_path, "server:\n  host: localhost\n  port: eighty\n")
    assert f"{tmp_path / 'keyturn.yaml'}, line 3: server.port: must be a whole number" in message


@pytest.mark.rule("R23")
def test_r23_approver_management_needs_an_hsm_and_its_switch_something_to_be_about(tmp_path: Path) -> None:
    settings = from_text(tmp_path, "approverManagement: {enabled: true}\nhsm: {allowOpenBackupKey: true}\n")
    assert settings.approver_management
    words = embedded_options(settings)
    assert "--allow-open-backup-key" in words
    assert words[words.index("--backup-key-name") + 1] == "backup-key"
    off = from_text(tmp_path, "hsm: {backupKeyName: vault}\n")
    assert not off.approver_management
    assert embedded_options(off) == ["--backup-key-name", "vault"]
    assert embedded_options(from_text(tmp_path, "profile: local\n")) == []
    message = refused(tmp_path, "hsm: {allowOpenBackupKey: true}\n")
    assert "hsm.allowOpenBackupKey: does nothing without approver management" in message
    message = refused(tmp_path, "profile: air-gapped\napproverManagement: {enabled: true}\n")
    assert "approverManagement.enabled: the air-gapped profile has no HSM" in message


def test_an_api_key_may_be_one_text_or_a_list_and_is_never_shown(tmp_path: Path) -> None:
    text = "apiAuthentication:\n  enabled: true\n  serviceToken: one-key\n  approverToken: [old-key, new-key]\n"
    settings = from_text(tmp_path, text, {"KEYTURN_APIAUTHENTICATION__KEYOPERATIONTOKEN": "this-key,that-key"})
    assert settings.service_keys == ("one-key",)
    assert settings.approver_keys == ("old-key", "new-key")
    assert settings.key_operation_keys == ("this-key", "that-key")
    assert "-key" not in repr(settings)
    assert "one-key" not in refused(tmp_path, "apiAuthentication:\n  enabled: true\n  serviceToken: [one-key, 7]\n")


def test_weak_keys_are_no_api_keys(tmp_path: Path) -> None:
    assert from_text(tmp_path, "hsm: {allowWeakKeys: true}\n").hsm_allow_weak_keys


def test_the_documented_name_of_client_authentication_is_known_too(tmp_path: Path) -> None:
    text = "tls: {certificate: c.pem, key: k.pem, clientCa: ca.pem}\nserver: {ssl: {client-auth: need}}\n"
    assert from_text(tmp_path, text).tls_client_authentication == "need"
    assert "stands more than once" in refused(tmp_path, text + "tls.clientAuthentication: need\n")
