"""Every screen that shows a key says whether it is one that the officer accepted, and unchanged (R20)."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.accepted_keys import (
    AcceptedKey,
    KeyIdentity,
    Standing,
    acceptance_of,
    keys_from_json,
    keys_to_json,
)
from keyturn.approver.address_book import AddressBook
from keyturn.approver.review import review_task
from keyturn.approver.tasks import parse_task
from keyturn.cli.officer_view import review_json
from keyturn.errors import KeyturnError
from keyturn.ska.attestation import parse_attestation
from keyturn_testing.approval_tasks import STAMPED_AT, PaperHsm, honest_task, sign_token
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.approver.review import Review

pytestmark = pytest.mark.rule("R20")

ADA, BEN = Officer("ada"), Officer("ben")
POLICY = make_policy(quorum(1, ADA))
HSM = PaperHsm()
UUID = "6f1c1d6e-4a3b-4c8e-9a54-0f8f7b0c1d2e"


def accepted(**changes: Any) -> AcceptedKey:
    attestation = parse_attestation(HSM.attest(POLICY)[0])
    identity = KeyIdentity.of_attestation(attestation)
    key = AcceptedKey(
        label="treasury",
        uuid=identity.uuid,
        fingerprint=identity.fingerprint,
        policy=identity.policy,
        instance=attestation.instance_id,
        device="ab" * 32,
        accepted=STAMPED_AT,
    )
    return dataclasses.replace(key, **changes)


def review(book: AddressBook, *, pinned: bool = True) -> Review:
    task = honest_task(ADA, HSM.stamp(sign_token(b"pay")), hsm=HSM, policy=POLICY)
    return review_task(
        parse_task(task),
        own_spki=ADA.spki,
        address_book=book,
        now=STAMPED_AT + 1,
        device_certificate=HSM.certificate if pinned else None,
    )


def test_r20_a_task_says_whether_its_key_was_accepted() -> None:
    unknown = review(AddressBook.empty())
    assert unknown.acceptance.standing is Standing.NOT_ACCEPTED
    known = review(AddressBook.empty().with_key(accepted()))
    assert known.acceptance.standing is Standing.ACCEPTED
    assert review_json(known)["acceptance"]["standing"] == "accepted"
    assert known.warnings == unknown.warnings

    for changes, standing in (
        ({"policy": "00" * 32}, Standing.CHANGED),
        ({"uuid": UUID.replace("6", "7")}, Standing.OTHER_KEY),
        ({"fingerprint": "00" * 32}, Standing.OTHER_KEY),
        ({"label": "another name"}, Standing.OTHER_KEY),
    ):
        found = review(AddressBook.empty().with_key(accepted(**changes)))
        assert found.acceptance.standing is standing, changes
        assert found.acceptance.alarming
        assert any(found.acceptance.words in warning for warning in found.warnings)

    # What the server says without a pinned certificate proves nothing.
    unproven = review(AddressBook.empty().with_key(accepted()), pinned=False)
    assert unproven.acceptance.standing is Standing.UNPROVEN
    assert not unproven.acceptance.alarming


@pytest.mark.rule("R21")
def test_r21_a_derived_key_is_accepted_beside_its_master_whose_uuid_it_has() -> None:
    master = accepted()
    child = accepted(label="treasury/0'", fingerprint="11" * 32)
    book = AddressBook.empty().with_key(master).with_key(child)
    assert keys_from_json(keys_to_json(book.keys)) == book.keys
    for key in (master, child):
        assert acceptance_of(book.keys, key.label, key.identity).standing is Standing.ACCEPTED
    # Neither stands for the other, nor for a sibling.
    assert acceptance_of(book.keys, "treasury", child.identity).standing is Standing.OTHER_KEY
    assert acceptance_of(book.keys, "treasury/0'", master.identity).standing is Standing.OTHER_KEY
    assert acceptance_of(book.keys, "treasury/1'", child.identity).standing is Standing.NOT_ACCEPTED
    assert list(book.without_key("treasury/0'").keys.values()) == [master]


def test_r20_a_label_alone_says_nothing() -> None:
    keys = {UUID: accepted()}
    assert acceptance_of(keys, "treasury", None).standing is Standing.UNPROVEN
    assert acceptance_of(keys, "other", None).standing is Standing.NOT_ACCEPTED
    stranger = KeyIdentity("00000000-0000-4000-8000-000000000000", "11" * 32, "")
    assert acceptance_of(keys, "treasury", stranger).standing is Standing.OTHER_KEY
    assert acceptance_of(keys, "other", stranger).standing is Standing.NOT_ACCEPTED


def test_the_book_keeps_keys_beside_people(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    book = AddressBook.empty().with_contact("ab" * 32, "Ada").with_key(accepted())
    book.save(path)
    assert AddressBook.load(path) == book
    assert AddressBook.load(path).without("Ada").keys == {UUID: accepted()}
    # A key accepted anew under the same name takes the place of the old one.
    successor = accepted(uuid="00000000-0000-4000-8000-000000000000")
    assert list(book.with_key(successor).keys.values()) == [successor]
    # Books from before have no keys.
    path.write_text(json.dumps({"version": 1, "contacts": {"ab" * 32: "Ada"}}))
    assert AddressBook.load(path).keys == {}


@pytest.mark.parametrize(
    "damaged",
    [
        "text",
        [1],
        [{}],
        [{**keys_to_json({UUID: accepted()})[0], "more": 1}],
        [{**keys_to_json({UUID: accepted()})[0], "accepted": "now"}],
        [{**keys_to_json({UUID: accepted()})[0], "accepted": 10**30}],
        [{**keys_to_json({UUID: accepted()})[0], "fingerprint": "xyz"}],
        [{**keys_to_json({UUID: accepted()})[0], "label": None}],
        [keys_to_json({UUID: accepted()})[0]] * 2,
    ],
)
def test_a_damaged_book_is_refused(damaged: Any) -> None:
    with pytest.raises(KeyturnError) as refused:
        keys_from_json(damaged)
    assert refused.value.refusal == "address-book.unreadable"
    assert keys_from_json(keys_to_json({UUID: accepted()})) == {UUID: accepted()}
