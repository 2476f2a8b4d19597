"""Targets: the SKA structures, receipts, and the encodings beneath them."""

from __future__ import annotations

import base64
import contextlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import cbor2

from fuzz import people
from fuzz.harness import Target, refuse, refusing, require, same
from keyturn.errors import KeyturnError
from keyturn.ska import cbor, der
from keyturn.ska.actions import Action
from keyturn.ska.messages import (
    Authorization,
    Timestamp,
    decode_approval,
    decode_authorization,
    decode_timestamp,
    decode_unwrap_payload,
    encode_approval,
    encode_authorization,
    encode_timestamp,
    encode_unwrap_payload,
    looks_like_own_structure,
)
from keyturn.ska.policy import Policy, Rule, decode_any_policy, decode_policy, encode_policy, encode_rule
from keyturn.ska.policy_json import policy_from_json, policy_to_json
from keyturn.ska.policy_lint import lint_policy
from keyturn.ska.policy_rules import check_policy
from keyturn.ska.receipt import Receipt, decode_receipt, encode_receipt
from keyturn.ska.signatures import split_wrapper, unwrap_signature, wrap_signature
from keyturn.ska.statement import (
    Statement,
    decode_statement,
    describe_statement,
    encode_statement,
    is_statement,
)
from keyturn.ska.tlv import MAX_BLOB, decode_blob, decode_body, encode_blob, encode_body
from keyturn.ska.unwrap_flags import access_words, capability_words, unwrap_payload_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuzz.harness import AnyTarget
    from keyturn.ska.messages import UnwrapPayload
    from keyturn.ska.signatures import SignatureScheme

T = TypeVar("T")

VECTORS: Final = Path(__file__).parent.parent / "vectors" / "ska-vectors.json"
TASK: Final = b"0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162"


@cache
def vectors(kind: str) -> tuple[bytes, ...]:
    """The documented samples of a kind."""
    entries = json.loads(VECTORS.read_text(encoding="utf-8"))
    return tuple(base64.b64decode(entry["base64"]) for entry in entries if entry["kind"] == kind)


def exact(decode: Callable[[bytes], T], encode: Callable[[T], bytes]) -> dict[str, Any]:
    """Reader and invariant of a form with one encoding: what was read is written as the same bytes."""
    return {"read": decode, "hold": lambda data, value: same(encode(value), data)}


# --- policies ----------------------------------------------------------------------------------------------


def _hold_policy(data: bytes, policy: Policy) -> None:
    same(encode_policy(policy), data)
    with refusing():
        check_policy(policy)
        lint_policy(policy)
    try:
        again, _ = policy_from_json(policy_to_json(policy, blocked=None), allow_seconds=True)
    except KeyturnError:
        return
    same(policy_from_json(policy_to_json(again, blocked=None), allow_seconds=True)[0], again)


def _hold_any_policy(data: bytes, found: Policy | Rule) -> None:
    written = encode_rule(found) if isinstance(found, Rule) else encode_policy(found)
    require(data in (written, written[4:]), "it is written otherwise")


# --- refusals and the test for own structures ---------------------------------------------------------------

_DECODERS: Final[dict[str, Callable[[bytes], object]]] = {
    "approval": decode_approval,
    "timestamp": decode_timestamp,
    "policy": decode_policy,
    "unwrap blob": decode_unwrap_payload,
    "authorization": decode_authorization,
    "bound statement": decode_statement,
}


def _own_structure(data: bytes) -> str:
    name = looks_like_own_structure(data)
    if name is None:
        for decode in _DECODERS.values():
            with contextlib.suppress(KeyturnError):
                decode(data)
                require(False, f"{decode.__name__} reads what is said to be none of ours")
        raise refuse("It is none of our structures.")
    return name


def _hold_own_structure(data: bytes, name: str) -> None:
    if name == "bound statement":
        require(is_statement(data))
    elif name in _DECODERS:
        _DECODERS[name](data)
    else:
        same(data[:9], {"rejection": b"REJECTED:", "withdrawal": b"WITHDRAW:"}[name])


# --- wrappers, CBOR, receipts -----------------------------------------------------------------------------


def _hold_signature(data: bytes, found: tuple[SignatureScheme, bytes]) -> None:
    scheme, bare = found
    same(split_wrapper(data), (der.encode_oid(scheme.oid), bare))
    without_null = der.encode(
        der.SEQUENCE, der.encode(der.SEQUENCE, der.encode_oid(scheme.oid)) + der.encode_bits(bare)
    )
    require(data in (wrap_signature(scheme.name, bare), without_null), "the wrapper has a third form")


def _hold_cbor(data: bytes, value: cbor.CborValue) -> None:
    same(cbor.encode(value), data)
    same(cbor2.loads(data), value)


def _hold_unwrap(data: bytes, payload: UnwrapPayload) -> None:
    same(encode_unwrap_payload(payload), data)
    require(len(capability_words(payload.capability_flags)) <= 32)
    require(len(access_words(payload.access_flags)) <= 33)


def _receipt() -> Receipt:
    return Receipt(
        version=1,
        instance_id="6a1d3f60-93a4-4c9f-b0c1-7d5f2f0a1b2c",
        request_id="r-1",
        action="sign",
        statement_hash=bytes(32),
        result_hash=bytes(range(32)),
        key_uuid="0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162",
        time=people.NOW,
        state_counter=7,
        outcome="executed",
        restore_epoch=0,
    )


