"""What the store holds: one struct per kind of record.

Records are MessagePack arrays in field order. Evolution rule: fields are only appended, with defaults, and every such
change raises the store version with a migration (`keyturn.hsm.migrations`); a stored record is never rewritten in place
by another meaning. `encode_canonical` is the only encoder, because digests and associated data are taken over its
bytes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_T = TypeVar("_T")


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all records."""


class KeyRecord(Record, frozen=True):
    """An operational key.

    Args:
        uuid: UUID text; the key's identity (rule R18).
        label: The name callers use.
        generation: How many keys have borne this label, this one included, from 1.
        algorithm: API name of its kind, such as `RSA`, `EC` or `AES`.
        curve_oid: Dotted OID for EC and ED, else "".
        key_size: Bits where a kind has several sizes (RSA, DSA, AES, …), else 0.
        creation: `generated`, `imported` or `derived`.
        created: Seconds since the epoch.
        attributes: Attribute names as in the API to booleans.
        policy: Binary policy blob; empty for an ordinary key.
        blocked: Whether it is blocked.
        key_id: The API's `id`, or None.
        public_key: SPKI, DER; empty for a symmetric key.
        changed_at: State counter of the store at the key's last change; set by the store.
        private_key: Sealed PKCS#8, or the bytes of a symmetric key, with everything above as associated data; set by
            the store. Empty when there is none.
        allowed_operations: Some of `sign`, `decrypt`, `unwrap`, sorted: what it is used for at most; empty for no limit
            (R9).
        allowed_algorithms: API names of algorithms, ciphers and wrap methods, sorted; empty for no limit (R9).
        password: What a password is checked against (`keyturn.hsm.passwords`), sealed; empty when it has none (R27).
        certificate: X.509 certificate that is attached to it, DER; empty for none.
        deleted: When it was deleted, seconds since the epoch; 0 for a key that is there. A deleted one lies sealed
            until it is erased, and nothing reaches it but the administrator (R28).
        restored: When it was last brought back from there, seconds since the epoch; 0 for never. What was approved
            before does not count (R18).
        master: UUID text of the key it is derived from; "" for any other. Of a derived key no private part is stored:
            it is derived from its master's when it is used (R21).
        path: The derivation path, such as `44'/0'/0'`; "" for any other key.
        address_format: `BTC`, `ETH`, `XRP` or `XLM`: what addresses it has; "" for none.
    """

    uuid: str
    label: str
    generation: int
    algorithm: str
    curve_oid: str
    key_size: int
    creation: str
    created: int
    attributes: dict[str, bool]
    policy: bytes
    blocked: bool
    key_id: str | None
    public_key: bytes
    changed_at: int = 0
    private_key: bytes = b""
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()
    password: bytes = b""
    certificate: bytes = b""
    deleted: int = 0
    restored: int = 0
    master: str = ""
    path: str = ""
    address_format: str = ""

    @property
    def temporary(self) -> bool:
        """Whether it stands for a child of the key that has this UUID; such a record is made anew for each call."""
        return self.master == self.uuid

    @property
    def bearing_since(self) -> int:
        """Since when it bears its label, seconds since the epoch."""
        return max(self.created, self.restored)

    @property
    def bound(self) -> bool:
        """Whether approvals cover a statement (R7); keys from before that have no such attribute."""
        return self.attributes.get("boundApprovals", False)


class LabelRecord(Record, frozen=True):
    """What is remembered of a label for ever, also when its key is gone (rules R6, R18).

    Args:
        label: The label.
        generations: How many keys have borne it.
        ever_protected: Whether any of them ever had a policy.
    """

    label: str
    generations: int
    ever_protected: bool


