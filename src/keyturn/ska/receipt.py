"""Receipts: what the HSM says about one execution or refusal, for those who were not there.

Whoever carries results can invent those that no public key can check: decrypted data, unwrapped keys, refusals. A
receipt is the HSM's signed word that a statement (the whole call but its approvals) had an outcome. It binds
statement and result by their hashes, so that it can be kept and shown without either.

It is signed with the receipt key, a system key of the HSM that signs nothing else; its public half stands in the
attested attributes of every key.

Source: decisions 14; docs/security/rules.md R5, R6, R24; docs/formats/receipts.md (byte by byte).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import cbor
from keyturn.ska.iso_time import LAST_SECOND
from keyturn.ska.receipt_hashes import statement_hash_of

if TYPE_CHECKING:
    from keyturn.ska.receipt_hashes import Statement

Outcome = Literal["executed", "refused"]

RECEIPT_VERSION: Final = 1
MAX_RECEIPT: Final = 1024
"""Longest receipt in bytes; the longest possible one has 428."""
MAX_REQUEST_ID: Final = 128
"""Longest request id in characters."""
ACTIONS: Final = frozenset({"sign", "decrypt", "unwrap", "block", "unblock", "modify", "csr", "issue", "selfsign"})
"""Words for what a receipt can be about: the kinds of call that a policy governs."""

SIGNED_TAG: Final = b"keyturn/receipt/1\x00"
"""Stands before the receipt in what is signed (R5)."""
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REQUEST_ID: Final = re.compile(f"[!-~]{{1,{MAX_REQUEST_ID}}}")
_HASH_SIZE: Final = 32
_MAX_NUMBER: Final = 10**18
_OUTCOMES: Final[dict[object, Outcome]] = {"executed": "executed", "refused": "refused"}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the HSM vouches for.

    Args:
        version: `RECEIPT_VERSION`.
        instance_id: UUID text of the HSM's store.
        request_id: Id of the broker's request, as the call carried it: 1 to 128 visible ASCII characters.
        action: One of `ACTIONS`.
        statement_hash: `receipt_hashes.statement_hash_of` the call, 32 bytes.
        result_hash: `result_hash_of` the result there, or `refusal_hash_of` the refusal, 32 bytes.
        key_uuid: UUID text of the key that acted or was to act; empty when there was none under that label.
        time: Seconds since the epoch by the HSM's clock; where that cannot be believed, the highest time used before.
        state_counter: The store's state counter when this was done, its own change included.
        outcome: `executed` or `refused`.
        restore_epoch: How often the store was restored; counters compare only within one instance and epoch (R6).
    """

    version: int
    instance_id: str
    request_id: str
    action: str
    statement_hash: bytes
    result_hash: bytes
    key_uuid: str
    time: int
    state_counter: int
    outcome: Outcome
    restore_epoch: int = 0


def is_request_id(text: str) -> bool:
    """Whether a receipt can be about a request with this id."""
    return _REQUEST_ID.fullmatch(text) is not None


def encode_receipt(receipt: Receipt) -> bytes:
    """Write a receipt.

    Args:
        receipt: What it says.

    Returns:
        Deterministic CBOR; at most `MAX_RECEIPT` bytes.

    Raises:
        FormatError: `receipt.field`: a field is not what it must be.
    """
    _check(receipt)
    return cbor.encode(
        {
            "version": receipt.version,
            "instanceId": receipt.instance_id,
            "restoreEpoch": receipt.restore_epoch,
            "requestId": receipt.request_id,
            "action": receipt.action,
            "statementHash": receipt.statement_hash,
            "outcome": receipt.outcome,
            "resultHash": receipt.result_hash,
            "keyUuid": receipt.key_uuid,
            "time": receipt.time,
            "stateCounter": receipt.state_counter,
        }
    )


def decode_receipt(data: bytes) -> Receipt:
    """Read a receipt. This says nothing about who wrote it: see `verify_receipt`.

    Args:
        data: Its bytes.

    Returns:
        What it says. Encoding that gives the same bytes again.

    Raises:
        FormatError: `receipt.size`, `receipt.malformed`, `receipt.not-deterministic`, `receipt.version`,
            `receipt.field`.
    """
    _check_size(data)
    match cbor.decode(data, what="receipt", max_depth=1):
        case {"version": int() as version} if version != RECEIPT_VERSION:
            raise FormatError(
                f"This receipt was written in version {version}; this side knows version {RECEIPT_VERSION}. Update it.",
                refusal="receipt.version",
            )
        case {
            "version": int() as version,
            "instanceId": str() as instance_id,
            "restoreEpoch": int() as restore_epoch,
            "requestId": str() as request_id,
            "action": str() as action,
            "statementHash": bytes() as statement_hash,
            "outcome": str() as outcome,
            "resultHash": bytes() as result_hash,
            "keyUuid": str() as key_uuid,
            "time": int() as time,
            "stateCounter": int() as state_counter,
            **rest,
        } if not rest and outcome in _OUTCOMES:
            receipt = Receipt(
                version=version,
                instance_id=instance_id,
                request_id=request_id,
                action=action,
                statement_hash=statement_hash,
                result_hash=result_hash,
                key_uuid=key_uuid,
                time=time,
                state_counter=state_counter,
                outcome=_OUTCOMES[outcome],
                restore_epoch=restore_epoch,
            )
        case _:
            raise _bad_field("it has other members than a receipt has")
    _check(receipt)
    return receipt


