"""Random bytes, licence flags, the HSM's log and timestamps of RFC 3161 over REST."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.client import ServerRefusedError
from keyturn.crypto.encrypted_files import new_file_key, seal_file_key
from keyturn_testing.rest_server import ServeProcess, b64
from keyturn_testing.timestamps import openssl_judges

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from keyturn.client import RestClient


HEADER = seal_file_key(
    ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    new_file_key(),
)


def test_random_bytes(rest: RestClient, http: httpx.Client) -> None:
    assert len(rest.random(32)) == 32
    assert rest.random(32) != rest.random(32)
    assert len(base64.b64decode(http.get("/v1/generateRandom/65536").json()["random"])) == 65536


@pytest.mark.parametrize(
    ("length", "code"),
    [("0", 619), ("65537", 619), ("-1", 619), ("999999999", 619), ("x", 600), ("1.5", 600), ("٣", 600)],
)
def test_lengths_that_are_none(http: httpx.Client, length: str, code: int) -> None:
    answer = http.get(f"/v1/generateRandom/{length}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert http.get("/v1/generateRandom/1").status_code == 200


def test_licence_flags_name_what_is_offered(rest: RestClient) -> None:
    assert rest.license_flags() == ["REST_API", "TSB_ENGINE", "KEY_AUTH", "FIREBLOCKS_AGENT"]


def test_the_log_has_many_paths(rest: RestClient, http: httpx.Client) -> None:
    rest.create_data_object("for the log", b"x")
    lines = rest.hsm_log().splitlines()
    assert json.loads(lines[-1])["note"] == "data object 'for the log'"
    for path in ("/v1/hsm/log/all", "/v1/hsm/log/a/b/c", "/v1/hsm/log/2026-01-01", "/v1//hsm//log"):
        answer = http.get(path)
        assert answer.status_code == 200
        assert answer.json()["log"].splitlines()[-1] == lines[-1]
    assert http.get("/v1/hsm").status_code == 404


def test_openssl_accepts_a_timestamp(rest: RestClient, tmp_path: Path) -> None:
    authority = base64.b64decode(rest.version_info()["rfcTimestampCertificate"])
    for algorithm in ("SHA256", "SHA-512", "SHA3-384"):
        response = rest.rfc_timestamp(b"a contract", algorithm)
        assert openssl_judges(tmp_path, response, b"a contract", authority)
        assert not openssl_judges(tmp_path, response, b"a Contract", authority)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"payload": "eA==", "hashAlgorithm": "SHA1"}, 600),
        ({"payload": "eA==", "hashAlgorithm": "NONESHA256"}, 612),
        ({"payload": "", "hashAlgorithm": "SHA256"}, 600),
        ({"payload": b64(bytes(65537)), "hashAlgorithm": "SHA256"}, 612),
        ({"payload": "eA=="}, 600),
    ],
)
def test_what_is_not_dated(http: httpx.Client, body: dict[str, str], code: int) -> None:
    answer = http.post("/v1/createRfcTimestamp", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert http.post("/v1/createRfcTimestamp", json={"payload": "eA==", "hashAlgorithm": "SHA256"}).status_code == 200


def test_a_broker_without_an_hsm_says_so(tmp_path: Path) -> None:
    with ServeProcess(tmp_path / "courier", profile="air-gapped") as office, office.client() as rest:
        assert rest.license_flags() == ["TSB_ENGINE", "KEY_AUTH"]
        for method, path, body in (
            ("GET", "/v1/generateRandom/8", None),
            ("GET", "/v1/hsm/log", None),
            ("POST", "/v1/createRfcTimestamp", {"payload": "eA==", "hashAlgorithm": "SHA256"}),
            ("POST", "/v1/dataObject", {"name": "a", "value": "eA=="}),
            ("GET", "/v1/dataObject/a", None),
            ("DELETE", "/v1/dataObject/a", None),
        ):
            with pytest.raises(Exception, match="no HSM") as refused:
                rest.call(method, path, body)
            assert getattr(refused.value, "refusal", "") == "profile.air-gapped"
        for exchange in (rest.encrypt_file, rest.decrypt_file):
            with pytest.raises(ServerRefusedError) as refused_file:
                exchange("k", io.BytesIO(HEADER), io.BytesIO())
            assert refused_file.value.refusal == "profile.air-gapped"
