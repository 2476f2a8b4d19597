"""Statements of bound approvals: one encoding for each meaning, and nothing else is read (R7)."""

from __future__ import annotations

import dataclasses
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.ska import cbor
from keyturn.ska.actions import Action
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.messages import ApprovalToken, encode_approval, looks_like_own_structure
from keyturn.ska.statement import (
    KINDS,
    MAGIC,
    MAX_STATEMENT,
    RESERVED_KINDS,
    SIGN_PARAMETERS,
    Statement,
    decode_statement,
    describe_statement,
    encode_statement,
    is_statement,
)
from keyturn_testing.statements import EXAMPLES, example

GOLDEN: Final = Path(__file__).parent / "golden"
HEAD: Final = b"keyturn/approve\x00\x01"
GOOD: Final = {name: encode_statement(statement) for name, statement in EXAMPLES.items()}

pytestmark = pytest.mark.rule("R7")


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_r7_golden_files_never_change(name: str) -> None:
    golden = (GOLDEN / f"statement-{name}.bin").read_bytes()
    assert golden == encode_statement(EXAMPLES[name])
    assert decode_statement(golden) == EXAMPLES[name]


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_r7_another_cbor_writes_the_same_bytes(name: str) -> None:
    """cbor2 is the judge; the fields are written out here from the document and not from the program."""
    one = EXAMPLES[name]
    fields = [
        one.kind,
        UUID(one.key_uuid).bytes,
        sha256(b"spki").digest(),
        sha256(b"policy").digest(),
        one.request_id,
        *(one.algorithm, one.signature_type, one.iv, one.aad, one.tag_length),
        *(one.wrap_method, one.new_label),
        None if one.new_attributes is None else {word: int(value) for word, value in one.new_attributes.items()},
        one.new_policy,
        None if one.new_blocked is None else int(one.new_blocked),
        one.new_key_id,
        None if one.new_allowed_operations is None else list(one.new_allowed_operations),
        None if one.new_allowed_algorithms is None else list(one.new_allowed_algorithms),
        one.data,
    ]
    assert GOOD[name] == HEAD + cbor2.dumps(fields, canonical=True)


hashes = st.binary(min_size=32, max_size=32)
uuids = st.uuids().map(str)
words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", fullmatch=True)
names = st.sets(words, min_size=1, max_size=4).map(lambda found: tuple(sorted(found)))
common: Final[dict[str, Any]] = {
    "key_uuid": uuids,
    "spki_hash": hashes,
    "policy_hash": hashes,
    "request_id": uuids,
}
statements = st.one_of(
    st.builds(
        Statement,
        kind=st.just("sign"),
        **common,
        algorithm=words,
        signature_type=st.none() | words,
        data=st.binary(max_size=200),
        sign_parameters=st.none()
        | st.dictionaries(st.sampled_from(sorted(SIGN_PARAMETERS)), st.binary(max_size=40), min_size=1),
    ),
    st.builds(
        Statement,
        kind=st.just("decrypt"),
        **common,
        algorithm=words,
        iv=st.none() | st.binary(max_size=16),
        aad=st.none() | st.binary(max_size=40),
        tag_length=st.none() | st.integers(1, 1024),
        data=st.binary(max_size=200),
    ),
    st.builds(
        Statement,
        kind=st.just("unwrap"),
        **common,
        wrap_method=words,
        new_label=st.text("abcxyzäß 0", min_size=1, max_size=20).filter(lambda text: text == text.strip()),
        new_attributes=st.dictionaries(words, st.booleans(), max_size=5),
        new_policy=st.none() | st.binary(min_size=1, max_size=60),
        new_blocked=st.booleans(),
        new_key_id=st.none() | st.text("a1é", min_size=1, max_size=20),
        new_allowed_operations=st.none() | names,
        new_allowed_algorithms=st.none() | names,
        data=st.binary(max_size=200),
    ),
    st.builds(Statement, kind=st.sampled_from(["block", "unblock"]), **common),
)


@given(statements)
def test_r7_what_is_read_back_is_what_was_written(statement: Statement) -> None:
    data = encode_statement(statement)
    assert is_statement(data)
    assert decode_statement(data) == statement
    assert all(text.isprintable() and text for row in describe_statement(statement) for text in row)


