"""`keyturn receipt`: what an HSM vouches for, checked by somebody who was not there.

What vouches for what: the pinned device certificate for attested attributes, these for the receipt key, the receipt key
for the receipt, and the receipt, by its hash, for the result that lies beside it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from keyturn.approver.first_trust import MAX_PEM, device_certificate, verified_attributes
from keyturn.approver.tasks import decode_base64
from keyturn.cli.examples import examples
from keyturn.cli.officer import FILE, OfficerGroup, json_option, read_file
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.iso_time import format_time
from keyturn.ska.receipt import verify_receipt
from keyturn.ska.receipt_hashes import refusal_hash_of, result_hash_of

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.ska.attestation import KeyAttestation
    from keyturn.ska.receipt import Receipt

MAX_FILE: Final = 2 << 20
"""Largest file read: 256 KiB of XML (R19) with its JSON twin and base64, and a result of 64 KiB."""

_ATTRIBUTES: Final = "keyAttributes"
_RESULTS: Final = {"sign": ("signature", "result"), "decrypt": ("payload", "result")}
"""Members that hold the result: in the answer of the HSM's side, and on its way back."""


@click.group(
    cls=OfficerGroup,
    epilog=examples("keyturn receipt verify answer.json --device-cert pinned.pem --attestation attributes.json"),
)
def receipt() -> None:
    """Receipts: what the HSM says it did or refused."""


@receipt.command(
    "verify",
    short_help="Check an HSM's receipt, and the result that lies beside it.",
    epilog=examples(
        "keyturn receipt verify answer.json --device-cert pinned.pem --attestation attributes.json",
        "keyturn receipt verify modified.json --device-cert pinned.pem --json",
    ),
)
@click.argument("file", type=FILE)
@click.option(
    "--device-cert", "device_cert", type=FILE, required=True, help="The HSM's certificate, as it was pinned (PEM)."
)
@click.option(
    "--attestation",
    type=FILE,
    help="Attested attributes of any key of that HSM (JSON of POST /v1/key/attributes), if FILE has none.",
)
@json_option
def verify(file: Path, device_cert: Path, attestation: Path | None, *, as_json: bool) -> None:
    """Check the receipt in FILE: whose it is, what it says, and whether it belongs to the result in FILE.

    FILE is JSON with `receipt` and `receiptSignature`: an answer of the HSM's side, its error body, or what went
    through PUT /v1/resultFromOfflineHsm. The receipt key must be attested: by --attestation, or in FILE itself, as
    `keyAttributes` or because the answer is itself attested attributes.
    """
    content = _object(read_file(file, MAX_FILE), "FILE")
    device = device_certificate(read_file(device_cert, MAX_PEM))
    attested = (
        _attested_in(content) if attestation is None else _object(read_file(attestation, MAX_FILE), "--attestation")
    )
    attributes = verified_attributes(attested, device)
    found = _verified(content, attributes)
    compared = _require_its_result(found, content)
    if as_json:
        click.echo(json.dumps(_as_json(found, compared=compared), indent=2))
        return
    for line in _lines(found, attributes, compared=compared):
        click.echo(line)


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise FormatError(f"{what} holds no JSON object; give the answer as the server sent it.")
    return value


def _attested_in(content: dict[str, Any]) -> object:
    if "xml" in content:
        return content
    if isinstance(content.get(_ATTRIBUTES), dict):
        return content[_ATTRIBUTES]
    raise KeyturnError(
        ErrorCode.VALIDATION_FAILED,
        "A device certificate alone does not vouch for a receipt: attested attributes must name the receipt key. Give "
        "those of any key of that HSM with --attestation (the answer of POST /v1/key/attributes).",
        refusal="receipt.no-attestation",
    )


