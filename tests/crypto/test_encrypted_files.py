"""Encrypted files: whatever is changed, left out, moved or cut off is found, and the format stays what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.crypto.encrypted_files import (
    CHUNK,
    HEADER,
    TAG,
    FileDecryptor,
    FileEncryptor,
    new_file_key,
    parse_header,
    seal_file_key,
)
from keyturn.errors import FormatError

GOLDEN = Path(__file__).parent / "golden" / "encrypted-file-v1.primus.encrypted"
GOLDEN_KEY = ec.derive_private_key(int.from_bytes(b"golden, for tests only"), ec.SECP384R1())
GOLDEN_CONTENT = b"keyturn\n" * (CHUNK // 8) + b"and a last chunk\n"

KEY = ec.generate_private_key(ec.SECP384R1())


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def encrypt(content: bytes, file_key: bytes, step: int = 50_000) -> bytes:
    encryptor = FileEncryptor(file_key)
    pieces = [encryptor.update(content[start : start + step]) for start in range(0, len(content), step)]
    return b"".join(pieces) + encryptor.finish()


def decrypt(chunks: bytes, file_key: bytes, step: int = 70_001) -> bytes:
    decryptor = FileDecryptor(file_key)
    pieces = [decryptor.update(chunks[start : start + step]) for start in range(0, len(chunks), step)]
    return b"".join(pieces) + decryptor.finish()


def open_header(header: bytes) -> bytes:
    parsed = parse_header(header)
    return parsed.open(KEY.exchange(ec.ECDH(), parsed.ephemeral))


def refusal(chunks: bytes, file_key: bytes) -> str:
    with pytest.raises(FormatError) as refused:
        decrypt(chunks, file_key)
    assert refused.value.code.number == 623
    return refused.value.refusal


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_every_size_comes_back_and_has_one_length(size: int) -> None:
    content, file_key = bytes(range(251)) * (size // 251 + 1), new_file_key()
    chunks = encrypt(content[:size], file_key)
    assert len(chunks) == size + TAG * max(1, -(-size // CHUNK))
    assert decrypt(chunks, file_key) == content[:size]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3 * CHUNK), st.integers(1, 2 * CHUNK), st.integers(1, 2 * CHUNK))
def test_pieces_of_any_size_make_the_same_file(size: int, in_steps: int, out_steps: int) -> None:
    content, file_key = bytes(size), new_file_key()
    chunks = encrypt(content, file_key, in_steps)
    assert chunks == encrypt(content, file_key, CHUNK)
    assert decrypt(chunks, file_key, out_steps) == content


def test_chunks_that_are_changed_moved_doubled_missing_or_cut_off_are_found() -> None:
    content, file_key = bytes(3 * CHUNK), new_file_key()
    chunks = encrypt(content, file_key)
    size = CHUNK + TAG
    first, second, third = (chunks[start : start + size] for start in range(0, len(chunks), size))
    flipped = bytearray(chunks)
    flipped[size + 5] ^= 1
    for wrong in (
        bytes(flipped),
        second + first + third,
        first + first + second + third,
        first + third,
        first + second,
        first + second + third[:-1],
        chunks + b"\0",
        chunks + encrypt(b"", file_key),
        b"",
    ):
        assert refusal(wrong, file_key) == "file.damaged"
    assert refusal(chunks, new_file_key()) == "file.damaged"
    assert decrypt(chunks, file_key) == content


def test_nothing_comes_out_of_a_chunk_that_is_not_genuine() -> None:
    file_key = new_file_key()
    chunks = bytearray(encrypt(bytes(3 * CHUNK), file_key))
    chunks[CHUNK + TAG + 1] ^= 1
    decryptor = FileDecryptor(file_key)
    assert decryptor.update(bytes(chunks[: CHUNK + TAG + 1])) == bytes(CHUNK)
    with pytest.raises(FormatError):
        decryptor.update(bytes(chunks[CHUNK + TAG + 1 :]))


def test_an_empty_last_chunk_stands_in_an_empty_file_only() -> None:
    """Otherwise one content would have two forms."""
    file_key = new_file_key()
    aead = AESGCM(file_key)
    full = aead.encrypt(bytes(12), bytes(CHUNK), None)
    empty = aead.encrypt((1).to_bytes(11, "big") + b"\1", b"", None)
    assert refusal(full + empty, file_key) == "file.damaged"
    assert decrypt(encrypt(b"", file_key), file_key) == b""


def test_not_one_octet_of_a_header_can_be_changed() -> None:
    file_key = new_file_key()
    header = seal_file_key(spki(KEY), file_key)
    assert len(header) == HEADER
    assert open_header(header) == file_key
    words = set()
    for position in range(HEADER):
        changed = bytearray(header)
        changed[position] ^= 1
        with pytest.raises(FormatError) as refused:
            open_header(bytes(changed))
        assert refused.value.code.number == 623
        words.add(refused.value.refusal)
    assert words == {"file.no-header", "file.version", "file.header-damaged", "file.header-forged"}


def test_another_key_opens_nothing() -> None:
    parsed = parse_header(seal_file_key(spki(KEY), new_file_key()))
    with pytest.raises(FormatError) as refused:
        parsed.open(GOLDEN_KEY.exchange(ec.ECDH(), parsed.ephemeral))
    assert refused.value.refusal == "file.header-forged"


def test_what_is_no_header_is_refused() -> None:
    header = seal_file_key(spki(KEY), new_file_key())
    for wrong in (b"", header[:-1], header + b"\0", b"%PDF-1.7" + bytes(173)):
        with pytest.raises(FormatError) as refused:
            parse_header(wrong)
        assert refused.value.refusal == "file.no-header"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP521R1()])
def test_files_are_for_keys_on_p384(curve: ec.EllipticCurve) -> None:
    with pytest.raises(FormatError) as refused:
        seal_file_key(spki(ec.generate_private_key(curve)), new_file_key())
    assert refused.value.refusal == "file.wrong-key"


def test_two_files_share_nothing() -> None:
    file_key = new_file_key()
    one, other = (seal_file_key(spki(KEY), file_key) for _ in range(2))
    assert one[44:] != other[44:]
    assert new_file_key() != new_file_key()


def test_keys_are_not_shown() -> None:
    file_key = new_file_key()
    assert str(file_key) not in repr(FileEncryptor(file_key)) + repr(FileDecryptor(file_key))


def test_the_golden_file_opens_for_ever() -> None:
    file = GOLDEN.read_bytes()
    header = parse_header(file[:HEADER])
    file_key = header.open(GOLDEN_KEY.exchange(ec.ECDH(), header.ephemeral))
    assert decrypt(file[HEADER:], file_key) == GOLDEN_CONTENT


def test_the_page_of_the_format_suffices_to_read_the_golden_file() -> None:
    """A reader written from docs/formats/encrypted-files.md alone, step by step."""
    file = GOLDEN.read_bytes()
    assert file[:12] == b"KTFILE\r\n\x01\x01\x10\x00"
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki(GOLDEN_KEY))
    assert file[12:44] == digest.finalize()
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), file[44:141])
    shared = GOLDEN_KEY.exchange(ec.ECDH(), point)
    wrapping_key = HKDF(hashes.SHA384(), 32, None, b"keyturn/file-key/1\x00" + file[:141]).derive(shared)
    aead = AESGCM(aes_key_unwrap(wrapping_key, file[141:181]))
    rest, content, number = file[181:], b"", 0
    while len(rest) > 65536 + 16:
        content += aead.decrypt(number.to_bytes(11, "big") + b"\0", rest[: 65536 + 16], None)
        rest, number = rest[65536 + 16 :], number + 1
    with pytest.raises(InvalidTag):
        aead.decrypt(number.to_bytes(11, "big") + b"\0", rest, None)
    content += aead.decrypt(number.to_bytes(11, "big") + b"\1", rest, None)
    assert content == GOLDEN_CONTENT
