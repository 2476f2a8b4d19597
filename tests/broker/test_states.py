"""The state machine: exactly the transitions of the table, and no way out of a final state."""

from __future__ import annotations

import itertools

import pytest

from keyturn.broker.states import OPEN, TRANSITIONS, RequestStatus, require_transition
from keyturn.errors import ErrorCode, KeyturnError

ALLOWED = {
    ("PENDING", "APPROVED"), ("PENDING", "EXECUTED"), ("PENDING", "FAILED"), ("PENDING", "EXPIRED"),
    ("PENDING", "REJECTED"), ("PENDING", "CANCELLED"),
    ("APPROVED", "PENDING"), ("APPROVED", "EXECUTED"), ("APPROVED", "FAILED"), ("APPROVED", "EXPIRED"),
    ("APPROVED", "REJECTED"), ("APPROVED", "CANCELLED"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), list(itertools.product(RequestStatus, RequestStatus)))
def test_each_pair_of_statuses(old: RequestStatus, new: RequestStatus) -> None:
    if (old.value, new.value) in ALLOWED:
        require_transition(old, new)
        return
    with pytest.raises(KeyturnError) as caught:
        require_transition(old, new)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPERATION
    assert caught.value.refusal == ("request.transition" if old in OPEN else "request.closed")


def test_the_table_names_every_status() -> None:
    assert set(TRANSITIONS) == set(RequestStatus)
