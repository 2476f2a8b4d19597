"""UR and its fountain code: the published vectors, losses, repetitions, strays and forgeries (R29)."""

from __future__ import annotations

import itertools
import random
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.ska import cbor
from keyturn.transport import bytewords, fountain, ur
from keyturn.transport.limits import MAX_BUNDLE, MAX_MESSAGES, MAX_PARTS
from keyturn.transport.xoshiro import Xoshiro256


def reference_message(size: int, seed: bytes = b"Wolf") -> bytes:
    """The test message of the specification: numbers 0 to 255 from the generator."""
    generator = Xoshiro256(seed)
    return bytes(generator.next_int(0, 255) for _ in range(size))


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


# --- published vectors ----------------------------------------------------------------------------------------------


def test_bytewords_vector_of_bcr_2020_012() -> None:
    assert bytewords.encode(bytes.fromhex("00010280ff")) == "aeadaolazmjendeoti"
    assert bytewords.decode("aeadaolazmjendeoti") == bytes.fromhex("00010280ff")
    assert bytewords.words(bytes.fromhex("00010280ff")) == "able acid also lava zoom"


def test_generator_vector_of_bcr_2024_001() -> None:
    generator = Xoshiro256(b"Wolf")
    drawn = [generator.next() % 100 for _ in range(20)]
    assert drawn == [42, 81, 85, 8, 82, 84, 76, 73, 70, 88, 2, 74, 40, 48, 77, 54, 88, 7, 5, 88]


def test_fragment_choice_vector_of_bcr_2024_001() -> None:
    checksum = zlib.crc32(reference_message(1024))
    chosen = [sorted(fountain.choose_fragments(number, 11, checksum)) for number in range(12, 20)]
    assert chosen == [[9], [2, 5, 6, 8, 9, 10], [8], [1, 5], [1], [0, 2, 4, 5, 8, 10], [5], [2]]


def test_fragment_length_vectors_of_bcr_2024_001() -> None:
    assert fountain.fragment_length(12345, 1955) == 1764
    assert fountain.fragment_length(12345, 30000) == 12345


def test_single_part_vector_of_bcr_2020_005() -> None:
    text = (
        "ur:bytes/hdeymejtswhhylkepmykhhtsytsnoyoyaxaedsuttydmmhhpktpmsrjtgwdpfnsboxgwlbaawzuefywkdplrsrjynbvygabwjldapfcs"
        "dwkbrkch"
    )
    assert ur.encode_single(reference_message(50)) == text
    assert ur.parse(text) == reference_message(50)
    assert ur.parse(text.upper()) == reference_message(50)


def test_multi_part_vectors_of_bcr_2024_001() -> None:
    encoder = ur.UREncoder(reference_message(256), 30)
    parts = [encoder.part(number) for number in range(1, 11)]
    assert (
        parts[0]
        == "ur:bytes/1-9/lpadascfadaxcywenbpljkhdcahkadaemejtswhhylkepmykhhtsytsnoyoyaxaedsuttydmmhhpktpmsrjtdkgslpgh"
    )
    assert (
        parts[9]
        == "ur:bytes/10-9/lpbkascfadaxcywenbpljkhdcahkadaemejtswhhylkepmykhhtsytsnoyoyaxaedsuttydmmhhpktpmsrjtwdkiplzs"
    )
    assert list(encoder.parts()) == parts[:9]


# --- round trips ----------------------------------------------------------------------------------------------------


@given(content=st.binary(min_size=1, max_size=3000), max_fragment=st.integers(10, 400), seed=st.integers(0, 999))
@settings(max_examples=60)
def test_any_order_with_repetitions(content: bytes, max_fragment: int, seed: int) -> None:
    parts = list(ur.UREncoder(content, max_fragment).parts(extra=3))
    mixed = random.Random(seed).choices(parts, k=5) + random.Random(seed).sample(parts, len(parts))
    assert ur.decode(mixed) == content


@given(size=st.integers(1, 3000), seed=st.integers(0, 999), start=st.integers(1, 2**31))
@settings(max_examples=30)
def test_mixed_parts_alone_are_enough(size: int, seed: int, start: int) -> None:
    """The animation: whoever begins to look late sees mixed parts only."""
    content = noise(size, seed)
    encoder = ur.UREncoder(content, 100)
    collector = ur.URCollector()
    for number in range(start, start + 6 * encoder.total + 60):
        collector.receive(encoder.part(number))
        if collector.messages()[0].content is not None:
            break
    assert ur.require_one(collector.messages()).content == content


