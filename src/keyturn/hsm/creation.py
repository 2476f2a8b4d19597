"""What must hold before a key comes into being: pure checks of a creation call.

The broker checks most of this too, for better messages. The HSM believes none of it and checks all.

Source: rest-api.md sections 3.1, 4.8 and 5; docs/security/rules.md R4, R10, R13, R18; decisions 20, 21, 28.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.crypto.addresses import check_address_format
from keyturn.crypto.derivation import derivation_curve
from keyturn.crypto.keys import SECRET_KEY_TYPES, make_spec
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.limits import Limits, check_limits
from keyturn.hsm.stateful import capacity_of
from keyturn.ska.key_attributes import filled_in
from keyturn.ska.labels import check_label
from keyturn.ska.policy import decode_policy
from keyturn.ska.policy_rules import check_policy, is_protected, open_modify, open_unblock

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from keyturn.crypto.derivation import DerivationCurve
    from keyturn.crypto.keys import KeySpec
    from keyturn.hsm.protocol import CreateKey
    from keyturn.hsm.settings import HsmSettings

MAX_KEY_ID: Final = 256
"""Longest `id` (PKCS#11 id) in bytes of UTF-8."""


@dataclass(frozen=True, slots=True)
class CreationPlan:
    """A checked creation.

    Args:
        spec: What key is made.
        attributes: All attributes, as they are stored.
        limits: What it may at most be used for (R9).
        derivation: The curve on which keys are derived from it; None where none are.
    """

    spec: KeySpec
    attributes: dict[str, bool]
    limits: Limits
    derivation: DerivationCurve | None = None


def plan_creation(call: CreateKey, settings: HsmSettings, system_names: Collection[str]) -> CreationPlan:
    """Check a creation call, all but whether the label is free.

    Args:
        call: The call.
        settings: For the HSM's switches.
        system_names: Names of the HSM's own keys, which are no labels (R5).

    Returns:
        What to make.

    Raises:
        KeyturnError: 610 label, 600/603 kind and size, 606 attributes, 600 policy; the word says which check.
    """
    spec = make_spec(call.algorithm, call.curve_oid, call.key_size, allow_weak=settings.allow_weak_keys)
    attributes = check_new_key(
        call.label,
        call.key_id,
        call.attributes,
        call.policy,
        settings,
        system_names,
        algorithm=call.algorithm,
        blocked=call.blocked,
    )
    limits = check_limits(
        call.allowed_operations, call.allowed_algorithms, key_type=call.algorithm, attributes=attributes
    )
    check_new_address(call.address_format, call.curve_oid, call.policy)
    derivation = None
    if attributes["bip32"] or attributes["slip10"]:
        derivation = derivation_curve(spec.algorithm, spec.curve_oid, attributes)
    return CreationPlan(spec, attributes, limits, derivation)


def check_new_key(
    label: str,
    key_id: str | None,
    attributes: Mapping[str, bool],
    policy: bytes,
    settings: HsmSettings,
    system_names: Collection[str],
    *,
    algorithm: str,
    blocked: bool,
    imported: bool = False,
    seed: bool = False,
) -> dict[str, bool]:
    """Check what is said about a key that is to come into being, however it does, but whether the label is free.

    Args:
        label: Its label.
        key_id: The API's `id`, or None.
        attributes: As the caller wrote them.
        policy: Binary policy blob, empty for none.
        settings: For the HSM's switches.
        system_names: Names of the HSM's own keys, which are no labels (R5).
        algorithm: Kind of the key, by its API name.
        blocked: Whether it starts blocked.
        imported: Whether it was made elsewhere.
        seed: Whether it comes with a chain code, which a private key alone has not.

    Returns:
        All attributes, as they are stored.

    Raises:
        KeyturnError: 610 label, 606 attributes, 600 policy; the word says which check.
    """
    check_name(label, key_id, system_names)
    complete = complete_attributes(attributes, imported=imported)
    for name in ("bip32", "slip10"):
        if complete[name] and imported and not seed:
            raise _attributes(
                f"`{name}` must be false on a private key that comes in: it has no chain code, without which nothing "
                "is derived from it; import its seed with POST /v1/importedKey",
                "attribute.no-chain-code",
            )
    if policy:
        if algorithm in SECRET_KEY_TYPES:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"policy: {algorithm} keys have none, since whoever encrypts holds the same key; protect the key that "
                "unwraps it",
                refusal="policy.symmetric-key",
            )
        check_policy_attributes(complete)
        if capacity_of(algorithm) and is_protected(decode_policy(policy)):
            # A repeated statement gets the stored signature and costs no index (R28).
            complete["singleUse"] = True
        check_new_policy(policy, blocked=blocked, settings=settings, single_use=complete["singleUse"])
    elif complete["singleUse"]:
        raise _attributes(
            "`singleUse` must be false on a key without a policy: nothing is approved that could be used up",
            "attribute.single-use-without-policy",
        )
    elif complete["boundApprovals"]:
        raise _attributes(
            "`boundApprovals` must be false on a key without a policy: there are no approvals for it",
            "attribute.bound-without-policy",
        )
    elif blocked:
        raise KeyturnError(
            ErrorCode.KEY_ATTRIBUTES_INVALID,
            "only a key with a policy can be blocked: without ruleUnblock nothing could unblock it",
            refusal="key.blocked-without-policy",
        )
    return complete


