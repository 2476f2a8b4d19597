"""The HSM's engine: every call of the broker's protocol, decided and executed.

One loop, one writer: a call is decided and its effect applied in one turn of the event loop, without an `await` in
between. So two calls never see half of each other, and what was acknowledged holds for everything decided later
(R31): after the answer to a block no result of a use leaves, the stored one of a repeated call included. Four
things wait, and are decided after waiting: the making of a slow key, a slow signature, a policy whose keys are slow to
judge, and a timestamp that would not count yet.

Refusals consume nothing and store nothing; every one is a line of the decision log, as is everything granted that
touches a private key, changes a key, stamps or attests. Reading (`info`, `list`, `lookup`, `verify`, `statistics`)
leaves no line.

This module puts the parts together and answers what only reads; what acts stands in `using`, `unwrapping`, `status`,
`making`, `stamping` and `withdrawing`.

Source: keyturn.hsm.protocol; ARCHITECTURE.md, laws 1 to 5.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from keyturn import __version__
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.approvers import Approvers
from keyturn.hsm.attesting import Attester
from keyturn.hsm.authority import Authority, StatementServedError, protects
from keyturn.hsm.backup_key import BackupKey
from keyturn.hsm.certifying import Certifying
from keyturn.hsm.context import EngineContext
from keyturn.hsm.deleted_keys import DeletedKeys
from keyturn.hsm.derived_keys import identity_of
from keyturn.hsm.deriving import Deriving
from keyturn.hsm.door import Door, require_not_blocked
from keyturn.hsm.enciphering import Enciphering
from keyturn.hsm.file_keys import FileKeys
from keyturn.hsm.giving import Giving
from keyturn.hsm.importing import Importing
from keyturn.hsm.journal import Journal
from keyturn.hsm.judging import judge, unjudged
from keyturn.hsm.ledger import LedgerKind, last
from keyturn.hsm.making import Making
from keyturn.hsm.objects import KIND as OBJECT_KIND
from keyturn.hsm.objects import Objects
from keyturn.hsm.operations import Operations, input_digest
from keyturn.hsm.passwords import Passwords
from keyturn.hsm.rate_limit import RateLimit
from keyturn.hsm.receipts import Receipts, check_request_id
from keyturn.hsm.restoring import TRIES, TRIES_PER_SECOND, Restoring
from keyturn.hsm.rollback import RollbackGuard
from keyturn.hsm.single_use import SingleUse
from keyturn.hsm.stamping import Stamping
from keyturn.hsm.status import Status
from keyturn.hsm.transfer import Transfer
from keyturn.hsm.unwrapping import Unwrapping
from keyturn.hsm.using import Using
from keyturn.hsm.withdrawing import Withdrawing

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.clock import Clock
    from keyturn.hsm.clock_guard import ClockGuard
    from keyturn.hsm.settings import HsmSettings
    from keyturn.hsm.single_use import UseCall
    from keyturn.hsm.store import Store
    from keyturn.hsm.system_keys import SystemKeys
    from keyturn.hsm.worker import WorkerPool

BURST: Final = 10
"""Rate limits allow this many seconds' worth at once."""
LOGS_PER_SECOND: Final = 5.0
"""How often the decision log may be looked at: each look reads a quarter of a MiB."""


