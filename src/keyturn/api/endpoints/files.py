"""Encrypting and decrypting files of any size.

Source: rest-api.md section 3.3; docs/formats/encrypted-files.md; docs/adr/0109.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from keyturn.api.endpoints.parts import check_form
from keyturn.api.http import Call, Route, Services, Stream
from keyturn.api.multipart import Form
from keyturn.api.passwords import sealed_password
from keyturn.api.schemas.service import SignedFileDecryptRequest, SignedFileEncryptRequest

if TYPE_CHECKING:
    from keyturn.api.multipart import Upload
    from keyturn.broker.files import FileOpening, FileSealing, Produced

SUFFIX: Final = ".primus.encrypted"
"""What the name of an encrypted file ends in."""

_MEDIA: Final = "application/octet-stream"
_ENCRYPT: Final = Form("SignedFileEncryptRequestDto", SignedFileEncryptRequest)
_DECRYPT: Final = Form("SignedFileDecryptRequestDto", SignedFileDecryptRequest)


async def file_encrypt(services: Services, call: Call, body: Upload) -> Stream:
    """Encrypt a file for an EC key on curve 1.3.132.0.34 with `derive`.

    The answer is the encrypted file (docs/formats/encrypted-files.md). The two parts may come in any order.
    """
    del call
    sealing = services.broker.serving.seal_file()

    async def take(request: SignedFileEncryptRequest) -> None:
        check_form(request.request_signature)
        await sealing.encrypt_for(request.file_encrypt_request.encrypt_key_name)

    try:
        name = await body.read(_ENCRYPT, take, sealing.write)
        produced = await sealing.finish()
    except BaseException:
        sealing.close()
        raise
    return _stream(produced, f"{name or 'file'}{SUFFIX}", sealing)


async def synchronous_file_decrypt(services: Services, call: Call, body: Upload) -> Stream:
    """Decrypt a file. Nothing of its content leaves before all of it has been authenticated."""
    del call
    opening = services.broker.serving.open_file()

    async def take(request: SignedFileDecryptRequest) -> None:
        check_form(request.request_signature)
        inner = request.file_decrypt_request
        password = await sealed_password(
            services, "fileDecryptRequest.keyPassword", inner.decrypt_key_name, inner.key_password
        )
        await opening.decrypt_with(inner.decrypt_key_name, password)

    try:
        name = await body.read(_DECRYPT, take, opening.write)
        produced = await opening.finish()
    except BaseException:
        opening.close()
        raise
    return _stream(
        produced, name.removesuffix(SUFFIX) if name.endswith(SUFFIX) else f"{name or 'file'}.decrypted", opening
    )


def _stream(produced: Produced, name: str, worker: FileSealing | FileOpening) -> Stream:
    plain = "".join(letter if letter.isascii() and letter not in '"\\' else "_" for letter in name)
    # RFC 6266 section 4.3: the second form for names that are not ASCII.
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    return Stream(produced.size, produced.pieces, _MEDIA, {"content-disposition": disposition}, worker.close)


ROUTES: Final = (
    Route(
        "POST",
        "/v1/fileEncrypt",
        file_encrypt,
        form=_ENCRYPT,
        tag="operations",
        media={_MEDIA: "The encrypted file."},
    ),
    Route(
        "POST",
        "/v1/synchronousFileDecrypt",
        synchronous_file_decrypt,
        form=_DECRYPT,
        tag="operations",
        media={_MEDIA: "The file."},
    ),
)
