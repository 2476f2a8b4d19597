"""R22: `keyturn approver onboard | list | remove`: names in a server's directory, and the keys that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.approver.first_trust import certificate_pem
from keyturn.approver.keys import fingerprint_of, identity_words
from keyturn_testing.approval_tasks import b64
from keyturn_testing.officers import Officer
from keyturn_testing.reviews import spaced

if TYPE_CHECKING:
    from approver.conftest import Officers, TaskServer

BEN, EVE = Officer("ben", "RSA"), Officer("eve", "P-384")
DIRECTORY = "/v1/approverDirectory"


@pytest.mark.rule("R22")
@pytest.mark.parametrize("form", ["pem", "der"])
def test_r22_onboarding_sends_the_certificate_and_shows_whose_key_it_is(
    officers: Officers, task_server: TaskServer, form: str
) -> None:
    cert = officers.home / "ben.crt"
    cert.write_bytes(certificate_pem(BEN.certificate) if form == "pem" else BEN.certificate)
    words = ("approver", "onboard", "Ben", "--cert", cert, "--url", task_server.url, "--address-book", officers.book)
    done = officers.run(*words)
    assert task_server.bodies(DIRECTORY) == [{"approverName": "Ben", "approverCertificate": b64(BEN.certificate)}]
    assert spaced(BEN) in done.out
    assert " ".join(identity_words(BEN.spki)) in done.out
    described = officers.run(*words, "--json").json()
    assert (described["name"], described["commonName"]) == ("Ben", "ben")
    assert described["fingerprint"] == fingerprint_of(BEN.spki)


def test_a_file_without_a_certificate_reaches_no_server(officers: Officers, task_server: TaskServer) -> None:
    cert = officers.home / "ben.crt"
    for content in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", BEN.spki):
        cert.write_bytes(content)
        done = officers.run("approver", "onboard", "Ben", "--cert", cert, "--url", task_server.url)
        assert done.refusal == "directory.certificate"
    assert task_server.received == []


@pytest.mark.rule("R22")
def test_r22_the_list_says_who_stands_there_by_the_officers_own_address_book(
    officers: Officers, task_server: TaskServer
) -> None:
    entries = [{"approverName": "Ben", "approverCertificate": b64(EVE.certificate), "addedAt": "2026-01-01T00:00:00Z"}]
    task_server.answers[DIRECTORY] = {"approvers": entries}
    book = ("--address-book", officers.book)
    assert officers.run("approver", "contacts", "add", "Eve", b64(EVE.spki), *book).code == 0
    (described,) = officers.run("approver", "list", "--url", task_server.url, *book, "--json").json()
    assert (described["name"], described["known"], described["commonName"]) == ("Ben", "Eve", "eve")
    shown = officers.run("approver", "list", "--url", task_server.url, *book).out
    assert spaced(EVE) in shown
    task_server.answers[DIRECTORY] = {"approvers": []}
    assert "empty" in officers.run("approver", "list", "--url", task_server.url, *book).out


@pytest.mark.parametrize("entry", [{}, {"approverName": "Ben"}, {"approverName": "Ben", "approverCertificate": "?"}])
def test_an_entry_that_is_none_is_refused(officers: Officers, task_server: TaskServer, entry: dict[str, str]) -> None:
    task_server.answers[DIRECTORY] = {"approvers": [entry]}
    done = officers.run("approver", "list", "--url", task_server.url, "--address-book", officers.book)
    assert done.refusal == "directory.malformed"


def test_names_of_a_server_cannot_repaint_the_screen(officers: Officers, task_server: TaskServer) -> None:
    entries = [{"approverName": "\x1b[2JBen\u202e", "approverCertificate": b64(BEN.certificate)}]
    task_server.answers[DIRECTORY] = {"approvers": entries}
    shown = officers.run("approver", "list", "--url", task_server.url, "--address-book", officers.book).out
    assert "<U+001B>[2JBen<U+202E>" in shown


def test_removing_says_that_no_policy_changes(officers: Officers, task_server: TaskServer) -> None:
    done = officers.run("approver", "remove", "Ben Okri", "--url", task_server.url)
    assert [(one.method, one.path) for one in task_server.calls()] == [("DELETE", f"{DIRECTORY}/Ben%20Okri")]
    assert "No policy changed" in done.out
    assert officers.run("approver", "remove", "Ben", "--url", task_server.url, "--json").json() == {"removed": "Ben"}
