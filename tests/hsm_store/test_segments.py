"""Consumed statements, packed: found again, forgotten by their timestamps, and part of what the root record covers."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.ledger import consumed
from keyturn.hsm.records import SegmentRecord
from keyturn.hsm.segments import ENTRY, ConsumedStatement, entries, find, segment_of, with_entry, without_stamps_to
from keyturn_testing.hsm_store import add_key, behind_its_back, create_store, open_store, operation_id

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.hsm.store import Store

pytestmark = pytest.mark.rule("R14")


def digest(number: int) -> bytes:
    return sha256(b"statement %d" % number).digest()


def use(number: int, stamp: int | None = None) -> ConsumedStatement:
    return ConsumedStatement(digest(number), 1_700_000_000 + number, stamp, operation_id(number))


def consume(store: Store, uuid: str, entry: ConsumedStatement) -> None:
    place = segment_of(entry.statement)
    with store.change() as change:
        change.put_segment(SegmentRecord(uuid, place, with_entry(store.segments(uuid).get(place, b""), entry)))


@given(st.lists(st.tuples(st.integers(0, 99), st.none() | st.integers(1, 10**10)), unique_by=lambda one: one[0]))
def test_property_every_entry_is_found_and_no_other(given_: list[tuple[int, int | None]]) -> None:
    packed = b""
    for number, stamp in given_:
        packed = with_entry(packed, use(number, stamp))
    assert len(packed) == ENTRY * len(given_)
    assert [one.statement for one in entries(packed)] == sorted(digest(number) for number, _ in given_)
    known = dict(given_)
    for number in range(100):
        assert find(packed, digest(number)) == (use(number, known[number]) if number in known else None)


@given(
    st.lists(st.tuples(st.integers(0, 99), st.none() | st.integers(1, 20)), unique_by=lambda one: one[0]),
    st.integers(0, 21),
)
def test_property_only_what_is_stamped_early_enough_is_left_out(
    given_: list[tuple[int, int | None]], last: int
) -> None:
    packed = b""
    for number, stamp in given_:
        packed = with_entry(packed, use(number, stamp))
    left, newest = without_stamps_to(packed, last)
    going = [stamp for _, stamp in given_ if stamp is not None and stamp <= last]
    assert newest == max(going, default=0)
    assert {one.statement for one in entries(left)} == {
        digest(number) for number, stamp in given_ if stamp is None or stamp > last
    }


def test_a_statement_that_differs_in_one_bit_is_another_one() -> None:
    packed = with_entry(b"", use(1))
    near = bytes([*digest(1)[:-1], digest(1)[-1] ^ 1])
    assert find(packed, digest(1)) == use(1)
    assert find(packed, near) is None


def test_an_operation_id_of_another_size_would_shift_all_entries() -> None:
    with pytest.raises(ValueError, match="64 octets"):
        with_entry(b"", ConsumedStatement(digest(1), 1, None, b"short"))


def test_segments_survive_a_restart_raise_the_counter_and_go_with_their_key(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    key, other = add_key(store), add_key(store, "other")
    before = store.state_counter
    for number in range(20):
        consume(store, key.uuid, use(number))
    consume(store, other.uuid, use(1))
    assert store.state_counter == before + 21
    assert (store.consumed_count(key.uuid), store.ledger_size) == (20, 21)
    store.close()
    store = open_store(tmp_path / "store")
    known = consumed(store, key.uuid)
    assert len(known) == len(set(known)) == store.consumed_count(key.uuid) == 20
    assert digest(3) in known
    assert digest(20) not in known
    assert known.find(digest(7)) == use(7)
    with store.change() as change:
        change.remove_key(key.uuid)
    assert (store.consumed_count(key.uuid), store.ledger_size) == (0, 1)
    store.close()
    store = open_store(tmp_path / "store")
    assert store.ledger_size == 1
    with pytest.raises(KeyturnError) as refused:
        consume(store, key.uuid, use(1))
    assert refused.value.code is ErrorCode.KEY_NOT_EXISTENT
    store.close()


@pytest.mark.rule("R6")
def test_r6_a_segment_put_back_to_an_older_state_is_noticed_store_consumed_mismatch(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    key = add_key(store)
    consume(store, key.uuid, use(1))
    store.commit_now()
    with behind_its_back(tmp_path / "store") as file:
        (identity, old), *_ = file.execute("SELECT id, content FROM consumed").fetchall()
    place = segment_of(digest(1))
    packed = with_entry(
        store.segments(key.uuid)[place], ConsumedStatement(digest(1)[:31] + b"\x00", 1, None, bytes(16))
    )
    with store.change() as change:
        change.put_segment(SegmentRecord(key.uuid, place, packed))
    store.close()
    open_store(tmp_path / "store").close()
    with behind_its_back(tmp_path / "store") as file:
        file.execute("UPDATE consumed SET content = ? WHERE id = ?", (old, identity))
    with pytest.raises(KeyturnError) as refused:
        open_store(tmp_path / "store")
    assert refused.value.refusal == "store.consumed-mismatch"


def test_results_of_single_uses_are_pushed_out_by_single_uses_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.hsm.pending.MAX_OPERATIONS", 3)
    store = create_store(tmp_path / "store")

    def done(number: int, use_digest: bytes = b"") -> None:
        with store.change() as change:
            change.put_operation(operation_id(number), digest(number), b"result", time=1, use_digest=use_digest)

    for number in range(3):
        done(number, digest(number))
    for number in range(3, 10):
        done(number)
    kept = [number for number in range(10) if store.operation(operation_id(number)) is not None]
    assert kept == [0, 1, 2, 7, 8, 9]
    store.close()
    store = open_store(tmp_path / "store")
    assert store.operation_count == 6
    record = store.operation(operation_id(1))
    assert record is not None
    assert (record.use_digest, store.operation_result(record)) == (digest(1), b"result")
    done(10, digest(10))
    assert [number for number in range(3) if store.operation(operation_id(number)) is not None] == [1, 2]
    with pytest.raises(KeyturnError) as refused:
        done(1)
    assert refused.value.refusal == "store.operation-exists"
    store.close()
