"""Targets: attested attributes, policies and bodies as JSON, single fields, and the inspector."""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import pkgutil
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fuzz import people, structures
from fuzz.harness import Finding, Target, refuse, refusing, require, same
from keyturn.api import codec, schemas
from keyturn.api.fields import from_base64, keyed_base64, payload_bytes, receipt_for
from keyturn.approver import tasks
from keyturn.errors import FormatError
from keyturn.ska.attestation import KeyAttestation, attestation_to_json, parse_attestation, render_attestation
from keyturn.ska.inspect import inspect_blob
from keyturn.ska.iso_time import format_time, parse_time
from keyturn.ska.labels import check_label
from keyturn.ska.policy import Policy, Rule, encode_policy
from keyturn.ska.policy_json import decode_base64, policy_from_json, policy_to_json
from keyturn.ska.policy_lint import lint_policy
from keyturn.ska.policy_rules import check_policy
from keyturn.ska.xml_tree import Node, read_tree
from keyturn_testing.attested import example_attestation

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuzz.harness import AnyTarget

# --- attested attributes ---------------------------------------------------------------------------------


def _hold_attestation(data: bytes, attestation: KeyAttestation) -> None:
    same(render_attestation(attestation).encode(), data)
    with refusing():
        _sendable(attestation_to_json(attestation))


def _hold_tree(data: bytes, root: Node) -> None:
    waiting, nodes = [root], 0
    while waiting:
        node = waiting.pop()
        nodes += 1
        node.text.encode()
        waiting += node.children
    require(nodes <= len(data))


def attestations() -> list[bytes]:
    changes: list[dict[str, Any]] = [
        {},
        {"receipt_key": people.spki("hsm"), "switches": ("allow-weak-keys",), "key_id": "7"},
        {"policy": None, "algorithm": "RSA", "algorithm_oid": "1.2.840.113549.1.1.1", "curve_oid": None},
    ]
    return [render_attestation(example_attestation(**change)).encode() for change in changes]


# --- JSON --------------------------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    require(len(dict(pairs)) == len(pairs), "a name that stands twice was taken")
    return dict(pairs)


