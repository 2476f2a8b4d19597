"""`keyturn config`: what it writes is good, what it shows holds no secret, what it refuses it names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from keyturn.cli.config import config
from keyturn.config import NAMES, load_settings
from keyturn.errors import KeyturnError

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(*words: str | Path, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(config, [str(word) for word in words])


@pytest.mark.parametrize("profile", ["local", "air-gapped"])
def test_what_init_writes_starts_with_keys_for_every_role(tmp_path: Path, profile: str) -> None:
    file = tmp_path / "keyturn.yaml"
    made = run("init", "--profile", profile, "--out", file)
    assert made.exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    keys = dict(line.split(": ") for line in made.stderr.splitlines() if line.startswith(("key", "app", "serv")))
    assert set(keys) == {name.rpartition(".")[2] for name in NAMES if name.endswith("Token")}
    text = file.read_text()
    assert not any(key in text for key in keys.values()), "the file holds hashes alone"
    settings = load_settings(file=file, environment={}, flags={})
    assert settings.profile == profile
    assert settings.api_keys_enabled
    with pytest.raises(KeyturnError, match="is not replaced"):
        CliRunner().invoke(config, ["init", "--out", str(file)], catch_exceptions=False)


def test_check_says_good_warns_and_names_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "keyturn.yaml"
    file.write_text("hsm: {address: 'unix:/run/x.sock'}\napiAuthentication: {enabled: true, serviceToken: open-word}\n")
    file.chmod(0o644)
    said = run("check", file, "--json")
    assert said.exit_code == 0
    found = json.loads(said.stdout)
    assert found["good"] is True
    assert "apiAuthentication.serviceToken holds a key as it is" in found["warnings"][0]
    assert "chmod 600" in found["warnings"][1]
    assert "open-word" not in said.output
    file.chmod(0o600)
    assert len(json.loads(run("check", file, "--json").stdout)["warnings"]) == 1
    file.write_text("apiAuthentication: {enabled: true, servceToken: x}\n")
    with pytest.raises(KeyturnError, match=r"line 1: 'apiAuthentication\.servceToken' is not a setting"):
        CliRunner().invoke(config, ["check", str(file)], catch_exceptions=False)
    file.write_text("tls: {certificate: gone.pem, key: gone.key}\n")
    with pytest.raises(KeyturnError, match=r"gone\.pem, gone\.key: there is no such file"):
        CliRunner().invoke(config, ["check", str(file)], catch_exceptions=False)


def test_show_tells_every_setting_with_its_place_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "keyturn.yaml"
    file.write_text(
        "server: {port: 9000}\ngeneral: {databaseUrl: 'postgresql://u:open-word@/db'}\n"
        "apiAuthentication: {enabled: true, serviceToken: open-word}\n"
    )
    said = run("show", "--config", file, "--json", KEYTURN_SERVER__HOST="::1")
    assert said.exit_code == 0, said.output
    rows = json.loads(said.stdout)
    assert set(rows) == set(NAMES)
    assert rows["server.port"] == {"value": 9000, "from": f"{file}, line 1: server.port"}
    assert rows["server.host"] == {"value": "::1", "from": "environment variable KEYTURN_SERVER__HOST"}
    assert rows["general.databaseUrl"]["value"] == rows["apiAuthentication.serviceToken"]["value"] == "(set, not shown)"
    assert rows["hsm.address"]["from"] == "default"
    assert "open-word" not in said.output
    table = run("show", "--config", file)
    assert "server.port" in table.output
    assert "open-word" not in table.output


def test_a_new_api_key_and_its_hash_go_together() -> None:
    from keyturn.api.access.api_keys import ApiKeys
    from keyturn.api.access.roles import Role

    made = json.loads(run("api-key", "--json").stdout)
    assert ApiKeys({Role.SERVICE: [made["setting"]]}).roles(made["key"].encode()) == {Role.SERVICE}
    # The same in words, and another key each time.
    words = run("api-key").stdout.split()
    key, hashed = words[words.index("X-API-KEY:") + 1], words[-1]
    assert ApiKeys({Role.SERVICE: [hashed]}).roles(key.encode()) == {Role.SERVICE}
    assert key != made["key"]