def check_name(label: str, key_id: str | None, system_names: Collection[str]) -> None:
    """Check what a key is to be called, but whether the label is free.

    Args:
        label: Its label.
        key_id: The API's `id`, or None.
        system_names: Names of the HSM's own keys, which are no labels (R5).

    Raises:
        KeyturnError: 610 `label.…`, 600 `key.id-length`.
    """
    check_label(label)
    if label in system_names:
        raise KeyturnError(
            ErrorCode.INVALID_KEY_NAME,
            f"{label!r} is the name of one of the HSM's own keys; choose another label",
            refusal="label.system-key",
        )
    if key_id is not None and not 1 <= len(key_id.encode()) <= MAX_KEY_ID:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED, f"id has 1 to {MAX_KEY_ID} bytes of UTF-8", refusal="key.id-length"
        )


def complete_attributes(given: Mapping[str, bool], *, imported: bool = False) -> dict[str, bool]:
    """Check attributes and fill in those left out.

    Args:
        given: As the caller wrote them; unknown names are ignored (rest-api.md section 1.1).
        imported: Whether the key was made elsewhere; then nobody knows what it was before.

    Returns:
        All attributes, `sensitive`, `alwaysSensitive` and `neverExtractable` included.

    Raises:
        KeyturnError: 606 with the word of the rule that is broken.
    """
    attributes = filled_in(given)
    if not any(attributes[name] for name in ("decrypt", "sign", "unwrap")):
        raise _attributes("at least one of `decrypt`, `sign` and `unwrap` must be true", "attribute.no-use")
    for name in ("bip32", "slip10"):
        if attributes[name] and not attributes["derive"]:
            raise _attributes(f"`{name}` needs `derive` to be true", "attribute.derivation")
    attributes["alwaysSensitive"] = attributes["sensitive"] and not imported
    attributes["neverExtractable"] = not attributes["extractable"] and not imported
    return attributes


def check_new_address(address_format: str, curve_oid: str, policy: bytes) -> None:
    """Check the address format of a key that is to come into being.

    Args:
        address_format: As the caller wrote it; empty for none.
        curve_oid: Curve of the key.
        policy: Its policy blob.

    Raises:
        KeyturnError: 605 `address.…`; 630 `address.without-policy`.
    """
    if not address_format:
        return
    check_address_format(address_format, curve_oid)
    if not policy:
        raise KeyturnError(
            ErrorCode.INVALID_ADDRESS_ON_NON_SKA_KEY,
            "addressFormat: only keys with a policy have addresses; give the key a policy, or leave addressFormat out",
            refusal="address.without-policy",
        )


def check_policy_attributes(attributes: Mapping[str, bool]) -> None:
    """Refuse attributes by which a key with a policy, or what it computes, could leave without being asked (R4).

    Raises:
        KeyturnError: 606 with the attribute's word.
    """
    for name, why in (
        ("extractable", "a key with a policy never leaves the HSM"),
        ("copyable", "a copy would not be under the policy"),
        ("derive", "key agreement would not be under the policy; with `bip32` or `slip10` it stands for derived keys"),
    ):
        derives = name == "derive" and (attributes["bip32"] or attributes["slip10"])
        # Derived keys are under the policy of their master (R21); key agreement would not be.
        if attributes[name] and not derives:
            raise _attributes(f"`{name}` must be false on a key with a policy: {why}", f"attribute.{name}-with-policy")


def check_new_policy(blob: bytes, *, blocked: bool, settings: HsmSettings, single_use: bool = False) -> None:
    """Check a policy that a key is about to get, at creation or by modify.

    Args:
        blob: Binary policy: outer header, all four rules, nothing else.
        blocked: Whether the key is, or starts, blocked.
        settings: For `requireProtectedModify` (R10).
        single_use: Whether the key is used once for each approved statement (R14).

    Raises:
        FormatError: It does not decode.
        KeyturnError: Those of `check_policy`; `policy.single-use-open`, `policy.open-modify` or `policy.open-unblock`.
    """
    policy = decode_policy(blob)
    check_policy(policy, blocked=blocked)
    if single_use and not is_protected(policy):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "ruleUse of a key with `singleUse` needs approvals: without them nothing is used up, and the key serves "
            "again and again",
            refusal="policy.single-use-open",
        )
    if settings.require_protected_modify and is_protected(policy):
        for is_open, rule, word in (
            (open_modify(policy), "ruleModify", "policy.open-modify"),
            (open_unblock(policy), "ruleUnblock", "policy.open-unblock"),
        ):
            if is_open:
                raise KeyturnError(
                    ErrorCode.VALIDATION_FAILED,
                    f"{rule} can be satisfied by fewer listed keys than ruleUse, and this HSM requires protected "
                    f"modify: demand at least as many of the same keys in {rule}",
                    refusal=word,
                )


def _attributes(message: str, refusal: str) -> KeyturnError:
    return KeyturnError(ErrorCode.KEY_ATTRIBUTES_INVALID, f"attributes: {message}", refusal=refusal)
