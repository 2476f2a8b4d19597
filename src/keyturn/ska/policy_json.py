"""The policy as the REST API writes it.

Reading is strict (rule R10): unknown properties, booleans and floats where integers belong, and mixed kinds of
approvers are refused, each with the path of the place. Whether the policy makes sense is asked afterwards, with
`policy_rules.check_policy`.

Source: rest-api.md sections 1.2 and 5; decisions 9, 19, 20; docs/security/rules.md R10, R22.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final, NoReturn

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_name, certificate_spki, identity_of, load_approver_key
from keyturn.ska.key_effort import KeyEffort
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token
from keyturn.ska.policy_rules import RULE_NAMES
from keyturn.ska.tlv import MAX_BLOB

Resolve = Callable[[str], bytes]
"""Finds the DER certificate of an onboarded approver by name; raises a `KeyturnError` if there is none."""

MAX_UNITS: Final = 0xFFFF_FFFF
"""Most minutes or seconds that the binary form can carry."""
_TOKEN_BYTES: Final = 24
_GROUP_BYTES: Final = 16
_APPROVER_BYTES: Final = 4
"""Fewest bytes that each takes in the binary form, an approver's key or certificate not counted."""
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_ARMOUR: Final = re.compile(
    r"\s*-----BEGIN (PUBLIC KEY|CERTIFICATE)-----([A-Za-z0-9+/=\s]*)-----END \1-----\s*",
)


def policy_from_json(
    value: object,
    *,
    allow_seconds: bool = False,
    resolve: Resolve | None = None,
    require_all_rules: bool = False,
) -> tuple[Policy, bool]:
    """Read a policy.

    Args:
        value: The parsed JSON of the policy object; its duplicate keys were refused by the JSON parser.
        allow_seconds: Whether times need not be whole minutes (`general.allowSecondsInPolicies`).
        resolve: Finds certificates of onboarded approvers; None where there is no approver management.
        require_all_rules: Whether all four rules must be present, as in a modify; null then is written out.

    Returns:
        The policy, and whether `keyStatus` says that the key is blocked (False without `keyStatus`).

    Raises:
        FormatError: 600 `policy.json` for a wrong form; 401 for a group without approvers; 601, 602, 604, 407, 409
            for approvers that cannot be listed; the message names the path. 600 `policy.too-large` and
            `policy.too-much-checking` before the work is done.
        KeyturnError: What `resolve` raises.
    """
    return _Source(allow_seconds=allow_seconds, resolve=resolve).policy(value, require_all_rules=require_all_rules)


def policy_to_json(policy: Policy, *, blocked: bool | None) -> dict[str, object]:
    """Write a policy as the REST API shows it.

    Args:
        policy: The policy.
        blocked: Content of `keyStatus`; None leaves it out.

    Returns:
        The object, ready for any JSON writer: null for an always fulfilled rule, `{"tokens": null}` for never.

    Raises:
        FormatError: If an approver's certificate has no name.
    """
    shown: dict[str, object] = {name: _rule_to_json(policy.rule(action)) for action, name in RULE_NAMES.items()}
    if blocked is not None:
        shown["keyStatus"] = {"blocked": blocked}
    return shown


def _rule_to_json(rule: Rule) -> dict[str, object] | None:
    if rule == Rule.ALWAYS:
        return None
    if not rule.tokens:
        return {"tokens": None}
    return {
        "tokens": [
            {
                "name": token.name,
                "timelock": token.timelock,
                "timeout": token.timeout,
                "groups": [
                    {
                        "name": group.name,
                        "quorum": group.quorum,
                        "approvals": [_approver_to_json(approver) for approver in group.approvers],
                    }
                    for group in token.groups
                ]
                or None,
            }
            for token in rule.tokens
        ]
    }


def _approver_to_json(approver: Approver) -> dict[str, object]:
    if approver.certificate is not None:
        kind, name, value = "certificate", certificate_name(approver.certificate), approver.certificate
        return {"type": kind, "name": name, "value": base64.b64encode(value).decode()}
    return {"type": "public_key", "name": approver.name, "value": base64.b64encode(approver.spki).decode()}