def _hold_statement(data: bytes, statement: Statement) -> None:
    same(encode_statement(statement), data)
    same(looks_like_own_structure(data), "bound statement")
    for words, value in describe_statement(statement):
        require(words.isprintable() and value.isprintable(), "officers are shown what cannot be printed")


def _statements() -> list[bytes]:
    shared: dict[str, Any] = {
        "key_uuid": "0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162",
        "spki_hash": bytes(32),
        "policy_hash": bytes(range(32)),
        "request_id": "6a1d3f60-93a4-4c9f-b0c1-7d5f2f0a1b2c",
    }
    return [
        encode_statement(Statement(kind="sign", algorithm="EDDSA", signature_type="RAW", data=b"x", **shared)),
        encode_statement(
            Statement(kind="decrypt", algorithm="AES_GCM", iv=b"iv", aad=b"aad", tag_length=128, data=b"x", **shared)
        ),
        encode_statement(
            Statement(
                kind="unwrap",
                wrap_method="AES_WRAP",
                new_label="new",
                new_attributes={"sign": True, "destroyable": False},
                new_blocked=False,
                new_key_id="7",
                new_allowed_algorithms=("EDDSA",),
                data=b"wrapped",
                **shared,
            )
        ),
        encode_statement(Statement(kind="block", **shared)),
    ]


def _approval(name: str, **changes: Any) -> bytes:
    return decode_authorization(people.approve(name, **changes)).approval


def _approvals() -> tuple[bytes, ...]:
    return (
        *vectors("approval_token"),
        _approval("ada"),
        _approval("ada", with_stamp=people.stamp()),
        _approval("ada", payload=None, action=Action.BLOCK),
        _approval("ada", payload=encode_policy(people.policy()), action=Action.MODIFY),
    )


def _authorizations() -> tuple[bytes, ...]:
    stamped = people.approve("ben", with_stamp=people.stamp())
    return (*vectors("authorization_token"), stamped, people.approve("eve", with_certificate=True))


def _timestamps() -> tuple[bytes, ...]:
    bare = encode_timestamp(Timestamp(people.NOW, people.INTEGRITY))
    return (*vectors("hsm_timestamp"), people.stamp()[0], people.stamp(is_policy=True)[0], bare)


def _policies() -> tuple[bytes, ...]:
    by_certificate = people.rule(2, "ada", "eve", by_certificate=True)
    return (
        *vectors("policy_blob"),
        encode_policy(people.policy()),
        encode_policy(Policy(by_certificate, Rule.ALWAYS, Rule.ALWAYS, by_certificate)),
    )


def _unwraps() -> tuple[bytes, ...]:
    return (*vectors("unwrap_payload"), unwrap_payload_for({"sign": True}, b"wrapped", people.LABEL))


def _refusals() -> tuple[bytes, ...]:
    approval = _approval("ada")
    return (
        b"REJECTED:" + approval + TASK,
        b"WITHDRAW:" + approval + TASK,
        _statements()[0],
        approval,
        _timestamps()[-2],
        _policies()[-1],
        _unwraps()[-1],
        _authorizations()[-1],
    )


def _wrappers() -> tuple[bytes, ...]:
    rsa = decode_authorization(vectors("authorization_token")[0]).signature
    return (*vectors("der_signature"), rsa, people.signature("eve", b"x"), wrap_signature("SHA3512_WITH_DSA", b"abc"))


TARGETS: Final[tuple[AnyTarget, ...]] = (
    Target("structures.tlv", seeds=_approvals, **exact(decode_blob, encode_blob)),
    Target(
        "structures.tlv_body",
        decode_body,
        # What stands without a header may be as long as a blob with one, and cannot be written then.
        lambda data, value: same(encode_body(value), data) if len(data) <= MAX_BLOB - 4 else None,
        lambda: (*vectors("policy_elements_without_total_header"), b""),
    ),
    Target("structures.approval", seeds=_approvals, **exact(decode_approval, encode_approval)),
    Target("structures.timestamp", seeds=_timestamps, **exact(decode_timestamp, encode_timestamp)),
    Target(
        "structures.authorization",
        seeds=lambda: (*_authorizations(), encode_authorization(Authorization(b"a", b"s", b"k", None))),
        **exact(decode_authorization, encode_authorization),
    ),
    Target("structures.policy", decode_policy, _hold_policy, _policies),
    Target(
        "structures.any_policy",
        decode_any_policy,
        _hold_any_policy,
        lambda: (
            *vectors("policy_elements_without_total_header"),
            *vectors("rule_blob"),
            encode_rule(people.rule(2, *people.PEOPLE)),
        ),
    ),
    Target("structures.unwrap_payload", decode_unwrap_payload, _hold_unwrap, _unwraps),
    Target("structures.own_structure", _own_structure, _hold_own_structure, _refusals),
    Target("structures.signature", unwrap_signature, _hold_signature, _wrappers),
    Target(
        "structures.cbor",
        lambda data: cbor.decode(data, what="value"),
        _hold_cbor,
        lambda: [cbor.encode({1: [-8, "text", None], "k": {b"b": 1 << 40}, None: [[b"x"]]}), cbor.encode(-(1 << 63))],
    ),
    Target("structures.statement", decode_statement, _hold_statement, _statements),
    Target("structures.receipt", seeds=lambda: [encode_receipt(_receipt())], **exact(decode_receipt, encode_receipt)),
)
