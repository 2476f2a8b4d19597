"""Bundles: sealed, named, opened only as they should be (decisions 16 and 35, R29)."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.transport import cose
from keyturn.transport.bundle import KINDS, Bundle, open_bundle, seal_bundle
from keyturn.transport.limits import MAX_BUNDLE
from keyturn_testing.carriers import ALICE, BOB, BODY, REQUEST_ID, deflate, forge, good_fields, known_key

GOLDEN = Path(__file__).parent / "golden"
MALLORY = known_key("mallory")


def bundle(**changes: Any) -> Bundle:
    fields: dict[str, Any] = {
        "kind": "request",
        "request_id": REQUEST_ID,
        "sender": ALICE.public,
        "recipient": BOB.public,
        "sequence": 7,
        "body": BODY,
    }
    return Bundle(**fields | changes)


def opened(data: bytes) -> Bundle:
    return open_bundle(data, [ALICE.public], me=BOB.public)


def refusal_of(data: bytes) -> str:
    with pytest.raises(KeyturnError) as refused:
        opened(data)
    return refused.value.refusal


def test_what_alice_seals_bob_opens() -> None:
    assert opened(seal_bundle(bundle(), ALICE)) == bundle()


def test_sealing_twice_gives_the_same_bytes() -> None:
    assert seal_bundle(bundle(), ALICE) == seal_bundle(bundle(), ALICE)


def test_the_forger_of_these_tests_makes_what_seal_bundle_makes() -> None:
    body = BODY * 9
    sealed = seal_bundle(bundle(body=body), ALICE)
    assert sealed == forge(good_fields(body), compress=deflate)


def test_a_body_that_does_not_compress_travels_as_it_is() -> None:
    body = hashlib.shake_256(b"noise").digest(4000)
    sealed = seal_bundle(bundle(body=body), ALICE)
    assert body in sealed
    assert opened(sealed).body == body


@given(
    body=st.binary(max_size=2000),
    sequence=st.integers(1, 2**63 - 1),
    kind=st.sampled_from(sorted(KINDS)),
    addressed=st.booleans(),
)
def test_round_trip(body: bytes, sequence: int, kind: str, addressed: bool) -> None:
    made = bundle(
        body=body,
        sequence=sequence,
        kind=kind,
        request_id=None if kind == "key" else REQUEST_ID,
        recipient=BOB.public if addressed else None,
    )
    assert opened(seal_bundle(made, ALICE)) == made


# --- the golden files: these bytes were carried once, they stay readable for ever -----------------------------------


@pytest.mark.parametrize("name", ["request-v1", "result-v1", "key-v1"])
def test_golden_bundle(name: str) -> None:
    body = (GOLDEN / f"{name}.json").read_bytes()
    sealed = (GOLDEN / f"{name}.ktb").read_bytes()
    kind = name.partition("-")[0]
    expected = bundle(
        kind=kind,
        request_id=None if kind == "key" else REQUEST_ID,
        sequence={"request": 1, "result": 2, "key": 3}[kind],
        recipient=None if kind == "key" else BOB.public,
        body=body,
    )
    assert opened(sealed) == expected
    # The bytes of zlib may change with its release; what it compressed may not.
    content = zlib.decompress(cose.take_apart(sealed).payload)
    assert content == zlib.decompress(cose.take_apart(seal_bundle(expected, ALICE)).payload)


# --- refusals: each beside the same bundle without the defect -------------------------------------------------------


@pytest.mark.rule("R29")
@settings(max_examples=150)
@given(bit=st.integers(0, 8 * len(forge(compress=deflate)) - 1))
def test_r29_one_flipped_bit_is_refused(bit: int) -> None:
    good = forge(compress=deflate)
    assert opened(good) == bundle()
    damaged = bytearray(good)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(KeyturnError):
        opened(bytes(damaged))


@pytest.mark.rule("R29")
def test_r29_cut_bundle_is_refused_at_every_length() -> None:
    good = forge(compress=deflate)
    assert opened(good) == bundle()
    for length in range(len(good)):
        with pytest.raises(FormatError) as refused:
            opened(good[:length])
        assert refused.value.refusal == "bundle.malformed"


@settings(max_examples=200)
@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_bytes_raise_only_our_errors(data: bytes, tagged: bool) -> None:
    with pytest.raises(KeyturnError):
        opened(b"\xd2" + data if tagged else data)


@settings(max_examples=200)
@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_content_under_a_good_seal_raises_only_our_errors(content: bytes, compressed: bool) -> None:
    with pytest.raises(KeyturnError):
        opened(forge(content=content, compress=(lambda data: data) if compressed else None))


def test_bundle_trailing_byte() -> None:
    good = forge()
    assert opened(good) == bundle()
    assert refusal_of(good + b"\0") == "bundle.malformed"


def test_bundle_too_large() -> None:
    assert refusal_of(b"\xd2" + bytes(MAX_BUNDLE)) == "bundle.too-large"
    with pytest.raises(FormatError) as refused:
        seal_bundle(bundle(body=bytes(MAX_BUNDLE)), ALICE)
    assert refused.value.refusal == "bundle.too-large"
    assert len(opened(seal_bundle(bundle(body=bytes(MAX_BUNDLE - 400)), ALICE)).body) == MAX_BUNDLE - 400


def test_bundle_foreign() -> None:
    fields = good_fields() | {"sender": MALLORY.public}
    foreign = forge(fields, key=MALLORY)
    assert refusal_of(foreign) == "bundle.foreign"
    assert open_bundle(foreign, [ALICE.public, MALLORY.public], me=BOB.public).sender == MALLORY.public
    with pytest.raises(KeyturnError, match=MALLORY.fingerprint[:32]):
        opened(foreign)


def test_nothing_is_trusted_at_first() -> None:
    with pytest.raises(KeyturnError) as refused:
        open_bundle(forge(), [], me=BOB.public)
    assert refused.value.refusal == "bundle.foreign"


def test_bundle_bad_signature_under_the_right_key_id() -> None:
    stolen_name = forge(header={4: cbor2.loads(cbor2.loads(forge()).value[0])[4]}, key=MALLORY)
    assert refusal_of(stolen_name) == "bundle.bad-signature"
    with pytest.raises(KeyturnError) as refused:
        opened(stolen_name)
    assert refused.value.code is ErrorCode.INVALID_SIGNATURE


@pytest.mark.rule("R29")
def test_r29_nothing_is_inflated_before_the_signature_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("inflated")

    good = forge(compress=deflate)
    broken = good[:-1] + bytes([good[-1] ^ 1])
    with monkeypatch.context() as patched:
        patched.setattr(zlib, "decompressobj", never)
        assert refusal_of(broken) == "bundle.bad-signature"
        with pytest.raises(AssertionError, match="inflated"):
            opened(good)


@pytest.mark.rule("R29")
def test_r29_a_bomb_under_a_good_seal_stops_at_one_mebibyte() -> None:
    bomb = forge(content=bytes(50 << 20), compress=deflate)
    assert len(bomb) < 60_000
    assert refusal_of(bomb) == "bundle.too-large"


@pytest.mark.parametrize("tail", [b"x", zlib.compress(b"more")])
def test_bytes_behind_the_compressed_stream_are_refused(tail: bytes) -> None:
    assert opened(forge(compress=deflate)) == bundle()
    assert refusal_of(forge(compress=lambda content: deflate(content) + tail)) == "bundle.malformed"


def test_a_cut_compressed_stream_is_refused() -> None:
    assert refusal_of(forge(compress=lambda content: deflate(content)[:-1])) == "bundle.malformed"


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        ({1: -7}, "bundle.algorithm"),
        ({1: None}, "bundle.algorithm"),
        ({3: 50}, "bundle.malformed"),
        ({3: [60]}, "bundle.malformed"),
        ({4: b"short"}, "bundle.malformed"),
        ({4: "text"}, "bundle.malformed"),
        ({2: [99]}, "bundle.malformed"),
    ],
    ids=["es256", "no-algorithm", "json", "list", "short-key-id", "text-key-id", "critical-header"],
)
def test_other_protected_headers_are_refused(header: dict[int, Any], refusal: str) -> None:
    assert opened(forge(header={})) == bundle()
    assert refusal_of(forge(header=header)) == refusal


def test_an_unprotected_header_is_refused() -> None:
    assert opened(forge(unprotected={})) == bundle()
    assert refusal_of(forge(unprotected={4: b"x"})) == "bundle.malformed"


def test_another_or_no_tag_is_refused() -> None:
    good = forge()
    assert refusal_of(good[1:]) == "bundle.malformed"
    assert refusal_of(b"\xd1" + good[1:]) == "bundle.malformed"
    assert refusal_of(b"\xd8\x12" + good[1:]) == "bundle.malformed"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"version": 2}, "bundle.version"),
        ({"version": True}, "bundle.malformed"),
        ({"kind": "wish"}, "bundle.kind"),
        ({"kind": 1}, "bundle.malformed"),
        ({"kind": "key"}, "bundle.malformed"),
        ({"requestId": None}, "bundle.malformed"),
        ({"requestId": "../../etc"}, "bundle.malformed"),
        ({"requestId": "a" * 65}, "bundle.malformed"),
        ({"sender": BOB.public}, "bundle.sender"),
        ({"sender": b"short"}, "bundle.malformed"),
        ({"recipient": MALLORY.public}, "bundle.wrong-recipient"),
        ({"recipient": b""}, "bundle.malformed"),
        ({"recipient": "bob"}, "bundle.malformed"),
        ({"sequence": 0}, "bundle.malformed"),
        ({"sequence": -1}, "bundle.malformed"),
        ({"sequence": 2**63}, "bundle.malformed"),
        ({"sequence": "7"}, "bundle.malformed"),
        ({"body": "text"}, "bundle.malformed"),
        ({"sha256": bytes(32)}, "bundle.digest"),
        ({"sha256": None}, "bundle.malformed"),
        ({"extra": 1}, "bundle.malformed"),
    ],
    ids=str,
)
def test_changed_field_is_refused(change: dict[str, Any], refusal: str) -> None:
    assert opened(forge(good_fields())) == bundle()
    assert refusal_of(forge(good_fields() | change)) == refusal


@pytest.mark.parametrize("missing", sorted(good_fields()))
def test_missing_field_is_refused(missing: str) -> None:
    fields = good_fields()
    assert opened(forge(fields)) == bundle()
    del fields[missing]
    assert refusal_of(forge(fields)) == ("bundle.version" if missing == "version" else "bundle.malformed")


def test_bundle_not_deterministic() -> None:
    fields = good_fields()
    canonical = cbor2.dumps(fields, canonical=True)
    assert opened(forge(content=canonical)) == bundle()
    shuffled = cbor2.dumps(dict(sorted(fields.items(), reverse=True)))
    assert refusal_of(forge(content=shuffled)) == "bundle.not-deterministic"
    indefinite = b"\xbf" + canonical[1:] + b"\xff"
    assert refusal_of(forge(content=indefinite)) == "bundle.not-deterministic"
    twice = bytes([canonical[0] + 1]) + canonical[1:] + cbor2.dumps("requestId") + cbor2.dumps(REQUEST_ID)
    assert refusal_of(forge(content=twice)) == "bundle.not-deterministic"


@pytest.mark.rule("R29")
def test_r29_wrong_recipient() -> None:
    sealed = seal_bundle(bundle(), ALICE)
    assert open_bundle(sealed, [ALICE.public], me=BOB.public) == bundle()
    with pytest.raises(KeyturnError) as refused:
        open_bundle(sealed, [ALICE.public], me=MALLORY.public)
    assert refused.value.refusal == "bundle.wrong-recipient"


def test_nobody_seals_in_anothers_name() -> None:
    with pytest.raises(FormatError):
        seal_bundle(bundle(), MALLORY)