class _Source:
    """Reads one policy and remembers what kinds of approvers it has."""

    def __init__(self, *, allow_seconds: bool, resolve: Resolve | None) -> None:
        self._allow_seconds = allow_seconds
        self._resolve = resolve
        self._kinds: set[str] = set()
        self._effort = KeyEffort()
        self._room = MAX_BLOB

    def _take(self, size: int) -> None:
        """Account for the binary form, so that a text too long for it costs no more work than one that fits."""
        self._room -= size
        if self._room < 0:
            raise FormatError(
                f"policy: is more than the {MAX_BLOB} bytes that a policy may have; list fewer approvers.",
                refusal="policy.too-large",
            )

    def policy(self, value: object, *, require_all_rules: bool) -> tuple[Policy, bool]:
        known = (*RULE_NAMES.values(), "keyStatus")
        fields = _object(value, "policy", known)
        rules: dict[Action, Rule] = {}
        for action, name in RULE_NAMES.items():
            if require_all_rules and name not in fields:
                _refuse("policy", f"{name} is missing; write all four rules, null for one that needs no approval")
            rules[action] = self._rule(fields.get(name), f"policy.{name}")
        blocked = False
        if fields.get("keyStatus") is not None:
            status = _object(fields["keyStatus"], "policy.keyStatus", ("blocked",))
            found = status.get("blocked")
            if not isinstance(found, bool):
                _refuse("policy.keyStatus.blocked", "must be true or false")
            blocked = found
        if len(self._kinds) > 1:
            mixed = ", ".join(sorted(self._kinds))
            raise FormatError(
                f"policy: all approvers of one policy have the same type; this one mixes {mixed}.",
                code=ErrorCode.UNSUPPORTED_APPROVAL_COMBINATION,
                refusal="policy.mixed-types",
            )
        policy = Policy(rules[Action.USE], rules[Action.BLOCK], rules[Action.UNBLOCK], rules[Action.MODIFY])
        return policy, blocked

    def _rule(self, value: object, path: str) -> Rule:
        if value is None:
            return Rule.ALWAYS
        fields = _object(value, path, ("tokens",))
        if "tokens" not in fields:
            _refuse(path, "tokens is missing; write null for the rule if it needs no approval, tokens: null for never")
        tokens = _list(fields["tokens"], f"{path}.tokens")
        return Rule(tuple(self._token(token, f"{path}.tokens[{index}]") for index, token in enumerate(tokens)))

    def _token(self, value: object, path: str) -> Token:
        self._take(_TOKEN_BYTES)
        fields = _object(value, path, ("name", "timelock", "timeout", "groups"))
        if "groups" not in fields:
            # What opens a rule to everybody is written out, never left out.
            _refuse(path, "groups is missing; write groups: null for a token that is always fulfilled")
        timelock = _integer(fields.get("timelock", 0), f"{path}.timelock")
        timeout = _integer(fields.get("timeout", 0), f"{path}.timeout")
        unit = TimeUnit.MINUTES
        for seconds, name in ((timelock, "timelock"), (timeout, "timeout")):
            if seconds % TimeUnit.MINUTES.seconds:
                if not self._allow_seconds:
                    _refuse(f"{path}.{name}", "seconds must represent full minutes")
                unit = TimeUnit.SECONDS
        for seconds, name in ((timelock, "timelock"), (timeout, "timeout")):
            if seconds // unit.seconds > MAX_UNITS:
                _refuse(f"{path}.{name}", f"is more than {MAX_UNITS} {unit.name.lower()}")
        groups = _list(fields.get("groups"), f"{path}.groups")
        return Token(
            _text(fields.get("name"), f"{path}.name"),
            timelock,
            timeout,
            unit,
            tuple(self._group(group, f"{path}.groups[{index}]") for index, group in enumerate(groups)),
        )

    def _group(self, value: object, path: str) -> Group:
        self._take(_GROUP_BYTES)
        fields = _object(value, path, ("name", "quorum", "approvals"))
        if "quorum" not in fields:
            _refuse(f"{path}.quorum", "is missing")
        quorum = _integer(fields["quorum"], f"{path}.quorum")
        approvals = _list(fields.get("approvals"), f"{path}.approvals")
        if not approvals:
            raise FormatError(
                f"{path}.approvals: a group lists at least one approver.",
                code=ErrorCode.MISSING_APPROVAL,
                refusal="policy.empty-group",
            )
        if not 1 <= quorum <= len(approvals):
            _refuse(f"{path}.quorum", f"must be from 1 to {len(approvals)}, the number of approvers listed")
        return Group(
            _text(fields.get("name"), f"{path}.name"),
            quorum,
            tuple(self._approver(entry, f"{path}.approvals[{index}]") for index, entry in enumerate(approvals)),
        )

    def _approver(self, value: object, path: str) -> Approver:
        fields = _object(value, path, ("type", "name", "value"))
        kind = fields.get("type")
        name = _text(fields.get("name"), f"{path}.name")
        if kind not in ("public_key", "certificate", "onboarded_approver_certificate"):
            _refuse(f"{path}.type", "must be public_key, certificate or onboarded_approver_certificate")
        self._kinds.add(kind)
        if kind == "onboarded_approver_certificate":
            return self._onboarded(name, fields.get("value"), path)
        data = decode_base64(fields.get("value"), f"{path}.value")
        try:
            if kind == "public_key":
                self._load(data, data)
                return Approver(data, None, name)
            self._load(certificate_spki(data), data)
            certificate_name(data)
        except FormatError as error:
            raise _placed(error, f"{path}.value") from None
        return Approver.of_certificate(data)

    def _load(self, spki: bytes, listed: bytes) -> None:
        """Check a key that is listed with these bytes, unless the policy asks for too much already."""
        identity_of(spki)
        self._take(_APPROVER_BYTES + len(listed))
        self._effort.add(spki)
        load_approver_key(spki)

    def _onboarded(self, name: str | None, value: object, path: str) -> Approver:
        if value is not None:
            _refuse(f"{path}.value", "must be absent for an onboarded approver, who is found by name")
        if not name:
            _refuse(f"{path}.name", "must name the onboarded approver")
        if self._resolve is None:
            _refuse(
                f"{path}.type",
                "this server has no approver management, so it cannot find onboarded approvers; list the certificate "
                "itself with type certificate",
            )
        try:
            certificate = self._resolve(name)
            self._load(certificate_spki(certificate), certificate)
            certificate_name(certificate)
        except FormatError as error:
            raise _placed(error, path) from None
        except KeyturnError as error:
            raise KeyturnError(error.code, f"{path}: {error.message}", refusal=error.refusal) from None
        return Approver.of_certificate(certificate)