def test_r7_parameters_of_a_signature_stand_in_a_statement_of_the_next_version() -> None:
    plain = decode_statement(GOOD["sign"])
    tweaked = dataclasses.replace(plain, sign_parameters={"taprootTweakData": b"\x07" * 32})
    data = encode_statement(tweaked)
    assert data[: len(MAGIC) + 1] == MAGIC + b"\x02"
    assert cbor2.loads(data[len(MAGIC) + 1 :]) == [
        *cbor2.loads(GOOD["sign"][len(MAGIC) + 1 :]),
        {"taprootTweakData": b"\x07" * 32},
    ]
    assert decode_statement(data) == tweaked
    assert ("further parameters", "taprootTweakData " + "07" * 32) in describe_statement(tweaked)
    assert "further parameters" not in dict(describe_statement(plain))
    fields = cbor2.loads(data[len(MAGIC) + 1 :])

    def written(version: int, values: object) -> bytes:
        return MAGIC + bytes([version]) + cbor2.dumps(values, canonical=True)

    for wrong in (
        written(1, fields),
        written(2, fields[:-1]),
        written(2, [*fields[:-1], {}]),
        written(2, [*fields[:-1], None]),
        written(2, [*fields[:-1], {"nonce": b"x"}]),
        written(2, [*fields[:-1], {"context": "x"}]),
        written(2, ["decrypt", *fields[1:6], None, *fields[7:]]),
        written(2, []),
        written(3, fields),
    ):
        with pytest.raises(FormatError):
            decode_statement(wrong)
    assert decode_statement(written(2, fields)) == tweaked


@given(statements, statements)
def test_r7_two_meanings_never_have_one_encoding(one: Statement, other: Statement) -> None:
    assert (encode_statement(one) == encode_statement(other)) == (one == other)


@given(st.binary(max_size=300), st.sampled_from([b"", MAGIC, HEAD]))
def test_r7_any_bytes_are_refused_with_our_own_error(noise: bytes, start: bytes) -> None:
    with pytest.raises(FormatError):
        decode_statement(start + noise)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_r7_one_changed_bit_is_another_statement_or_none(name: str) -> None:
    good = GOOD[name]
    assert decode_statement(good) == EXAMPLES[name]
    for bit in range(len(good) * 8):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            other = decode_statement(bytes(changed))
        except FormatError:
            continue
        # What is still readable says something else, and has no encoding but this one.
        assert other != EXAMPLES[name]
        assert encode_statement(other) == bytes(changed)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_r7_a_cut_or_a_tail_is_refused(name: str) -> None:
    good = GOOD[name]
    for bad in (*(good[:size] for size in range(len(good))), good + b"\x00", good + b"\xf6"):
        with pytest.raises(FormatError):
            decode_statement(bad)
    decode_statement(good)


def test_r7_another_version_is_refused_by_name() -> None:
    good = GOOD["sign"]
    for version in (0, 3, 255):
        with pytest.raises(FormatError) as refused:
            decode_statement(MAGIC + bytes([version]) + good[17:])
        assert refused.value.refusal == "statement.version"
    decode_statement(good)