class Engine:
    """All calls of the broker's protocol on an open store.

    Args:
        store: The open store.
        system_keys: The HSM's own keys.
        clock_guard: The time that may be relied on.
        clock: The time for log lines.
        settings: Switches and limits.
        isolation: `none`, `user` or `machine` (R1).
        workers: Where slow keys are made.
        monotonic: Clock of the rate limits.
    """

    def __init__(
        self,
        *,
        store: Store,
        system_keys: SystemKeys,
        clock_guard: ClockGuard,
        clock: Clock,
        settings: HsmSettings,
        isolation: str,
        workers: WorkerPool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._isolation = isolation
        authority = Authority(
            store,
            system_keys,
            clock_guard,
            allow_unlabelled=settings.allow_unlabelled_approvals,
            allow_replayed=settings.allow_replayed_control_approvals,
        )
        passwords = Passwords(store, system_keys.transport, monotonic)
        self._context = context = EngineContext(
            store=store,
            system_keys=system_keys,
            clock_guard=clock_guard,
            journal=Journal(store, clock),
            operations=Operations(store),
            settings=settings,
            authority=authority,
            door=Door(store, authority, passwords),
            attester=Attester(store, system_keys, isolation=isolation, switches=settings.weakening_switches),
            workers=workers,
            receipts=Receipts(store, system_keys, clock_guard),
            rollback=RollbackGuard(store, system_keys, clock),
            single_use=SingleUse(store, clock_guard),
            passwords=passwords,
            system_names=frozenset(record.name for record in store.system_keys()),
        )
        self._attestations = _limit("attestations", settings.attestations_per_second, monotonic)
        stamping = Stamping(context, _limit("timestamps", settings.stamps_per_second, monotonic))
        using, status, making = Using(context), Status(context), Making(context)
        deriving, enciphering = Deriving(context), Enciphering(context)
        certifying = Certifying(context)
        transfer = Transfer(context)
        self.deleted_keys = DeletedKeys(context)
        """What lies sealed after its deletion, for the administrator and the timer."""
        objects = Objects(context)
        self._backup_key = BackupKey(context)
        approvers = Approvers(context, self._backup_key)
        restoring = Restoring(
            context, self._backup_key, RateLimit("backup passwords", TRIES_PER_SECOND, TRIES, monotonic)
        )
        giving = Giving(
            context,
            random=_limit("random bytes", settings.random_per_second, monotonic),
            logs=_limit("looks at the log", LOGS_PER_SECOND, monotonic),
            dates=_limit("timestamps", settings.stamps_per_second, monotonic),
        )
        self._handlers: dict[type, Callable[..., protocol.Answer | Awaitable[protocol.Answer]]] = {
            protocol.GetInfo: self._info,
            protocol.ListKeys: self._list,
            protocol.Lookup: self._lookup,
            protocol.Attest: self._attest,
            protocol.CreateKey: self._once(making.create),
            protocol.DeleteKey: self._once(making.delete),
            protocol.ImportSeed: self._once(deriving.import_seed),
            protocol.DeriveKey: self._once(deriving.derive_key),
            protocol.GetAddress: deriving.address,
            protocol.Sign: self._once(using.sign, use=True, optional=True),
            protocol.Decrypt: self._once(using.decrypt, use=True, optional=True),
            protocol.Unwrap: self._once(Unwrapping(context, restoring).unwrap, use=True),
            protocol.SignCertificate: self._once(certifying.sign, use=True),
            protocol.AttachCertificate: self._once(certifying.attach),
            protocol.Block: self._once(status.block),
            protocol.Unblock: self._once(status.unblock),
            protocol.Modify: self._once(status.modify),
            protocol.Withdraw: Withdrawing(context).withdraw,
            protocol.CheckPassword: transfer.check_password,
            protocol.ChangePassword: self._once(transfer.change_password),
            protocol.ExportKey: transfer.export,
            protocol.ImportKey: self._once(Importing(context).take_in),
            protocol.Witness: self._witness,
            protocol.Verify: enciphering.verify,
            protocol.Encrypt: enciphering.encrypt,
            protocol.Wrap: enciphering.wrap,
            protocol.Stamp: stamping.stamp,
            protocol.GetStatistics: self._statistics,
            protocol.PutObject: self._once(objects.put),
            protocol.GetObject: objects.get,
            protocol.DeleteObject: self._once(objects.delete),
            protocol.GetRandom: giving.random,
            protocol.GetLog: giving.log,
            protocol.DateWithRfc3161: giving.date,
            protocol.MakeFileKey: FileKeys(context).make,
            protocol.OpenFileKey: FileKeys(context).open,
            protocol.CreateApprover: self._once(approvers.create),
            protocol.RenewApproverCode: self._once(approvers.renew),
            protocol.OnboardApprover: self._once(approvers.onboard),
            protocol.ListApprovers: approvers.listed,
            protocol.DeleteApprover: self._once(approvers.delete),
            protocol.GetRestoration: restoring.described,
            protocol.GetRestoredCode: restoring.code,
        }
        for name in context.system_names:
            if store.key(name) is not None:
                raise KeyturnError(
                    ErrorCode.CONFIG_NOT_VALID,
                    f"a key with the label {name!r} exists; give the HSM's own key another name in the settings",
                    refusal="label.system-key",
                )
        self._backup_key.make_where_open_is_allowed()

    def handle(self, message: protocol.Call, peer: str) -> protocol.Answer | Awaitable[protocol.Answer]:
        """Answer a call.

        Args:
            message: The call.
            peer: Who called, for the log.

        Returns:
            The answer; an awaitable where something slow is done in a worker. Neither ever raises.
        """
        keys = unjudged(message)
        return self._handle_judged(message, peer, keys) if keys else self._handle(message, peer)

    async def _handle_judged(self, message: protocol.Call, peer: str, keys: list[bytes]) -> protocol.Answer:
        """Decide a call once its approvers' keys are judged, by what is so then."""
        try:
            await judge(keys, self._context.workers)
        except Exception as error:
            return self._refuse(message, error, peer)
        answer = self._handle(message, peer)
        return await answer if isinstance(answer, Awaitable) else answer

    def _handle(self, message: protocol.Call, peer: str) -> protocol.Answer | Awaitable[protocol.Answer]:
        try:
            check_request_id(message)
            self._context.rollback.require_current(message)
            self._backup_key.require_reserved(message)
            return self._handlers[type(message)](message)
        except Exception as error:
            return self._refuse(message, error, peer)

    def _refuse(self, call: protocol.Call, error: Exception, peer: str) -> protocol.Answer:
        refused = self._context.journal.refuse(call, error, peer)
        try:
            key = identity_of(self._context.store, getattr(call, "label", ""))
            return self._context.receipts.answered(call, refused, key)
        except Exception as failure:
            # No receipt where the store takes nothing any more; the refusal stands.
            return refused if isinstance(failure, KeyturnError) else self._context.journal.refuse(call, failure, peer)

    @property
    def rollback(self) -> RollbackGuard:
        """What knows whether the store is an older one, for the administrator."""
        return self._context.rollback

    def refuse_frame(self, error: FormatError, peer: str) -> protocol.Refused:
        """Log bytes that are no call; the answer says what was wrong with them."""
        return self._context.journal.refuse_frame(error, peer)

    def _once(
        self,
        execute: Callable[[Any, bytes], protocol.Answer | Awaitable[protocol.Answer]],
        *,
        use: bool = False,
        optional: bool = False,
    ) -> Callable[[Any], protocol.Answer | Awaitable[protocol.Answer]]:
        """Make a handler that executes each operation id once (law 3).

        Args:
            execute: Takes a new call, and the digest with which its result must be stored.
            use: Whether it uses a key: while that is blocked, and when it is gone, stored results stay here, too (R31).
            optional: Whether calls without an operation id are executed too, with an empty digest.
        """
        context = self._context

        def handle(call: Any) -> Any:
            if optional and not call.operation_id:
                return execute(call, b"")
            digest = input_digest(call)
            stored = context.operations.recall(call.operation_id, digest)
            if stored is None:
                try:
                    return execute(call, digest)
                except StatementServedError as served:
                    record = context.key(call.label)
                    context.check_password(record, call.sealed_password)
                    stored = context.single_use.recall(call, record, served)
            if use:
                self._require_usable(call)
            context.journal.repeat(call)
            return stored

        return handle

    def _require_usable(self, call: UseCall) -> None:
        """Keep the stored result of a use with its key, or deleting a blocked one would let it out (R31).

        Times are whole seconds: what was done in the second in which the label passed to a new key counts as done with
        the earlier one.
        """
        context = self._context
        record = context.key(call.label)
        require_not_blocked(record)
        stored = context.store.operation(call.operation_id)
        if record.generation > 1 and stored is not None and stored.time <= record.bearing_since:
            raise KeyturnError(
                ErrorCode.KEY_NOT_EXISTENT,
                f"this was done with an earlier key of the name {record.label!r}; its results went with it",
                refusal="operation.other-key",
            )

    # --- reading -----------------------------------------------------------------------------------------

    def _info(self, _: protocol.GetInfo) -> protocol.Info:
        context = self._context
        integrity, clock = context.system_keys.integrity, context.clock_guard.status
        return protocol.Info(
            protocol=protocol.PROTOCOL_VERSION,
            version=__version__,
            sealed=False,
            instance_id=context.store.instance_id,
            restore_epoch=context.store.restore_epoch,
            isolation=self._isolation,
            switches=list(context.settings.weakening_switches),
            device_chain=list(context.system_keys.device_chain),
            integrity_key_name=integrity.name,
            integrity_key=integrity.spki,
            integrity_keys=[(one.name, one.spki, one.retired_at) for one in context.system_keys.integrity_keys()],
            receipt_key=context.system_keys.receipt.spki,
            rfc_timestamp_certificate=context.system_keys.rfc_timestamp.certificate,
            transport_key=context.system_keys.transport.spki,
            clock=clock.reading,
            clock_mark=clock.mark,
            rolled_back=context.store.witnessed is not None,
            accepted_rollbacks=context.store.accepted_rollbacks,
        )

    def _witness(self, call: protocol.Witness) -> protocol.Done:
        self._context.rollback.present(call.kind, call.evidence, call.signature)
        return protocol.Done()

    def _list(self, _: protocol.ListKeys) -> protocol.Labels:
        return protocol.Labels(self._context.store.labels())

    def _lookup(self, call: protocol.Lookup) -> protocol.KeyFacts:
        store = self._context.store
        record = self._context.key(call.label)
        return protocol.KeyFacts(
            label=record.label,
            uuid=record.uuid,
            generation=record.generation,
            algorithm=record.algorithm,
            public_key=record.public_key,
            attributes=record.attributes,
            policy=record.policy,
            blocked=record.blocked,
            created=record.bearing_since,
            state_counter=record.changed_at,
            last_blocked=last(store, record.uuid, LedgerKind.BLOCKED),
            last_modified=last(store, record.uuid, LedgerKind.MODIFIED),
            allowed_operations=list(record.allowed_operations),
            allowed_algorithms=list(record.allowed_algorithms),
            has_password=bool(record.password),
            certificate=record.certificate,
            public_only=not record.private_key,
        )

    def _attest(self, call: protocol.Attest) -> protocol.Attested:
        context = self._context
        record = context.key(call.label)
        if call.sealed_password is not None:
            context.check_password(record, call.sealed_password)
        self._attestations.take()
        answer = context.attester.attest(record, context.clock_guard.now())
        context.journal.grant(call, record, None)
        return answer

    def _statistics(self, _: protocol.GetStatistics) -> protocol.Statistics:
        store, journal = self._context.store, self._context.journal
        records = [store.key(label) for label in store.labels()]
        return protocol.Statistics(
            {
                "keys": len(records),
                "keysWithPolicy": sum(1 for record in records if record is not None and record.policy),
                "protectedKeys": sum(1 for record in records if record is not None and protects(record.policy)),
                "deletedKeys": len(store.deleted_keys()),
                "operations": store.operation_count,
                "ledgerLines": store.ledger_size,
                "dataObjects": len(store.object_names(OBJECT_KIND)),
                "stateCounter": store.state_counter,
                "restoreEpoch": store.restore_epoch,
                "grantedSinceStart": journal.granted,
                "refusedSinceStart": journal.refused,
            }
        )


def _limit(what: str, per_second: float, monotonic: Callable[[], float]) -> RateLimit:
    return RateLimit(what, per_second, int(BURST * per_second) or 1, monotonic)
