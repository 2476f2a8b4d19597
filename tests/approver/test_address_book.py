"""The officer's own address book."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from keyturn.approver.address_book import AddressBook, default_path
from keyturn.errors import KeyturnError

if TYPE_CHECKING:
    from pathlib import Path

ADA, BEN = "a" * 64, "b" * 64


def test_a_book_comes_back_as_it_was_saved_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "keyturn" / "addressbook.json"
    assert AddressBook.load(path).contacts == {}
    AddressBook.empty().with_contact("AAAA " * 16, "Ada").with_contact(BEN, "Ben").save(path)
    book = AddressBook.load(path)
    assert (book.name(ADA), book.name(BEN), book.name("c" * 64)) == ("Ada", "Ben", None)
    assert path.stat().st_mode & 0o777 == 0o600
    book.without("Ada").save(path)
    assert AddressBook.load(path).contacts == {BEN: "Ben"}
    assert [entry.name for entry in path.parent.iterdir()] == ["addressbook.json"]


def test_a_name_cannot_stand_for_two_keys_but_may_be_corrected() -> None:
    book = AddressBook.empty().with_contact(ADA, "Ada")
    for same in ("ada", "\uff21da", "ADA "):
        with pytest.raises(KeyturnError) as error:
            book.with_contact(BEN, same)
        assert error.value.refusal == "address-book.name-taken"
    assert book.with_contact(ADA, "Ada Lovelace").name(ADA) == "Ada Lovelace"


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 101, "Ada\u202e", "Ada\nBen", "Ada\ufe0f", "A\u0336da", "YOU", " you "]
)
def test_a_name_that_could_deceive_is_refused(name: str) -> None:
    assert AddressBook.empty().with_contact(ADA, "Adé Young").name(ADA) == "Adé Young"
    with pytest.raises(KeyturnError) as error:
        AddressBook.empty().with_contact(ADA, name)
    assert error.value.refusal == "address-book.name"


@pytest.mark.parametrize("fingerprint", ["", "a" * 63, "g" * 64, "a" * 65])
def test_what_is_no_fingerprint_is_refused(fingerprint: str) -> None:
    with pytest.raises(KeyturnError) as error:
        AddressBook.empty().with_contact(fingerprint, "Ada")
    assert error.value.refusal == "address-book.fingerprint"


def test_somebody_who_is_not_in_the_book_cannot_be_removed() -> None:
    book = AddressBook.empty().with_contact(ADA, "Ada")
    with pytest.raises(KeyturnError) as error:
        book.without("Eve")
    assert error.value.refusal == "address-book.unknown"
    assert not book.without("AA:" * 31 + "AA").contacts


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"version": 2, "contacts": {}}', b'{"version": 1, "contacts": []}', b"[" * 99_999],
)
def test_a_damaged_book_is_refused_and_never_taken_for_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "book.json"
    path.write_bytes(content)
    with pytest.raises(KeyturnError) as error:
        AddressBook.load(path)
    assert error.value.refusal == "address-book.unreadable"
    path.write_text(json.dumps({"version": 1, "contacts": {ADA: "Ada"}}))
    assert AddressBook.load(path).name(ADA) == "Ada"


def test_the_usual_place_follows_the_users_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "keyturn" / "addressbook.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".config" / "keyturn" / "addressbook.json"


def test_a_book_in_which_a_name_or_key_stands_twice_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    for contacts in ({ADA: "Ada", BEN: "ADA"}, {ADA: "Ada", ADA.upper(): "Ben"}):
        path.write_text(json.dumps({"version": 1, "contacts": contacts}))
        with pytest.raises(KeyturnError) as error:
            AddressBook.load(path)
        assert error.value.refusal == "address-book.unreadable"
    path.write_text(json.dumps({"version": 1, "contacts": {ADA: "Ada", BEN: "Ben"}}))
    assert AddressBook.load(path).name(BEN) == "Ben"


def test_a_book_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    book = AddressBook.empty().with_contact(ADA, "Ada")
    book.save(tmp_path / "book.json")
    with pytest.raises(KeyturnError) as error:
        book.save(tmp_path / "book.json" / "below-a-file")
    assert error.value.refusal == "address-book.unwritable"