@pytest.mark.parametrize("kind", sorted(RESERVED_KINDS | {"modify", "", "SIGN"}))
def test_r7_a_kind_that_does_not_exist_yet_is_neither_written_nor_read(kind: str) -> None:
    with pytest.raises(FormatError) as refused:
        encode_statement(example(kind))
    assert refused.value.refusal == "statement.kind"
    values = cbor.decode(GOOD["block"][17:], what="statement", max_depth=2)
    assert isinstance(values, list)
    with pytest.raises(FormatError) as refused:
        decode_statement(HEAD + cbor.encode([kind, *values[1:]]))
    assert refused.value.refusal == "statement.kind"
    assert decode_statement(HEAD + cbor.encode(["block", *values[1:]])).kind == "block"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sign", {"algorithm": None}),
        ("sign", {"algorithm": ""}),
        ("sign", {"algorithm": "SHA256 WITH"}),
        ("sign", {"algorithm": "x" * 65}),
        ("sign", {"algorithm": "A\x1b[2J"}),
        ("sign", {"signature_type": ""}),
        ("sign", {"iv": b""}),
        ("sign", {"new_blocked": False}),
        ("sign", {"request_id": ""}),
        ("sign", {"request_id": "3F0E9C1A-77AA-4A0F-9A52-0F4F7B6F2F10"}),
        ("sign", {"request_id": "{3f0e9c1a-77aa-4a0f-9a52-0f4f7b6f2f10}"}),
        ("sign", {"key_uuid": ""}),
        ("sign", {"key_uuid": "0B9F3A52-5F0C-4A0E-8F5C-1D2E3F405162"}),
        ("sign", {"spki_hash": bytes(31)}),
        ("sign", {"policy_hash": b""}),
        ("decrypt", {"tag_length": 0}),
        ("decrypt", {"tag_length": -1}),
        ("decrypt", {"tag_length": 1025}),
        ("decrypt", {"signature_type": "DER"}),
        ("unwrap", {"wrap_method": None}),
        ("unwrap", {"new_label": None}),
        ("unwrap", {"new_attributes": None}),
        ("unwrap", {"new_attributes": {"": True}}),
        ("unwrap", {"new_blocked": None}),
        ("unwrap", {"new_policy": b""}),
        ("unwrap", {"new_key_id": ""}),
        ("unwrap", {"new_key_id": "x" * 257}),
        ("unwrap", {"new_allowed_operations": ()}),
        ("unwrap", {"new_allowed_operations": ("sign", "decrypt")}),
        ("unwrap", {"new_allowed_algorithms": ("A", "A")}),
        ("unwrap", {"algorithm": "RSA"}),
        ("block", {"data": b"x"}),
        ("unblock", {"algorithm": "RSA"}),
    ],
)
def test_r7_fields_that_do_not_fit_are_not_written_and_not_read(name: str, changes: dict[str, Any]) -> None:
    bad = dataclasses.replace(EXAMPLES[name], **changes)
    with pytest.raises(FormatError) as refused:
        encode_statement(bad)
    assert refused.value.refusal == "statement.field"
    encode_statement(EXAMPLES[name])
    places = {field.name: position for position, field in enumerate(dataclasses.fields(Statement))}
    values = cbor.decode(GOOD[name][17:], what="statement", max_depth=2)
    assert isinstance(values, list)
    for field in changes:
        content = getattr(bad, field)
        if field == "key_uuid":
            content = content.encode()
        elif isinstance(content, bool):
            content = int(content)
        elif field == "new_attributes" and content is not None:
            content = {word: int(value) for word, value in content.items()}
        values[places[field]] = content
    with pytest.raises(FormatError) as refused:
        decode_statement(HEAD + cbor.encode(values))
    assert refused.value.refusal == "statement.field"


def test_r7_values_of_another_type_are_refused() -> None:
    values = cbor.decode(GOOD["unwrap-all"][17:], what="statement", max_depth=2)
    assert isinstance(values, list)
    for position in range(len(values)):
        for wrong in ([1], -7, 2, {"sign": 2}, {"sign": None}, {1: 1}, [b"sign"]):
            with pytest.raises(FormatError) as refused:
                decode_statement(HEAD + cbor.encode([*values[:position], wrong, *values[position + 1 :]]))
            assert refused.value.refusal == "statement.field"
    for wrong_array in (values[:-1], [*values, None], {"kind": "sign"}, None, 19):
        with pytest.raises(FormatError) as refused:
            decode_statement(HEAD + cbor.encode(wrong_array))
        assert refused.value.refusal == "statement.field"
    decode_statement(HEAD + cbor.encode(values))


def test_r7_a_label_that_nobody_can_see_is_refused_in_a_statement_too() -> None:
    with pytest.raises(FormatError) as refused:
        encode_statement(dataclasses.replace(EXAMPLES["unwrap"], new_label="spa\u202ere"))
    assert refused.value.refusal == "label.character"


