"""The air-gapped side: keys of the offline HSM, and its results.

Source: decisions 11, 14; security rule R19.
"""

from __future__ import annotations

from typing import Any, Final

from keyturn.api.answers import Done
from keyturn.api.endpoints.parts import text
from keyturn.api.fields import MAX_XML, from_base64
from keyturn.api.http import Call, Route, Services
from keyturn.api.schemas.offline import HsmWitnessBody, OfflineKeyBody, OfflineResultBody
from keyturn.broker.witness import ATTESTATION, RECEIPT
from keyturn.errors import FormatError

_OUTCOMES: Final = {
    "result": "result",
    "key_attributes": "keyAttributes",
    "refused": "refused",
    "timestamp_answer": "timestampAnswer",
}


async def register_offline_key(services: Services, call: Call, body: OfflineKeyBody) -> dict[str, Any]:
    """Register a key of the offline HSM by its attested attributes, or bring its registration up to date."""
    del call
    # A cap in characters is enough to keep huge texts from the parser, which applies the real one in bytes.
    if len(body.xml) > MAX_XML:
        raise FormatError(f"Field 'xml' is longer than {MAX_XML} characters.", refusal="field.too-large")
    signature = from_base64("xmlSignature", body.xml_signature)
    await services.broker.register_offline_key(xml=body.xml, signature=signature, json=body.json)
    registered = await services.broker.offline_keys()
    return next((key for key in registered if key.get("label") == body.json.get("label")), {})


async def offline_keys(services: Services, call: Call, body: None) -> list[dict[str, Any]]:
    """List the registered keys of the offline HSM."""
    del call, body
    return await services.broker.offline_keys()


async def forget_offline_key(services: Services, call: Call, body: None) -> Done:
    """Forget a registered key. Its open requests are cancelled."""
    del body
    await services.broker.forget_offline_key(call.parameter)
    return Done()


async def import_result(services: Services, call: Call, body: OfflineResultBody) -> Done:
    """Bring back the offline HSM's result. It counts only if it is verified; sending it twice does no harm."""
    del call
    given = {name: getattr(body, attribute) for attribute, name in _OUTCOMES.items()}
    outcome = {name: value for name, value in given.items() if value is not None}
    if len(outcome) != 1:
        names = ", ".join(f"'{name}'" for name in _OUTCOMES.values())
        raise FormatError(f"Exactly one of the fields {names} must be given.", refusal="result.ambiguous")
    receipt = {"receipt": body.receipt, "receiptSignature": body.receipt_signature}
    await services.broker.import_result(
        {"id": body.id} | outcome | {name: value for name, value in receipt.items() if value is not None}
    )
    return Done()


async def hsm_witness(services: Services, call: Call, body: None) -> dict[str, Any]:
    """The newest thing that the key's HSM signed, as far as is known here: a receipt, or attested attributes.

    Kept where nobody who reaches the HSM's disk can change it, it shows later whether the HSM's store was put back.
    """
    del body
    kind, evidence, signature = await services.broker.witness_of(call.parameter)
    if kind == RECEIPT:
        return {"receipt": text(evidence), "receiptSignature": text(signature)}
    return {"xml": evidence.decode(), "xmlSignature": text(signature)}


async def show_witness(services: Services, call: Call, body: HsmWitnessBody) -> dict[str, Any]:
    """Show the HSM something that it signed itself: is its store older than that? Refused is what it did not sign."""
    del call
    match (body.xml, body.xml_signature, body.receipt, body.receipt_signature):
        case (str() as xml, str() as signature, None, None):
            if len(xml) > MAX_XML:
                raise FormatError(f"Field 'xml' is longer than {MAX_XML} characters.", refusal="field.too-large")
            kind, evidence, bare = ATTESTATION, xml.encode(), from_base64("xmlSignature", signature)
        case (None, None, str() as receipt, str() as signature):
            kind, evidence = RECEIPT, from_base64("receipt", receipt)
            bare = from_base64("receiptSignature", signature)
        case _:
            raise FormatError(
                "Give either 'xml' and 'xmlSignature' or 'receipt' and 'receiptSignature', as the HSM gave them.",
                refusal="witness.ambiguous",
            )
    return {"rolledBack": await services.broker.show_witness(kind, evidence, bare)}


ROUTES: Final = (
    Route("POST", "/v1/offlineKey", register_offline_key, OfflineKeyBody, dict[str, Any], 201, tag="air gap"),
    Route("GET", "/v1/offlineKey", offline_keys, None, list[dict[str, Any]], tag="air gap"),
    Route("DELETE", "/v1/offlineKey/{label}", forget_offline_key, None, Done, tag="air gap"),
    Route("GET", "/v1/hsmWitness/{label}", hsm_witness, None, dict[str, Any], tag="air gap"),
    Route("POST", "/v1/hsmWitness", show_witness, HsmWitnessBody, dict[str, Any], tag="air gap"),
    Route("PUT", "/v1/resultFromOfflineHsm", import_result, OfflineResultBody, Done, tag="air gap"),
)
