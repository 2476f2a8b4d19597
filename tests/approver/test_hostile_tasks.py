"""Whatever a server sends, the client answers with a review that can be shown, or with a refusal of ours."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from keyturn.approver.address_book import AddressBook
from keyturn.approver.review import Review, review_task
from keyturn.approver.tasks import parse_task
from keyturn.cli.officer_view import review_json, show_review
from keyturn.errors import KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import decode_approval
from keyturn.ska.policy import encode_policy
from keyturn_testing.approval_tasks import (
    STAMPED_AT,
    PaperHsm,
    b64,
    block_token,
    honest_task,
    modify_token,
    sign_token,
    unwrap_token,
)
from keyturn_testing.officers import Officer, make_policy, quorum

ADA, BEN = Officer("ada"), Officer("ben", "ED")
HSM = PaperHsm()
NOW = STAMPED_AT + 60
POLICY = make_policy(quorum(1, ADA, BEN))
HONEST = (
    honest_task(ADA, HSM.stamp(sign_token(b"Pay 10 to Bob.")), hsm=HSM, policy=POLICY, metaData=b64(b"{}")),
    honest_task(ADA, HSM.stamp(modify_token(encode_policy(POLICY))), hsm=HSM, policy=POLICY),
    honest_task(ADA, HSM.stamp(sign_token(bytes(256))), hsm=HSM, policy=POLICY, kind="decrypt"),
    honest_task(ADA, HSM.stamp(unwrap_token()), hsm=HSM, policy=POLICY, kind="unwrap"),
    honest_task(ADA, HSM.stamp(block_token()), hsm=HSM, policy=POLICY),
    honest_task(ADA, HSM.stamp(block_token(action=Action.UNBLOCK)), hsm=HSM, policy=POLICY),
)
FIELDS = sorted({field for task in HONEST for field in task})
MEMBERS = (
    *("signRequest", "decryptRequest", "unwrapKeyRequest", "blockRequest", "unblockRequest", "modifyRequest"),
    *("policy", "payload", "encryptedPayload", "wrappedKey", "label", "attributes", "blockKeyName", "x"),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary().map(b64),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(MEMBERS),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def outcome_of(task: dict[str, Any]) -> Review | KeyturnError:
    try:
        return review_task(
            parse_task(task),
            own_spki=ADA.spki,
            address_book=AddressBook.empty(),
            now=NOW,
            device_certificate=HSM.certificate,
        )
    except KeyturnError as error:
        return error


def answer_to(task: dict[str, Any]) -> bool:
    """Review and show a task; True when it was taken for honest. Anything but our own refusals fails the test."""
    outcome = outcome_of(task)
    if isinstance(outcome, KeyturnError):
        assert outcome.message.isprintable()
        return False
    screen = io.StringIO()
    show_review(outcome, Console(file=screen, width=120, markup=False, highlight=False))
    assert json.dumps(review_json(outcome))
    assert all(line.isprintable() for line in screen.getvalue().splitlines())
    return True


@pytest.mark.rule("R11")
@settings(max_examples=300, deadline=None)
@given(honest=st.sampled_from(HONEST), field=st.sampled_from(FIELDS), value=ANYTHING)
def test_r11_any_field_may_hold_anything(honest: dict[str, Any], field: str, value: object) -> None:
    assert answer_to(honest)
    answer_to(honest | {field: value})


@pytest.mark.rule("R11")
@settings(max_examples=300, deadline=None)
@given(data=st.data(), honest=st.sampled_from(HONEST))
def test_r11_an_approval_changed_in_one_bit_is_refused_beside_honest_fields(
    data: st.DataObject, honest: dict[str, Any]
) -> None:
    approval = bytearray(base64.b64decode(honest["approvalToBeSigned"]))
    position = data.draw(st.integers(0, 8 * len(approval) - 1))
    approval[position // 8] ^= 1 << position % 8
    assert not answer_to(honest | {"approvalToBeSigned": b64(bytes(approval))})


@pytest.mark.rule("R11")
@settings(max_examples=200, deadline=None)
@given(junk=st.binary(min_size=1, max_size=200))
def test_r11_what_the_client_takes_for_an_approval_always_is_one(junk: bytes) -> None:
    task = {"id": HONEST[0]["id"], "approvalToBeSigned": b64(junk)}
    if answer_to(task):
        assert decode_approval(junk).label