@pytest.mark.parametrize("size", [250, 900, 2500, 9000])
def test_one_spare_makes_up_for_any_one_lost_part(size: int) -> None:
    content = noise(size)
    encoder = ur.UREncoder(content, 100)
    parts = list(encoder.parts(extra=1))
    assert len(parts) == encoder.total + 1
    for lost in parts:
        assert ur.decode(part for part in parts if part != lost) == content


@pytest.mark.parametrize(("size", "extra"), [(900, 5), (2500, 7)])
def test_a_few_spares_make_up_for_any_two_lost_parts(size: int, extra: int) -> None:
    content = noise(size)
    encoder = fountain.Encoder(cbor.encode(content), 100)
    numbers = [*range(1, encoder.total + 1), *fountain.spare_numbers(encoder.total, encoder.header.checksum, extra)]
    assert len(set(numbers)) == encoder.total + extra
    for lost in itertools.combinations(range(1, encoder.total + 1), 2):
        decoder = fountain.Decoder(encoder.header)
        for number in numbers:
            if number not in lost:
                decoder.receive(encoder.part(number))
        assert decoder.message() == cbor.encode(content)


def test_spares_of_a_large_set_are_the_next_numbers() -> None:
    assert fountain.spare_numbers(300, 1, 3) == (301, 302, 303)
    assert fountain.spare_numbers(9, 1, 0) == ()
    assert len(set(fountain.spare_numbers(1, 1, 20))) == 20


def test_one_part_of_one_is_a_message_too() -> None:
    encoder = ur.UREncoder(b"short", 100)
    assert encoder.total == 1
    assert ur.decode([encoder.part(1)]) == b"short"
    assert ur.decode([encoder.part(17)]) == b"short"


def test_r29_the_largest_message_in_the_most_parts() -> None:
    content = noise(MAX_BUNDLE)
    encoder = ur.UREncoder(content, 257)
    assert encoder.total <= MAX_PARTS
    assert ur.decode(encoder.parts()) == content


# --- progress -------------------------------------------------------------------------------------------------------


def test_progress_says_what_is_missing() -> None:
    encoder = ur.UREncoder(noise(700), 101)
    assert encoder.total == 7
    collector = ur.URCollector()
    for number in (1, 2, 4, 5, 7, 7):
        collector.receive(encoder.part(number))
    (message,) = collector.messages()
    assert message.progress.sentence() == (
        "have 5 of 7 simple parts; missing simple parts: 3, 6; at least 2 more parts of this set are needed"
    )
    assert message.name == encoder.name
    assert collector.receive(encoder.part(13))
    (message,) = collector.messages()
    assert message.progress.sentence() == (
        "have 5 of 7 simple parts + 1 mixed; missing simple parts: 6; at least one more part of this set is needed"
    )
    with pytest.raises(ur.IncompleteError, match="missing simple parts: 6;") as refused:
        ur.require_one(collector.messages())
    assert refused.value.refusal == "ur.incomplete"
    assert refused.value.messages == (message,)
    assert not collector.receive(encoder.part(3)), "it followed from the mixed one"
    collector.receive(encoder.part(6))
    assert ur.require_one(collector.messages()).content == noise(700)


# --- strays, poison, two messages -----------------------------------------------------------------------------------


def damaged(part: str) -> str:
    """The part with one letter pair replaced by another."""
    return part[:-12] + ("aeae" if part[-12:-8] != "aeae" else "adad") + part[-8:]


@pytest.mark.rule("R29")
@pytest.mark.parametrize("first", [True, False], ids=["poison-first", "poison-last"])
def test_r29_poisoned_parts_do_not_spoil_the_good_ones(first: bool) -> None:
    content = noise(900)
    encoder = ur.UREncoder(content, 100)
    good = list(encoder.parts())
    header = fountain.Encoder(cbor.encode(content), 100).header
    wrong_length = fountain.Part(
        1,
        fountain.Header(header.total, header.message_length - 200, header.checksum, header.fragment_length),
        bytes(91),
    )
    poison = [
        (damaged(good[0]), "ur.checksum"),
        (good[1].replace("/2-", "/3-"), "ur.header"),
        ("ur:bytes/1-4097/aeadaolazmjendeoti", "ur.malformed"),
        ("https://example.org/", "ur.not-ur"),
        (ur.UREncoder(noise(900, seed=2), 100).part(3), None),
        (_as_text(wrong_length), "ur.header"),
    ]
    collector = ur.URCollector()
    texts = [(text, None) for text in good]
    for text, refusal in [*poison, *texts] if first else [*texts, *poison]:
        if refusal is None:
            collector.receive(text)
            continue
        with pytest.raises(FormatError) as refused:
            collector.receive(text)
        assert refused.value.refusal == refusal
    received = ur.require_one(collector.messages())
    assert received.content == content
    assert len(received.strays) == 1