class LedgerRecord(Record, frozen=True):
    """A line of the ledger (`keyturn.hsm.ledger`); key, kind, statement and signer are its identity.

    Args:
        uuid: The key.
        kind: A `LedgerKind`.
        statement: SHA-256 of the signed bytes (0x1055), 32 bytes; empty for kinds without one.
        signer: SHA-256 of the signer's identity, 32 bytes; empty where the statement is everybody's.
        time: Seconds since the epoch.
        stamp: Seconds since the epoch in the statement's timestamp, or None.
        operation: Id of the operation for which the statement served; empty where there is none.
    """

    uuid: str
    kind: str
    statement: bytes
    signer: bytes
    time: int
    stamp: int | None = None
    operation: bytes = b""

    @property
    def place(self) -> bytes:
        """Statement and signer: where it stands among the lines of its key and kind."""
        return self.statement + self.signer

    @property
    def row(self) -> bytes:
        """Id of its row."""
        return f"{self.uuid}/{self.kind}/".encode() + self.place


class SegmentRecord(Record, frozen=True):
    """Some of the statements that a single-use key has consumed: one row for many lines of the ledger.

    The only record that is not stored as MessagePack: its row is the entries, and everything else is the row's id.

    Args:
        uuid: The key.
        place: Which of its segments; two bytes.
        entries: The statements, packed (`keyturn.hsm.segments`).
    """

    uuid: str
    place: bytes
    entries: bytes

    @property
    def row(self) -> bytes:
        """Id of its row."""
        return self.uuid.encode() + b"/" + self.place


class OperationRecord(Record, frozen=True):
    """The result of an operation, kept so that a repeated call is answered and not executed again.

    Args:
        id: 16 bytes, chosen by the caller.
        sequence: Position among all operations of this store; the smallest go first when there are too many.
        input_digest: SHA-256 of the whole input.
        time: Seconds since the epoch at which it was done.
        result: Sealed encoded answer.
        use_digest: For the use of a single-use key: SHA-256 of what was asked, without operation id and approvals.
            Such results are counted apart (docs/adr/0079). Empty for all others.
    """

    id: bytes
    sequence: int
    input_digest: bytes
    time: int
    result: bytes = b""
    use_digest: bytes = b""


class SystemKeyRecord(Record, frozen=True):
    """One of the HSM's own keys (rule R5). Its name lives in a name space that no label reaches.

    Args:
        name: Its configured name.
        purpose: `attestation`, `integrity`, `receipt` or `transport`; later purposes are appended.
        signature_algorithm: API name of the one algorithm it signs with; what else it does for one that does not sign.
        created: Seconds since the epoch.
        retired_at: Seconds since the epoch from which on nothing it signed counts, or None while in use.
        public_key: SPKI, DER.
        certificate: Its certificate, DER; empty when it has none.
        private_key: Sealed PKCS#8, with everything above but `retired_at` as associated data; set by the store.
    """

    name: str
    purpose: str
    signature_algorithm: str
    created: int
    retired_at: int | None
    public_key: bytes
    certificate: bytes
    private_key: bytes = b""


class ObjectRecord(Record, frozen=True):
    """Something that is kept for callers and is no key, such as a data object.

    Args:
        kind: What it is: `data` for data objects (rest-api.md section 3.9); later kinds are appended.
        name: Its name, unique among those of its kind.
        created: Seconds since the epoch.
        changed: Seconds since the epoch at which it was last written.
        attributes: Attribute names as in the API to booleans.
        value: Sealed value, with everything above as associated data; set by the store.
    """

    kind: str
    name: str
    created: int
    changed: int
    attributes: dict[str, bool]
    value: bytes = b""

    @property
    def row(self) -> bytes:
        """Id of its row."""
        return f"{self.kind}/{self.name}".encode()