def _verified(content: dict[str, Any], attributes: KeyAttestation) -> Receipt:
    texts = content.get("receipt"), content.get("receiptSignature")
    blob, signature = (decode_base64(text) if isinstance(text, str) else None for text in texts)
    if blob is None or signature is None:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "FILE has no receipt: `receipt` and `receiptSignature` (base64) are needed. A call gets one when it "
            "carries a `requestId`.",
            refusal="receipt.missing",
        )
    if attributes.receipt_key is None:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "These attested attributes are from before the HSM had a receipt key. Fetch them again from the HSM's "
            "side.",
            refusal="receipt.no-key",
        )
    found = verify_receipt(blob, signature, receipt_key_spki=attributes.receipt_key)
    if found.instance_id != attributes.instance_id:
        raise _mismatch("other-instance", "it names another HSM than the attested attributes do")
    return found


def _require_its_result(found: Receipt, content: dict[str, Any]) -> bool:
    """Refuse if FILE holds something else than the receipt vouches for; False when it holds nothing to compare."""
    claimed = _refusal_in(content)
    if claimed is not None or found.outcome == "refused":
        if claimed is not None and found.outcome == "executed":
            raise _mismatch("other-outcome", "it says `executed`, and FILE tells of a refusal")
        if claimed is None and _result_in(found, content) is not None:
            raise _mismatch("other-outcome", "it says `refused`, and FILE holds a result")
    else:
        claimed = _result_in(found, content)
    if claimed is None:
        return False
    if claimed != found.result_hash:
        raise _mismatch("other-result", "it is about another result than the one in FILE")
    return True


def _refusal_in(content: dict[str, Any]) -> bytes | None:
    body = content.get("refused", content)
    code, word = (body.get("errorCode"), body.get("refusal")) if isinstance(body, dict) else (None, None)
    if isinstance(code, int) and not isinstance(code, bool) and code >= 0:
        return refusal_hash_of(code, word if isinstance(word, str) else "")
    return None


def _result_in(found: Receipt, content: dict[str, Any]) -> bytes | None:
    for name in _RESULTS.get(found.action, ()):
        if isinstance(content.get(name), str):
            return result_hash_of(decode_base64(content[name]) or b"")
    if found.action in _RESULTS:
        return None
    attested = content if "xml" in content else content.get(_ATTRIBUTES)
    xml = attested.get("xml") if isinstance(attested, dict) else None
    return result_hash_of(xml.encode()) if isinstance(xml, str) else None


def _lines(found: Receipt, attributes: KeyAttestation, *, compared: bool) -> list[str]:
    key = f"the key {found.key_uuid}" if found.key_uuid else "a label that no key bore"
    if found.key_uuid == attributes.uuid:
        key += f" ({attributes.label})"
    return [
        f"The receipt is the HSM's own: {found.outcome} `{found.action}` for request {found.request_id}.",
        f"  HSM {found.instance_id}, restore epoch {found.restore_epoch}, counter {found.state_counter}",
        f"  with {key}",
        f"  at {format_time(found.time)}, by the HSM's clock",
        f"  hash of what was asked: {found.statement_hash.hex()}",
        f"  hash of what came out:  {found.result_hash.hex()}",
        "  what came out is what lies in the file"
        if compared
        else "  what came out is not in the file: only its hash was seen",
    ]


def _as_json(found: Receipt, *, compared: bool) -> dict[str, Any]:
    return {
        "valid": True,
        "resultCompared": compared,
        "outcome": found.outcome,
        "action": found.action,
        "requestId": found.request_id,
        "instanceId": found.instance_id,
        "restoreEpoch": found.restore_epoch,
        "stateCounter": found.state_counter,
        "keyUuid": found.key_uuid,
        "time": format_time(found.time),
        "statementHash": found.statement_hash.hex(),
        "resultHash": found.result_hash.hex(),
    }


def _mismatch(word: str, why: str) -> KeyturnError:
    return KeyturnError(ErrorCode.INVALID_SIGNATURE, f"This receipt does not count: {why}.", refusal=f"receipt.{word}")
