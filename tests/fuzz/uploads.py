"""Targets for what comes with a file: the form that brings it, and an encrypted file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fuzz.harness import AnyTarget, Target, require, same
from keyturn.api.multipart import Form, Upload
from keyturn.api.schemas.service import SignedFileEncryptRequest
from keyturn.crypto.encrypted_files import HEADER, FileDecryptor, FileEncryptor, parse_header, seal_file_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST: Final = 1 << 16
KEY: Final = ec.derive_private_key(0x5EED, ec.SECP384R1())
FILE_KEY: Final = bytes(range(32))

FORM: Final = Form("json", SignedFileEncryptRequest)
BODY: Final = (
    b'--b\r\ncontent-disposition: form-data; name="json"\r\n\r\n{"fileEncryptRequest":{"encryptKeyName":"k"}}\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a/b.c"\r\n\r\nthe file\r\n--b--\r\n'
)


async def _read(body: bytes, step: int) -> tuple[bytes, str, str]:
    content, names = bytearray(), []

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    async def take_json(one: Any) -> None:
        names.append(one.file_encrypt_request.encrypt_key_name)

    async def take_file(piece: bytes) -> None:
        content.extend(piece)

    name = await Upload(pieces(), b"b", MOST, 1 << 20, lambda _raw, _body: None).read(FORM, take_json, take_file)
    return bytes(content), names[0], name


def _form(data: bytes) -> tuple[bytes, str, str]:
    return asyncio.run(_read(data, len(data) or 1))


def _hold_form(data: bytes, found: tuple[bytes, str, str]) -> None:
    content, _, name = found
    require(len(content) <= MOST)
    require(content in data)
    require(("/" not in name and "\\" not in name and name.isprintable()) or not name)
    for step in (1, 7):
        same(asyncio.run(_read(data, step)), found)


def _opened(data: bytes) -> tuple[bytes, bytes]:
    header = parse_header(data[:HEADER])
    file_key = header.open(KEY.exchange(ec.ECDH(), header.ephemeral))
    decryptor = FileDecryptor(file_key)
    return file_key, decryptor.update(data[HEADER:]) + decryptor.finish()


def _hold_file(data: bytes, found: tuple[bytes, bytes]) -> None:
    """One content has one form under one key."""
    file_key, content = found
    encryptor = FileEncryptor(file_key)
    same(data[HEADER:], encryptor.update(content) + encryptor.finish())


def _files() -> list[bytes]:
    spki = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    header = seal_file_key(spki, FILE_KEY, ec.derive_private_key(0xE9, ec.SECP384R1()))
    made = []
    for content in (b"", b"a file", bytes(70_000)):
        encryptor = FileEncryptor(FILE_KEY)
        made.append(header + encryptor.update(content) + encryptor.finish())
    return made


TARGETS: Final[tuple[AnyTarget, ...]] = (
    Target("uploads.form", _form, _hold_form, lambda: [BODY, BODY.replace(b"; filename", b";filename")]),
    Target("uploads.file", _opened, _hold_file, _files),
)
