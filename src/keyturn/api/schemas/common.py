"""What bodies of several subjects have in common: data formats, approvals, request signatures.

Source: rest-api.md sections 1.2, 1.6 and 4; decisions 9.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from keyturn.api.hiding import shown
from keyturn.hsm.protocol import MAX_APPROVALS
from keyturn.ska.receipt import MAX_REQUEST_ID

RequestStatus = Literal["PENDING", "APPROVED", "EXECUTED", "FAILED", "EXPIRED", "REJECTED", "CANCELLED"]
DigestAlgorithm = Literal[
    "SHA-224", "SHA-256", "SHA-384", "SHA-512", "SHA3-224", "SHA3-256", "SHA3-384", "SHA3-512", "EdDSA", "BLS"
]

NonEmpty = Annotated[str, Meta(min_length=1)]
Base64 = Annotated[
    str, Meta(description="base64, standard alphabet, padded, no line breaks", extra_json_schema={"format": "byte"})
]
RequiredBase64 = Annotated[
    str,
    Meta(
        min_length=1,
        description="base64, standard alphabet, padded, no line breaks",
        extra_json_schema={"format": "byte"},
    ),
]
Timestamp = Annotated[str, Meta(description="ISO-8601 with date, time, and `Z` or an offset")]
Password = Annotated[
    list[str] | str | None,
    Meta(description="Password of a key: a text, or an array of single characters; absent, null and empty for none."),
]
Approvals = Annotated[
    list[str] | None, Meta(description=f"Signed approvals, base64 of authorization blobs; at most {MAX_APPROVALS}")
]
RequestId = Annotated[
    str,
    Meta(
        max_length=MAX_REQUEST_ID,
        description="Id of the request on the caller's side. With it the answer, or the error body of a refusal, "
        "carries the HSM's signed receipt. A key with bound approvals needs it: the id that its approvals name.",
    ),
]


class Body(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Base of all request objects: strict, and none shows its secrets where it is printed."""

    __repr__ = shown


class RequestSignature(Body, frozen=True, rename="camel"):
    """A signature of the application over the inner object, compacted; verified where signers are configured."""

    signature: RequiredBase64
    digest_algorithm: NonEmpty
    public_key: RequiredBase64


class SignableBody(Body, frozen=True, rename="camel", kw_only=True):
    """Base of the bodies whose inner object the business application may sign; the signature stands beside it."""

    request_signature: RequestSignature | None = None
