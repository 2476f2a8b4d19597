"""Certificates and requests: what is written, what is read, and what `openssl` thinks of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.crypto import certificates, foreign_certificates, registry
from keyturn.crypto.certificate_signatures import CERTIFICATE_ALGORITHMS, algorithm_of_identifier, identifier_of
from keyturn.crypto.certificates import CertificateFields, Issuer, Usages
from keyturn.crypto.keys import KEY_TYPES, generate, make_spec, public_spki
from keyturn.errors import KeyturnError
from keyturn.ska.to_be_signed import SignedBytes, join_signed, read_to_be_signed, split_signed
from keyturn_testing.certificates import chain_is_valid, openssl, request_is_valid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keyturn.crypto.keys import PrivateKey

NOW = 1_800_000_000
KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = public_spki(KEY)
NAME = certificates.make_name({"commonName": "Root"})
USAGES = Usages(("DIGITAL_SIGNATURE",), ("SERVER_AUTH", "CLIENT_AUTH"), (("DNS", "a.example"), ("IP", "2001:db8::1")))


def _refused(call: Callable[[], object]) -> str:
    with pytest.raises(KeyturnError) as refused:
        call()
    assert refused.value.message
    return refused.value.refusal


def _fields(**changes: Any) -> CertificateFields:
    values: dict[str, Any] = {
        "issuer": Issuer(NAME, certificates.key_identifier(SPKI)),
        "subject": NAME,
        "spki": SPKI,
        "algorithm": identifier_of("SHA256_WITH_ECDSA", SPKI),
        "serial": certificates.serial_from(bytes(range(16))),
        "not_before": NOW,
        "days": 365,
        "certificate_authority": False,
        "usages": Usages(),
    }
    return CertificateFields(**values | changes)


def _signed(data: bytes, key: PrivateKey = KEY, algorithm: str = "SHA256_WITH_ECDSA") -> bytes:
    identifier = identifier_of(algorithm, public_spki(key))
    return join_signed(SignedBytes(data, identifier, registry.sign(key, algorithm, data)))


def _request(usages: Usages = USAGES, key: PrivateKey = KEY) -> bytes:
    return _signed(certificates.make_request(NAME, public_spki(key), usages), key)


KEYS: dict[str, Callable[[], PrivateKey]] = {
    "EC": lambda: KEY,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "ED": lambda: generate(make_spec("ED", "1.3.101.112", 0)),
}


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        *(
            ("RSA", f"{word}_WITH_RSA{form}")
            for word in ("SHA224", "SHA256", "SHA384", "SHA512")
            for form in ("", "_PSS")
        ),
        *(("EC", f"{word}_WITH_ECDSA") for word in ("SHA224", "SHA256", "SHA384", "SHA512")),
        ("EC", "SHA256_WITH_ECDSA_DETERMINISTIC"),
        ("ED", "EDDSA"),
    ],
)
def test_openssl_verifies_what_is_signed_with_each_algorithm(kind: str, algorithm: str, tmp_path: Path) -> None:
    key = KEYS[kind]()
    spki = public_spki(key)
    fields = _fields(
        issuer=Issuer(NAME, certificates.key_identifier(spki)),
        spki=spki,
        algorithm=identifier_of(algorithm, spki),
        certificate_authority=True,
        not_before=1_700_000_000,
        days=36_500,
    )
    made = foreign_certificates.pem(_signed(certificates.make_certificate(fields), key, algorithm), request=False)
    assert chain_is_valid(tmp_path, made, [], made)
    request = _signed(certificates.make_request(NAME, spki, USAGES), key, algorithm)
    text = request_is_valid(foreign_certificates.pem(request, request=True))
    assert "DNS:a.example" in text
    assert foreign_certificates.read_request(request).spki == spki
    parts = bytearray(request)
    parts[-1] ^= 1
    with pytest.raises(KeyturnError):
        foreign_certificates.read_request(bytes(parts))


@pytest.mark.parametrize("kind", [name for name in ("ML-DSA-44", "SLH-DSA-SHA2-128f", "DSA") if name in KEY_TYPES])
def test_other_kinds_of_keys_sign_requests_under_the_identifiers_that_x509_has(kind: str) -> None:
    algorithm = {"ML-DSA-44": "ML_DSA", "SLH-DSA-SHA2-128f": "SLH_DSA", "DSA": "SHA256_WITH_DSA"}[kind]
    if algorithm not in registry.SIGNATURE_ALGORITHMS:
        pytest.skip("there is no such signature here")
    key = generate(make_spec(kind, "", 2048 if kind == "DSA" else 0))
    request = _signed(certificates.make_request(NAME, public_spki(key), Usages()), key, algorithm)
    assert foreign_certificates.read_request(request).spki == public_spki(key)
    assert algorithm_of_identifier(split_signed(request).algorithm) == algorithm


@pytest.mark.parametrize(
    "algorithm",
    ["SHA1_WITH_RSA", "NONE_WITH_ECDSA", "NONESHA256_WITH_RSA", "KECCAK256_WITH_ECDSA", "HMAC_SHA256", "BLS"],
)
def test_algorithms_without_an_identifier_and_sha_1_are_refused_by_name(algorithm: str) -> None:
    assert _refused(lambda: identifier_of(algorithm, SPKI)) == "certificate.algorithm"
    assert _refused(lambda: identifier_of("EDDSA", SPKI)) == "signature.wrong-key-type"
    assert algorithm_of_identifier(identifier_of("SHA256_WITH_ECDSA", SPKI)) == "SHA256_WITH_ECDSA"
    assert algorithm not in CERTIFICATE_ALGORITHMS


def test_a_name_has_every_documented_part_and_nothing_that_x509_does_not_take() -> None:
    fields = {field: f"{field} ä" for field in certificates.NAME_FIELDS} | {"country": "CH", "email": "a@example.ch"}
    name = certificates.make_name(fields)
    text = read_to_be_signed(certificates.make_request(name, SPKI, Usages())).subject_text
    for field, value in fields.items():
        assert value in text, field
    assert _refused(lambda: certificates.make_name(fields | {"country": "Schweiz"})) == "certificate.name"
    assert _refused(lambda: certificates.make_name(fields | {"commonName": "x" * 65})) == "certificate.name"
    assert _refused(lambda: certificates.make_name({"commonName": ""})) == "certificate.name"


def test_a_certificate_says_what_was_asked_and_nothing_else() -> None:
    told = read_to_be_signed(certificates.make_certificate(_fields(usages=USAGES)))
    assert told.key_usages == ("DIGITAL_SIGNATURE",)
    assert told.extended_key_usages == ("SERVER_AUTH", "CLIENT_AUTH")
    assert told.names == ("DNS:a.example", "IP:2001:db8::1")
    assert (told.certificate_authority, told.others) == (False, ())
    assert (told.not_before, told.not_after) == (NOW, NOW + 365 * 86_400 - 1)
    assert told.subject_key_id == told.authority_key_id == certificates.key_identifier(SPKI)
    authority = read_to_be_signed(certificates.make_certificate(_fields(certificate_authority=True)))
    assert authority.key_usages == ("KEY_CERT_SIGN", "CRL_SIGN")
    assert authority.certificate_authority


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"days": 0}, "certificate.validity"),
        ({"days": 36_501}, "certificate.validity"),
        ({"usages": Usages(("KEY_CERT_SIGN",))}, "certificate.usage"),
        ({"usages": Usages(("CRL_SIGN",)), "certificate_authority": True}, "certificate.usage"),
        ({"usages": Usages(("SIGN",))}, "certificate.field"),
        ({"usages": Usages(("ENCIPHER_ONLY",))}, "certificate.field"),
        ({"usages": Usages((), ("EVERYTHING",))}, "certificate.field"),
        ({"usages": Usages((), (), (("IP", "1.2.3"),))}, "certificate.field"),
        ({"usages": Usages((), (), (("DNS", "ä.example"),))}, "certificate.field"),
        ({"usages": Usages((), (), (("X400", "x"),))}, "certificate.field"),
    ],
)
def test_what_no_certificate_can_say_is_refused_with_the_field(changes: dict[str, Any], word: str) -> None:
    assert _refused(lambda: certificates.make_certificate(_fields(**changes))) == word
    assert certificates.make_certificate(_fields())


def test_copied_extensions_never_make_an_authority() -> None:
    greedy = Usages(
        ("DIGITAL_SIGNATURE", "KEY_CERT_SIGN", "CRL_SIGN"),
        ("ANY_EXTENDED_KEY_USAGE", "SERVER_AUTH"),
        (("DNS", "a.example"), ("OTHERNAME", "admin@example")),
    )
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateSigningRequestBuilder(name, [])
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    asking = foreign_certificates.read_request(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER))
    assert foreign_certificates.copied(asking, Usages(), certificate_authority=False) == Usages()
    request = foreign_certificates.read_request(_request(greedy))
    assert foreign_certificates.copied(request, Usages(), certificate_authority=False) == Usages(
        ("DIGITAL_SIGNATURE",), ("SERVER_AUTH",), (("DNS", "a.example"),)
    )
    mine = Usages(("KEY_AGREEMENT",), ("CODE_SIGNING",), (("DNS", "b.example"),))
    assert foreign_certificates.copied(request, mine, certificate_authority=False) == mine
    assert foreign_certificates.copied(request, Usages(), certificate_authority=True).key_usages == ()


def test_a_request_counts_only_with_a_signature_of_its_own_key() -> None:
    request = _request()
    assert foreign_certificates.read_request(request).subject == NAME
    parts = split_signed(request)
    other = ec.generate_private_key(ec.SECP256R1())
    forged = registry.sign(other, "SHA256_WITH_ECDSA", parts.to_be_signed)
    word = _refused(
        lambda: foreign_certificates.read_request(join_signed(SignedBytes(parts.to_be_signed, parts.algorithm, forged)))
    )
    assert word == "csr.signature"
    sha_1 = bytes.fromhex("300906072a8648ce3d0401")
    word = _refused(
        lambda: foreign_certificates.read_request(join_signed(SignedBytes(parts.to_be_signed, sha_1, parts.signature)))
    )
    assert word == "csr.algorithm"
    for bad in (b"", b"x", request[:-1], request + b"\0", bytes(70_000)):
        assert _refused(lambda bad=bad: foreign_certificates.read_request(bad)) == "csr.form"  # type: ignore[misc]


def test_requests_of_openssl_are_read_with_either_label(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    openssl(
        *("req", "-new", "-key", key, "-subj", "/CN=leaf", "-addext", "subjectAltName=DNS:leaf.example"),
        *("-out", tmp_path / "a.csr"),
    )
    text = (tmp_path / "a.csr").read_text()
    renamed = text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
    for form in (text, renamed, "".join(text.splitlines()[1:-1]), text.replace("\n", "\\n")):
        request = foreign_certificates.read_request(foreign_certificates.request_from_text(form))
        assert foreign_certificates.copied(request, Usages(), certificate_authority=False).names == (
            ("DNS", "leaf.example"),
        )
    for bad in (text.replace("REQUEST", "REQUESTS"), text[:40], "%%%", text + text):
        assert _refused(lambda bad=bad: foreign_certificates.request_from_text(bad)) == "csr.form"  # type: ignore[misc]


def test_a_certificate_of_another_origin_is_read_for_name_key_and_authority(tmp_path: Path) -> None:
    files = ("-keyout", tmp_path / "k.pem", "-out", tmp_path / "c.pem")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/C=CH/CN=Other", *files)
    openssl("x509", "-in", tmp_path / "c.pem", "-outform", "DER", "-out", tmp_path / "c.der")
    data = (tmp_path / "c.der").read_bytes()
    read = foreign_certificates.read_certificate(data)
    assert (read.subject_text, read.certificate_authority) == ("CN=Other,C=CH", True)
    loaded = x509.load_der_x509_certificate(data)
    assert read.issuer == Issuer(
        loaded.subject.public_bytes(),
        loaded.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest,
    )
    for bad in (b"", data[:-1], data + b"\0", os.urandom(64)):
        assert _refused(lambda bad=bad: foreign_certificates.read_certificate(bad)) == "certificate.encoding"  # type: ignore[misc]


@given(st.binary(min_size=16, max_size=16))
def test_serial_numbers_are_positive_long_and_fit(random: bytes) -> None:
    serial = certificates.serial_from(random)
    assert 1 << 126 <= serial < 1 << 127


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(
    name=WORDS,
    days=st.integers(1, 36_500),
    authority=st.booleans(),
    not_before=st.integers(0, 4_000_000_000),
    serial=st.integers(1, (1 << 159) - 1),
)
@pytest.mark.rule("R17")
def test_what_is_written_is_read_the_same_and_every_bit_matters(
    name: str, days: int, authority: bool, not_before: int, serial: int
) -> None:
    subject = certificates.make_name({"commonName": name})
    fields = _fields(subject=subject, days=days, certificate_authority=authority, not_before=not_before, serial=serial)
    data = certificates.make_certificate(fields)
    told = read_to_be_signed(data)
    assert (told.subject, told.serial, told.certificate_authority) == (subject, serial, authority)
    assert (told.issuer, told.spki, told.algorithm) == (NAME, SPKI, fields.algorithm)
    assert told.not_after - told.not_before == days * 86_400 - 1
    place = (serial ^ days) % len(data)
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    try:
        other = read_to_be_signed(changed)
    except KeyturnError:
        return
    # It may be another certificate; it is never the same one in other bytes.
    assert other != told
