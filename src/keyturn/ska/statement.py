"""The statement of a bound approval: one text for everything that an approval means (R7).

In the documented form an approver signs operation, label, time and payload; the algorithm, the identity of the key
and the request are left open. For a key with `boundApprovals` the payload in an approval (0x1057) is a statement
instead: which key, under which policy, for which request, what is to be done with every parameter, and the data. The
HSM builds it itself from the call and compares octets, so there is exactly one encoding of each.

An approver's program signs the bytes it is handed and need not know any of this. One that does decodes the statement
and shows it (`describe_statement`).

Source: docs/security/rules.md R7; docs/formats/statements.md (byte by byte).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from uuid import UUID

from keyturn.errors import FormatError
from keyturn.ska import cbor
from keyturn.ska.labels import check_label

if TYPE_CHECKING:
    from collections.abc import Mapping

MAGIC: Final = b"keyturn/approve\x00"
"""First 16 bytes. As a blob their length field would promise 2 GB, so a statement is no SKA structure."""
STATEMENT_VERSION: Final = 1
WITH_PARAMETERS: Final = 2
"""Version of statements to sign with parameters that few algorithms take; they have one field more."""
SIGN_PARAMETERS: Final = frozenset({"context", "auxiliaryRandomData", "taprootTweakData", "merkleRootData"})
"""Those parameters, by their API names."""
MAX_STATEMENT: Final = 65_536
"""Longest statement in bytes; an approval, which carries it, must fit into the same."""
KINDS: Final = frozenset({"sign", "csr", "issue", "selfsign", "decrypt", "unwrap", "block", "unblock"})
"""What a statement can be about."""
RESERVED_KINDS: Final = frozenset({"decapsulate"})
"""Kept for operations that do not exist yet; refused until they do."""

_HASH_SIZE: Final = 32
_MAX_TAG_BITS: Final = 1024
_MAX_KEY_ID: Final = 256
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Everything that one approval of a bound key means; the fields in the order in which they are encoded.

    Args:
        kind: One of `KINDS`.
        key_uuid: UUID text of the key, lower case.
        spki_hash: SHA-256 of the key's SubjectPublicKeyInfo, DER.
        policy_hash: SHA-256 of the policy blob in force.
        request_id: UUID text of the request, lower case.
        algorithm: API name of the signature algorithm or cipher; not for unwrap, block and unblock.
        signature_type: `DER` or `RAW`; None for the algorithm's own form. Sign only.
        iv: Initialization vector, or None. Decrypt only, as are the next two.
        aad: Additional authenticated data, or None.
        tag_length: Bits of the authentication tag; None for the algorithm's own.
        wrap_method: API name. Unwrap only, as are all that follow but the last.
        new_label: Label of the new key; for issue the key to which the certificate is attached, or None.
        new_attributes: All attributes of the new key, those left out filled in.
        new_policy: Policy blob of the new key, or None.
        new_blocked: Whether it starts blocked.
        new_key_id: The API's `id` of the new key, or None.
        new_allowed_operations: Its `allowedOperations`, sorted; None for no limit.
        new_allowed_algorithms: Its `allowedAlgorithms`, sorted; None for no limit.
        data: What is signed, the ciphertext, or the wrapped key; empty for block and unblock.
        sign_parameters: Parameters among `SIGN_PARAMETERS` that the call has; None for none. Sign only.
    """

    kind: str
    key_uuid: str
    spki_hash: bytes
    policy_hash: bytes
    request_id: str
    algorithm: str | None = None
    signature_type: str | None = None
    iv: bytes | None = None
    aad: bytes | None = None
    tag_length: int | None = None
    wrap_method: str | None = None
    new_label: str | None = None
    new_attributes: Mapping[str, bool] | None = None
    new_policy: bytes | None = None
    new_blocked: bool | None = None
    new_key_id: str | None = None
    new_allowed_operations: tuple[str, ...] | None = None
    new_allowed_algorithms: tuple[str, ...] | None = None
    data: bytes = b""
    sign_parameters: Mapping[str, bytes] | None = None


def is_statement(data: bytes) -> bool:
    """Whether bytes begin as a statement does; a key without `boundApprovals` takes no such payload.

    Args:
        data: Any bytes.

    Returns:
        True whether or not the rest is well-formed.
    """
    return data.startswith(MAGIC)