def _as_text(part: fountain.Part) -> str:
    return f"ur:bytes/{part.number}-{part.header.total}/{bytewords.encode(part.encode())}"


@pytest.mark.rule("R29")
@pytest.mark.parametrize("position", [0, 4, 12])
def test_r29_a_forged_part_with_the_right_header_is_found_and_left_out(position: int) -> None:
    content = noise(900)
    encoder = fountain.Encoder(cbor.encode(content), 100)
    parts = [encoder.part(number) for number in range(1, encoder.total + 5)]
    forged = fountain.Part(3, encoder.header, bytes(encoder.header.fragment_length))
    texts = [_as_text(part) for part in parts]
    assert ur.decode(texts) == content
    texts.insert(position, _as_text(forged))
    assert ur.decode(texts) == content


def test_ur_poisoned_without_a_spare_part_is_said() -> None:
    encoder = fountain.Encoder(cbor.encode(noise(900)), 100)
    texts = [_as_text(encoder.part(number)) for number in range(1, encoder.total + 1)]
    assert ur.decode(texts) == noise(900)
    texts[2] = _as_text(fountain.Part(3, encoder.header, bytes(encoder.header.fragment_length)))
    with pytest.raises(FormatError) as refused:
        ur.decode(texts)
    assert refused.value.refusal == "ur.poisoned"


def test_two_requests_in_one_set_are_both_named() -> None:
    one, two = ur.UREncoder(noise(900, 1), 100), ur.UREncoder(noise(900, 2), 100)
    collector = ur.URCollector()
    for number in (1, 2, 3):
        collector.receive(one.part(number), f"sheet-a-{number}.png")
        collector.receive(two.part(number), f"sheet-b-{number}.png")
    with pytest.raises(FormatError) as refused:
        ur.require_one(collector.messages())
    assert refused.value.refusal == "ur.several-messages"
    for word in (one.name, two.name, "sheet-a-1.png", "sheet-b-3.png"):
        assert word in refused.value.message
    for number in range(4, one.total + 1):
        collector.receive(one.part(number))
    assert ur.require_one(collector.messages()).content == noise(900, 1)
    for number in range(4, two.total + 1):
        collector.receive(two.part(number))
    with pytest.raises(FormatError) as refused:
        ur.require_one(collector.messages())
    assert refused.value.refusal == "ur.several-messages"


def test_the_same_message_whole_and_in_parts_is_one() -> None:
    content = noise(900)
    collector = ur.URCollector()
    collector.receive(ur.encode_single(content))
    for part in ur.UREncoder(content, 100).parts():
        collector.receive(part)
    assert ur.require_one(collector.messages()).content == content


def test_ur_too_many_messages() -> None:
    collector = ur.URCollector()
    for seed in range(MAX_MESSAGES):
        collector.receive(ur.UREncoder(noise(300, seed), 100).part(1))
    collector.receive(ur.UREncoder(noise(300, 0), 100).part(2))
    with pytest.raises(FormatError) as refused:
        collector.receive(ur.UREncoder(noise(300, MAX_MESSAGES), 100).part(1))
    assert refused.value.refusal == "ur.too-many-messages"