def decode_base64(value: object, path: str) -> bytes:
    """Decode base64 as the API takes it: padded, no line breaks, PEM armour of public keys and certificates removed.

    Args:
        value: The JSON value.
        path: Where it stands, for the message.

    Returns:
        The bytes.

    Raises:
        FormatError: 600 `policy.json` for anything else.
    """
    if not isinstance(value, str) or not value:
        _refuse(path, "is missing; give base64")
    armoured = _ARMOUR.fullmatch(value)
    text = "".join(armoured[2].split()) if armoured else value
    if not _BASE64.fullmatch(text):
        _refuse(path, "is not a valid base64 encoded value")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        _refuse(path, "is not a valid base64 encoded value")


def _object(value: object, path: str, known: tuple[str, ...]) -> dict[str, object]:
    if not isinstance(value, dict):
        _refuse(path, "must be an object")
    for name in value:
        if name not in known:
            _refuse(path, f"has the unknown property {name[:64]!a}; known are {', '.join(known)}")
    return value


def _list(value: object, path: str) -> list[object]:
    if value is None:
        return []
    if not isinstance(value, list):
        _refuse(path, "must be a list or null")
    return value


def _integer(value: object, path: str) -> int:
    # JSON's true is an int in Python; it has no business here (R10).
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(path, "must be a whole number")
    if value < 0:
        _refuse(path, "must not be negative")
    return value


def _text(value: object, path: str) -> str | None:
    if value is not None and not isinstance(value, str):
        _refuse(path, "must be text or null")
    return value


def _placed(error: FormatError, path: str) -> FormatError:
    return FormatError(f"{path}: {error.message}", code=error.code, refusal=error.refusal)


def _refuse(path: str, why: str) -> NoReturn:
    raise FormatError(f"{path}: {why}.", refusal="policy.json")