class RootRecord(Record, frozen=True):
    """The sealed record that vouches for everything else; one per commit (rule R6).

    Args:
        instance_id: UUID text of this store, for its life.
        restore_epoch: How often it was restored from a backup.
        commit: Number of this commit.
        state_counter: Number of change-sets that altered keys, the ledger, objects or the HSM's own keys.
        clock_mark: Highest time used so far, seconds since the epoch.
        operation_sequence: Sequence of the newest operation.
        header: SHA-256 of the encoded header.
        maps: Table name to root of its `AuthenticatedMap`.
        log_sequence: Sequence of the last line of the decision log that this commit covers; 0 when there is none.
        log_hash: Hash of that line.
        log_offset: Octets of the decision log up to and including that line.
        log_losses: How often a lost or broken decision log was accepted.
        witnessed_epoch: Restore epoch of the newest genuine evidence that this store is an older one (R6); 0 without.
        witnessed_counter: State counter of that evidence; both are 0 where nothing of the kind is known.
        accepted_rollbacks: How often an administrator accepted such a store.
    """

    instance_id: str
    restore_epoch: int
    commit: int
    state_counter: int
    clock_mark: float
    operation_sequence: int
    header: bytes
    maps: dict[str, bytes]
    log_sequence: int
    log_hash: bytes
    log_offset: int
    log_losses: int
    witnessed_epoch: int = 0
    witnessed_counter: int = 0
    accepted_rollbacks: int = 0


def encode_canonical(value: object) -> bytes:
    """Encode a record; equal records give equal bytes.

    Args:
        value: A record or header.

    Returns:
        MessagePack, map keys sorted.
    """
    return _ENCODER.encode(value)


def encode_record(record: Record) -> bytes:
    """Encode a record that is about to be stored, and make sure that it will be readable.

    Structs do not check types when they are made. A wrong one must fail now, in the caller's hands, and not at the next
    start.

    Args:
        record: The record.

    Returns:
        MessagePack.

    Raises:
        TypeError: A field has a wrong type; a mistake of the program.
    """
    content = encode_canonical(record)
    try:
        msgspec.msgpack.decode(content, type=type(record))
    except msgspec.MsgspecError as error:
        raise TypeError(f"not a {type(record).__name__}: {error}") from error
    return content


def decode_record(kind: type[_T], content: bytes) -> _T:
    """Decode a record that this store wrote.

    Args:
        kind: Its struct.
        content: MessagePack.

    Returns:
        The record.

    Raises:
        KeyturnError: `store.record-damaged`: it is not such a record.
    """
    try:
        return msgspec.msgpack.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _record_damaged(kind) from error


def associated_key_data(record: KeyRecord) -> bytes:
    """The bytes a private key is bound to: every public field of its record."""
    return b"keyturn/key/1\x00" + encode_canonical(msgspec.structs.replace(record, private_key=b""))


def associated_system_key_data(record: SystemKeyRecord) -> bytes:
    """The bytes a system key's private half is bound to; retiring does not need the private half."""
    return b"keyturn/system-key/1\x00" + encode_canonical(
        msgspec.structs.replace(record, private_key=b"", retired_at=None)
    )


def associated_operation_data(record: OperationRecord) -> bytes:
    """The bytes an operation's result is bound to; without `use_digest` they are those of versions 1 and 2."""
    values = [record.id, record.sequence, record.input_digest, record.time, b""]
    return b"keyturn/operation/1\x00" + encode_canonical([*values, record.use_digest] if record.use_digest else values)


def associated_object_data(record: ObjectRecord) -> bytes:
    """The bytes an object's value is bound to: every other field of its record."""
    return b"keyturn/object/1\x00" + encode_canonical(msgspec.structs.replace(record, value=b""))


def store_error(word: str, message: str) -> KeyturnError:
    """A refusal by the store: the HSM is unwell or was asked for something impossible.

    Args:
        word: Behind `store.` in the refusal word.
        message: What is wrong and what cures it.

    Returns:
        The error, to be raised.
    """
    return KeyturnError(ErrorCode.HSM_FAILURE, message, refusal=f"store.{word}")


@contextmanager
def translated_os_errors() -> Iterator[None]:
    """Turn what the operating system refuses, about files of the store, into `store.unusable`."""
    try:
        yield
    except OSError as error:
        raise store_error(
            "unusable", f"{error.filename or 'The store'}: {error.strerror}. Check its disk, its owner and permissions."
        ) from error


def _record_damaged(kind: type[object]) -> KeyturnError:
    return store_error("record-damaged", f"A {kind.__name__} of the store is damaged. Restore the store from a backup.")