def test_r7_a_statement_has_at_most_64_kib() -> None:
    room = MAX_STATEMENT - len(encode_statement(example("sign", algorithm="EDDSA", data=bytes(65_000)))) + 65_000
    fits = encode_statement(example("sign", algorithm="EDDSA", data=bytes(room)))
    assert len(fits) == MAX_STATEMENT
    assert decode_statement(fits).data == bytes(room)
    for act in (
        lambda: encode_statement(example("sign", algorithm="EDDSA", data=bytes(room + 1))),
        lambda: decode_statement(fits + b"\x00"),
    ):
        with pytest.raises(FormatError) as refused:
            act()
        assert refused.value.refusal == "statement.size"


@pytest.mark.rule("R8")
def test_r8_whatever_begins_with_the_magic_is_a_bound_statement_to_a_key_without_the_attribute() -> None:
    for payload in (*GOOD.values(), MAGIC, MAGIC + b"anything", HEAD):
        assert looks_like_own_structure(payload) == "bound statement"
    for payload in (MAGIC[:-1], b"x" + MAGIC, MAGIC[:-1] + b"\x01", b"Keyturn/approve\x00"):
        assert looks_like_own_structure(payload) is None
    # Nor is a whole approval over a statement one.
    approval = encode_approval(ApprovalToken(Action.USE, b"treasury", payload=GOOD["sign"]))
    assert looks_like_own_structure(approval) == "approval"


def test_r7_people_read_every_parameter_and_absent_ones_are_named() -> None:
    rows = dict(describe_statement(EXAMPLES["sign-own-form"]))
    assert (rows["operation"], rows["algorithm"], rows["signature form"]) == ("sign", "EDDSA", "the algorithm's own")
    assert rows["data to be signed"].startswith("0 bytes, SHA-256 e3b0")
    rows = dict(describe_statement(EXAMPLES["decrypt-all"]))
    assert (rows["initialization vector"], rows["additional data"]) == ("00" * 12, "empty")
    rows = dict(describe_statement(EXAMPLES["unwrap-all"]))
    assert rows["new key may"] == "boundApprovals, not decrypt, sign"
    assert (rows["new key starts blocked"], rows["new key's allowed operations"]) == ("yes", "sign")
    rows = dict(describe_statement(EXAMPLES["unwrap"]))
    assert rows["new key's policy"] == "none: it needs no approvals"
    assert len(describe_statement(EXAMPLES["block"])) == 5


def test_r7_both_sides_build_the_statement_of_a_call_through_one_function() -> None:
    key = BoundKey("0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162", b"spki", b"policy")
    request = "3f0e9c1a-77aa-4a0f-9a52-0f4f7b6f2f10"
    assert key.sign(request, b"pay 10 to Ben", "SHA256_WITH_ECDSA", "DER") == EXAMPLES["sign"]
    assert key.sign(request, b"", "EDDSA", "") == EXAMPLES["sign-own-form"]
    assert key.decrypt(request, b"\x01\x02\x03", "RSA_PADDING_OAEP_WITH_SHA256") == EXAMPLES["decrypt"]
    assert key.certify(request, "csr", b"a request", "EDDSA") == EXAMPLES["csr"]
    assert key.certify(request, "issue", b"a certificate", "SHA256_WITH_ECDSA") == EXAMPLES["issue"]
    attached = key.certify(request, "issue", b"a certificate", "SHA256_WITH_ECDSA", attach_to="Zürich")
    assert attached == EXAMPLES["issue-attached"]
    assert key.certify(request, "selfsign", b"a certificate", "SHA512_WITH_RSA_PSS") == EXAMPLES["selfsign"]
    gcm = key.decrypt(request, b"\x04", "AES_GCM", iv=bytes(12), aad=b"", tag_length=128)
    assert gcm == EXAMPLES["decrypt-all"]
    assert (key.block(request), key.unblock(request)) == (EXAMPLES["block"], EXAMPLES["unblock"])
    unwrapped = key.unwrap(
        request, b"wrapped", "RSA_WRAP_PAD", "spare", {"sign": True}, allowed_algorithms=["B", "A", "B"]
    )
    assert unwrapped.new_attributes is not None
    # What was left out is filled in, so that a default is approved, too.
    assert (unwrapped.new_attributes["sign"], unwrapped.new_attributes["destroyable"]) == (True, False)
    assert (unwrapped.new_allowed_algorithms, unwrapped.new_allowed_operations) == (("A", "B"), None)
    assert {statement.kind for statement in EXAMPLES.values()} == KINDS
