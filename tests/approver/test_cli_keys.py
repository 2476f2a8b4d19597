"""`keyturn approver keygen | whoami | contacts` on the command line."""

from __future__ import annotations

import base64
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from approver.conftest import Officers

PASSPHRASE = "four words drawn at random"


@pytest.mark.parametrize("file_format", ["pkcs8", "pkcs12"])
def test_an_officer_makes_a_key_and_sees_its_public_side_again(officers: Officers, file_format: str) -> None:
    made = officers.keygen("ada", "ed25519", "--format", file_format, "--name", "Ada")
    assert len(made["words"]) == 16
    assert len(made["fingerprint"]) == 64
    assert (made["certificate"] is not None) == (file_format == "pkcs12")
    assert base64.b64decode(made["publicKey"])
    key = officers.home / "ada.key"
    assert key.stat().st_mode & 0o777 == 0o600
    again = officers.run(
        "approver", "whoami", "--key", key, "--passphrase-file", officers.passphrase_file, "--json"
    ).json()
    assert again == made
    text = officers.run("approver", "whoami", "--key", key, typed=PASSPHRASE + "\n").out
    assert " ".join(made["words"]) in text
    assert made["publicKey"] in text
    assert PASSPHRASE not in text


def test_the_passphrase_is_asked_for_twice_and_must_match(officers: Officers) -> None:
    words = ("approver", "keygen", "--type", "ec-p256", "--out", officers.home / "typed.key")
    assert officers.run(*words, typed=f"{PASSPHRASE}\nsomething else\n").code != 0
    assert not (officers.home / "typed.key").exists()
    outcome = officers.run(*words, typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert outcome.code == 0
    assert PASSPHRASE not in outcome.out + outcome.err
    assert (officers.home / "typed.key").exists()


def test_without_a_terminal_the_message_names_the_option(officers: Officers) -> None:
    target = officers.home / "x.key"
    outcome = officers.run("approver", "keygen", "--type", "ed25519", "--out", target)
    assert outcome.code == 2
    assert "give --passphrase-file" in outcome.err
    assert "echo" not in outcome.err
    assert not target.exists()
    assert officers.keygen("x", "ed25519")["file"] == str(target)


def test_without_a_terminal_nothing_but_the_message_is_said(officers: Officers) -> None:
    made = officers.keygen("ada")
    words = [sys.executable, "-W", "error", "-m", "keyturn", "approver", "whoami", "--key", made["file"]]
    done = subprocess.run(words, input=f"{PASSPHRASE}\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Warning" not in done.stderr
    assert done.stderr.endswith("There is no terminal to ask for the passphrase; give --passphrase-file.\n")


def test_a_file_that_is_no_key_is_told_apart_from_a_wrong_passphrase(officers: Officers) -> None:
    made = officers.keygen("ada")
    note = officers.home / "note.txt"
    note.write_text("a note to myself")
    other = officers.home / "other"
    other.write_text("four other words drawn")
    for asked in (("--passphrase-file", officers.passphrase_file), ()):
        outcome = officers.run("approver", "whoami", "--key", note, *asked)
        assert outcome.refusal == "approver-key.unreadable"
        assert outcome.error is not None
        assert "note.txt is no key file" in outcome.error.message
    wrong = officers.run("approver", "whoami", "--key", made["file"], "--passphrase-file", other)
    assert wrong.refusal == "approver-key.wrong-passphrase"
    right = officers.run("approver", "whoami", "--key", made["file"], "--passphrase-file", officers.passphrase_file)
    assert right.code == 0


def test_a_short_passphrase_is_refused_with_the_reason_and_no_file_is_left(officers: Officers) -> None:
    officers.passphrase_file.write_text("short")
    out = officers.home / "new.key"
    words = ("approver", "keygen", "--type", "ec-p256", "--out", out, "--passphrase-file", officers.passphrase_file)
    outcome = officers.run(*words)
    assert outcome.refusal == "passphrase.short"
    assert not out.exists()
    officers.passphrase_file.write_text(PASSPHRASE)
    assert officers.run(*words).code == 0


def test_a_key_file_is_never_written_over(officers: Officers) -> None:
    officers.keygen("ada")
    before = (officers.home / "ada.key").read_bytes()
    outcome = officers.run(
        "approver", "keygen", "--type", "ec-p256", "--out", officers.home / "ada.key",
        "--passphrase-file", officers.passphrase_file,
    )  # fmt: skip
    assert outcome.refusal == "file.exists"
    assert (officers.home / "ada.key").read_bytes() == before


def test_the_passphrase_has_no_option_of_its_own(officers: Officers) -> None:
    outcome = officers.run("approver", "keygen", "--type", "ec-p256", "--out", "x", "--passphrase", PASSPHRASE)
    assert outcome.code == 2


def _pem(made: dict[str, Any], path: Path) -> Path:
    pem = subprocess.run(
        ["openssl", "pkey", "-pubin", "-inform", "DER"],
        input=base64.b64decode(made["publicKey"]),
        capture_output=True,
        check=True,
    ).stdout
    path.write_bytes(pem)
    return path


def test_a_contact_is_the_same_by_fingerprint_by_base64_and_by_file(officers: Officers) -> None:
    made = officers.keygen("ben", "ec-p384")
    book = ("--address-book", officers.book)
    for key in (made["fingerprint"], made["publicKey"], _pem(made, officers.home / "ben.pem")):
        added = officers.run("approver", "contacts", "add", "Ben", key, *book, "--json").json()
        assert added["fingerprint"] == made["fingerprint"]
        assert added["words"] in ([], made["words"])
        known = officers.run("approver", "contacts", "list", *book, "--json").json()
        assert known == [{"name": "Ben", "fingerprint": made["fingerprint"]}]
    listed = officers.run("approver", "contacts", "list", *book).out
    assert "Ben" in listed
    told = officers.run("approver", "contacts", "add", "Ben", made["publicKey"], *book).out
    assert " ".join(made["words"]) in told
    assert officers.run("approver", "contacts", "remove", "Ben", *book).code == 0
    assert officers.run("approver", "contacts", "list", *book).out == "The address book is empty.\n"


def test_names_stand_beside_fingerprints_on_eighty_columns(officers: Officers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    made = officers.keygen("ben")
    book = ("--address-book", officers.book)
    officers.run("approver", "contacts", "add", "Ben of the night shift", made["publicKey"], *book)
    listed = officers.run("approver", "contacts", "list", *book).out
    assert all(len(line) <= 80 for line in listed.splitlines())
    cells = [line.strip("│").split("│") for line in listed.splitlines() if line.startswith("│")]
    name, fingerprint = ("".join(column).replace(" ", "") for column in zip(*cells, strict=True))
    assert (name, fingerprint) == ("Benofthenightshift", made["fingerprint"])


def test_a_certificate_is_a_contacts_key_as_well(officers: Officers) -> None:
    made = officers.keygen("ben", "ec-p256", "--format", "pkcs12")
    path = officers.home / "ben.crt"
    body = base64.encodebytes(base64.b64decode(made["certificate"])).decode()
    path.write_text(f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
    added = officers.run("approver", "contacts", "add", "Ben", path, "--address-book", officers.book, "--json").json()
    assert added["fingerprint"] == made["fingerprint"]


@pytest.mark.parametrize(
    ("key", "word"), [("no such file", "file.unreadable"), ("AAAA", "approver.malformed-key")], ids=["file", "base64"]
)
def test_what_is_no_key_is_refused_as_a_contact(officers: Officers, key: str, word: str) -> None:
    assert officers.run("approver", "contacts", "add", "Ben", key, "--address-book", officers.book).refusal == word


def test_a_file_without_a_key_is_refused_as_a_contact(officers: Officers) -> None:
    outcome = officers.run(
        "approver", "contacts", "add", "Ben", officers.passphrase_file, "--address-book", officers.book
    )
    assert outcome.refusal == "address-book.key"
