"""Holds the HSM's receipts against requests: what counts only with the HSM's word, and every word that was given.

Source: decisions 14; docs/security/rules.md R24; docs/formats/receipts.md.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keyturn.broker.calls import RequestKind
from keyturn.broker.stored_calls import certify_call, decrypt_call, sign_call, unwrap_call
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.policy import encode_policy
from keyturn.ska.receipt import Expected, Receipt, require_receipt_about, verify_receipt
from keyturn.ska.receipt_hashes import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.broker.storage.rows import RequestRow
    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.receipt import Outcome


@dataclass(frozen=True, slots=True)
class GivenReceipt:
    """A receipt as it came, not yet verified.

    Args:
        blob: The receipt.
        signature: Bare signature over it.
    """

    blob: bytes
    signature: bytes


def given_receipt(body: Mapping[str, Any]) -> GivenReceipt | None:
    """Read the receipt beside a result.

    Args:
        body: The body of `PUT /v1/resultFromOfflineHsm`.

    Returns:
        The receipt, None if none is there.

    Raises:
        KeyturnError: 600 `receipt.incomplete` when it or its signature is missing, or one is not base64.
    """
    texts = (body.get("receipt"), body.get("receiptSignature"))
    if texts == (None, None):
        return None
    try:
        blob, signature = (base64.b64decode(text if isinstance(text, str) else "?", validate=True) for text in texts)
    except (binascii.Error, ValueError):
        raise FormatError(
            "receipt and receiptSignature come together, both base64, as the offline side gave them.",
            refusal="receipt.incomplete",
        ) from None
    return GivenReceipt(blob, signature)


def checked_receipt(
    request: RequestRow,
    given: GivenReceipt,
    attestation: KeyAttestation,
    *,
    outcome: Outcome,
    result_hash: bytes,
) -> Receipt:
    """Verify a receipt and require that it is about this request and this outcome.

    Args:
        request: The request.
        given: The receipt.
        attestation: The key as it is registered; its HSM and receipt key are the ones that count.
        outcome: What is claimed to have happened.
        result_hash: `ska.receipt_hashes.result_hash_of` or `refusal_hash_of` what is claimed.

    Returns:
        The receipt.

    Raises:
        KeyturnError: 403 `receipt.…` with what differs; 611 `receipt.key-unknown` when the registered attributes are
            from before there were receipts.
    """
    if attestation.receipt_key is None:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"The registered attributes of {request.key_label} name no receipt key, so that no receipt can be checked. "
            "Register the key's attributes again (offline POST /v1/key/attributes, online POST /v1/offlineKey), then "
            "bring the result once more.",
            refusal="receipt.key-unknown",
        )
    receipt = verify_receipt(given.blob, given.signature, receipt_key_spki=attestation.receipt_key)
    require_receipt_about(
        receipt,
        Expected(
            instance_id=attestation.instance_id,
            request_id=request.id,
            key_uuid=request.key_uuid,
            statement=statement_of(request),
            outcome=outcome,
            result_hash=result_hash,
        ),
    )
    return receipt


def statement_of(request: RequestRow) -> Statement:
    """What a request asks of the HSM, as receipts name it.

    Args:
        request: The request.
    """
    label = request.key_label
    match RequestKind(request.kind):
        case RequestKind.SIGN:
            sign = sign_call(request)
            return Statement.sign(label, sign.payload, sign.algorithm, sign.signature_type, sign.options.given)
        case RequestKind.DECRYPT:
            decrypt = decrypt_call(request)
            return Statement.decrypt(
                label, decrypt.payload, decrypt.algorithm, iv=decrypt.iv, aad=decrypt.aad, tag_length=decrypt.tag_length
            )
        case RequestKind.CSR | RequestKind.ISSUE | RequestKind.SELFSIGN:
            certify = certify_call(request)
            return Statement.certify(
                label,
                certify.kind,
                certify.to_be_signed,
                certify.algorithm,
                certificate_authority=certify.certificate_authority,
                attach_to=certify.attach_to,
            )
        case RequestKind.UNWRAP:
            unwrap = unwrap_call(request)
            return Statement.unwrap(
                label,
                unwrap.wrapped_key,
                unwrap.method,
                unwrap.new_label,
                unwrap.attributes,
                policy=b"" if unwrap.policy is None else encode_policy(unwrap.policy),
                blocked=unwrap.blocked,
                key_id=unwrap.key_id,
            )
        case RequestKind.BLOCK:
            return Statement.block(label)
        case RequestKind.UNBLOCK:
            return Statement.unblock(label)
        case RequestKind.MODIFY:
            return Statement.modify(label, request.payload)
