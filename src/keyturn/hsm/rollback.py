"""Rollback, seen from outside (rule R6): is this store older than something that this HSM once said?

Nothing inside a store that was put back as a whole is newer than the store. But the HSM signs its restore epoch and
state counter into every receipt and every attestation, and others keep those. Shown one whose counters are ahead of the
store, the HSM knows that what it has is an older state: blocks, changes of policies, withdrawals and consumed approvals
may be missing. Then it does nothing that a policy governs, but block and take approvals back, until its administrator
accepts the loss. That begins a new restore epoch, so that what was signed in the lost time compares with nothing
any more.

Only what this HSM signed counts, so that nobody stops it by naming a number. Counters compare within one restore
epoch. Epochs themselves compare: whoever puts the store back to before a restore is seen by any evidence from after it.

What this cannot do: a witness that is shown only after the store that was put back has gone through as many changes as
were lost shows nothing; and putting the store back once more, to before a witness was shown, forgets that witness.
So the connected broker shows its own at every connection.

Source: docs/security/rules.md R6, R14, R15, R31; docs/adr/0080.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.audit import LogEntry
from keyturn.hsm.derived_keys import identity_of
from keyturn.ska.attestation import verify_attestation
from keyturn.ska.receipt import verify_receipt

if TYPE_CHECKING:
    from keyturn.clock import Clock
    from keyturn.hsm.store import Store
    from keyturn.hsm.system_keys import SystemKeys

ATTESTATION: Final = "attestation"
RECEIPT: Final = "receipt"
ROLLED_BACK: Final = "store.rolled-back"
KIND_FOUND: Final = "rollback-found"
"""Kind of the decision log's line about evidence that is ahead of the store."""


