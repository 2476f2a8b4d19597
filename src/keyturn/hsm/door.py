"""The one door (R3): the only function of the HSM that yields a usable private key of a caller.

Whoever wants to act with a key comes to `Door.open` with the key's record, the kind of act, the exact bytes and the
approvals. What the door checks, in this order:

1. the key is not blocked;
2. its attributes enable the kind of act, and its limits allow it and the algorithm (R9);
3. the payload is no statement, and on a protected key algorithm and payload have one meaning only (R7, R8);
4. for a key with a policy, `ska.decision` says that the approvals authorise a use for exactly these bytes, or for a
   bound key for exactly this statement (R7);
5. the password that came with the call is the key's (R27). Last, so that whoever has no approvals learns nothing about
   it, and can use up no tries.

Only then the sealed key is opened. A test walks the syntax trees of this room and finds no other caller of
`Store.open_private_key`. The HSM's own keys never come here: they live in `keyturn.hsm.system_keys` (R5).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from keyturn.crypto.ciphers import require_single_meaning_decrypt
from keyturn.crypto.derivation import decode_extended, derivation_curve, derive, split_extended
from keyturn.crypto.keys import private_key_from_stored
from keyturn.crypto.kinds.dsa import WEAK_DSA_BITS
from keyturn.crypto.registry import require_no_options, require_single_meaning
from keyturn.crypto.schemes import NO_OPTIONS
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.authority import protects
from keyturn.hsm.bound import require_no_statement
from keyturn.hsm.limits import require_allowed
from keyturn.ska.actions import Action
from keyturn.ska.certificate_shape import looks_like_certificate
from keyturn.ska.key_names import parse_path
from keyturn.ska.messages import decode_unwrap_payload
from keyturn.ska.statement import is_statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.crypto.derivation import ExtendedKey
    from keyturn.crypto.keys import PrivateKey, SecretKey
    from keyturn.crypto.schemes import SignOptions
    from keyturn.hsm.authority import Authority
    from keyturn.hsm.passwords import Passwords
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store import Store
    from keyturn.ska.decision import Decision

MAX_OPEN_KEYS: Final = 4096
"""Parsed keys kept, so that a key is unsealed once and not at every signature."""


class Kind(Enum):
    """What may be done with a private key; the value is the attribute that enables it (rest-api.md section 4.8)."""

    SIGN = "sign"
    DECRYPT = "decrypt"
    UNWRAP = "unwrap"
    ENCRYPT = "encrypt"
    WRAP = "wrap"
    DERIVE = "derive"
    EXPORT = "extractable"


@dataclass(frozen=True, slots=True)
class Act:
    """One act with a private key.

    Args:
        kind: What is done.
        payload: The exact bytes that the key processes.
        algorithm: API name of the signature algorithm, cipher or wrap method.
        approved: The exact bytes that approvals must cover, where these are not the payload: for a bound key the
            statement that the HSM built from the call (R7), for unwrap the payload that it built (R16).
        operation: What it is called in `allowedOperations`, where that is not the kind's own word.
        sealed_password: The key's password, sealed, as it came with the call; empty for none.
        options: Further parameters of a signature.
    """

    kind: Kind
    payload: bytes
    algorithm: str
    approved: bytes | None = None
    operation: str = ""
    sealed_password: bytes = b""
    options: SignOptions = NO_OPTIONS


class Door:
    """Keeps the private keys.

    Args:
        store: Where they lie sealed.
        authority: Who decides.
        passwords: Who checks passwords.
    """

    def __init__(self, store: Store, authority: Authority, passwords: Passwords) -> None:
        self._store = store
        self._passwords = passwords
        self._authority = authority
        self._open: dict[tuple[str, str], PrivateKey | SecretKey] = {}

    def open(
        self, record: KeyRecord, act: Act, approvals: Sequence[bytes]
    ) -> tuple[PrivateKey | SecretKey, Decision | None]:
        """Yield the private key for one act, if it is allowed.

        Args:
            record: The key, as the store holds it now.
            act: What is to be done. Nothing but this may be done with the key that is returned.
            approvals: Authorization blobs; not looked at for keys without a policy.

        Returns:
            The private key, and the decision for a key with a policy.

        Raises:
            NotAuthorisedError: The approvals do not authorise this act.
            KeyturnError: `key.blocked`, `key.attribute` (606), `algorithm.cut-digest` (607), the words of
                `require_allowed`, `require_single_meaning` and `require_single_meaning_decrypt`, those of
                `Authority.require`, and `store.…` when the sealed key cannot be opened.
        """
        require_not_blocked(record)
        if act.kind is Kind.DERIVE:
            require_agreement(record)
        if not record.attributes.get(act.kind.value):
            raise KeyturnError(
                ErrorCode.KEY_ATTRIBUTES_INVALID,
                f"the key {record.label!r} was created without the attribute `{act.kind.value}`",
                refusal="key.attribute",
            )
        if act.kind is Kind.EXPORT:
            # Not a use that could be limited or approved: what has a policy never leaves (R4).
            _require_no_policy(record)
        else:
            require_allowed(record, act.operation or act.kind.value, act.algorithm)
        require_no_statement(act.payload)
        decision: Decision | None = None
        if record.policy:
            if protects(record.policy):
                _require_single_meaning(record, act)
            decision = self._authority.require(record, Action.USE, _approved(record, act), approvals)
        self._passwords.check(record, act.sealed_password)
        if not record.private_key and not record.master:
            raise KeyturnError(
                ErrorCode.INVALID_KEY_TYPE,
                f"of the key {record.label!r} there is a public part only",
                refusal="key.public-only",
            )
        place = record.uuid, record.path
        private_key = self._open.get(place)
        if private_key is None:
            if record.master:
                private_key = self._child(record.master, record.path).private_key
            else:
                stored, _ = split_extended(self._store.open_private_key(record))
                private_key = private_key_from_stored(record.algorithm, stored)
            if len(self._open) >= MAX_OPEN_KEYS:
                del self._open[next(iter(self._open))]
            self._open[place] = private_key
        return private_key, decision

    def public_child(self, master: KeyRecord, path: str) -> bytes:
        """The public key of a child. It is no secret, so nobody is asked; the private one stays here.

        Args:
            master: The master key, as stored.
            path: The derivation path.

        Returns:
            DER SubjectPublicKeyInfo.

        Raises:
            KeyturnError: 606 and 634 `derive.…`, 606 `path.…`.
        """
        return self._child(master.uuid, path).public_key

    def forget(self, uuid: str) -> None:
        """Drop a key that was deleted, and its children."""
        self._open = {place: key for place, key in self._open.items() if place[0] != uuid}

    def _child(self, uuid: str, path: str) -> ExtendedKey:
        master = self._store.key_by_uuid(uuid)
        if master is None:
            raise KeyturnError(
                ErrorCode.KEY_NOT_EXISTENT,
                "the key from which this one is derived does not exist any more",
                refusal="key.master-gone",
            )
        curve = derivation_curve(master.algorithm, master.curve_oid, master.attributes)
        return derive(decode_extended(curve, self._store.open_private_key(master)), parse_path(path))


def require_not_blocked(record: KeyRecord) -> None:
    """Make sure that a key may be used at all.

    Raises:
        KeyturnError: 701 `key.blocked`.
    """
    if record.blocked:
        raise KeyturnError(
            ErrorCode.IN_HSM,
            f"the key {record.label!r} is blocked: it must be unblocked before it can be used",
            refusal="key.blocked",
        )


def _require_no_policy(record: KeyRecord) -> None:
    if record.policy:
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            f"the key {record.label!r} has a policy and never leaves the HSM",
            refusal="export.policy",
        )


def require_agreement(record: KeyRecord) -> None:
    """Make sure that files may be encrypted for a key, which takes key agreement to decrypt.

    Raises:
        KeyturnError: 614 `key.agreement-with-policy`: no approval could name what is decrypted (R4); 606
            `key.attribute`.
    """
    if record.policy:
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            f"the key {record.label!r} has a policy and does no key agreement, whatever its attributes say; take a key "
            "without a policy for files",
            refusal="key.agreement-with-policy",
        )
    if not record.attributes.get("derive"):
        raise KeyturnError(
            ErrorCode.KEY_ATTRIBUTES_INVALID,
            f"the key {record.label!r} was created without the attribute `derive`",
            refusal="key.attribute",
        )


def _approved(record: KeyRecord, act: Act) -> bytes:
    """What approvals must cover; whoever forgets the statement of a bound key does not come through here (R7)."""
    approved = act.payload if act.approved is None else act.approved
    if record.bound != is_statement(approved):
        raise KeyturnError(
            ErrorCode.TECHNICAL,
            "approvals of a bound key cover a statement, and no others do",
            refusal="internal.statement",
        )
    return approved


def _require_single_meaning(record: KeyRecord, act: Act) -> None:
    """Refuse bytes that could have been approved as something else (R8)."""
    match act.kind:
        case Kind.SIGN:
            if record.bound and not act.operation and looks_like_certificate(act.payload):
                raise KeyturnError(
                    ErrorCode.INVALID_PAYLOAD,
                    "The payload could be taken for something else: signed, it is a certificate or a request for one. "
                    f"The key {record.label!r} takes bound approvals; have it approved as a certificate",
                    refusal="payload.certificate",
                )
            _require_whole_digest(record, act.algorithm)
            require_single_meaning(act.algorithm, act.payload, curve_oid=record.curve_oid)
            if not record.bound:
                require_no_options(act.options)
        case Kind.DECRYPT:
            require_single_meaning_decrypt(act.algorithm, act.payload, may_sign=record.attributes["sign"])
        case Kind.UNWRAP:
            # Built by the HSM itself; neither of the others takes such bytes, nor a statement.
            if not record.bound:
                decode_unwrap_payload(act.approved or b"")


def _require_whole_digest(record: KeyRecord, algorithm: str) -> None:
    """Refuse digests for a DSA key of 1024 bits: its subgroup has 160, and of any longer digest it signs the beginning.

    The one digest that would fit is that of SHA-1, of which two documents can be made.
    """
    if algorithm == "NONE_WITH_DSA" and record.key_size == WEAK_DSA_BITS:
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"NONE_WITH_DSA is not available for the protected key {record.label!r} of {WEAK_DSA_BITS} bits: it signs "
            "the first 160 bits of a digest, and others have the same. Take SHA256_WITH_DSA, or a key of 2048 bits.",
            refusal="algorithm.cut-digest",
        )
