"""Bodies of the air-gapped side.

Source: decisions 11, 14 and 15.
"""

from __future__ import annotations

from typing import Any

from keyturn.api.schemas.common import Base64, Body, NonEmpty, RequiredBase64


class OfflineKeyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/offlineKey`: the offline side's answer to `POST /v1/key/attributes`, unchanged."""

    xml: NonEmpty
    xml_signature: RequiredBase64
    attestation_key_name: NonEmpty
    json: dict[str, Any]


class OfflineResultBody(Body, frozen=True, rename="camel"):
    """`PUT /v1/resultFromOfflineHsm`: exactly one of `result`, `keyAttributes`, `refused`, `timestampAnswer`."""

    id: NonEmpty
    result: str | None = None
    key_attributes: dict[str, Any] | None = None
    refused: dict[str, Any] | None = None
    timestamp_answer: dict[str, Any] | None = None
    receipt: str | None = None
    receipt_signature: str | None = None


class HsmWitnessBody(Body, frozen=True, rename="camel"):
    """`POST /v1/hsmWitness`: either attested attributes or a receipt, with the HSM's signature."""

    xml: NonEmpty | None = None
    xml_signature: Base64 | None = None
    receipt: Base64 | None = None
    receipt_signature: Base64 | None = None
