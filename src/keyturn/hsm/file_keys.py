"""Keys of encrypted files: sealed to an EC key by whoever knows its public half, opened by its private half alone.

The file itself never comes here. Key agreement of a key with a policy is refused, whatever its attributes say (R4): the
file could be decrypted by whoever once got its key, and no approval would name its content.

Source: rest-api.md section 3.3 (ECIES, `derive`); docs/formats/encrypted-files.md; docs/security/rules.md R3, R4.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from keyturn.crypto.encrypted_files import (
    ALGORITHM,
    FILE_KEY,
    FileHeader,
    parse_header,
    seal_file_key,
    wrong_key,
)
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.door import Act, Kind, require_agreement

if TYPE_CHECKING:
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord


class FileKeys:
    """Handles `MakeFileKey` and `OpenFileKey`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def make(self, call: protocol.MakeFileKey) -> protocol.Answer:
        """Seal a file's key. Nothing private is used, so nothing is counted and logged."""
        record = self._context.key(call.label)
        require_agreement(record)
        if len(call.file_key) != FILE_KEY:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED, f"a file's key has {FILE_KEY} bytes", refusal="file.key-size"
            )
        if not record.public_key:
            raise wrong_key()
        return protocol.FileKey(seal_file_key(record.public_key, call.file_key), b"")

    def open(self, call: protocol.OpenFileKey) -> protocol.Answer:
        """Open a file's key."""
        context = self._context
        record = context.key(call.label)
        header = parse_header(call.header)
        act = Act(Kind.DERIVE, call.header, ALGORITHM, sealed_password=call.sealed_password)
        private_key, _ = context.door.open(record, act, ())
        if not isinstance(private_key, ec.EllipticCurvePrivateKey) or not isinstance(private_key.curve, ec.SECP384R1):
            raise wrong_key()
        _require_recipient(record, header)
        file_key = header.open(private_key.exchange(ec.ECDH(), header.ephemeral))
        context.store.count_use(record.uuid)
        context.journal.grant(call, record, None, payload=call.header)
        return protocol.FileKey(call.header, file_key)


def _require_recipient(record: KeyRecord, header: FileHeader) -> None:
    if header.recipient != sha256(record.public_key).digest():
        raise KeyturnError(
            ErrorCode.INVALID_FILE_HEADER,
            f"This file was encrypted for another key than {record.label!r}: for the one whose public key has the "
            f"SHA-256 fingerprint {header.recipient.hex()}",
            refusal="file.other-key",
        )
