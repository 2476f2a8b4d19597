"""Commands bring what a server asks for: from the environment, never from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.cli.server import connect
from keyturn.errors import KeyturnError
from keyturn_testing.rest_server import ServeProcess
from keyturn_testing.tls import CertificateAuthority

if TYPE_CHECKING:
    from pathlib import Path


def test_a_command_shows_its_key_and_takes_the_next_one_when_the_first_is_no_longer_known(tmp_path: Path) -> None:
    config = tmp_path / "keyturn.yaml"
    config.write_text("apiAuthentication: {enabled: true, serviceToken: the-new-key}\n")
    with ServeProcess(tmp_path / "office", options=["--config", str(config)]) as server:
        with connect(server.url, None, {"KEYTURN_API_KEY": "the-new-key"}) as rest:
            assert rest.ask("GET", "/v1/versionInfo")["Version"]
        with connect(server.url, None, {"KEYTURN_API_KEY": "the-old-key,the-new-key"}) as rest:
            assert rest.ask("GET", "/v1/versionInfo")["Version"]
        for environment, number in (({}, 416), ({"KEYTURN_API_KEY": "the-old-key"}, 631)):
            with connect(server.url, None, environment) as rest, pytest.raises(KeyturnError) as caught:
                rest.ask("GET", "/v1/versionInfo")
            assert caught.value.code.number == number
            assert "the-old-key" not in caught.value.message


def test_a_command_shows_its_certificate(tmp_path: Path) -> None:
    ours = CertificateAuthority(tmp_path, "ours")
    end, mine = ours.issue("server", trusting=ours), ours.issue("me", trusting=ours)
    config = tmp_path / "keyturn.yaml"
    config.write_text(
        f"tls: {{certificate: {end.certificate}, key: {end.key}, clientAuthentication: need, clientCa: {ours.file}}}\n"
    )
    both = {"KEYTURN_CLIENT_CERTIFICATE": str(mine.certificate), "KEYTURN_CLIENT_KEY": str(mine.key)}
    with ServeProcess(tmp_path / "office", options=["--config", str(config)]) as server:
        with connect(server.url, ours.file, both) as rest:
            assert rest.ask("GET", "/v1/versionInfo")["Version"]
        with connect(server.url, ours.file, {}) as rest, pytest.raises(KeyturnError):
            rest.ask("GET", "/v1/versionInfo")
        with pytest.raises(KeyturnError, match="go together"):
            connect(server.url, ours.file, {"KEYTURN_CLIENT_KEY": str(mine.key)})
