"""What an unwrap approval says about the new key, from attributes to flags and from flags to words (R16)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import KeyturnError
from keyturn.ska.messages import decode_unwrap_payload, looks_like_own_structure
from keyturn.ska.unwrap_flags import ACCESS, CAPABILITIES, access_words, capability_words, unwrap_payload_for

SAYABLE = (*CAPABILITIES, *ACCESS, "destroyable")
WRAPPED = bytes(range(40))


@pytest.mark.rule("R16")
def test_the_documented_bits_mean_what_is_documented() -> None:
    payload = decode_unwrap_payload(unwrap_payload_for({"sign": True, "decrypt": True}, WRAPPED, "nëw"))
    assert payload.capability_flags == 2 + 4
    # Sensitive, modifiable and not destroyable by default, and in the store.
    assert payload.access_flags == 1 + 4 + 32 + 64
    assert payload.wrapped_key == WRAPPED
    assert payload.label == "nëw".encode()


@pytest.mark.rule("R16")
def test_the_public_sample_reads_as_its_program_meant_it() -> None:
    # Vector jce-unwrap-use-payload-1: all uses; sensitive, modifiable, copyable, a token object, destroyable.
    assert access_words(45) == ("sensitive", "modifiable", "copyable", "stays in the HSM", "destroyable")
    assert set(capability_words(0x7F)) == set(CAPABILITIES)


@given(st.dictionaries(st.sampled_from(SAYABLE), st.booleans()), st.sampled_from(SAYABLE))
@pytest.mark.rule("R16")
def test_every_attribute_changes_the_approved_bytes(given_attributes: dict[str, bool], name: str) -> None:
    on = unwrap_payload_for({"sensitive": True, **given_attributes, name: True}, WRAPPED, "new")
    off = unwrap_payload_for({"sensitive": True, **given_attributes, name: False}, WRAPPED, "new")
    assert on != off
    assert looks_like_own_structure(on) == "unwrap blob"
    payload = decode_unwrap_payload(on)
    assert name in capability_words(payload.capability_flags) + access_words(payload.access_flags)


@pytest.mark.rule("R16")
def test_label_and_wrapped_key_change_the_approved_bytes() -> None:
    approved = unwrap_payload_for({"sign": True}, WRAPPED, "new")
    assert unwrap_payload_for({"sign": True}, WRAPPED[:-1] + b"\0", "new") != approved
    assert unwrap_payload_for({"sign": True}, WRAPPED, "neu") != approved
    assert unwrap_payload_for({"sign": True, "modifiable": True, "unknown": True}, WRAPPED, "new") == approved


@pytest.mark.parametrize("name", ["bip32", "slip10"])
def test_what_no_flag_can_say_is_refused_attribute_no_flag(name: str) -> None:
    with pytest.raises(KeyturnError) as refused:
        unwrap_payload_for({"sign": True, "derive": True, name: True}, WRAPPED, "new")
    assert refused.value.refusal == "attribute.no-flag"
    unwrap_payload_for({"sign": True, "derive": True, name: False}, WRAPPED, "new")


def test_unknown_bits_are_named_by_their_number() -> None:
    assert capability_words(4 + 256) == ("sign", "unknown flag 256")
    assert access_words(64 + 16) == ("unknown flag 16", "cannot be deleted")
