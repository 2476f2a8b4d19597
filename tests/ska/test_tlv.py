"""The framing: what is written can be read, and nothing else can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.policy import EMPTY_POLICY, encode_policy
from keyturn.ska.tlv import (
    MAX_BLOB,
    MAX_DEPTH,
    Element,
    Reader,
    Tag,
    decode_blob,
    decode_body,
    encode_blob,
    encode_body,
    u32,
)
from keyturn_testing.ska import person, stamped

ELEMENTS = st.lists(st.builds(Element, st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8)


@given(ELEMENTS)
def test_what_is_written_is_read_back(elements: list[Element]) -> None:
    blob = encode_blob(elements)
    assert decode_blob(blob) == tuple(elements)
    assert decode_body(blob[4:]) == tuple(elements)
    assert encode_body(elements) == blob[4:]
    assert len(blob) % 4 == 0


@given(st.binary(max_size=64))
def test_what_is_read_is_written_to_the_same_bytes(data: bytes) -> None:
    try:
        elements = decode_blob(data)
    except FormatError:
        return
    assert encode_blob(elements) == data


GOOD = bytes.fromhex("10000000 3B000400 01000000 02100100 41000000".replace(" ", ""))


@pytest.mark.rule("decisions 21")
@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (GOOD[:3], "only 3"),
        (GOOD[:-1], "sent complete"),
        (GOOD + b"\0", "sent complete"),
        (b"\x11" + GOOD[1:] + b"\0", "cut off"),
        (GOOD[4:], "sent complete"),
        (GOOD[:-1] + b"\1", "padding"),
        (GOOD[:-3] + b"\1\0\0", "padding"),
        (b"\x08\0\0\0" + bytes.fromhex("3B00FF0001000000"), "past the end"),
        (b"\x02\0\0\0\x3b\0", "cut off"),
        (b"\x0c\0\0\0" + bytes.fromhex("3B00FFFF0400000001000000"), "long length"),
    ],
)
def test_every_other_form_is_refused(bad: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        decode_blob(bad)
    assert decode_blob(GOOD) == (Element(Tag.OPERATION, u32(1)), Element(Tag.NAME, b"A"))


@pytest.mark.rule("decisions 21")
def test_the_phantom_of_element_3c_is_neither_read_nor_written() -> None:
    """A body of 60 bytes starts with 3C 00 00 00; read as an element it would be the phantom (pitfall 1)."""
    blob = encode_blob([Element(Tag.USE_PAYLOAD, bytes(56))])
    assert blob[:4] == b"\x3c\0\0\0"
    assert [element.tag for element in decode_blob(blob)] == [Tag.USE_PAYLOAD]
    with_phantom = u32(len(blob)) + blob
    with pytest.raises(FormatError):
        Reader(decode_blob(with_phantom), "timestamp").take(Tag.USE_PAYLOAD)


def test_the_largest_blob_passes_and_one_byte_more_does_not() -> None:
    largest = encode_blob([Element(Tag.USE_PAYLOAD, bytes(MAX_BLOB - 8))])
    assert len(largest) == MAX_BLOB
    assert decode_blob(largest)[0].value == bytes(MAX_BLOB - 8)
    for size in (MAX_BLOB - 7, 0xFFFE, 0xFFFF, MAX_BLOB + 1):
        with pytest.raises(FormatError, match="65536"):
            encode_blob([Element(Tag.USE_PAYLOAD, bytes(size))])
    for decode in (decode_blob, decode_body):
        with pytest.raises(FormatError, match="65536"):
            decode(bytes(MAX_BLOB + 1))


def test_numbers_that_do_not_fit_are_refused() -> None:
    assert u32(0xFFFF_FFFF) == b"\xff\xff\xff\xff"
    for number in (-1, 2**32):
        with pytest.raises(FormatError, match="32 bits"):
            u32(number)
    for tag in (-1, 0x10000):
        with pytest.raises(FormatError, match="16 bits"):
            encode_blob([Element(tag, b"")])


def test_a_reader_takes_one_order_and_names_what_is_wrong() -> None:
    elements = decode_blob(GOOD)
    reader = Reader(elements, "thing")
    assert (reader.take_u32(Tag.OPERATION), reader.take(Tag.NAME), reader.take_if(Tag.NAME)) == (1, b"A", None)
    reader.finish()
    with pytest.raises(FormatError, match="thing has its end where element 0x1057"):
        reader.take(Tag.USE_PAYLOAD)
    with pytest.raises(FormatError, match="must end"):
        Reader(elements, "thing").finish()
    with pytest.raises(FormatError, match="unknown element 0x003C"):
        Reader((Element(0x3C, b""),), "thing").take(Tag.NAME)
    with pytest.raises(FormatError, match="instead of 4"):
        Reader((Element(Tag.OPERATION, b"\1\0\0"),), "thing").take_u32(Tag.OPERATION)


def test_a_count_cannot_announce_more_than_there_is() -> None:
    elements = (Element(Tag.TOKEN_COUNT, u32(2)), Element(Tag.NAME, b""))
    with pytest.raises(FormatError, match="not there"):
        Reader(elements, "rule").take_count(Tag.TOKEN_COUNT)
    assert Reader((*elements, elements[1]), "rule").take_count(Tag.TOKEN_COUNT) == 2


def depth(blob: bytes) -> int:
    nested = [e.value for e in decode_blob(blob) if e.tag in NESTED]
    return 1 + max((depth(value) for value in nested), default=0)


NESTED = (Tag.APPROVAL, Tag.TIMESTAMP, Tag.MODIFY_PAYLOAD, Tag.RULE_USE)


def test_the_grammar_is_as_deep_as_it_says() -> None:
    """Authorization, approval, timestamp, policy, rule."""
    policy = encode_policy(EMPTY_POLICY)
    stamp = stamped(1, policy, is_policy=True)
    assert depth(person("alice").approve(policy, action=Action.MODIFY, stamp=stamp)) == MAX_DEPTH
