"""The bytes that certificates sign: one encoding, read strictly, told completely (R11, R17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.ska import der
from keyturn.ska.certificate_shape import looks_like_certificate
from keyturn.ska.certificate_words import certificate_cautions, certificate_in, describe_certificate
from keyturn.ska.to_be_signed import (
    EXTENSION_REQUEST,
    MAX_TO_BE_SIGNED,
    SignedBytes,
    join_signed,
    read_to_be_signed,
    require_canonical,
    split_signed,
)
from keyturn_testing.officers import Officer

if TYPE_CHECKING:
    from keyturn.ska.to_be_signed import ToBeSigned

pytestmark = pytest.mark.rule("R17")

SPKI = Officer("ada").spki
NAME = der.encode(
    der.SEQUENCE,
    der.encode(der.SET, der.encode(der.SEQUENCE, der.encode_oid("2.5.4.3") + der.encode(0x0C, b"Root"))),
)
ALGORITHM = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.10045.4.3.2"))
VERSION = bytes.fromhex("a003020102")
TIMES = (b"260101000000Z", b"270101000000Z")


def _extension(oid: str, value: bytes, critical: bytes = b"\x01\x01\xff") -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(oid) + critical + der.encode(0x04, value))


AUTHORITY = _extension("2.5.29.19", bytes.fromhex("30030101ff"))


def certificate(
    *,
    version: bytes = VERSION,
    serial: bytes = b"\x07",
    algorithm: bytes = ALGORITHM,
    times: bytes | None = None,
    subject: bytes = NAME,
    extensions: bytes | None = AUTHORITY,
    behind: bytes = b"",
) -> bytes:
    """A TBSCertificate, with what a test wants to be otherwise."""
    validity = b"".join(der.encode(0x17, one) for one in TIMES) if times is None else times
    body = version + der.encode(der.INTEGER, serial) + algorithm + NAME + der.encode(der.SEQUENCE, validity)
    body += subject + SPKI
    if extensions is not None:
        body += der.encode(0xA3, der.encode(der.SEQUENCE, extensions))
    return der.encode(der.SEQUENCE, body + behind)


def request(attributes: bytes = b"", version: bytes = b"\x02\x01\x00") -> bytes:
    """A CertificationRequestInfo."""
    return der.encode(der.SEQUENCE, version + NAME + SPKI + der.encode(0xA0, attributes))


GOOD = certificate()


def test_a_certificate_is_told_with_all_that_it_says() -> None:
    told = read_to_be_signed(GOOD)
    assert (told.subject, told.issuer, told.spki, told.algorithm) == (NAME, NAME, SPKI, ALGORITHM)
    assert (told.subject_text, told.serial, told.certificate_authority) == ("CN=Root", 7, True)
    assert (told.not_before, told.not_after) == (1_767_225_600, 1_798_761_600)
    assert not told.is_request
    asked = read_to_be_signed(request())
    assert (asked.subject, asked.spki, asked.is_request) == (NAME, SPKI, True)
    assert dict(describe_certificate(asked))["makes"].startswith("a request")


def test_times_after_2049_are_written_in_full() -> None:
    late = der.encode(0x17, b"491231235959Z") + der.encode(0x18, b"20500101000000Z")
    told = read_to_be_signed(certificate(times=late))
    assert told.not_after - told.not_before == 1
    for wrong in (
        der.encode(0x18, b"20490101000000Z") + der.encode(0x18, b"20500101000000Z"),
        der.encode(0x17, b"260101000000Z") + der.encode(0x17, b"2701010000Z"),
        der.encode(0x17, b"260101000000Z") + der.encode(0x17, b"270101000000+0100"),
        der.encode(0x17, b"270101000000Z") + der.encode(0x17, b"260101000000Z"),
        der.encode(0x17, b"260231000000Z") + der.encode(0x17, b"270101000000Z"),
    ):
        assert _refusal(certificate(times=wrong)) == "certificate.form"


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x30",
        GOOD[:-1],
        GOOD + b"\x00",
        bytes([0x31]) + GOOD[1:],
        bytes([0x30, 0x80]) + GOOD[4:] + b"\0\0",
        bytes([0x30, 0x83, 0x00]) + GOOD[2:],
        certificate(version=bytes.fromhex("a003020101")),
        certificate(version=b""),
        certificate(serial=b"\x00"),
        certificate(serial=b"\x80"),
        certificate(serial=b"\x00\x07"),
        certificate(serial=b"\x7f" * 21),
        certificate(extensions=b""),
        certificate(extensions=AUTHORITY + AUTHORITY),
        certificate(extensions=_extension("2.5.29.19", bytes.fromhex("300301010a"))),
        certificate(extensions=_extension("2.5.29.19", bytes.fromhex("30030101ff"), b"\x01\x01\x00")),
        certificate(extensions=_extension("2.5.29.15", b"\x00")),
        certificate(behind=b"\x05\x00"),
        certificate(subject=der.encode(der.SEQUENCE, b"\x0c\x04Root")),
        certificate(subject=b"\x0c\x04Root"),
        request(version=b"\x02\x01\x01"),
        request(der.encode(der.SEQUENCE, EXTENSION_REQUEST + der.encode(der.SET, der.encode(der.SEQUENCE, b"")))),
        request(der.encode(der.SEQUENCE, der.encode_oid("1.2.840.113549.1.9.7") + der.encode(der.SET, b"\x0c\x01x"))),
        SPKI,
    ],
)
def test_what_is_no_certificate_or_has_another_encoding_is_refused(bad: bytes) -> None:
    assert _refusal(bad) == "certificate.form"
    assert certificate_in(bad) is None


def _without_lengths(data: bytes) -> bytes:
    """The same SEQUENCE of parts as BER has it, without its own length and without that of its fifth part."""
    reader = der.sequence_of(data, "test")
    parts = []
    while not reader.at_end():
        parts.append(reader.take_any())
    subject = b"\x30\x80" + parts[5][1] + b"\0\0"
    return b"\x30\x80" + b"".join(subject if place == 5 else part[2] for place, part in enumerate(parts)) + b"\0\0"


@pytest.mark.rule("R17")
@pytest.mark.parametrize(
    "lax",
    [
        GOOD,
        certificate(version=b""),
        certificate(version=bytes.fromhex("a003020101")),
        certificate(serial=b"\x80"),
        certificate(serial=b"\x00\x07"),
        certificate(serial=b"\x7f" * 21),
        certificate(extensions=None),
        certificate(extensions=b""),
        certificate(extensions=AUTHORITY + AUTHORITY),
        certificate(extensions=_extension("1.2.3", bytes(30_000))),
        certificate(behind=b"\x05\x00"),
        certificate(times=der.encode(0x17, b"2601010000Z") * 2),
        bytes([0x30, 0x82, 0x00]) + GOOD[2:],
        _without_lengths(GOOD),
        request(),
        request(version=b"\x02\x01\x01"),
        request(der.encode(der.SEQUENCE, der.encode_oid("1.2.840.113549.1.9.7") + der.encode(der.SET, b"\x0c\x01x"))),
    ],
)
def test_r17_what_a_lax_verifier_takes_for_a_certificate_looks_like_one(lax: bytes) -> None:
    """A bound key signs none of it as a payload, though keyturn would sign only some of it as a certificate."""
    assert looks_like_certificate(lax)
    for other in (lax[:-1], lax + b"\0", b"\x31" + lax[1:], lax[1:]):
        assert not looks_like_certificate(other)


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"\x30",
        b"\x30\x80",
        b"\x30\x80" * 300,
        b"\x30\x84\xff\xff\xff\xff",
        b"\x3f" + b"\xff" * 9,
        bytes(range(48, 80)),
        SPKI,
        NAME,
        certificate(subject=b"\x0c\x04Root"),
        der.encode(der.SEQUENCE, b"\x02\x01\x00" + NAME + NAME),
    ],
)
def test_other_bytes_do_not_look_like_a_certificate(other: bytes) -> None:
    assert not looks_like_certificate(other)


def test_size_and_depth_have_bounds() -> None:
    filler = MAX_TO_BE_SIGNED - len(certificate(extensions=AUTHORITY + _extension("1.2.3.4", bytes(20_000)))) + 20_000
    fits = certificate(extensions=AUTHORITY + _extension("1.2.3.4", bytes(filler)))
    assert len(fits) == MAX_TO_BE_SIGNED
    read_to_be_signed(fits)
    assert _refusal(certificate(extensions=AUTHORITY + _extension("1.2.3.4", bytes(filler + 1)))) == "certificate.size"
    deep = b"\x05\x00"
    for level in range(20):
        deep = der.encode(der.SEQUENCE, deep)
        if level == 14:
            require_canonical(deep)
    with pytest.raises(FormatError):
        require_canonical(deep)


def test_a_set_that_is_not_sorted_and_a_string_in_pieces_have_another_encoding() -> None:
    one, two = der.encode(0x0C, b"a"), der.encode(0x0C, b"b")
    require_canonical(der.encode(der.SET, one + two))
    for bad in (der.encode(der.SET, two + one), der.encode(0x2C, one), der.encode(0x10, b"")):
        with pytest.raises(FormatError):
            require_canonical(bad)


def test_an_unknown_extension_is_shown_and_an_authority_is_warned_of() -> None:
    told = read_to_be_signed(certificate(extensions=AUTHORITY + _extension("1.2.3.4", b"\x05\x00")))
    assert dict(describe_certificate(told))["extension 1.2.3.4, critical"] == "0500"
    assert certificate_cautions(told)
    plain = read_to_be_signed(certificate(extensions=_extension("2.5.29.19", b"\x30\x00")))
    assert certificate_cautions(plain) == ()


@given(st.binary(max_size=300), st.binary(max_size=80))
def test_what_is_joined_is_taken_apart_again(data: bytes, signature: bytes) -> None:
    parts = SignedBytes(der.encode(der.SEQUENCE, data), ALGORITHM, signature)
    assert split_signed(join_signed(parts)) == parts
    with pytest.raises(FormatError) as refused:
        split_signed(join_signed(parts) + b"\0")
    assert refused.value.refusal == "certificate.form"


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_r17_no_other_bytes_say_the_same(place: int, change: int) -> None:
    changed = GOOD[:place] + bytes([GOOD[place] ^ change]) + GOOD[place + 1 :]
    try:
        other = read_to_be_signed(changed)
    except FormatError:
        return
    assert _meaning(other) != _meaning(read_to_be_signed(GOOD))


def _meaning(told: ToBeSigned) -> tuple[object, ...]:
    return tuple(getattr(told, name) for name in told.__slots__ if name != "data")


def _refusal(data: bytes) -> str:
    with pytest.raises(FormatError) as refused:
        read_to_be_signed(data)
    return refused.value.refusal
