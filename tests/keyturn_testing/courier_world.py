"""Both sides of the gap as real servers, and `keyturn transport` as the courier runs it.

with courier_world(tmp_path) as world:
    request_id = world.request(ADA, BEN)
    world.export(request_id, "--out", tmp_path / "request.ktb")
"""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from keyturn.cli.main import root
from keyturn.errors import KeyturnError
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, approve, create_ec_key, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LABEL = "treasury"
PAYLOAD = b"pay 5 to eve"
ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "ED"), Officer("eve", "secp256k1")


@dataclass
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*words: object, answer: str | None = None) -> Ran:
    """Run `keyturn transport …` as `keyturn.cli.main.main` does."""
    done = CliRunner().invoke(root, ["transport", *map(str, words)], input=answer)
    if isinstance(done.exception, KeyturnError):
        return Ran(1, done.stdout, f"{done.stderr}{done.exception.message} [{done.exception.refusal}]")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)


def ok(*words: object, answer: str | None = None) -> Any:
    """Run with --json, expect success, give the JSON."""
    done = run(*words, "--json", answer=answer)
    assert done.status == 0, done.err + done.out
    return done.json


@dataclass
class World:
    """A vault (offline, with the HSM) and an office (online, air-gapped), and the key of three officers."""

    folder: Path
    vault: ServeProcess
    office: ServeProcess
    public_key: bytes

    def request(self, *officers: Officer, payload: bytes = PAYLOAD) -> str:
        """Ask for a signature in the office and let these officers approve."""
        with self.office.client() as rest:
            request_id = rest.sign(
                {
                    "signKeyName": LABEL,
                    "payload": base64.b64encode(payload).decode(),
                    "signatureAlgorithm": "SHA256_WITH_ECDSA",
                }
            )
            for officer in officers:
                (task,) = fetch(rest, officer, requestId=request_id)
                approve(rest, officer, task)
        return request_id

    def status(self, request_id: str) -> dict[str, Any]:
        with self.office.client() as rest:
            return rest.request(request_id)

    def export(self, request_id: str, *words: object) -> Any:
        return ok(
            "export", "--url", self.office.url, "--request", request_id, "--data-dir", self.office.directory, *words
        )

    def at_vault(self, *words: object) -> tuple[object, ...]:
        return (*words, "--url", self.vault.url, "--data-dir", self.vault.directory, "--yes")

    def at_office(self, *words: object) -> tuple[object, ...]:
        return (*words, "--url", self.office.url, "--data-dir", self.office.directory, "--yes")


@contextmanager
def courier_world(folder: Path) -> Iterator[World]:
    """Both sides with real servers and a real HSM process; each has pinned the other.

    Args:
        folder: Of the test.
    """
    with ServeProcess(folder / "vault") as vault:
        with vault.client() as rest:
            attested = create_ec_key(
                rest, LABEL, make_policy(use=quorum(2, ADA, BEN, EVE), modify=quorum(2, ADA, BEN, EVE))
            )
            (folder / "device.pem").write_text("".join(rest.attestation_chain()))
        options = ["--attestation-cert", str(folder / "device.pem")]
        with ServeProcess(folder / "office", "air-gapped", options) as office:
            vault_key = ok("trust", "--data-dir", vault.directory)
            office_key = ok("trust", "--data-dir", office.directory)
            pin(vault.directory, "office", office_key)
            pin(office.directory, "vault", vault_key)
            made = World(folder, vault, office, base64.b64decode(attested["json"]["publicKey"]))
            key_file = folder / "key.ktb"
            ok("export", "--url", vault.url, "--key", LABEL, "--out", key_file, "--data-dir", vault.directory)
            registered = ok("import", *made.at_office(key_file))
            assert registered["key"]["label"] == LABEL
            yield made


def pin(directory: Path, name: str, shown: dict[str, Any]) -> None:
    words = " ".join(shown["words"]).upper()
    trusted = ok("trust", "--data-dir", directory, "--pin", shown["publicKey"], "--name", name, "--words", words)
    assert [peer["name"] for peer in trusted["trusted"]] == [name]