# --- refusals of single parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ([1, MAX_PARTS, MAX_PARTS, 0, b"x"], None),
        ([1, MAX_PARTS + 1, MAX_PARTS + 1, 0, b"x"], "ur.header"),
        ([1, 1, fountain.MAX_MESSAGE + 1, 0, bytes(fountain.MAX_MESSAGE + 1)], "ur.header"),
        ([0, 1, 1, 0, b"x"], "ur.header"),
        ([2**32, 1, 1, 0, b"x"], "ur.header"),
        ([1, 1, 1, 2**32, b"x"], "ur.header"),
        ([1, 1, 1, -1, b"x"], "ur.header"),
        ([1, 0, 1, 0, b"x"], "ur.header"),
        ([1, 1, 0, 0, b"x"], "ur.header"),
        ([1, 2, 10, 0, b"x"], "ur.header"),
        ([1, 2, 10, 0, b""], "ur.header"),
        ([1, 1, 1, 0], "ur.malformed"),
        ([1, 1, 1, 0, "x"], "ur.malformed"),
        ({}, "ur.malformed"),
        (7, "ur.malformed"),
    ],
    ids=str,
)
def test_ur_header_of_a_part(fields: object, refusal: str | None) -> None:
    encoded = cbor.encode(fields)
    if refusal is None:
        assert fountain.decode_part(encoded).number == 1
        return
    with pytest.raises(FormatError) as refused:
        fountain.decode_part(encoded)
    assert refused.value.refusal == refusal


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", "ur.not-ur"),
        ("ur:", "ur.not-ur"),
        ("ur:bytes/", "ur.not-ur"),
        ("ur:bytes/1-2-3/aeadaolazmjendeoti", "ur.not-ur"),
        ("ur:bytes/0-2/aeadaolazmjendeoti", "ur.not-ur"),
        ("ur:bytes/01-2/aeadaolazmjendeoti", "ur.not-ur"),
        ("ur:bytes/aead aola", "ur.not-ur"),
        ("\u212ar:bytes/aead", "ur.not-ur"),
        ("ur:crypto-seed/aeadaolazmjendeoti", "ur.type"),
        ("ur:bytes/aeadaolazmjendeot", "ur.bytewords"),
        ("ur:bytes/aeadaolazmjendeozz", "ur.bytewords"),
        ("ur:bytes/aead", "ur.bytewords"),
        ("ur:bytes/aeadaolazmjendeoto", "ur.checksum"),
        ("ur:bytes/aeadaolazmjendeoti", "ur.malformed"),
        ("ur:bytes/" + "ae" * (ur.MAX_TEXT // 2), "ur.too-large"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_text_that_is_no_part(text: str, refusal: str) -> None:
    with pytest.raises(FormatError) as refused:
        ur.parse(text)
    assert refused.value.refusal == refusal


@given(st.text(max_size=200) | st.text(alphabet="aeldozjnmti/-0123456789", max_size=80).map("ur:bytes/".__add__))
def test_arbitrary_text_raises_only_format_errors(text: str) -> None:
    with pytest.raises(FormatError):
        ur.parse(text)


@given(bit=st.integers(0, 7), at=st.integers(0))
def test_a_changed_letter_is_never_accepted(bit: int, at: int) -> None:
    part = ur.UREncoder(noise(900), 100).part(4)
    assert isinstance(ur.parse(part), fountain.Part)
    at %= len(part)
    changed = part[:at] + chr(ord(part[at]) ^ 1 << bit) + part[at + 1 :]
    if changed.lower() == part:
        return
    with pytest.raises(FormatError):
        ur.parse(changed)


def test_ur_too_many_parts_and_too_large() -> None:
    with pytest.raises(FormatError) as refused:
        ur.UREncoder(noise(MAX_PARTS * 10 + 10), 10)
    assert refused.value.refusal == "ur.too-many-parts"
    assert ur.UREncoder(noise(MAX_PARTS * 10 - 10), 10).total <= MAX_PARTS
    with pytest.raises(FormatError) as refused:
        ur.UREncoder(noise(MAX_BUNDLE + 1), 1000)
    assert refused.value.refusal == "ur.too-large"


def test_ur_nothing() -> None:
    with pytest.raises(FormatError) as refused:
        ur.decode([])
    assert refused.value.refusal == "ur.nothing"


@pytest.mark.rule("R29")
def test_r29_a_contradicting_set_of_forged_parts_does_not_hold_the_reader_for_hours() -> None:
    """Found by attack: up to 512 trials solved the whole set anew, hours for the largest; now it is solved once."""
    content = noise(60_000)
    encoder = fountain.Encoder(cbor.encode(content), 100)
    header = encoder.header
    mixed = [encoder.part(number) for number in range(header.total + 1, 2 * header.total + 60)]
    sound = fountain.Decoder(header)
    for part in mixed:
        sound.receive(part)
    assert sound.message() == cbor.encode(content)

    one_forged = fountain.Decoder(header)
    for part in [*mixed[:5], fountain.Part(mixed[5].number, header, bytes(header.fragment_length)), *mixed[6:]]:
        one_forged.receive(part)
    assert one_forged.message() == cbor.encode(content), "one forged part among dense mixes is found and left out"

    all_forged = fountain.Decoder(header)
    for part in mixed:
        all_forged.receive(fountain.Part(part.number, header, noise(header.fragment_length, part.number)))
    before = time.process_time()
    with pytest.raises(FormatError) as refused:
        all_forged.message()
    assert refused.value.refusal == "ur.poisoned"
    assert time.process_time() - before < 20, "a second or so, however slow the machine"


@pytest.mark.rule("R29")
def test_r29_no_more_than_4096_different_parts_of_a_message_are_weighed() -> None:
    encoder = fountain.Encoder(noise(30), 10)
    decoder = fountain.Decoder(encoder.header)
    for number in range(4, 4 + 4096):
        # The same part again and again, each time with other content: at most one can be right.
        decoder.receive(fountain.Part(1, encoder.header, number.to_bytes(10, "big")))
    assert not decoder.receive(encoder.part(2)), "the 4097th is left aside"
    fresh = fountain.Decoder(encoder.header)
    assert fresh.receive(encoder.part(2))
    assert not fresh.receive(encoder.part(2)), "a repetition tells nothing and takes no place"
