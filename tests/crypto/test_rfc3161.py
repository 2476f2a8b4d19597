"""Timestamps of RFC 3161, judged by `openssl ts -verify`."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keyturn.crypto.rfc3161 import imprint_of, timestamp_response
from keyturn.errors import FormatError
from keyturn_testing.timestamps import openssl_judges

if TYPE_CHECKING:
    from pathlib import Path

NOW = int(dt.datetime.now(dt.UTC).timestamp())
KEY = ec.generate_private_key(ec.SECP256R1())
DATA = b"what is dated\n"


def certificate(*, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.TIME_STAMPING) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")])
    now = dt.datetime.fromtimestamp(NOW - 60, tz=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(4711)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    return made.public_bytes(Encoding.DER)


def response(data: bytes, algorithm: str, authority: bytes) -> bytes:
    return timestamp_response(
        imprint_of(data, algorithm),
        serial=2**127 - 1,
        moment=NOW,
        certificate=authority,
        sign=lambda attributes: KEY.sign(attributes, ec.ECDSA(hashes.SHA256())),
    )


@pytest.mark.parametrize(
    "algorithm", ["SHA224", "SHA256", "SHA384", "SHA512", "SHA-256", "sha256", "SHA3-256", "SHA3_512"]
)
def test_openssl_accepts_a_timestamp_and_refuses_it_for_other_data(tmp_path: Path, algorithm: str) -> None:
    authority = certificate()
    made = response(DATA, algorithm, authority)
    assert openssl_judges(tmp_path, made, DATA, authority)
    assert not openssl_judges(tmp_path, made, DATA + b"!", authority)


def test_openssl_refuses_a_timestamp_that_was_changed(tmp_path: Path) -> None:
    authority = certificate()
    made = response(DATA, "SHA256", authority)
    position = made.index(hashlib.sha256(DATA).digest())
    changed = bytearray(made)
    changed[position - 40] ^= 1
    assert not openssl_judges(tmp_path, bytes(changed), DATA, authority)
    assert openssl_judges(tmp_path, made, DATA, authority)


def test_openssl_refuses_an_authority_that_is_none(tmp_path: Path) -> None:
    """Shows that the judge looks at the extended key usage at all."""
    authority = certificate(usage=ExtendedKeyUsageOID.SERVER_AUTH)
    assert not openssl_judges(tmp_path, response(DATA, "SHA256", authority), DATA, authority)


def test_the_time_and_the_number_are_what_was_given(tmp_path: Path) -> None:
    (tmp_path / "made").write_bytes(response(DATA, "SHA256", certificate()))
    shown = subprocess.run(
        ["openssl", "ts", "-reply", "-in", tmp_path / "made", "-text"], capture_output=True, text=True, check=True
    ).stdout
    moment = dt.datetime.fromtimestamp(NOW, tz=dt.UTC)
    assert re.search(rf"Time stamp: {moment:%b} +{moment.day} {moment:%H:%M:%S} {moment.year} GMT", shown)
    assert "Serial number: 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF" in shown
    assert "Policy OID: 2.25." in shown


def test_a_digest_can_be_given_instead_of_the_data() -> None:
    assert imprint_of(hashlib.sha256(DATA).digest(), "NONESHA256") == imprint_of(DATA, "SHA256")
    for wrong in (DATA, hashlib.sha256(DATA).digest()[:-1], hashlib.sha384(DATA).digest()):
        with pytest.raises(FormatError) as refused:
            imprint_of(wrong, "NONESHA256")
        assert refused.value.refusal == "timestamp.digest-length"


@pytest.mark.parametrize("algorithm", ["SHA1", "MD5", "", "NONE", "SHA256x", "NONENONESHA256"])
def test_hashes_that_date_nothing_are_refused(algorithm: str) -> None:
    with pytest.raises(FormatError) as refused:
        imprint_of(DATA, algorithm)
    assert refused.value.refusal == "timestamp.hash-algorithm"
