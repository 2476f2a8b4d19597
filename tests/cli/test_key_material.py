"""`keyturn key export`, `import`, `derive`, `address`: what comes in can leave again only where it was said so."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from cli.conftest import Done, run
from keyturn.cli.key_material import material_in, read_material
from keyturn.errors import FormatError, KeyturnError
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import policy_json

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.client import RestClient
    from keyturn_testing.rest_server import ServeProcess


KEY = ec.generate_private_key(ec.SECP256R1())
PKCS8 = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
SEC1 = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
LOCKED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
LOCKED_SEC1 = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x"))


def key(vault: ServeProcess, *words: object) -> Done:
    return run("key", *words, "--url", vault.url)


@pytest.mark.parametrize("form", [PKCS8, SEC1], ids=["pkcs8", "sec1"])
def test_a_key_comes_in_and_leaves_only_where_it_may(
    vault: ServeProcess, tmp_path: Path, form: bytes, request: pytest.FixtureRequest
) -> None:
    label = f"cli-{request.node.callspec.id}"
    file, out, password = tmp_path / "in.pem", tmp_path / "out.pem", tmp_path / "password"
    file.write_bytes(form)
    password.write_text("open\n")
    use = ("--use", "sign", "--use", "verify")
    assert key(vault, "import", f"{label}-kept", file, *use).out == f"imported as {label}-kept\n"
    assert key(vault, "export", f"{label}-kept", "--out", out).code == 1
    assert not out.exists()

    locked = ("--password-file", password)
    made = key(vault, "import", label, file, *use, "--extractable", *locked, "--json").json()
    assert made["json"]["attributes"]["sign"]
    assert not made["json"]["attributes"]["decrypt"]
    assert key(vault, "export", label, "--out", out).refusal == "key.password"
    assert key(vault, "export", label, "--out", out, *locked).code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    left = load_pem_private_key(out.read_bytes(), None)
    assert isinstance(left, ec.EllipticCurvePrivateKey)
    assert left.private_numbers() == KEY.private_numbers()
    assert key(vault, "export", label, *locked).code == 2, "nothing secret goes to a screen by mistake"
    shown = key(vault, "export", label, "--json", *locked).json()
    assert base64.b64decode(shown["publicKey"]) == KEY.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def test_material_leaves_only_for_a_file_that_can_be_written() -> None:
    """The server is not asked: nobody listens at this address."""
    refused = run("key", "export", "vault", "--out", __file__, "--url", "http://127.0.0.1:1")
    assert refused.refusal == "file.exists"
    assert run("key", "export", "vault", "--json", "--url", "http://127.0.0.1:1").refusal != "file.exists"


@pytest.mark.parametrize("answer", [{}, {"privateKey": None}, {"privateKey": 1}, {"secretKey": "?"}, {"secretKey": []}])
def test_an_answer_without_material_is_not_written_as_if_it_were_some(answer: dict[str, object]) -> None:
    with pytest.raises(KeyturnError) as caught:
        material_in(answer)
    assert caught.value.refusal == "key-export.bad-answer"
    assert material_in({"secretKey": "AAEC"}) == bytes(range(3))
    assert material_in({"privateKey": "AAEC"}).startswith(b"-----BEGIN PRIVATE KEY-----\nAAEC\n")


def test_symmetric_and_public_keys_come_in(vault: ServeProcess, rest: RestClient, tmp_path: Path) -> None:
    secret, public, out = tmp_path / "aes.bin", tmp_path / "partner.pem", tmp_path / "out.bin"
    secret.write_bytes(bytes(range(32)))
    public.write_bytes(PUBLIC)
    assert (
        key(
            vault,
            "import",
            "cli-aes",
            secret,
            "--secret",
            "AES",
            "--use",
            "encrypt",
            "--use",
            "decrypt",
            "--extractable",
        ).code
        == 0
    )
    assert key(vault, "export", "cli-aes", "--out", out).code == 0
    assert out.read_bytes() == secret.read_bytes()
    assert key(vault, "import", "cli-partner", public).code == 0
    assert rest.key_attributes("cli-partner")["json"]["label"] == "cli-partner"
    without = tmp_path / "key.pem"
    without.write_bytes(PKCS8)
    assert key(vault, "import", "cli-without", without).code == 2, "a key must be good for something"


@pytest.mark.rule("R4")
def test_r4_a_key_with_a_policy_comes_in_and_stays(vault: ServeProcess, tmp_path: Path) -> None:
    policy, file = tmp_path / "policy.json", tmp_path / "key.pem"
    policy.write_text(json.dumps(policy_json(make_policy(quorum(1, Officer("Ada"))), new=True)))
    file.write_bytes(PKCS8)
    take = ("import", "cli-policy", file, "--use", "sign")
    assert key(vault, *take, "--policy", file).refusal == "key-import.policy"
    assert key(vault, *take, "--policy", policy, "--extractable").code == 1
    assert key(vault, *take, "--policy", policy).code == 0
    assert key(vault, "export", "cli-policy", "--json").code == 1


def test_children_are_stored_and_have_addresses(vault: ServeProcess, rest: RestClient) -> None:
    uses = {"sign": True, "decrypt": False, "unwrap": False, "derive": True, "slip10": True}
    policy = policy_json(make_policy(quorum(1, Officer("Ada"))), new=True)
    rest.create_key("cli-master", "EC", curve_oid="1.3.132.0.10", attributes=uses, policy=policy, address_format="ETH")
    assert key(vault, "derive", "cli-master", "44'/60'").out == "stored as cli-master/44'/60'\n"
    assert "cli-master/44'/60'" in rest.list_keys()
    found = key(vault, "address", "cli-master/44'/60'").out.strip()
    assert bytes.fromhex(found) == rest.key_address("cli-master/44'/60'")
    assert len(found) == 40
    assert key(vault, "address", "cli-master/1'", "--json").json()["address"] != found
    assert key(vault, "derive", "cli-master", "m/1").code == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x30\x00", "--secret"),
        (PKCS8 + PUBLIC, "more than one"),
        (LOCKED, "password off"),
        (LOCKED_SEC1, "password"),
        (b"-----BEGIN PUBLIC KEY-----\n?\n-----END PUBLIC KEY-----\n", "cannot be read"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "not taken"),
    ],
)
def test_files_that_hold_no_one_key_are_refused(content: bytes, why: str) -> None:
    assert set(read_material(PKCS8, "f")) == {"private_key"}
    with pytest.raises(FormatError, match=why) as refused:
        read_material(content, "f")
    assert refused.value.refusal == "key-import.file"
