"""The formats of fields, each accepted beside what is one step from it and refused."""

from __future__ import annotations

import base64

import pytest

from keyturn.api.fields import (
    MAX_BLOB,
    MAX_PAYLOAD,
    base64_list,
    from_base64,
    keyed_base64,
    not_available,
    payload_bytes,
)
from keyturn.errors import FormatError, KeyturnError


@pytest.mark.parametrize(
    "bad", ["YQ", "YQ=", "Y Q=", "YQ==\n", "Y-_=", "YQ==YQ==", "ä===", "=", "YQ===", "YQ!=", "YWFh===="]
)
def test_base64_needs_alphabet_padding_and_nothing_else(bad: str) -> None:
    assert from_base64("f", "YQ==") == b"a"
    assert from_base64("f", "+/+/") == b"\xfb\xff\xbf"
    with pytest.raises(FormatError) as caught:
        from_base64("signRequest.f", bad)
    assert caught.value.message == "Field 'signRequest.f' is not a valid base64 encoded value"


def test_a_field_larger_than_its_limit_is_refused() -> None:
    assert len(from_base64("f", base64.b64encode(bytes(MAX_BLOB)).decode())) == MAX_BLOB
    with pytest.raises(FormatError, match="65537 bytes") as caught:
        from_base64("f", base64.b64encode(bytes(MAX_BLOB + 1)).decode())
    assert caught.value.refusal == "field.too-large"


@pytest.mark.parametrize("kind", ["PUBLIC KEY", "CERTIFICATE", "PRIVATE KEY"])
def test_pem_armour_around_a_key_is_removed(kind: str) -> None:
    assert keyed_base64("f", f"-----BEGIN {kind}-----\nYW\nJj\n-----END {kind}-----\n") == b"abc"
    assert keyed_base64("f", f"-----BEGIN {kind}-----YWJj-----END {kind}-----") == b"abc"
    assert keyed_base64("f", None) is None
    with pytest.raises(FormatError):
        keyed_base64("f", "-----BEGIN NONSENSE-----YWJj-----END NONSENSE-----")


def test_a_payload_over_64_kib_is_refused_with_the_way_out() -> None:
    assert len(payload_bytes("p", base64.b64encode(bytes(MAX_PAYLOAD)).decode(), "PDF")) == MAX_PAYLOAD
    with pytest.raises(FormatError, match=r"64 KiB.*Hash the data first") as caught:
        payload_bytes("p", base64.b64encode(bytes(MAX_PAYLOAD + 1)).decode(), "PDF")
    assert caught.value.code.number == 612


@pytest.mark.parametrize("bad", ["0", "0g", "00 11", "0x00", "YQ=="])
def test_a_hex_payload_is_hex(bad: str) -> None:
    assert payload_bytes("p", "00fF", "HEX") == b"\x00\xff"
    with pytest.raises(FormatError) as caught:
        payload_bytes("p", bad, "HEX")
    assert caught.value.code.number == 635


def test_a_list_names_the_entry_that_is_wrong_and_has_a_limit() -> None:
    assert base64_list("l", None, most=1) == []
    assert base64_list("l", ["YQ=="], most=1) == [b"a"]
    with pytest.raises(FormatError, match=r"'l\[1\]'"):
        base64_list("l", ["YQ==", "YQ"], most=2)
    with pytest.raises(FormatError, match="2 entries; at most 1"):
        base64_list("l", ["YQ==", "YQ=="], most=1)


def test_a_field_without_a_function_yet_is_refused_not_ignored() -> None:
    not_available("f", None)
    not_available("f", "")
    with pytest.raises(KeyturnError, match="not available in this version"):
        not_available("f", "x")