def is_bound_request_id(text: str) -> bool:
    """Whether a statement can be for a request with this id: UUID text in lower case."""
    return _UUID.fullmatch(text) is not None


def encode_statement(statement: Statement) -> bytes:
    """Write a statement.

    Args:
        statement: What is to be approved.

    Returns:
        Magic, version, and an array of nineteen in deterministic CBOR, of twenty where there are sign parameters.

    Raises:
        FormatError: `statement.kind`, `statement.field` or `statement.size`; `label.…` for the new key's label.
    """
    _check(statement)
    attributes = statement.new_attributes
    further = [] if statement.sign_parameters is None else [dict(statement.sign_parameters)]
    data = _head(WITH_PARAMETERS if further else STATEMENT_VERSION) + cbor.encode(
        [
            statement.kind,
            UUID(statement.key_uuid).bytes,
            statement.spki_hash,
            statement.policy_hash,
            statement.request_id,
            statement.algorithm,
            statement.signature_type,
            statement.iv,
            statement.aad,
            statement.tag_length,
            statement.wrap_method,
            statement.new_label,
            None if attributes is None else {name: int(value) for name, value in attributes.items()},
            statement.new_policy,
            None if statement.new_blocked is None else int(statement.new_blocked),
            statement.new_key_id,
            statement.new_allowed_operations,
            statement.new_allowed_algorithms,
            statement.data,
            *further,
        ]
    )
    _check_size(data)
    return data


def _head(version: int) -> bytes:
    return MAGIC + bytes([version])


def decode_statement(data: bytes) -> Statement:
    """Read a statement. This says nothing about whether anybody approved it.

    Args:
        data: Its bytes.

    Returns:
        What it says. Encoding that gives the same bytes again.

    Raises:
        FormatError: `statement.malformed`, `statement.not-deterministic`, `statement.version`, `statement.kind`,
            `statement.field`, `statement.size`; `label.…` for the new key's label.
    """
    _check_size(data)
    if not is_statement(data) or len(data) == len(MAGIC):
        raise FormatError("This is no statement: it does not begin as one.", refusal="statement.malformed")
    version = data[len(MAGIC)]
    if version not in (STATEMENT_VERSION, WITH_PARAMETERS):
        raise FormatError(
            f"This statement was written in version {version}; this side knows versions {STATEMENT_VERSION} and "
            f"{WITH_PARAMETERS}. Update it before anything is approved with it.",
            refusal="statement.version",
        )
    values = cbor.decode(data[len(MAGIC) + 1 :], what="statement", max_depth=2)
    if version == WITH_PARAMETERS:
        if not isinstance(values, list) or not values:
            raise _wrong("it is not an array of its twenty fields")
        statement = replace(_from_values(values[:-1]), sign_parameters=_parameters(values[-1]))
    else:
        statement = _from_values(values)
    _check(statement)
    return statement


def _from_values(values: cbor.CborValue) -> Statement:
    """Build the fields with their types; whether they fit together is for `_check`."""
    match values:
        case [
            str() as kind,
            bytes() as uuid,
            bytes() as spki_hash,
            bytes() as policy_hash,
            str() as request_id,
            (str() | None) as algorithm,
            (str() | None) as signature_type,
            (bytes() | None) as iv,
            (bytes() | None) as aad,
            (int() | None) as tag_length,
            (str() | None) as wrap_method,
            (str() | None) as new_label,
            (dict() | None) as attributes,
            (bytes() | None) as new_policy,
            (0 | 1 | None) as blocked,
            (str() | None) as new_key_id,
            (list() | None) as operations,
            (list() | None) as algorithms,
            bytes() as payload,
        ] if len(uuid) == 16:
            return Statement(
                kind=kind,
                key_uuid=str(UUID(bytes=uuid)),
                spki_hash=spki_hash,
                policy_hash=policy_hash,
                request_id=request_id,
                algorithm=algorithm,
                signature_type=signature_type,
                iv=iv,
                aad=aad,
                tag_length=tag_length,
                wrap_method=wrap_method,
                new_label=new_label,
                new_attributes=None if attributes is None else _truths(attributes),
                new_policy=new_policy,
                new_blocked=None if blocked is None else bool(blocked),
                new_key_id=new_key_id,
                new_allowed_operations=None if operations is None else _texts(operations),
                new_allowed_algorithms=None if algorithms is None else _texts(algorithms),
                data=payload,
            )
    raise _wrong("it is not an array of its nineteen fields, each of its type")


