"""`keyturn certificate`: a small authority made on the command line, and a root that officers have to approve."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cli.conftest import Done, run
from keyturn.cli.certificate import name_parts
from keyturn.errors import FormatError
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import approve, create_ec_key, fetch

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.client import RestClient
    from keyturn_testing.rest_server import ServeProcess


def certificate(vault: ServeProcess, *words: object) -> Done:
    return run("certificate", *words, "--url", vault.url)


SIGNING = ("--algorithm", "SHA256_WITH_ECDSA")


def test_a_root_answers_a_request_and_both_are_attached(vault: ServeProcess, rest: RestClient, tmp_path: Path) -> None:
    for label in ("cli-root", "cli-web"):
        create_ec_key(rest, label, None)
    root_pem, csr, web = tmp_path / "root.pem", tmp_path / "web.csr", tmp_path / "web.pem"
    subject = ("--subject", "CN=CLI Root,O=ACME,C=CH")
    made = certificate(vault, "self-signed", "cli-root", *subject, "--ca", "--days", 30, "--out", root_pem, *SIGNING)
    assert (made.code, made.out) == (0, "")
    assert root_pem.stat().st_mode & 0o777 == 0o600
    root = x509.load_pem_x509_certificate(root_pem.read_bytes())
    assert root.subject.rfc4514_string() == "CN=CLI Root,O=ACME,C=CH"
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    # The last second counts (RFC 5280 section 4.1.2.5).
    assert root.not_valid_after_utc - root.not_valid_before_utc == dt.timedelta(days=30, seconds=-1)

    names = ("--name", "DNS:www.example.org", "--name", "ip:192.0.2.1", "--usage", "DIGITAL_SIGNATURE")
    asked = certificate(vault, "csr", "cli-web", "--subject", "CN=www.example.org", *names, "--out", csr, *SIGNING)
    assert asked.code == 0
    issued = certificate(
        vault, "issue", csr, "--by", "cli-root", "--days", 7, "--copy-extensions", "--attach", "cli-web",
        "--extended-usage", "SERVER_AUTH", "--json", *SIGNING,
    )  # fmt: skip
    web.write_text(issued.json()["result"])
    leaf = x509.load_pem_x509_certificate(web.read_bytes())
    leaf.verify_directly_issued_by(root)
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["www.example.org"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate(vault, "show", "cli-web").out == web.read_text()
    assert certificate(vault, "show", "cli-web", "--json").json() == {
        "label": "cli-web",
        "certificate": web.read_text(),
    }

    # DER serves as well, and a certificate belongs to the key that it is for and to no other.
    der = tmp_path / "web.der"
    der.write_bytes(leaf.public_bytes(Encoding.DER))
    assert certificate(vault, "attach", "cli-web", der).out == "attached\n"
    assert certificate(vault, "attach", "cli-root", der).refusal == "certificate.other-key"
    assert certificate(vault, "show", "cli-root").out == root_pem.read_text()


@pytest.mark.rule("R17")
def test_r17_what_officers_must_approve_waits_and_is_fetched_afterwards(
    vault: ServeProcess, rest: RestClient, tmp_path: Path
) -> None:
    ada = Officer("Ada")
    create_ec_key(rest, "cli-governed", make_policy(quorum(1, ada)))
    out = tmp_path / "governed.csr"
    asked = certificate(vault, "csr", "cli-governed", "--subject", "CN=governed", "--out", out, "--json", *SIGNING)
    assert asked.code == 3
    waiting = json.loads(asked.out)
    assert (waiting["status"], waiting["result"], out.exists()) == ("PENDING", None, False)
    in_words = certificate(vault, "result", waiting["request"])
    assert (in_words.code, "0 approved, 1 have not yet" in in_words.out) == (3, True)
    assert f"keyturn certificate result {waiting['request']} --url {vault.url}" in in_words.out

    (task,) = fetch(rest, ada, requestId=waiting["request"])
    approve(rest, ada, task)
    fetched = certificate(vault, "result", waiting["request"], "--out", out)
    assert fetched.code == 0
    assert x509.load_pem_x509_csr(out.read_bytes()).is_signature_valid

    open_requests = rest.filtered_requests(["PENDING"])
    twice = certificate(vault, "csr", "cli-governed", "--subject", "CN=governed", "--out", out, *SIGNING)
    assert twice.refusal == "file.exists"
    assert rest.filtered_requests(["PENDING"]) == open_requests, "nobody approves what would not be written"

    again = certificate(vault, "csr", "cli-governed", "--subject", "CN=governed", "--json", *SIGNING)
    request = json.loads(again.out)["request"]
    rest.cancel_request(request)
    assert certificate(vault, "result", request).refusal == "certificate.not-made"


@pytest.mark.parametrize("wrong", ["", "www.example.org", "CN=a,CN=b", "CN=a,DC=example", "1.2.3.4=x"])
def test_names_that_cannot_be_said_in_the_api_are_refused(wrong: str) -> None:
    assert name_parts("CN=a,O=b,OU=c,E=d@example.org") == {
        "commonName": "a", "organizationName": "b", "organizationUnitName": "c", "email": "d@example.org",
    }  # fmt: skip
    if not wrong:
        assert name_parts(wrong) == {}
        return
    with pytest.raises(FormatError) as refused:
        name_parts(wrong)
    assert refused.value.refusal == "certificate.subject"


def test_files_that_are_something_else_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    nowhere = ("--url", "http://127.0.0.1:1")
    assert run("certificate", "attach", "k", other, *nowhere).refusal == "certificate.file"
    issued = run("certificate", "issue", other, "--by", "k", *SIGNING, *nowhere)
    assert issued.refusal == "certificate.request-file"
