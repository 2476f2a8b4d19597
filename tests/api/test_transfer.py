"""Export, import and attestation packages over REST, as clients send them; openssl judges."""

from __future__ import annotations

import base64
import io
import subprocess
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import b64, create_ec_key

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from keyturn.client import RestClient

KEY = ec.generate_private_key(ec.SECP256R1())
DER = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
SIGN = {"decrypt": False, "sign": True, "unwrap": False, "destroyable": True, "neverExtractable": None}
EXPORT, IMPORT = "/v1/key/export/plain", "/v1/key/import/plain"


def refusal(answer: httpx.Response, status: int, code: int) -> str:
    body = answer.json()
    assert (answer.status_code, body["errorCode"]) == (status, code), body
    return str(body["refusal"])


def test_a_key_pair_leaves_and_comes_back(http: httpx.Client, rest: RestClient) -> None:
    create_ec_key(rest, "out-1", None, extractable=True, sensitive=False)
    posted = http.post(EXPORT, json={"label": "out-1", "password": None})
    assert posted.status_code == 200
    exported = posted.json()
    assert http.get("/v1/key/out-1/export/plain").json() == exported
    assert exported["secretKey"] is None
    body = {
        "label": "out-2",
        "algorithm": "EC",
        "privateKey": exported["privateKey"],
        "publicKey": exported["publicKey"],
        "attributes": SIGN,
        "policy": None,
        "addressFormat": None,
    }
    answer = http.post(IMPORT, json=body)
    assert answer.status_code == 201
    assert answer.json()["json"]["publicKey"] == exported["publicKey"]
    assert 'creation="imported"' in answer.json()["xml"]
    assert refusal(http.post(IMPORT, json=body), 400, 608) == "key.exists"


def test_a_secret_key_leaves_and_comes_back(rest: RestClient) -> None:
    attributes = {"decrypt": True, "sign": False, "unwrap": False, "encrypt": True}
    rest.create_key("out-aes", "AES", key_size=256, attributes=attributes | {"extractable": True, "sensitive": False})
    exported = rest.export_key("out-aes")
    assert (exported["privateKey"], exported["publicKey"]) == (None, None)
    secret = base64.b64decode(exported["secretKey"])
    assert len(secret) == 32
    assert rest.import_key("in-aes", "AES", secret_key=secret, attributes=attributes)["json"]["keySize"] == 256


@pytest.mark.rule("R4")
def test_r4_export_refuses_what_is_to_stay(http: httpx.Client, rest: RestClient) -> None:
    create_ec_key(rest, "not-extractable", None)
    assert refusal(http.post(EXPORT, json={"label": "not-extractable"}), 400, 606) == "key.attribute"
    create_ec_key(rest, "sensitive", None, extractable=True, sensitive=True)
    assert refusal(http.post(EXPORT, json={"label": "sensitive"}), 400, 606) == "export.sensitive"
    create_ec_key(rest, "governed", make_policy(quorum(1, Officer("Ada"))))
    for answer in (http.post(EXPORT, json={"label": "governed"}), http.get("/v1/key/governed/export/plain")):
        assert answer.status_code == 400
        assert "privateKey" not in answer.json()
    assert refusal(http.post(EXPORT, json={"label": "never-made"}), 404, 650) == "key.unknown"


def test_pem_armour_is_taken_off(http: httpx.Client) -> None:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    body = {"label": "armoured", "algorithm": "EC", "privateKey": pem, "publicKey": public, "attributes": SIGN}
    assert http.post(IMPORT, json=body).status_code == 201
    single_line = "-----BEGIN PUBLIC KEY-----" + b64(SPKI) + "-----END PUBLIC KEY-----"
    answer = http.post(IMPORT, json={"label": "armoured-public", "algorithm": "EC", "publicKey": single_line})
    assert answer.status_code == 201
    assert "<public_key creation=" in answer.json()["xml"]
    bad = {"label": "armoured-3", "algorithm": "EC", "publicKey": single_line.replace("PUBLIC", "PUBLIK")}
    assert refusal(http.post(IMPORT, json=bad), 400, 600) == "base64.invalid"


def test_a_plain_rsa_key_is_imported(rest: RestClient) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    bare = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert rest.import_key("plain-rsa", "RSA", private_key=bare, attributes=SIGN)["json"]["algorithm"] == "RSA"


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [
        ({"secretKey": b64(bytes(32))}, 600, "import.combination"),
        ({"privateKey": None}, 600, "import.empty"),
        ({"attributes": None}, 600, "import.attributes-missing"),
        ({"attributes": {"sign": True}}, 600, "json.missing-field"),
        ({"attributes": SIGN | {"sign": False}}, 606, "attribute.no-use"),
        ({"algorithm": "RSA"}, 600, "import.kind"),
        ({"privateKey": b64(DER[:-1])}, 407, "key.unreadable"),
        ({"label": "a/b"}, 610, "label.slash"),
    ],
)
def test_bad_imports(http: httpx.Client, changes: dict[str, Any], code: int, word: str) -> None:
    good = {"label": "bad-imports", "algorithm": "EC", "privateKey": b64(DER), "attributes": SIGN}
    found = refusal(http.post(IMPORT, json=good | changes), 400, code)
    assert found.split(".")[0] == word.split(".")[0]
    created = http.post(IMPORT, json=good)
    assert created.status_code == 201 or created.json()["refusal"] == "key.exists"


def test_openssl_verifies_an_attestation_package(http: httpx.Client, rest: RestClient, tmp_path: Path) -> None:
    create_ec_key(rest, "packed", make_policy(quorum(1, Officer("Ada"))))
    answer = http.post("/v1/key/keyAttestation", json={"label": "packed"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(rest.key_attestation("packed"))) as package:
        assert package.namelist() == [
            "packed.xml",
            "packed.sig",
            "packed.pem",
            "PrimusHSM_Attestation.crt",
            "README.md",
        ]
        package.extractall(tmp_path)

    def openssl(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["openssl", *command], cwd=tmp_path, capture_output=True, text=True, check=False)

    verify = ("dgst", "-sha256", "-verify", "packed.pem", "-signature", "packed.sig", "packed.xml")
    assert openssl(*verify).returncode == 0
    chain = ("verify", "-partial_chain", "-CAfile", "PrimusHSM_Attestation.crt", "PrimusHSM_Attestation.crt")
    assert openssl(*chain).returncode == 0
    assert (
        openssl("x509", "-in", "PrimusHSM_Attestation.crt", "-pubkey", "-noout").stdout
        == (tmp_path / "packed.pem").read_text()
    )
    content = (tmp_path / "packed.xml").read_bytes()
    (tmp_path / "packed.xml").write_bytes(content.replace(b"<label>packed<", b"<label>Packed<"))
    assert openssl(*verify).returncode != 0


def test_sub_paths_of_attestation_give_the_chain(http: httpx.Client) -> None:
    chain = http.get("/v1/attestation").json()
    assert chain["attestationCertificateChain"][0].startswith("-----BEGIN CERTIFICATE-----")
    assert http.get("/v1/attestation/certificate").json() == chain
    assert http.get("/v1//attestation/a/b").json() == chain