def _truths(found: Mapping[cbor.CborValue, cbor.CborValue]) -> dict[str, bool]:
    truths: dict[str, bool] = {}
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, int) or value not in {0, 1}:
            raise _wrong("the new key's attributes are not names with 0 or 1")
        truths[name] = bool(value)
    return truths


def _parameters(found: cbor.CborValue) -> dict[str, bytes]:
    parameters: dict[str, bytes] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        if not isinstance(name, str) or not isinstance(value, bytes):
            raise _wrong("the parameters of the signature are not names with bytes")
        parameters[name] = value
    if not parameters:
        raise _wrong("it is of the version with parameters, and has none")
    return parameters


def _texts(found: list[cbor.CborValue]) -> tuple[str, ...]:
    if not all(isinstance(one, str) for one in found):
        raise _wrong("a list of names holds something else")
    return tuple(str(one) for one in found)


# --- what fits together --------------------------------------------------------------------------------

_ALWAYS: Final = ("kind", "key_uuid", "spki_hash", "policy_hash", "request_id", "data")
_REQUIRED: Final = {
    "sign": ("algorithm",),
    "csr": ("algorithm",),
    "issue": ("algorithm",),
    "selfsign": ("algorithm",),
    "decrypt": ("algorithm",),
    "unwrap": ("wrap_method", "new_label", "new_attributes", "new_blocked"),
    "block": (),
    "unblock": (),
}
_OPTIONAL: Final = {
    "sign": ("signature_type", "sign_parameters"),
    "csr": (),
    "issue": ("new_label",),
    "selfsign": (),
    "decrypt": ("iv", "aad", "tag_length"),
    "unwrap": ("new_policy", "new_key_id", "new_allowed_operations", "new_allowed_algorithms"),
    "block": (),
    "unblock": (),
}
_FIELDS: Final = tuple(name for name in Statement.__slots__ if name not in _ALWAYS)


def _check(statement: Statement) -> None:
    """Refuse what a statement cannot say; the same for writing and reading."""
    kind = statement.kind
    if kind not in KINDS:
        why = "keyturn does not do that yet" if kind in RESERVED_KINDS else "there is no such operation"
        raise FormatError(f"A statement cannot be about {kind[:64]!a}: {why}.", refusal="statement.kind")
    for name in _FIELDS:
        given = getattr(statement, name) is not None
        if given and name not in _REQUIRED[kind] + _OPTIONAL[kind]:
            raise _wrong(f"a statement to {kind} has no {name}")
        if not given and name in _REQUIRED[kind]:
            raise _wrong(f"a statement to {kind} needs a {name}")
    if not _UUID.fullmatch(statement.key_uuid):
        raise _wrong("the key's uuid is no UUID in lower case")
    if not is_bound_request_id(statement.request_id):
        raise _wrong("the request id is no UUID in lower case")
    if len(statement.spki_hash) != _HASH_SIZE or len(statement.policy_hash) != _HASH_SIZE:
        raise _wrong("a hash does not have 32 bytes")
    if statement.data and kind in {"block", "unblock"}:
        raise _wrong(f"a statement to {kind} has no data")
    for word in (statement.algorithm, statement.signature_type, statement.wrap_method):
        _check_word(word)
    if statement.sign_parameters is not None and not (
        statement.sign_parameters and statement.sign_parameters.keys() <= SIGN_PARAMETERS
    ):
        raise _wrong("a signature has no such parameters")
    if statement.tag_length is not None and not 1 <= statement.tag_length <= _MAX_TAG_BITS:
        raise _wrong(f"the tag length is not 1 to {_MAX_TAG_BITS} bits")
    if statement.new_label is not None:
        check_label(statement.new_label)
    for name in statement.new_attributes or ():
        _check_word(name)
    if statement.new_policy == b"":
        raise _wrong("a policy that is there is not empty")
    if statement.new_key_id is not None and not 1 <= len(statement.new_key_id.encode()) <= _MAX_KEY_ID:
        raise _wrong(f"the new key's id does not have 1 to {_MAX_KEY_ID} bytes")
    for names in (statement.new_allowed_operations, statement.new_allowed_algorithms):
        if names is None:
            continue
        if not names or list(names) != sorted(set(names)):
            raise _wrong("a list of names is empty, not sorted, or holds one twice")
        for word in names:
            _check_word(word)


