"""What the parts of the engine share: the open store, the one clock, the door, and how an act is brought to its end.

A part handles calls of one subject (using, unwrapping, status, stamping, …). Each call is decided and its effect
applied in one turn of the event loop, so a part never waits between asking and acting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.derived_keys import DerivedKeys
from keyturn.hsm.framing import encode_message
from keyturn.hsm.journal import MAX_SHOWN
from keyturn.hsm.ledger import LedgerKind, happened
from keyturn.hsm.stateful import first_state

if TYPE_CHECKING:
    from keyturn.hsm.attesting import Attester
    from keyturn.hsm.authority import Authority
    from keyturn.hsm.change import Change
    from keyturn.hsm.clock_guard import ClockGuard
    from keyturn.hsm.door import Door
    from keyturn.hsm.journal import Journal
    from keyturn.hsm.operations import Operations
    from keyturn.hsm.passwords import Passwords
    from keyturn.hsm.receipts import AnswerT, Receipts
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.rollback import RollbackGuard
    from keyturn.hsm.settings import HsmSettings
    from keyturn.hsm.single_use import SingleUse
    from keyturn.hsm.store import Store
    from keyturn.hsm.system_keys import SystemKeys
    from keyturn.hsm.worker import WorkerPool
    from keyturn.ska.decision import Decision

MAX_PAYLOAD: Final = 64 * 1024
"""Largest payload of one call in bytes (rest-api.md section 1.3)."""


@dataclass(slots=True)
class EngineContext:
    """What the parts of one engine share.

    Args:
        store: The open store.
        system_keys: The HSM's own keys.
        clock_guard: The time that may be relied on.
        journal: Writes the decision log.
        operations: Operation ids.
        settings: Switches and limits.
        authority: Who decides.
        door: Who yields private keys.
        attester: Who attests.
        workers: Where slow keys are made.
        receipts: Puts receipts into answers (R24).
        rollback: Knows whether the store is an older one (R6).
        single_use: What keys with `singleUse` have consumed (R14).
        passwords: Who checks passwords (R27).
        system_names: Names of the HSM's own keys, which are no labels (R5).
        reserved: Labels of keys that are being made.
        derived: Finds keys by name, derived ones included (R21).
    """

    store: Store
    system_keys: SystemKeys
    clock_guard: ClockGuard
    journal: Journal
    operations: Operations
    settings: HsmSettings
    authority: Authority
    door: Door
    attester: Attester
    workers: WorkerPool
    receipts: Receipts
    rollback: RollbackGuard
    single_use: SingleUse
    passwords: Passwords
    system_names: frozenset[str]
    reserved: set[str] = field(default_factory=set)
    derived: DerivedKeys = field(init=False)

    def __post_init__(self) -> None:
        """Make what finds keys by name."""
        self.derived = DerivedKeys(self.store, self.door)

    def key(self, label: str) -> KeyRecord:
        """The key that a name means now: the one that bears the label, or a derived key `master/path` (R21).

        Raises:
            KeyturnError: 650 `key.unknown`; for a derived key those of `DerivedKeys.find`.
        """
        record = self.derived.find(label)
        if record is None:
            raise KeyturnError(
                ErrorCode.KEY_NOT_EXISTENT,
                f"a key with the label {label[:MAX_SHOWN]!r} does not exist",
                refusal="key.unknown",
            )
        return record

    def check_password(self, record: KeyRecord, sealed_password: bytes) -> None:
        """Return only if the password that came with a call is the key's; `Door.open` does so by itself.

        Args:
            record: The key.
            sealed_password: What came with the call; empty for none.

        Raises:
            KeyturnError: 620 `key.password`, `key.password-tries`, `password.seal`.
        """
        self.passwords.check(record, sealed_password)

    def require_free(self, label: str) -> None:
        """Make sure that a new key may take a label.

        Raises:
            KeyturnError: 651 `key.exists`.
        """
        if self.store.key(label) is not None or label in self.reserved:
            raise KeyturnError(
                ErrorCode.KEY_ALREADY_EXISTING,
                f"a key with the label {label!r} is already existing; choose another label",
                refusal="key.exists",
            )

    def put_new_key(self, change: Change, record: KeyRecord, private_key: bytes | None) -> KeyRecord:
        """Put a key into a change.

        Args:
            change: The open change-set.
            record: The new key.
            private_key: PKCS#8, or the bytes of a symmetric key; it is sealed. None where there is a public part only.

        Returns:
            The record as it will be stored.
        """
        stored = change.put_key(record, private_key=private_key)
        if record.blocked:
            change.put_ledger(happened(self.store, record.uuid, LedgerKind.BLOCKED, record.created))
        state = first_state(self.store, record)
        if state is not None:
            change.put_ledger(state)
        return stored

    def finish(
        self,
        change: Change,
        call: protocol.CreateKey
        | protocol.ImportSeed
        | protocol.DeriveKey
        | protocol.DeleteKey
        | protocol.Sign
        | protocol.Decrypt
        | protocol.Unwrap
        | protocol.SignCertificate
        | protocol.AttachCertificate
        | protocol.Modify
        | protocol.Block
        | protocol.Unblock
        | protocol.ChangePassword
        | protocol.ImportKey,
        digest: bytes,
        answer: AnswerT,
        record: KeyRecord,
        now: int,
        decision: Decision | None = None,
    ) -> AnswerT:
        """Give an executed call its receipt, and store its result in the change that carries its effect (law 3).

        Args:
            change: The open change-set.
            call: The call, with an operation id.
            digest: `input_digest` of the call.
            answer: The answer without a receipt.
            record: The key that the call names, as it is in the change.
            now: Seconds since the epoch, for the record.
            decision: The decision that authorised the use of a key; None for other calls, and where none was needed.

        Returns:
            The answer as it leaves.

        Raises:
            KeyturnError: 701 `ledger.full`.
        """
        use_digest = b""
        if isinstance(call, protocol.Sign | protocol.SignCertificate | protocol.Decrypt | protocol.Unwrap):
            use_digest = self.single_use.consume(change, call, record, decision)
        answer = self.receipts.executed(call, answer, record, change)
        change.put_operation(call.operation_id, digest, encode_message(answer), time=now, use_digest=use_digest)
        return answer


def check_payload(payload: bytes) -> None:
    """Refuse a payload that is too large.

    Raises:
        KeyturnError: 612 `payload.too-large`.
    """
    if len(payload) > MAX_PAYLOAD:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            f"the payload has {len(payload)} bytes; at most {MAX_PAYLOAD} (64 KiB) are taken: hash larger data first",
            refusal="payload.too-large",
        )