class RollbackGuard:
    """Takes evidence, remembers what it shows, and stops what an older store must not do.

    Args:
        store: The open store.
        system_keys: The keys with which this HSM signs attestations and receipts.
        clock: The time for log lines.
    """

    def __init__(self, store: Store, system_keys: SystemKeys, clock: Clock) -> None:
        self._store = store
        self._system_keys = system_keys
        self._clock = clock

    def present(self, kind: str, evidence: bytes, signature: bytes) -> bool:
        """Hold evidence against the store; what is ahead of it is remembered, durably before the answer leaves.

        Args:
            kind: `attestation` or `receipt`.
            evidence: The XML text in UTF-8, or the receipt.
            signature: Bare signature over it.

        Returns:
            Whether the evidence is ahead of the store.

        Raises:
            KeyturnError: 600 `witness.kind`; 403 `witness.not-genuine`: this HSM did not sign it; what the readers of
                attestations and receipts say of what is genuine, but not of this release.
        """
        instance, epoch, counter = self._genuine(kind, evidence, signature)
        store = self._store
        known = store.witnessed or (store.restore_epoch, store.state_counter)
        if instance != store.instance_id or (epoch, counter) <= known:
            return store.witnessed is not None
        with store.change() as change:
            change.mark_rolled_back(epoch, counter)
        store.log.append(
            LogEntry(
                time=int(self._clock.now()),
                kind=KIND_FOUND,
                outcome="noted",
                refusal=ROLLED_BACK,
                note=f"{kind} of restore epoch {epoch}, counter {counter}; the store has epoch {store.restore_epoch}, "
                f"counter {store.state_counter}",
            )
        )
        return True

    def accept(self, epoch: int, counter: int) -> None:
        """Go on with the store as it is, in a new restore epoch; the administrator's word, never a broker's.

        Args:
            epoch: Restore epoch of the evidence that the administrator was shown.
            counter: State counter of that evidence.

        Raises:
            KeyturnError: `rollback.none`: nothing says that the store is an older one; `rollback.changed`: newer
                evidence has come since the administrator looked.
        """
        witnessed = self._store.witnessed
        if witnessed is None:
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                "nothing was shown to this HSM that is newer than its store: there is nothing to accept",
                refusal="rollback.none",
            )
        if witnessed != (epoch, counter):
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID,
                f"newer evidence came meanwhile (restore epoch {witnessed[0]}, counter {witnessed[1]}): look again, "
                "then accept",
                refusal="rollback.changed",
            )
        with self._store.change() as change:
            change.accept_rollback()

    def require_current(self, call: protocol.Call) -> None:
        """Refuse what an older store must not do.

        A lost block, change of policy or withdrawal would let a key be used by those who may not any more; a lost
        consumption would let an approval serve twice. So everything stops that a policy governs. Blocking, withdrawing
        and deleting only take away, and ordinary keys have no approvals: they are served.

        Args:
            call: Any call.

        Raises:
            KeyturnError: 701 `store.rolled-back`.
        """
        if self._store.witnessed is not None and self._is_governed(call):
            raise KeyturnError(
                ErrorCode.IN_HSM,
                "this HSM's store has been put back to an older state: it was shown something newer that it signed "
                "itself. Timestamps, and keys with a policy, are not served until its administrator has found out why "
                "and says `keyturn hsm rollback accept`",
                refusal=ROLLED_BACK,
            )

    def _is_governed(self, call: protocol.Call) -> bool:
        match call:
            case protocol.Stamp() | protocol.Modify() | protocol.Unblock():
                return True
            case protocol.CreateKey() | protocol.ImportSeed():
                # A label's history may be lost: what was approved for a key before could count for this one (R18).
                return bool(call.policy)
            case protocol.Sign() | protocol.Decrypt():
                return self._has_policy(call.label)
            case protocol.SignCertificate():
                # What is attached to another key goes by that one's ruleModify, as below.
                return self._has_policy(call.label) or self._has_policy(call.attach_to)
            case protocol.ChangePassword() | protocol.AttachCertificate():
                # They go by ruleModify (R28), and the one in force may be lost.
                return self._has_policy(call.label)
            case protocol.ImportKey() | protocol.Unwrap():
                return bool(call.policy) or self._has_policy(call.label)
            case protocol.CreateApprover() | protocol.RenewApproverCode() | protocol.OnboardApprover():
                # A code that was used could be good again, and an approver deleted since be there.
                return True
        return False

    def _has_policy(self, label: str) -> bool:
        record = identity_of(self._store, label)
        return record is not None and bool(record.policy)

    def _genuine(self, kind: str, evidence: bytes, signature: bytes) -> tuple[str, int, int]:
        """Instance, restore epoch and counter of evidence that this HSM signed."""
        if kind == ATTESTATION:
            return self._attested(evidence, signature)
        if kind == RECEIPT:
            return self._receipted(evidence, signature)
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"a witness is an {ATTESTATION} or a {RECEIPT}, not {kind[:40]!a}",
            refusal="witness.kind",
        )

    def _attested(self, xml: bytes, signature: bytes) -> tuple[str, int, int]:
        try:
            found = verify_attestation(xml.decode(), signature, self._system_keys.attestation.certificate)
        except UnicodeDecodeError:
            raise _not_genuine() from None
        except KeyturnError as error:
            if error.code is ErrorCode.INVALID_SIGNATURE:
                raise _not_genuine() from None
            raise
        # Texts from before the store's counter was attested know only that of the key's last change.
        counter = found.state_counter if found.store_counter is None else found.store_counter
        return found.instance_id, found.restore_epoch, counter

    def _receipted(self, blob: bytes, signature: bytes) -> tuple[str, int, int]:
        for spki in self._system_keys.receipt_spkis:
            try:
                found = verify_receipt(blob, signature, receipt_key_spki=spki)
            except KeyturnError as error:
                if error.code is not ErrorCode.INVALID_SIGNATURE:
                    raise
            else:
                return found.instance_id, found.restore_epoch, found.state_counter
        raise _not_genuine()


def _not_genuine() -> KeyturnError:
    return KeyturnError(
        ErrorCode.INVALID_SIGNATURE,
        "this HSM did not sign what it was shown as a witness: it is another HSM's, or was changed. Bring a receipt or "
        "attested attributes exactly as this HSM gave them",
        refusal="witness.not-genuine",
    )