def _check_word(word: str | None) -> None:
    if word is not None and not _WORD.fullmatch(word):
        raise _wrong("a name is not one to 64 letters, digits and signs")


def _check_size(data: bytes) -> None:
    if len(data) > MAX_STATEMENT:
        raise FormatError(
            f"A statement has at most {MAX_STATEMENT} bytes; this would have {len(data)}: hash larger data first.",
            refusal="statement.size",
        )


def _wrong(why: str) -> FormatError:
    return FormatError(f"This is no statement that keyturn writes: {why}.", refusal="statement.field")


# --- for people ----------------------------------------------------------------------------------------


def describe_statement(statement: Statement) -> tuple[tuple[str, str], ...]:
    """Say in words what a statement means.

    Args:
        statement: A decoded statement.

    Returns:
        Words and values in the order of the form; every parameter that the operation has, also an absent one. Values
        are printable. The data and a policy are given by size and SHA-256: what they mean, the caller shows.
    """
    rows = [("operation", statement.kind), ("key uuid", statement.key_uuid)]
    rows.append(("key fingerprint (SHA-256)", statement.spki_hash.hex()))
    rows.append(("policy in force (SHA-256)", statement.policy_hash.hex()))
    rows.append(("request", statement.request_id))
    for name in _FIELDS:
        if name in _REQUIRED[statement.kind] + _OPTIONAL[statement.kind]:
            words, absent = _WORDS_OF_KIND.get((statement.kind, name), _WORDS[name])
            value = getattr(statement, name)
            if name == "sign_parameters" and value is None:
                continue  # Statements without them are of a version that has no such field.
            rows.append((words, absent if value is None else _shown(value)))
    if statement.kind in _DATA_WORDS:
        rows.append((_DATA_WORDS[statement.kind], _measured(statement.data)))
    return tuple(rows)


_WORDS: Final = {
    "algorithm": ("algorithm", ""),
    "signature_type": ("signature form", "the algorithm's own"),
    "sign_parameters": ("further parameters", "none"),
    "iv": ("initialization vector", "none"),
    "aad": ("additional data", "none"),
    "tag_length": ("tag length in bits", "the algorithm's own"),
    "wrap_method": ("wrap method", ""),
    "new_label": ("new key", ""),
    "new_attributes": ("new key may", ""),
    "new_policy": ("new key's policy", "none: it needs no approvals"),
    "new_blocked": ("new key starts blocked", ""),
    "new_key_id": ("new key's id", "none"),
    "new_allowed_operations": ("new key's allowed operations", "all that it may"),
    "new_allowed_algorithms": ("new key's allowed algorithms", "all of its kind"),
}
_WORDS_OF_KIND: Final = {("issue", "new_label"): ("attached afterwards to the key", "none")}
_DATA_WORDS: Final = {
    "sign": "data to be signed",
    "csr": "request to be signed",
    "issue": "certificate to be signed",
    "selfsign": "certificate to be signed",
    "decrypt": "ciphertext",
    "unwrap": "wrapped key",
}


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return _measured(value) if len(value) > _HASH_SIZE else (value.hex() or "empty")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and value and all(isinstance(one, bytes) for one in value.values()):
        return ", ".join(f"{name} {_shown(one)}" for name, one in sorted(value.items()))
    if isinstance(value, dict):
        return ", ".join(name if given else f"not {name}" for name, given in sorted(value.items())) or "nothing"
    if isinstance(value, tuple):
        return ", ".join(value)
    text = str(value)
    return text if text.isprintable() else ascii(text)


def _measured(data: bytes) -> str:
    return f"{len(data)} bytes, SHA-256 {sha256(data).hexdigest()}"
