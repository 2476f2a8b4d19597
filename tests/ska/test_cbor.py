"""Strict CBOR: one encoding per value, nothing else is written or read. `cbor2` judges the writer."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError, KeyturnError
from keyturn.ska import cbor

KEYS = st.text(alphabet="abcdefghij", max_size=20)
VALUES = st.recursive(
    st.none() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    assert cbor.decode(cbor.encode(value), what="thing", max_depth=20) == value


@given(VALUES)
def test_what_is_written_is_what_the_reference_implementation_writes(value: Any) -> None:
    assert cbor.encode(value) == cbor2.dumps(value, canonical=True)


@pytest.mark.parametrize("wrong", [True, 1.5, object(), [False], {"a": {1, 2}}])
def test_what_has_no_form_is_a_mistake_of_the_program(wrong: object) -> None:
    with pytest.raises(TypeError):
        cbor.encode(wrong)


def test_a_number_of_more_than_64_bits_has_no_form() -> None:
    for wrong in (2**64, -(2**64) - 1):
        with pytest.raises(ValueError, match="64 bits"):
            cbor.encode(wrong)
    assert cbor.encode([2**64 - 1, -(2**64)]) == cbor2.dumps([2**64 - 1, -(2**64)])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_in_their_only_form_or_refused(data: bytes) -> None:
    try:
        value = cbor.decode(data, what="thing")
    except FormatError:
        return
    assert cbor.encode(value) == data


@pytest.mark.parametrize(
    ("why", "hexadecimal", "refusal"),
    [
        ("a number longer than needed", "1800", "not-deterministic"),
        ("a long number longer than needed", "190017", "not-deterministic"),
        ("a length longer than needed", "5801ff", "not-deterministic"),
        ("an indefinite byte string", "5f41ff41ffff", "not-deterministic"),
        ("an indefinite array", "9fff", "not-deterministic"),
        ("an indefinite map", "bfff", "not-deterministic"),
        ("keys out of order", "a2616201616101", "not-deterministic"),
        ("the same key twice", "a2616101616102", "not-deterministic"),
        ("a reserved length form", "1c", "malformed"),
        ("trailing bytes", "0000", "malformed"),
        ("nothing", "", "malformed"),
        ("cut in a length", "59", "malformed"),
        ("cut in a text", "6261", "malformed"),
        ("a text that is not UTF-8", "61ff", "malformed"),
        ("a claimed length without the bytes", "5bffffffffffffffff", "malformed"),
        ("a claimed count without the items", "9bffffffffffffffff", "malformed"),
        ("a date tag", "c000", "malformed"),
        ("a float", "f90000", "malformed"),
        ("true", "f5", "malformed"),
        ("undefined", "f7", "malformed"),
        ("a list as a key", "a18000", "malformed"),
    ],
)
def test_refused(why: str, hexadecimal: str, refusal: str) -> None:
    with pytest.raises(FormatError) as refused:
        cbor.decode(bytes.fromhex(hexadecimal), what="thing")
    assert refused.value.refusal == f"thing.{refusal}", why


def test_depth_is_bounded() -> None:
    assert cbor.decode(bytes.fromhex("8181818100"), what="thing") == [[[[0]]]]
    with pytest.raises(KeyturnError, match="nested"):
        cbor.decode(bytes.fromhex("818181818100"), what="thing")


@given(st.dictionaries(KEYS, st.integers(0, 1000)))
def test_the_order_of_keys_is_that_of_rfc_8949(fields: dict[str, int]) -> None:
    encoded = cbor.encode(fields)
    keys = [cbor2.dumps(key) for key in cbor2.loads(encoded)]
    assert keys == sorted(keys)
