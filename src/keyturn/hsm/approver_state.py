"""What the store keeps of an approver whose key was made here, and the code for which their file is given once.

One object of kind `approver` for each (docs/adr/0107), whose sealed value is an `ApproverState`. In it lie

* the backup: key and file, encrypted by AES-256-GCM under a content key that is wrapped under the backup key;
* while a code is good, the file that waits for its officer, encrypted by the backup password as files of this kind are;
* of the code a salted scrypt hash, when it expires and how many tries are left.

A restoration that people approved shows its code as the result of their request, later and perhaps more than once. That
code alone lies here beside its hash, until it is used, replaced or over.

Source: docs/security/rules.md R23; docs/adr/0113, 0114.
"""

from __future__ import annotations

import hmac
import os
import secrets
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.passwords import slow_hash
from keyturn.hsm.records import store_error

CODE_LIFETIME: Final = 24 * 3600
"""Seconds for which a code is good: it is handed over today, and need not lie about."""
CODE_TRIES: Final = 5
"""Wrong codes after which it is void: room for slips of the finger. Who guesses is right once in 200 000 codes."""
CODE_DIGITS: Final = 6

CONTENT_KEY: Final = 32
_NONCE: Final = 12
_SALT: Final = 16
_BACKUP: Final = b"keyturn/approver-backup/1\x00"


class Code(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A one-time code.

    Args:
        salt: 16 random bytes.
        digest: scrypt over the six digits.
        expires: Seconds since the epoch at which it is over.
        tries: Wrong ones that are still looked at.
        epoch: Restore epoch of the store: after a restore a code that was used since would be good again.
        operation: Of the restoration whose result it is; empty for none.
        shown: The digits, where there is one.
    """

    salt: bytes
    digest: bytes
    expires: int
    tries: int
    epoch: int
    operation: bytes = b""
    shown: str = ""

    def __repr__(self) -> str:
        return "Code(…)"


class ApproverState(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An approver whose key was made here.

    Args:
        certificate: DER.
        backup_key: UUID text of the key under which the backup is wrapped.
        wrapped_key: The backup's content key, wrapped.
        backup: `Backup`, encrypted.
        onboarded: Seconds since the epoch at which the file was first given; 0 for never.
        waiting: PKCS#12 file that is given for the code; empty for none.
        code: The code; None where there is none.
    """

    certificate: bytes
    backup_key: str
    wrapped_key: bytes
    backup: bytes
    onboarded: int = 0
    waiting: bytes = b""
    code: Code | None = None

    def __repr__(self) -> str:
        return "ApproverState(…)"


class Backup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is kept to restore an approver's file.

    Args:
        private_key: As the HSM keeps keys; with it a file under another password is made.
        file: The PKCS#12 file.
    """

    private_key: bytes
    file: bytes

    def __repr__(self) -> str:
        return "Backup(…)"


def encrypt_backup(content_key: bytes, name: str, certificate: bytes, backup: Backup) -> bytes:
    """Encrypt a backup for one approver and certificate.

    Args:
        content_key: 32 random bytes that serve once.
        name: The approver's name.
        certificate: Their certificate, DER.
        backup: What is kept.
    """
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(content_key).encrypt(nonce, msgspec.msgpack.encode(backup), _about(name, certificate))


def decrypt_backup(content_key: bytes, name: str, state: ApproverState) -> Backup:
    """Decrypt a backup.

    Args:
        content_key: What the backup key unwrapped.
        name: The approver's name.
        state: What is kept of them.

    Raises:
        KeyturnError: `store.record-damaged`.
    """
    sealed = state.backup
    try:
        content = AESGCM(content_key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _about(name, state.certificate))
        return msgspec.msgpack.decode(content, type=Backup)
    except (InvalidTag, msgspec.MsgspecError):
        raise store_error(
            "record-damaged", f"The backup of the approver {name!r} is damaged. Delete and create the approver."
        ) from None


def make_code(now: int, epoch: int, operation: bytes = b"") -> tuple[Code, str]:
    """Make a one-time code.

    Args:
        now: Seconds since the epoch.
        epoch: Restore epoch of the store.
        operation: Of the restoration that shows it later; empty for none.

    Returns:
        What is kept of it, and its digits.
    """
    digits = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
    salt = os.urandom(_SALT)
    digest = slow_hash(digits.encode(), salt)
    code = Code(salt, digest, now + CODE_LIFETIME, CODE_TRIES, epoch, operation, digits if operation else "")
    return code, digits


def require_good(name: str, code: Code | None, now: int, epoch: int) -> Code:
    """The code of an approver, if it is looked at at all.

    Args:
        name: The approver's name.
        code: What is kept of it.
        now: Seconds since the epoch.
        epoch: Restore epoch of the store.

    Raises:
        KeyturnError: 412 `approver.code-none`, `approver.code-expired`, `approver.code-tries`.
    """
    if code is None:
        raise wrong_code(name, "there is none, or it has served: it works once", "approver.code-none")
    if now >= code.expires or epoch != code.epoch:
        raise wrong_code(name, f"it was good for {CODE_LIFETIME // 3600} hours", "approver.code-expired")
    if code.tries <= 0:
        raise wrong_code(name, f"{CODE_TRIES} wrong ones were tried", "approver.code-tries")
    return code


def is_right(code: Code, digits: bytes) -> bool:
    """Whether these are a code's digits."""
    return hmac.compare_digest(slow_hash(digits, code.salt), code.digest)


def wrong_code(name: str, why: str, word: str) -> KeyturnError:
    """A refusal of a code."""
    return KeyturnError(
        ErrorCode.INVALID_ONE_TIME_CODE,
        f"the one-time code for the approver {name!r} is not valid: {why}. Another one is made by "
        "/v1/approverManagement/renewOneTimeCode, or restoreFromBackup once the approver is onboarded",
        refusal=word,
    )


def _about(name: str, certificate: bytes) -> bytes:
    return _BACKUP + msgspec.msgpack.encode([name, certificate])
