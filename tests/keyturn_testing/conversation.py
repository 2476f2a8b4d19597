"""What Schemathesis makes of the committed docs/openapi.json, said to a real server, and the checks of its answers.

Bodies come in three ways: as the document allows them, as it forbids them, and as it allows them with names of keys
that exist, base64 and algorithms put where the document only says "text", so that calls get past the first checks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from keyturn_testing.plain_client import ED25519, P256, SECP256K1, b64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemathesis import Case as AnyCase
    from schemathesis.core.errors import InvalidSchema
    from schemathesis.core.result import Result
    from schemathesis.schemas import APIOperation

    from keyturn_testing.plain_client import PlainClient

    Case = AnyCase[Any]
    Operation = APIOperation[Any, Any, Any, Any]

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "openapi.json"
Way = Literal["allowed", "forbidden", "lively"]
CHECKS: Final = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
REFUSED: Final = [*CHECKS, checks.negative_data_rejection]
"""For calls that the document forbids: none of them may be answered as if it were a good one."""
SIZES: Final = st.sampled_from([0, 1, 12, 16, 20, 28, 32, 48, 64, 256, 1000])
ALGORITHMS: Final = (
    "SHA256_WITH_RSA", "SHA256_WITH_RSA_PSS", "NONE_WITH_RSA", "SHA256_WITH_ECDSA", "NONE_WITH_ECDSA", "EDDSA",
    "ML_DSA", "KECCAK256_WITH_ECDSA", "NONE_WITH_EC_SCHNORR_BIP0340", "HMAC_SHA256", "DILITHIUM",
)  # fmt: skip
CIPHERS: Final = (
    "RSA_PADDING_OAEP", "RSA", "RSA_NO_PADDING", "AES", "AES_GCM", "AES_CTR", "AES_ECB", "CHACHA20_AEAD", "TDEA_CBC",
)  # fmt: skip
KINDS: Final = ("EC", "ED", "RSA", "AES", "ChaCha20", "HMACSHA256", "ML-DSA-44", "ML-KEM-768", "BLS", "ISS")
NAMES: Final = {
    "signatureAlgorithm": ALGORITHMS,
    "cipherAlgorithm": CIPHERS,
    "algorithm": KINDS,
    "curveOid": (P256, SECP256K1, ED25519, "1.3.132.0.34", "1.3.132.0.32"),
    "keySize": (0, 128, 256, 2048),
    "wrapMethod": ("AES_WRAP", "AES_WRAP_PAD", "AES_WRAP_EC", "RSA_WRAP_PAD", "RSA_WRAP_OAEP"),
    "tagLength": (0, 64, 96, 128),
    "derivationPath": ("0'", "44'/0'/0'", "0", "x", ""),
    "hashAlgorithm": ("SHA256", "SHA512"),
    "timestamp": ("2026-01-01T00:00:00Z",),
    "signatureType": ("DER", "RAW", "ETH", None),
    "payloadType": ("UNSPECIFIED", "HEX", "BTC"),
}
"""Values that mean something, by the name of a field."""

load_all_checks()
SCHEMA: Final = schemathesis.openapi.from_path(str(DOCUMENT))


def _described(found: Result[Operation, InvalidSchema]) -> Operation:
    assert isinstance(found, Ok), found.err()
    return found.ok()


OPERATIONS: Final[dict[str, Operation]] = {
    operation.label: operation for operation in map(_described, SCHEMA.get_all_operations())
}
"""The operations of the document by their labels, such as `POST /v1/key`."""


def ways(label: str) -> tuple[Way, ...]:
    """In which ways an operation can be called; only one that takes a body forbids any."""
    return ("lively", "forbidden", "allowed") if OPERATIONS[label].body else ("lively",)


def make_keys(api: PlainClient) -> list[str]:
    """Keys that calls can be about, made anew where a call has deleted them; their labels."""
    wanted = {
        "a-ec": ("EC", ("sign",)), "an-ed": ("ED", ("sign",)), "an-aes": ("AES", ("encrypt", "decrypt", "unwrap")),
        "a-kem": ("ML-KEM-768", ("decrypt",)),
    }  # fmt: skip
    there = set(api.get("/v1/key"))
    for label, (kind, uses) in wanted.items():
        if label not in there:
            api.create(kind, *uses, label=label)
    return [*wanted, "nobody", "a-ec/0'"]


@st.composite
def _lively(draw: st.DrawFn, operation: Operation, keys: Sequence[str]) -> Case:
    case: Case = draw(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    case.body = _enlivened(draw, case.body, keys)
    if case.path_parameters:
        case.path_parameters = {name: draw(st.sampled_from(keys)) for name in case.path_parameters}
    return case


def _enlivened(draw: st.DrawFn, value: Any, keys: Sequence[str], name: str = "") -> Any:
    if isinstance(value, dict):
        return {inner: _enlivened(draw, held, keys, inner) for inner, held in value.items()}
    if isinstance(value, list):
        return [_enlivened(draw, held, keys, name) for held in value]
    if name in NAMES:
        return draw(st.sampled_from(NAMES[name]))
    if not isinstance(value, str):
        return value
    if name.endswith(("KeyName", "KeyLabel")) or name in {"label", "keyName", "keyToBeWrapped"}:
        return draw(st.sampled_from(keys))
    return b64(bytes(draw(SIZES)))


def converse(api: PlainClient, label: str, way: Way, examples: int, start: int) -> None:
    """Make calls of one operation until one is answered wrongly.

    Args:
        api: A client of the server.
        label: The operation, such as `POST /v1/key`.
        way: One of `ways(label)`.
        examples: How many calls.
        start: Where the random choices begin; the same gives the same calls.

    Raises:
        AssertionError: An answer that the document does not describe; Schemathesis says which, and how to repeat it.
    """
    operation = OPERATIONS[label]
    keys = make_keys(api)
    if way == "lively":
        cases = _lively(operation, keys)
    else:
        mode = GenerationMode.POSITIVE if way == "allowed" else GenerationMode.NEGATIVE
        cases = operation.as_strategy(generation_mode=mode)

    @seed(start)
    @settings(
        max_examples=examples, deadline=None, database=None, print_blob=False,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases)
    def call(case: Case) -> None:
        checked = REFUSED if way == "forbidden" else CHECKS
        case.call_and_validate(base_url=str(api.http.base_url), checks=checked)

    call()
