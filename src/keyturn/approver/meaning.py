"""What would happen, in plain words: sign, decrypt, unwrap, block, unblock.

One approval serves every use of a key. Whether it is to sign or to decrypt stands nowhere in its bytes; that is a claim
of the server, unless the attested attributes say that the key can do only one of them. An unwrap is told apart by its
payload, which nothing else may carry (R8).

Source: ska-wire-format.md sections 3, 7 and 8; docs/security/rules.md R8, R11, R16.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from keyturn.approver.payload import PayloadView, view_payload
from keyturn.approver.policy_words import describe_policy, describe_rule
from keyturn.approver.terminal import visible_bytes
from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.messages import decode_unwrap_payload
from keyturn.ska.policy import decode_policy
from keyturn.ska.unwrap_flags import ACCESS, CAPABILITIES, access_words, capability_words

if TYPE_CHECKING:
    from keyturn.approver.policy_words import Reader
    from keyturn.approver.stamps import AttestedKey
    from keyturn.ska.messages import ApprovalToken
    from keyturn.ska.statement import Statement

OPERATIONS: Final = {
    Action.USE: "use the key (to sign, decrypt or unwrap; an approval does not say which)",
    Action.BLOCK: "block the key",
    Action.UNBLOCK: "unblock the key",
    Action.MODIFY: "replace the key's policy",
}
_USES: Final = {"sign": "sign with the key", "decrypt": "decrypt with the key"}
_CERTIFIES: Final = {
    "csr": "sign a request for a certificate of the key",
    "issue": "issue a certificate with the key",
    "selfsign": "sign a certificate of the key with the key itself",
}
_UNWRAP: Final = "unwrap: bring a new key into the HSM"
_BOUND: Final = "and nothing else: the frame BOUND says all that it is for"
_DECRYPTS: Final = (
    "A ciphertext: what is in it cannot be seen here. Whoever can read the answer will see the plaintext, and the "
    "answer passes through the server. Approve only if you know what was encrypted and who may read it."
)
_NO_CIPHERTEXT: Final = (
    "The server calls this a ciphertext, but it can be read as it stands. Ask why it should be decrypted."
)
_BLOCKS: Final = (
    "From then on this key does nothing: it signs, decrypts and unwraps for nobody, whatever was approved, until it is "
    "unblocked."
)
_UNBLOCKS: Final = (
    "From then on this key works again. Approvals that were given before the block count again, as long as their time "
    "is not over."
)
_NO_POLICY: Final = (
    "The new key gets no policy: once it is there, whoever reaches the HSM can use it without approvals."
)
_CAPABILITIES: Final = {
    "encrypt": "encrypt",
    "decrypt": "decrypt",
    "sign": "sign",
    "verify": "verify signatures",
    "wrap": "wrap other keys, so that they can leave the HSM encrypted under it",
    "unwrap": "unwrap: bring further keys into the HSM",
    "derive": "derive further keys",
}
_KEPT: Final = {
    "sensitive": ("is never shown in plain text", "MAY BE READ IN PLAIN TEXT (not sensitive)"),
    "extractable": ("MAY LEAVE THE HSM (extractable): whoever gets it out needs no approval ever after", ""),
    "modifiable": ("its attributes may be changed", "its attributes cannot be changed"),
    "copyable": ("MAY BE COPIED (copyable)", "cannot be copied"),
    "destroyable": ("may be deleted (destroyable)", ""),
    "cannot be deleted": ("cannot be deleted", ""),
    "stays in the HSM": ("is kept in the HSM's store", "is NOT kept in the HSM's store"),
}
"""Words for a flag that is set, and for one that is not; an empty text is told by another flag."""


@dataclass(frozen=True, slots=True)
class UnwrapView:
    """The new key of an unwrap, as it stands in the bytes to be signed.

    Args:
        label: Its label, escaped for showing.
        size: Bytes of the wrapped key.
        sha256: Hex digest of the wrapped key.
        capabilities: API names of what it may do; flags without a name by their number.
        access: How it is kept, likewise.
        lines: Every flag in words, set or not.
        alarms: What makes the new key weaker than the one it stands beside.
    """

    label: str
    size: int
    sha256: str
    capabilities: tuple[str, ...]
    access: tuple[str, ...]
    lines: tuple[str, ...]
    alarms: tuple[str, ...]


def view_unwrap(token: ApprovalToken, statement: Statement | None = None) -> UnwrapView | None:
    """The new key, when the approval is for an unwrap.

    Args:
        token: The approval.
        statement: The statement in it, for a key with bound approvals.
    """
    if token.action is not Action.USE or token.payload is None:
        return None
    if statement is not None:
        return _bound_unwrap(statement) if statement.kind == "unwrap" else None
    try:
        unwrap = decode_unwrap_payload(token.payload)
    except FormatError:
        return None
    may, kept = capability_words(unwrap.capability_flags), access_words(unwrap.access_flags)
    return _unwrap_view(unwrap.label, unwrap.wrapped_key, may, kept, lines=(), alarms=(*_alarms(may, kept), _NO_POLICY))


def _bound_unwrap(statement: Statement) -> UnwrapView:
    """The new key of a bound unwrap: all its attributes, and a policy where it gets one."""
    attributes = statement.new_attributes or {}
    may = tuple(name for name in CAPABILITIES if attributes.get(name))
    kept = tuple(name for name in ACCESS if attributes.get(name))
    kept += ("stays in the HSM", "destroyable" if attributes.get("destroyable") else "cannot be deleted")
    named = {*CAPABILITIES, *ACCESS, "destroyable"}
    others = [f"{name}: {'yes' if value else 'no'}" for name, value in sorted(attributes.items()) if name not in named]
    for words, names in (
        ("operations", statement.new_allowed_operations),
        ("algorithms", statement.new_allowed_algorithms),
    ):
        others.append(f"allowed {words}: {'no limit' if names is None else ', '.join(names)}")
    if statement.new_blocked:
        others.append("starts blocked")
    alarms = _alarms(may, kept) if statement.new_policy is not None else [*_alarms(may, kept), _NO_POLICY]
    return _unwrap_view(
        (statement.new_label or "").encode(), statement.data, may, kept, lines=tuple(others), alarms=tuple(alarms)
    )


def _unwrap_view(
    label: bytes,
    wrapped_key: bytes,
    may: tuple[str, ...],
    kept: tuple[str, ...],
    *,
    lines: tuple[str, ...],
    alarms: tuple[str, ...],
) -> UnwrapView:
    shown = [f"may {_CAPABILITIES.get(name, name)}" for name in may] or ["may do nothing at all"]
    shown += [f"may NOT {words}" for name, words in _CAPABILITIES.items() if name not in may]
    shown += [_KEPT[name][0] if name in _KEPT else name for name in kept]
    shown += [absent for name, (_, absent) in _KEPT.items() if absent and name not in kept]
    if "extractable" not in kept:
        shown.append("never leaves the HSM (not extractable)")
    return UnwrapView(
        label=visible_bytes(label),
        size=len(wrapped_key),
        sha256=hashlib.sha256(wrapped_key).hexdigest(),
        capabilities=may,
        access=kept,
        lines=(*shown, *lines),
        alarms=alarms,
    )


def _alarms(may: tuple[str, ...], kept: tuple[str, ...]) -> list[str]:
    alarms = []
    if "extractable" in kept:
        alarms.append(
            "EXTRACTABLE: the new key may leave the HSM, and whoever gets it out needs no approval ever after. Refuse "
            "unless you know why it must."
        )
    if "sensitive" not in kept:
        alarms.append("NOT SENSITIVE: the new key may be read in plain text.")
    if "copyable" in kept:
        alarms.append("COPYABLE: copies of the new key may be made.")
    unknown = [name for name in may if name not in CAPABILITIES] + [
        name for name in kept if name not in ACCESS and name not in _KEPT
    ]
    if unknown:
        alarms.append(f"Flags that this program does not know well are set: {', '.join(unknown)}. Ask what they do.")
    return alarms


def operation_words(
    token: ApprovalToken,
    unwrap: UnwrapView | None,
    attested: AttestedKey | None,
    statement: Statement | None = None,
) -> str:
    """The operation, as far as the signed bytes and the HSM's verified word say it.

    Args:
        token: The approval.
        unwrap: The new key, when it is an unwrap.
        attested: The key's attributes, if known.
        statement: The statement in it, for a key with bound approvals.
    """
    if statement is not None:
        what = _UNWRAP if unwrap is not None else (_USES | _CERTIFIES).get(statement.kind, OPERATIONS[token.action])
        return f"{what}, {_BOUND}"
    if unwrap is not None:
        return _UNWRAP
    if token.action is Action.USE and attested is not None and attested.verified:
        possible = possible_uses(attested)
        if len(possible) == 1:
            return f"{_USES[possible[0]]} (its attributes, attested, allow no other use of these bytes)"
    return OPERATIONS[token.action]


def possible_uses(attested: AttestedKey) -> tuple[str, ...]:
    """`sign` and `decrypt`, as far as a key can do them.

    Args:
        attested: The key's attributes.
    """
    return tuple(name for name in _USES if attested.attestation.attributes.get(name))


def view_use(
    token: ApprovalToken, kind: str, attested: AttestedKey | None, statement: Statement | None = None
) -> PayloadView | None:
    """The payload of a use; one that is to be decrypted with what that means.

    Args:
        token: The approval.
        kind: The kind of request by the server's word, or empty.
        attested: The key's attributes, if known.
        statement: The statement in it, for a key with bound approvals; then its data is shown, and its kind counts.
    """
    if token.action is not Action.USE or token.payload is None:
        return None
    view = view_payload(token.payload if statement is None else statement.data)
    only_decrypts = attested is not None and attested.verified and possible_uses(attested) == ("decrypt",)
    decrypts = kind == "decrypt" or only_decrypts if statement is None else statement.kind == "decrypt"
    if not decrypts:
        return view
    if view.kind in {"binary", "digest", "empty"}:
        return replace(view, kind="ciphertext", note=_DECRYPTS)
    return replace(view, note=" ".join(filter(None, (_NO_CIPHERTEXT, view.note))))


def meaning_lines(
    token: ApprovalToken,
    unwrap: UnwrapView | None,
    attested: AttestedKey | None,
    reader: Reader,
    statement: Statement | None = None,
) -> tuple[str, ...]:
    """What the operation does, as sentences; empty where the payload or the policy says it all.

    Args:
        token: The approval.
        unwrap: The new key, when it is an unwrap.
        attested: The key's attributes, if known.
        reader: For whom.
        statement: The statement in it, for a key with bound approvals.
    """
    if unwrap is not None:
        blob = None if statement is None else statement.new_policy
        policy_lines = () if blob is None else ("The new key's policy:", *describe_policy(decode_policy(blob), reader))
        return (
            f"A key that was encrypted (wrapped) for this one becomes a new key of the HSM, named: {unwrap.label}",
            f"Wrapped key: {unwrap.size} bytes, SHA-256 {unwrap.sha256}; what kind of key it is cannot be seen here.",
            "The new key:",
            *(f"  - {line}" for line in unwrap.lines),
            *policy_lines,
        )
    policy = None if attested is None else attested.attestation.policy
    if token.action is Action.BLOCK:
        who = () if policy is None else describe_rule(policy.unblock, (Action.UNBLOCK,), reader)
        return (_BLOCKS, *who)
    if token.action is Action.UNBLOCK:
        who = () if policy is None else describe_rule(policy.use, (Action.USE,), reader)
        return (_UNBLOCKS, *who)
    return ()
