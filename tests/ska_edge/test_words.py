"""Checksum words (R11) and the Bytewords list they are taken from."""

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.ska.words import BYTEWORDS, TRUST_WORDS, checksum_words


def test_the_list_has_the_properties_bcr_2020_012_promises() -> None:
    assert len(BYTEWORDS) == len(set(BYTEWORDS)) == 256
    assert list(BYTEWORDS) == sorted(BYTEWORDS)
    assert {len(word) for word in BYTEWORDS} == {4}
    assert len({word[0] + word[3] for word in BYTEWORDS}) == 256


def test_the_example_of_bcr_2020_012_reads_as_published() -> None:
    """The seed of the specification's example, its CRC-32 included."""
    body = bytes.fromhex("d9012ca20150c7098580125e2ab0981253468b2dbc5202d8641947da")
    published = (
        "tuna acid draw oboe acid good slot axis limp lava brag holy door puff monk brag guru frog "
        "luau drop roof grim also trip idle chef fuel twin tied draw grim ramp"
    )
    data = body + zlib.crc32(body).to_bytes(4, "big")
    assert " ".join(BYTEWORDS[value] for value in data) == published


@pytest.mark.rule("R11")
def test_words_are_a_domain_separated_sha256() -> None:
    digest = hashlib.sha256(b"keyturn/approval\0bytes").digest()
    assert checksum_words(b"bytes", domain="approval") == tuple(BYTEWORDS[b] for b in digest[:8])
    assert len(checksum_words(b"bytes", domain="trust", count=TRUST_WORDS)) == 16


@given(st.binary(max_size=64), st.integers(0, 511))
def test_one_bit_other_words(data: bytes, bit: int) -> None:
    data += b"\0"
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    assert checksum_words(bytes(changed), domain="approval") != checksum_words(data, domain="approval")


def test_another_domain_gives_other_words() -> None:
    assert checksum_words(b"bytes", domain="approval") != checksum_words(b"bytes", domain="trust")


@pytest.mark.parametrize(("domain", "count"), [("", 8), ("a\0b", 8), ("approval", 0), ("approval", 33)])
def test_misuse_is_a_mistake_of_the_caller(domain: str, count: int) -> None:
    with pytest.raises(ValueError, match=r"words|domain"):
        checksum_words(b"bytes", domain=domain, count=count)
    assert checksum_words(b"bytes", domain="approval", count=32)