def bytes_to_sign(receipt: bytes) -> bytes:
    """What the receipt key signs: the domain tag, then the receipt."""
    return SIGNED_TAG + receipt


def verify_receipt(blob: bytes, signature: bytes, *, receipt_key_spki: bytes) -> Receipt:
    """Verify a receipt, then read it.

    Args:
        blob: The receipt as received.
        signature: Its signature: ECDSA with SHA-256, DER, bare.
        receipt_key_spki: The HSM's receipt key, DER, from attested attributes that were verified.

    Returns:
        What the HSM says. Whether that is what was asked is another question: see `require_receipt_about`.

    Raises:
        KeyturnError: 403 `receipt.bad-signature`; 403 `receipt.key`: that is no receipt key.
        FormatError: As `decode_receipt`, and only after the signature was found valid, but for `receipt.size`.
    """
    _check_size(blob)
    try:
        key = load_der_public_key(receipt_key_spki)
    except (ValueError, UnsupportedAlgorithm):
        raise _bad_key() from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_key()
    try:
        key.verify(signature, bytes_to_sign(blob), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise _mismatch(
            "bad-signature",
            "the receipt is not signed by this HSM's receipt key. Take receipt and signature exactly as the HSM gave "
            "them, and the attested attributes of the same HSM",
        ) from None
    return decode_receipt(blob)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a receipt must be about to count for a request.

    Args:
        instance_id: The HSM for which the request was opened.
        request_id: The request.
        key_uuid: Its key.
        statement: What it asks for.
        outcome: What is claimed to have happened.
        result_hash: `result_hash_of` or `refusal_hash_of` what is claimed.
    """

    instance_id: str
    request_id: str
    key_uuid: str
    statement: Statement
    outcome: Outcome
    result_hash: bytes


def require_receipt_about(receipt: Receipt, expected: Expected) -> None:
    """Return only if a receipt is about exactly this.

    A refusal may name no key: then the HSM had none under that label.

    Args:
        receipt: A verified receipt.
        expected: What it must be about.

    Raises:
        KeyturnError: 403 with the first that differs: `receipt.other-instance`, `receipt.other-request`,
            `receipt.other-key`, `receipt.other-statement`, `receipt.other-outcome`, `receipt.other-result`.
    """
    refused_without_key = expected.key_uuid if receipt.outcome == "refused" else ""
    for what, said, asked in (
        ("instance", receipt.instance_id, expected.instance_id),
        ("request", receipt.request_id, expected.request_id),
        ("key", receipt.key_uuid or refused_without_key, expected.key_uuid),
        (
            "statement",
            (receipt.action, receipt.statement_hash),
            (expected.statement.action, statement_hash_of(expected.statement)),
        ),
        ("outcome", receipt.outcome, expected.outcome),
        ("result", receipt.result_hash, expected.result_hash),
    ):
        if said != asked:
            raise _mismatch(
                f"other-{what}",
                f"the receipt is about another {what} than this. Bring the receipt that came with this very answer",
            )


def _check_size(data: bytes) -> None:
    if len(data) > MAX_RECEIPT:
        raise FormatError(f"A receipt has at most {MAX_RECEIPT} bytes; this has {len(data)}.", refusal="receipt.size")


def _check(receipt: Receipt) -> None:
    """Refuse what no receipt says; the same for writing and reading."""
    if receipt.version != RECEIPT_VERSION:
        raise _bad_field("the version is not 1")
    if not _UUID.fullmatch(receipt.instance_id):
        raise _bad_field("the instance is no UUID in lower case")
    if receipt.key_uuid and not _UUID.fullmatch(receipt.key_uuid):
        raise _bad_field("the key is no UUID in lower case")
    if not receipt.key_uuid and receipt.outcome == "executed":
        raise _bad_field("something was executed without a key")
    if not is_request_id(receipt.request_id):
        raise _bad_field(f"the request id has not 1 to {MAX_REQUEST_ID} visible ASCII characters")
    if receipt.action not in ACTIONS:
        raise _bad_field("the action is none that receipts are about")
    if not len(receipt.statement_hash) == len(receipt.result_hash) == _HASH_SIZE:
        raise _bad_field("a hash has not 32 bytes")
    if receipt.outcome not in _OUTCOMES:
        raise _bad_field("the outcome is neither executed nor refused")
    if not 0 <= receipt.time <= LAST_SECOND:
        raise _bad_field("the time lies outside the years 1970 to 9999")
    if not all(0 <= number < _MAX_NUMBER for number in (receipt.state_counter, receipt.restore_epoch)):
        raise _bad_field("a counter is out of range")


def _bad_field(why: str) -> FormatError:
    return FormatError(f"This is no receipt as keyturn writes them: {why}.", refusal="receipt.field")


def _bad_key() -> KeyturnError:
    return _mismatch("key", "the receipt key must be an EC key on P-256. Take it from the HSM's attested attributes")


def _mismatch(word: str, why: str) -> KeyturnError:
    return KeyturnError(ErrorCode.INVALID_SIGNATURE, f"This receipt does not count: {why}.", refusal=f"receipt.{word}")