def _alike(first: Any, second: Any) -> bool:
    """Whether two parsers read the same; large numbers may be floats in one of them."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_alike(first[name], second[name]) for name in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_alike, first, second))
    if isinstance(first, bool) or isinstance(second, bool) or not isinstance(first, int | float):
        return type(first) is type(second) and bool(first == second)
    return isinstance(second, int | float) and float(first) == float(second)


def _hold_json(data: bytes, value: Any) -> None:
    try:
        other = json.loads(data.decode(), object_pairs_hook=_unique)
    except ValueError as error:
        raise Finding(f"the standard library does not take it: {error}") from error
    require(_alike(value, other), "the standard library reads something else")
    same(codec.read_json(codec.encode(value)), value)


def _policy(data: bytes) -> tuple[Policy, bool]:
    return policy_from_json(codec.read_json(data), allow_seconds=True, resolve=_resolve)


def _resolve(name: str) -> bytes:
    if name not in people.PEOPLE:
        raise FormatError("There is nobody of that name.")
    return people.certificate(name)


def _hold_policy(_data: bytes, found: tuple[Policy, bool]) -> None:
    policy, blocked = found
    encode_policy(policy)
    same(policy_from_json(policy_to_json(policy, blocked=blocked), allow_seconds=True), found)
    with refusing():
        check_policy(policy)
        lint_policy(policy)


def _policies() -> list[bytes]:
    by_certificate = people.rule(1, "ada", by_certificate=True)
    shown = [
        policy_to_json(people.policy(), blocked=True),
        policy_to_json(Policy(by_certificate, Rule.ALWAYS, Rule.NEVER, by_certificate), blocked=None),
    ]
    named = {"type": "onboarded_approver_certificate", "name": "ada"}
    token = {"groups": [{"quorum": 1, "approvals": [named]}]}
    return [*map(codec.encode, shown), codec.encode({"ruleUse": {"tokens": [token]}})]


@cache
def bodies() -> dict[str, type[msgspec.Struct]]:
    """Every struct that a body, or a part of one, is read into."""
    modules = [
        importlib.import_module(f"keyturn.api.schemas.{entry.name}") for entry in pkgutil.iter_modules(schemas.__path__)
    ]
    return {
        name: kind
        for module in modules
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
    }


def _body(data: bytes) -> Any:
    name, _, body = data.partition(b"\n")
    schema = bodies().get(name.decode("latin-1"))
    if schema is None:
        raise refuse("There is no body of that name.")
    return codec.read_body(body, schema)


def _hold_body(_data: bytes, value: Any) -> None:
    same(codec.read_body(codec.encode(value), type(value)), value)


_BODIES: Final[tuple[tuple[str, object], ...]] = (
    (
        "SignBody",
        {
            "signRequest": {
                "payload": "AA==",
                "payloadType": "UNSPECIFIED",
                "signKeyName": "k",
                "signatureAlgorithm": "x",
            }
        },
    ),
    ("ModifyBody", {"modifyRequest": {"modifyKeyName": "k", "policy": {"ruleUse": None}}}),
    ("DecryptBody", {"decryptRequest": {"decryptKeyName": "k", "encryptedPayload": "AA==", "cipherAlgorithm": "RSA"}}),
    ("PolicyToken", {"name": "a", "timelock": 0, "timeout": 60, "groups": None}),
    ("KeyStatus", {"blocked": False}),
)


def _body_seeds() -> list[bytes]:
    return [name.encode() + b"\n" + codec.encode(value) for name, value in _BODIES]


# --- fields ------------------------------------------------------------------------------------------------


def _keyed(text: str) -> bytes:
    found = keyed_base64("field", text)
    if found is None:
        raise refuse("It is empty.")
    return found


def _officers_base64(text: str) -> bytes:
    found = tasks.decode_base64(text)
    if found is None:
        raise refuse("It is no base64.")
    return found


def _is_base64_of(text: str, value: object) -> None:
    require(isinstance(value, bytes))
    assert isinstance(value, bytes)
    written = base64.b64encode(value).decode()
    require("-----" in text or len(written) == len(text), "it holds more than it says")


_FIELDS: Final[tuple[tuple[Callable[[str], object], Callable[[str, Any], None], str], ...]] = (
    (lambda text: from_base64("field", text), _is_base64_of, "AAECAw=="),
    (_keyed, _is_base64_of, "-----BEGIN PUBLIC KEY-----\nAAEC\n-----END PUBLIC KEY-----"),
    (
        lambda text: payload_bytes("field", text, "HEX"),
        lambda text, value: same(value.hex(), text.lower()),
        "00ffAB",
    ),
    (lambda text: decode_base64(text, "policy"), _is_base64_of, "AAECAw=="),
    (_officers_base64, _is_base64_of, "AAECAw=="),
    (parse_time, lambda text, value: same(format_time(value), text), "2024-02-29T23:59:59Z"),
    (check_label, lambda text, value: same(value, text), "payments eur 1"),
    (lambda text: receipt_for("field", text), lambda text, value: same(value, text), "request-1"),
)


def _field(data: bytes) -> object:
    try:
        return _FIELDS[data[0] % len(_FIELDS)][0](data[1:].decode())
    except (IndexError, UnicodeDecodeError):
        raise refuse("It is no text.") from None


def _hold_field(data: bytes, value: object) -> None:
    _FIELDS[data[0] % len(_FIELDS)][1](data[1:].decode(), value)


# --- the inspector -----------------------------------------------------------------------------------------


def _sendable(value: object) -> None:
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _samples() -> list[bytes]:
    kinds = ("authorization_token", "hsm_timestamp", "rule_blob", "task_fetch_timestamp", "der_signature_anomaly")
    found = [blob for kind in kinds for blob in structures.vectors(kind)]
    return [*found, *attestations()[:1], *structures.vectors("key_attributes_xml")[:1]]


def _hold_inspected(_data: bytes, found: dict[str, object]) -> None:
    same(set(found), {"kind", "fields", "signatureValid"})
    _sendable(found)


TARGETS: Final[tuple[AnyTarget, ...]] = (
    Target("texts.attestation", parse_attestation, _hold_attestation, attestations),
    Target(
        "texts.xml", read_tree, _hold_tree, lambda: [*attestations()[:1], *structures.vectors("key_attributes_xml")]
    ),
    Target("texts.json", codec.read_json, _hold_json, lambda: [b'{"a":[1,-2.5e3,true,null,"\\u00e4:\\\\"],"b":{}}']),
    Target("texts.policy", _policy, _hold_policy, _policies),
    Target("texts.body", _body, _hold_body, _body_seeds),
    Target(
        "texts.field",
        _field,
        _hold_field,
        lambda: [bytes([number]) + seed.encode() for number, (_, _, seed) in enumerate(_FIELDS)],
    ),
    Target("texts.inspect", inspect_blob, _hold_inspected, _samples),
)
