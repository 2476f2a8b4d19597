"""Bodies become structs, or a refusal that names the field."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.api.codec import MAX_DEPTH, read_body, read_json, request_text
from keyturn.api.schemas.approval import TaskQueryBody
from keyturn.api.schemas.signing import SynchronousSignBody
from keyturn.errors import FormatError

GOOD = {"signRequest": {"payload": "YQ==", "signKeyName": "k", "signatureAlgorithm": "SHA256_WITH_RSA"}}


def refused(body: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        read_body(body, SynchronousSignBody)
    return caught.value


def changed(**changes: object) -> bytes:
    return json.dumps({"signRequest": GOOD["signRequest"] | changes}).encode()


def test_a_documented_body_is_read() -> None:
    body = read_body(json.dumps(GOOD).encode(), SynchronousSignBody)
    assert body.sign_request.sign_key_name == "k"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nonsense", b"[" * 100_000, b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":"\\ud800\\u0041"}', b"NaN"],
)
def test_what_is_no_json_is_named_so(body: bytes) -> None:
    error = refused(body)
    assert error.message == "Invalid request. Cannot parse json string"
    assert error.code.number == 600


def test_json_deeper_than_the_limit_is_refused_and_at_the_limit_read() -> None:
    assert read_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None
    with pytest.raises(FormatError, match="deeper") as caught:
        read_json(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
    assert caught.value.refusal == "json.too-deep"


@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    ("twice", "once"),
    [
        (b'{"a":1,"a":2}', b'{"a":1,"b":2}'),
        (b'{"x":{"a":1,"a":1}}', b'{"x":{"a":1},"y":{"a":1}}'),
        (b'[{"a":":","a":":"}]', b'[{"a":":,{}"}]'),
        (b'{"a":1,"\\u0061":2}', b'{"a":1,"\\u0062":2}'),
        (b'{"a" : "\\":\\"", "a" : 1}', b'{"a" : "\\":\\"", "b" : 1}'),
    ],
)
def test_r10_a_repeated_name_is_refused(twice: bytes, once: bytes) -> None:
    read_json(once)
    with pytest.raises(FormatError, match="stands more than once") as caught:
        read_json(twice)
    assert caught.value.refusal == "json.repeated-name"


@pytest.mark.rule("R10")
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=20,
    ),
    st.booleans(),
)
def test_r10_no_honest_json_is_taken_for_one_with_repeated_names(value: object, ascii_only: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


def test_a_missing_field_is_named_by_its_path() -> None:
    request = {name: value for name, value in GOOD["signRequest"].items() if name != "payload"}
    error = refused(json.dumps({"signRequest": request}).encode())
    assert error.message == "Field 'signRequest.payload' must be given."
    assert refused(b"{}").message == "Field 'signRequest' must be given."


def test_a_field_of_the_wrong_type_is_named_with_both_types() -> None:
    error = refused(changed(payload=7))
    assert error.message.startswith("A provided argument is of the wrong type.")
    assert "'signRequest.payload'" in error.message
    assert "The body must be object" in refused(b"[]").message


def test_an_unknown_property_is_refused_at_the_top_and_inside() -> None:
    assert refused(changed(surprise=1)).message == "Field 'signRequest.surprise' is not known here."
    assert refused(json.dumps(GOOD | {"surprise": 1}).encode()).message == "Field 'surprise' is not known here."
    assert refused(changed(**{"a\nb" * 50: 1})).message.count("\n") == 0


def test_a_value_outside_an_enumeration_is_named() -> None:
    error = refused(changed(payloadType="TEXT"))
    assert error.message == "Value 'TEXT' is not valid for field signRequest.payloadType."
    read_body(changed(payloadType="PDF"), SynchronousSignBody)


def test_an_empty_name_is_refused() -> None:
    assert refused(changed(signKeyName="")).message == "Field 'signRequest.signKeyName' must not be empty."


@pytest.mark.parametrize("size", [True, 1.0, "1", 0, -1])
@pytest.mark.rule("R10")
def test_r10_only_whole_numbers_are_numbers(size: object) -> None:
    def query(value: object) -> bytes:
        page = {"sortOrder": "CREATION_DATE_ASC", "pageSize": value}
        names = {"timestamp": "x", "timestampSignature": "x", "timestampDigestAlgorithm": "SHA-256"}
        return json.dumps(names | {"paging": page}).encode()

    read_body(query(1), TaskQueryBody)
    with pytest.raises(FormatError, match=r"'paging\.pageSize'"):
        read_body(query(size), TaskQueryBody)


def test_null_is_absent_for_optional_fields() -> None:
    body = read_body(changed(metaData=None, keyPassword=None, signedApprovals=None), SynchronousSignBody)
    assert body.sign_request.signed_approvals is None


def test_the_bytes_of_a_request_are_kept_as_sent() -> None:
    inner = b'{"b": 1,  "a":2 }'
    assert request_text(b'{ "signRequest" :  %b }' % inner, "signRequest") == b'{"signRequest":%b}' % inner
    signed = b'{"requestSignature": {"s": "x"} , "signRequest": %b}' % inner
    assert request_text(signed, "signRequest") == b'{"signRequest":%b,"requestSignature":{"s": "x"}}' % inner


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read_body(body, SynchronousSignBody)
    except FormatError as error:
        assert error.message  # noqa: PT017 - Whatever comes, nothing but our own error.


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda i: (
            st.lists(i)
            | st.dictionaries(
                st.sampled_from(["signRequest", "payload", "signKeyName", "signedApprovals", "requestSignature", "x"]),
                i,
            )
        ),
    )
)
def test_any_json_is_read_or_refused(value: object) -> None:
    try:
        read_body(msgspec.json.encode(value), SynchronousSignBody)
    except FormatError as error:
        assert error.message  # noqa: PT017 - As above.
