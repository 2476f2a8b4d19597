"""Approvals, timestamps, authorizations, unwrap payloads: one form each; and what may not be signed (R8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.messages import (
    ApprovalToken,
    Authorization,
    Timestamp,
    UnwrapPayload,
    decode_approval,
    decode_authorization,
    decode_timestamp,
    decode_unwrap_payload,
    encode_approval,
    encode_authorization,
    encode_timestamp,
    encode_unwrap_payload,
    looks_like_own_structure,
)
from keyturn.ska.policy import EMPTY_POLICY, encode_policy
from keyturn.ska.tlv import Element, Tag, decode_blob, encode_blob, u32
from keyturn_testing.ska import group, person, stamped, token, use_policy

BYTES = st.binary(max_size=60)
PAIRS = st.one_of(st.just((None, None)), st.tuples(BYTES, BYTES))


@st.composite
def approval_tokens(draw: st.DrawFn) -> ApprovalToken:
    action = draw(st.sampled_from(list(Action)))
    payload = draw(BYTES if action in (Action.USE, Action.MODIFY) else st.one_of(st.none(), BYTES))
    timestamp, signature = draw(PAIRS)
    return ApprovalToken(action, draw(BYTES), timestamp, signature, payload)


@given(approval_tokens())
def test_approvals_round_trip(approval: ApprovalToken) -> None:
    assert decode_approval(encode_approval(approval)) == approval


@given(
    st.builds(
        Timestamp,
        st.integers(0, 2**64 - 1),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        BYTES,
        st.booleans(),
    )
)
def test_timestamps_round_trip(timestamp: Timestamp) -> None:
    assert decode_timestamp(encode_timestamp(timestamp)) == timestamp


@given(BYTES, BYTES, BYTES, st.booleans())
def test_authorizations_round_trip(approval: bytes, signature: bytes, signer: bytes, by_key: bool) -> None:
    value = Authorization(approval, signature, signer if by_key else None, None if by_key else signer)
    assert decode_authorization(encode_authorization(value)) == value


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), BYTES, BYTES)
def test_unwrap_payloads_round_trip(capabilities: int, access: int, wrapped: bytes, label: bytes) -> None:
    value = UnwrapPayload(capabilities, access, wrapped, label)
    assert decode_unwrap_payload(encode_unwrap_payload(value)) == value


def test_a_timestamp_for_block_has_no_payload() -> None:
    blob = encode_timestamp(Timestamp(1, "key"))
    assert [element.tag for element in decode_blob(blob)] == [Tag.EPOCH_SECONDS, Tag.NAME]
    assert decode_timestamp(blob) == Timestamp(1, "key", None, is_policy=False)


OPERATION = Element(Tag.OPERATION, u32(1))
LABEL = Element(Tag.NAME, b"key")
PAYLOAD = Element(Tag.USE_PAYLOAD, b"pay")
STAMP = Element(Tag.TIMESTAMP, b"stamp")
SIGNATURE = Element(Tag.SIGNATURE, b"signature")


@pytest.mark.rule("decisions 21")
@pytest.mark.parametrize(
    "elements",
    [
        pytest.param([OPERATION, LABEL], id="without payload"),
        pytest.param([OPERATION, PAYLOAD], id="without label"),
        pytest.param([LABEL, OPERATION, PAYLOAD], id="reordered"),
        pytest.param([OPERATION, LABEL, LABEL, PAYLOAD], id="two labels"),
        pytest.param([OPERATION, LABEL, PAYLOAD, PAYLOAD], id="two payloads"),
        pytest.param([OPERATION, LABEL, STAMP, PAYLOAD], id="timestamp without signature"),
        pytest.param([OPERATION, LABEL, SIGNATURE, PAYLOAD], id="signature without timestamp"),
        pytest.param([OPERATION, LABEL, Element(Tag.MODIFY_PAYLOAD, b"pay")], id="payload of modify"),
        pytest.param([Element(Tag.OPERATION, u32(4)), LABEL, PAYLOAD], id="payload of use for modify"),
        pytest.param([Element(Tag.OPERATION, u32(0)), LABEL, PAYLOAD], id="operation 0"),
        pytest.param([Element(Tag.OPERATION, u32(5)), LABEL, PAYLOAD], id="operation 5"),
        pytest.param([Element(0x3C, b""), OPERATION, LABEL, PAYLOAD], id="phantom in front"),
        pytest.param([OPERATION, LABEL, PAYLOAD, Element(0x7777, b"")], id="unknown element"),
        pytest.param([], id="empty"),
    ],
)
def test_approvals_of_any_other_form_are_refused(elements: list[Element]) -> None:
    with pytest.raises(FormatError):
        decode_approval(encode_blob(elements))
    assert decode_approval(encode_blob([OPERATION, LABEL, PAYLOAD])).payload == b"pay"
    assert decode_approval(encode_blob([OPERATION, LABEL, STAMP, SIGNATURE, PAYLOAD])).timestamp == b"stamp"


@pytest.mark.parametrize(
    "approval",
    [
        ApprovalToken(Action.USE, b"key"),
        ApprovalToken(Action.MODIFY, b"key"),
        ApprovalToken(Action.USE, b"key", b"stamp", None, b"pay"),
        ApprovalToken(Action.USE, b"key", None, b"signature", b"pay"),
    ],
)
def test_an_incomplete_approval_is_not_written(approval: ApprovalToken) -> None:
    with pytest.raises(FormatError):
        encode_approval(approval)


@pytest.mark.parametrize(
    "elements",
    [
        [Element(Tag.EPOCH_SECONDS, bytes(4)), LABEL],
        [Element(Tag.EPOCH_SECONDS, bytes(8))],
        [Element(Tag.EPOCH_SECONDS, bytes(8)), Element(Tag.NAME, b"\xff")],
        [PAYLOAD, Element(Tag.MODIFY_PAYLOAD, b""), Element(Tag.EPOCH_SECONDS, bytes(8)), LABEL],
        [Element(Tag.EPOCH_SECONDS, bytes(8)), LABEL, PAYLOAD],
    ],
)
def test_timestamps_of_any_other_form_are_refused(elements: list[Element]) -> None:
    with pytest.raises(FormatError):
        decode_timestamp(encode_blob(elements))
    assert decode_timestamp(encode_blob([PAYLOAD, Element(Tag.EPOCH_SECONDS, bytes(8)), LABEL])).seconds == 0


@pytest.mark.parametrize("seconds", [-1, 2**64])
def test_a_time_that_does_not_fit_is_not_written(seconds: int) -> None:
    with pytest.raises(FormatError, match="64 bits"):
        encode_timestamp(Timestamp(seconds, "key"))


def test_an_authorization_names_its_signer_exactly_once() -> None:
    for spki, certificate in ((None, None), (b"key", b"certificate")):
        with pytest.raises(FormatError, match="either"):
            encode_authorization(Authorization(b"a", b"s", spki, certificate))
    start = [Element(Tag.APPROVAL, b"a"), SIGNATURE]
    key, certificate_element = Element(Tag.PUBLIC_KEY, b"key"), Element(Tag.CERTIFICATE, b"certificate")
    for signers in ([], [key, certificate_element], [certificate_element, key], [key, key]):
        with pytest.raises(FormatError):
            decode_authorization(encode_blob([*start, *signers]))
    assert decode_authorization(encode_blob([*start, key])).spki == b"key"


def test_an_unwrap_payload_starts_with_its_constant() -> None:
    good = encode_unwrap_payload(UnwrapPayload(1, 2, b"wrapped", b"label"))
    elements = decode_blob(good)
    with pytest.raises(FormatError, match="constant"):
        decode_unwrap_payload(encode_blob([Element(Tag.UNWRAP_CLASS, u32(4)), *elements[1:]]))
    assert decode_unwrap_payload(good).wrapped_key == b"wrapped"


@pytest.mark.rule("R8")
@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("approval", encode_approval(ApprovalToken(Action.USE, b"", payload=b""))),
        ("approval", encode_approval(ApprovalToken(Action.BLOCK, b"key"))),
        ("timestamp", stamped(1)[0]),
        ("timestamp", stamped(1, None)[0]),
        ("timestamp", stamped(1, b"", is_policy=True)[0]),
        ("policy", encode_policy(EMPTY_POLICY)),
        ("policy", encode_policy(use_policy(token(group(1, "alice"))))),
        ("unwrap blob", encode_unwrap_payload(UnwrapPayload(0, 0, b"", b""))),
        ("authorization", person("alice").approve()),
        ("rejection", b"REJECTED:" + encode_approval(ApprovalToken(Action.BLOCK, b"key"))),
        ("rejection", b"REJECTED:" + encode_approval(ApprovalToken(Action.BLOCK, b"key")) + b"task"),
        ("withdrawal", b"WITHDRAW:" + encode_approval(ApprovalToken(Action.BLOCK, b"key")) + b"task"),
    ],
)
def test_payloads_with_a_second_meaning_are_recognised_and_one_byte_less_is_none(name: str, payload: bytes) -> None:
    assert looks_like_own_structure(payload) == name
    if name not in ("rejection", "withdrawal"):
        assert looks_like_own_structure(payload[:-1]) is None
        assert looks_like_own_structure(payload + b"\0") is None


@pytest.mark.rule("R8")
@pytest.mark.parametrize(
    "payload",
    [b"", b"\0\0\0\0", b"hello", bytes(32), b"REJECTED:", b"REJECTED: your application", encode_blob([PAYLOAD])],
)
def test_other_payloads_have_one_meaning(payload: bytes) -> None:
    assert looks_like_own_structure(payload) is None


@pytest.mark.rule("decisions 4")
@given(approval_tokens(), st.text(max_size=36))
def test_a_signed_rejection_never_parses_as_an_approval(approval: ApprovalToken, task_id: str) -> None:
    token_bytes = encode_approval(approval)
    for word in (b"REJECTED:", b"WITHDRAW:"):
        with pytest.raises(FormatError):
            decode_approval(word + token_bytes + task_id.encode(errors="replace"))
    assert decode_approval(token_bytes) == approval
