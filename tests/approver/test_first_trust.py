"""First trust: the words of both sides are compared before anything is pinned."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyturn.approver.first_trust import (
    DEVICE_DOMAIN,
    certificate_pem,
    device_certificate,
    parse_words,
    require_same_words,
    verified_attributes,
    view_device,
    view_integrity_key,
)
from keyturn.errors import KeyturnError
from keyturn.ska.words import BYTEWORDS, checksum_words
from keyturn_testing.approval_tasks import PaperHsm, b64
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Callable

HSM = PaperHsm()
POLICY = make_policy(quorum(1, Officer("ada")))


def attributes() -> dict[str, object]:
    xml, signature = HSM.attest(POLICY)
    return {"xml": xml, "json": {}, "xmlSignature": b64(signature), "attestationKeyName": "attestation-1"}


def test_both_sides_see_the_same_sixteen_words() -> None:
    pem = certificate_pem(HSM.certificate)
    view = view_device(device_certificate(pem))
    assert view.data == HSM.certificate
    assert view.words == checksum_words(HSM.certificate, domain=DEVICE_DOMAIN, count=16)
    assert len(view.words) == 16
    require_same_words(parse_words(" ".join(view.words)), view)
    require_same_words(parse_words("-".join(word.upper() for word in view.words)), view)


def test_the_device_certificate_is_the_first_of_the_chain() -> None:
    root = certificate_pem(Officer("some root", "RSA").certificate)
    assert device_certificate(certificate_pem(HSM.certificate) + root) == HSM.certificate


def test_another_certificate_is_refused_and_the_right_one_accepted() -> None:
    ours, foreign = view_device(HSM.certificate), view_device(PaperHsm().certificate)
    with pytest.raises(KeyturnError) as error:
        require_same_words(parse_words(" ".join(ours.words)), foreign)
    assert error.value.refusal == "first-trust.words-differ"
    require_same_words(parse_words(" ".join(ours.words)), ours)


def test_one_other_word_is_enough_to_refuse() -> None:
    view = view_device(HSM.certificate)
    last = BYTEWORDS[BYTEWORDS.index(view.words[-1]) ^ 1]
    with pytest.raises(KeyturnError) as error:
        require_same_words((*view.words[:-1], last), view)
    assert error.value.refusal == "first-trust.words-differ"
    assert view.words[-1] not in error.value.message


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("", "first-trust.word-count"),
        (" ".join(view_device(HSM.certificate).words[:15]), "first-trust.word-count"),
        (" ".join(view_device(HSM.certificate).words) + " able", "first-trust.word-count"),
        (" ".join((*view_device(HSM.certificate).words[:15], "abel")), "first-trust.unknown-word"),
    ],
)
def test_a_slip_of_the_finger_is_told_apart_from_a_foreign_certificate(typed: str, word: str) -> None:
    with pytest.raises(KeyturnError) as error:
        parse_words(typed)
    assert error.value.refusal == word


@pytest.mark.rule("R12")
def test_r12_the_integrity_key_is_read_from_attributes_that_verify_under_the_device_certificate() -> None:
    view = view_integrity_key(verified_attributes(attributes(), HSM.certificate))
    assert view.data == HSM.integrity_spki
    assert len(view.words) == 16
    assert view.words != view_device(HSM.certificate).words


def test_attributes_that_do_not_verify_are_refused() -> None:
    honest = attributes()
    assert verified_attributes(honest, HSM.certificate).label == "treasury"
    for broken in (None, {}, honest | {"xmlSignature": None}, honest | {"xmlSignature": "?"}, honest | {"xml": 7}):
        with pytest.raises(KeyturnError) as error:
            verified_attributes(broken, HSM.certificate)
        assert error.value.refusal == "first-trust.attributes"
    for lying in (honest | {"xml": str(honest["xml"]).replace("generated", "imported")},):
        with pytest.raises(KeyturnError):
            verified_attributes(lying, HSM.certificate)
    with pytest.raises(KeyturnError):
        verified_attributes(honest, Officer("foreign", "RSA").certificate)


@pytest.mark.parametrize(
    "spoil",
    [lambda pem: b"", lambda pem: b"no PEM", lambda pem: pem[:-60], lambda pem: pem + b" " * (1 << 18)],
    ids=["empty", "text", "cut", "too long"],
)
def test_what_is_no_certificate_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    pem = x509.load_der_x509_certificate(HSM.certificate).public_bytes(Encoding.PEM)
    assert device_certificate(pem) == HSM.certificate
    with pytest.raises(KeyturnError) as error:
        device_certificate(spoil(pem))
    assert error.value.refusal == "first-trust.certificate"


def test_a_certificate_that_the_library_cannot_show_is_refused() -> None:
    der = HSM.certificate
    place = der.index(bytes.fromhex("a003020102")) + 4
    spoilt = der[:place] + b"\x33" + der[place + 1 :]
    armour = b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n"
    # A common name that is a bit string is refused as late as when the library reads the subject.
    name = der.index(bytes.fromhex("0603550403"), der.index(bytes.fromhex("0603550403")) + 1) + 5
    for bad in (spoilt, der[:name] + b"\x03" + der[name + 1 :]):
        with pytest.raises(KeyturnError) as caught:
            device_certificate(armour % base64.encodebytes(bad))
        assert caught.value.refusal == "first-trust.certificate"
    assert device_certificate(armour % base64.encodebytes(der)) == der
