"""The HSM's engine: every call of the broker's protocol, decided and executed.

One loop, one writer: a call is decided and its effect applied in one turn of the event loop, without an `await` in
between. So two calls never see half of each other, and what was acknowledged holds for everything decided later
(R31). The only call that waits is the making of a slow key; its label is reserved meanwhile, and the effect is applied
in one turn at the end. A timestamp asked for in the very second in which a label passed to a new key waits for the next
one, and is decided then.

Refusals consume nothing and store nothing; every one is a line of the decision log, as is everything granted that
touches a private key, changes a key, stamps or attests. Reading (`info`, `list`, `lookup`, `verify`, `statistics`)
leaves no line.

Source: keyturn.hsm.protocol; ARCHITECTURE.md, laws 1 to 5.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec

from keyturn import __version__
from keyturn.crypto import registry
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.attesting import Attester
from keyturn.hsm.authority import Authority, earliest_stamp, protects
from keyturn.hsm.creation import check_new_policy, plan_creation
from keyturn.hsm.door import Act, Door, Kind
from keyturn.hsm.framing import encode_message
from keyturn.hsm.journal import MAX_SHOWN, Journal
from keyturn.hsm.operations import Operations, input_digest
from keyturn.hsm.rate_limit import RateLimit
from keyturn.hsm.records import KeyRecord
from keyturn.hsm.worker import make_key_pair
from keyturn.ska.actions import Action
from keyturn.ska.messages import Timestamp, encode_timestamp
from keyturn.ska.policy import decode_policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keyturn.clock import Clock
    from keyturn.hsm.clock_guard import ClockGuard
    from keyturn.hsm.creation import CreationPlan
    from keyturn.hsm.settings import HsmSettings
    from keyturn.hsm.store import Store
    from keyturn.hsm.system_keys import SystemKeys
    from keyturn.hsm.worker import KeyPair, WorkerPool

MAX_PAYLOAD: Final = 64 * 1024
"""Largest payload of one call in bytes (rest-api.md section 1.3)."""
BURST: Final = 10
"""Rate limits allow this many seconds' worth at once."""
_PATIENCE: Final = 0.05
"""Seconds between two looks at the clock while a timestamp waits for the next second."""


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
        self._store = store
        self._system_keys = system_keys
        self._clock_guard = clock_guard
        self._journal = Journal(store, clock)
        self._operations = Operations(store)
        self._settings = settings
        self._isolation = isolation
        self._workers = workers
        self._authority = Authority(system_keys, clock_guard, allow_unlabelled=settings.allow_unlabelled_approvals)
        self._door = Door(store, self._authority)
        self._attester = Attester(store, system_keys, isolation=isolation, switches=settings.weakening_switches)
        self._stamps = RateLimit(
            "timestamps", settings.stamps_per_second, int(BURST * settings.stamps_per_second) or 1, monotonic
        )
        self._attestations = RateLimit(
            "attestations",
            settings.attestations_per_second,
            int(BURST * settings.attestations_per_second) or 1,
            monotonic,
        )
        self._reserved: set[str] = set()
        self._handlers: dict[type, Callable[..., protocol.Answer | Awaitable[protocol.Answer]]] = {
            protocol.GetInfo: self._info,
            protocol.ListKeys: self._list,
            protocol.Lookup: self._lookup,
            protocol.Attest: self._attest,
            protocol.CreateKey: self._once(self._create),
            protocol.DeleteKey: self._once(self._delete),
            protocol.Sign: self._once(self._sign, optional=True),
            protocol.Modify: self._once(self._modify),
            protocol.Verify: self._verify,
            protocol.Stamp: self._stamp,
            protocol.GetStatistics: self._statistics,
        }
        self._system_names = frozenset(record.name for record in store.system_keys())
        for name in self._system_names:
            if store.key(name) is not None:
                raise KeyturnError(
                    ErrorCode.CONFIG_NOT_VALID,
                    f"a key with the label {name!r} exists; give the HSM's own key another name in the settings",
                    refusal="label.system-key",
                )

    def handle(self, message: protocol.Call, peer: str) -> protocol.Answer | Awaitable[protocol.Answer]:
        """Answer a call.

        Args:
            message: The call.
            peer: Who called, for the log.

        Returns:
            The answer; an awaitable where a slow key is being made. Neither ever raises.
        """
        try:
            return self._handlers[type(message)](message)
        except Exception as error:
            return self._journal.refuse(message, error, peer)

    def refuse_frame(self, error: FormatError, peer: str) -> protocol.Refused:
        """Log bytes that are no call; the answer says what was wrong with them."""
        return self._journal.refuse_frame(error, peer)

    # --- reading -----------------------------------------------------------------------------------------

    def _info(self, _: protocol.GetInfo) -> protocol.Info:
        integrity = self._system_keys.integrity
        return protocol.Info(
            protocol=protocol.PROTOCOL_VERSION,
            version=__version__,
            sealed=False,
            instance_id=self._store.instance_id,
            restore_epoch=self._store.restore_epoch,
            isolation=self._isolation,
            switches=list(self._settings.weakening_switches),
            device_chain=list(self._system_keys.device_chain),
            integrity_key_name=integrity.name,
            integrity_key=integrity.spki,
            integrity_keys=[(one.name, one.spki, one.retired_at) for one in self._system_keys.integrity_keys()],
            receipt_key=self._system_keys.receipt.spki,
        )

    def _list(self, _: protocol.ListKeys) -> protocol.Labels:
        return protocol.Labels(self._store.labels())

    def _lookup(self, call: protocol.Lookup) -> protocol.KeyFacts:
        record = self._key(call.label)
        return protocol.KeyFacts(
            label=record.label,
            uuid=record.uuid,
            generation=record.generation,
            algorithm=record.algorithm,
            public_key=record.public_key,
            attributes=record.attributes,
            policy=record.policy,
            blocked=record.blocked,
            created=record.created,
            state_counter=record.changed_at,
        )

    def _verify(self, call: protocol.Verify) -> protocol.Verdict:
        _check_payload(call.payload)
        try:
            registry.verify(self._key(call.label).public_key, call.algorithm, call.payload, call.signature)
        except KeyturnError as error:
            if error.code is ErrorCode.INVALID_SIGNATURE:
                return protocol.Verdict(valid=False)
            raise
        return protocol.Verdict(valid=True)

    def _statistics(self, _: protocol.GetStatistics) -> protocol.Statistics:
        records = [self._store.key(label) for label in self._store.labels()]
        return protocol.Statistics(
            {
                "keys": len(records),
                "keysWithPolicy": sum(1 for record in records if record is not None and record.policy),
                "protectedKeys": sum(1 for record in records if record is not None and protects(record.policy)),
                "operations": self._store.operation_count,
                "stateCounter": self._store.state_counter,
                "restoreEpoch": self._store.restore_epoch,
                "grantedSinceStart": self._journal.granted,
                "refusedSinceStart": self._journal.refused,
            }
        )

    # --- acting ------------------------------------------------------------------------------------------

    def _once(
        self, execute: Callable[[Any, bytes], protocol.Answer | Awaitable[protocol.Answer]], *, optional: bool = False
    ) -> Callable[[Any], protocol.Answer | Awaitable[protocol.Answer]]:
        """Make a handler that executes each operation id once (law 3).

        Args:
            execute: Takes a new call, and the digest with which its result must be stored.
            optional: Whether calls without an operation id are executed too, with an empty digest.
        """

        def handle(call: protocol.CreateKey | protocol.DeleteKey | protocol.Sign | protocol.Modify) -> Any:
            if optional and not call.operation_id:
                return execute(call, b"")
            digest = input_digest(call)
            stored = self._operations.recall(call.operation_id, digest)
            if stored is None:
                return execute(call, digest)
            self._journal.repeat(call)
            return stored

        return handle

    def _sign(self, call: protocol.Sign, digest: bytes) -> protocol.Answer:
        record = self._key(call.label)
        if record.policy and not call.operation_id:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                "a key with a policy is used with an operation id, so that a repeated call is not executed twice",
                refusal="operation.id-missing",
            )
        _check_payload(call.payload)
        private_key, decision = self._door.open(record, Act(Kind.SIGN, call.payload, call.algorithm), call.approvals)
        answer = protocol.Signed(registry.sign(private_key, call.algorithm, call.payload, call.signature_type))
        if call.operation_id:
            with self._store.change() as change:
                change.count_use(record.uuid)
                change.put_operation(call.operation_id, digest, encode_message(answer), time=self._journal.now())
        else:
            self._store.count_use(record.uuid)
        self._journal.grant(call, record, decision, payload=call.payload)
        return answer

    def _modify(self, call: protocol.Modify, digest: bytes) -> protocol.Answer:
        record = self._key(call.label)
        if not record.policy:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} was created without a policy and can never get one",
                refusal="policy.none",
            )
        check_new_policy(call.policy, blocked=record.blocked, settings=self._settings)
        decision = self._authority.require(record, Action.MODIFY, call.policy, call.approvals)
        now = self._clock_guard.now()
        with self._store.change() as change:
            changed = change.put_key(msgspec.structs.replace(record, policy=call.policy))
            answer = self._attester.attest(changed, now)
            change.put_operation(call.operation_id, digest, encode_message(answer), time=now)
        self._journal.grant(call, record, decision, payload=call.policy)
        return answer

    def _delete(self, call: protocol.DeleteKey, digest: bytes) -> protocol.Answer:
        record = self._key(call.label)
        if not record.attributes.get("destroyable"):
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} was created with `destroyable` false and cannot be deleted",
                refusal="key.not-destroyable",
            )
        answer = protocol.Done()
        with self._store.change() as change:
            change.remove_key(record.uuid)
            change.put_operation(call.operation_id, digest, encode_message(answer), time=self._journal.now())
        self._door.forget(record.uuid)
        self._journal.grant(call, record, None)
        return answer

    def _attest(self, call: protocol.Attest) -> protocol.Attested:
        record = self._key(call.label)
        self._attestations.take()
        answer = self._attester.attest(record, self._clock_guard.now())
        self._journal.grant(call, record, None)
        return answer

    def _stamp(self, call: protocol.Stamp) -> protocol.Answer | Awaitable[protocol.Answer]:
        return self._stamp_if_it_counts(call) or self._stamp_soon(call)

    async def _stamp_soon(self, call: protocol.Stamp) -> protocol.Answer:
        """Wait until the second is over in which the key was made."""
        try:
            stamped = None
            while stamped is None:
                await asyncio.sleep(_PATIENCE)
                stamped = self._stamp_if_it_counts(call)
        except Exception as error:
            return self._journal.refuse(call, error, "")
        return stamped

    def _stamp_if_it_counts(self, call: protocol.Stamp) -> protocol.Stamped | None:
        """Give a timestamp; None in the second in which none counts for this key yet."""
        record = self._key(call.label)
        if not record.policy:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} has no policy: nothing with it needs a timestamp",
                refusal="policy.none",
            )
        payload = _stamp_payload(call)
        now = self._clock_guard.now()
        if now < (earliest_stamp(record) or 0):
            return None
        self._stamps.take()
        integrity = self._system_keys.integrity
        blob = encode_timestamp(
            Timestamp(
                seconds=now,
                key_name=integrity.name,
                action_payload=payload,
                is_policy=call.action == Action.MODIFY,
            )
        )
        signature = integrity.sign_timestamp(blob)
        with self._store.change() as change:
            # A time that leaves is durable first: after a crash the clock may not stand before it.
            change.advance_clock(now)
        self._journal.grant(call, record, None, payload=call.payload, note=f"action {call.action}")
        return protocol.Stamped(blob, signature, integrity.algorithm, integrity.name)

    # --- creating ----------------------------------------------------------------------------------------

    def _create(self, call: protocol.CreateKey, digest: bytes) -> protocol.Answer | Awaitable[protocol.Answer]:
        plan = plan_creation(call, self._settings, self._system_names)
        if self._store.key(call.label) is not None or call.label in self._reserved:
            raise KeyturnError(
                ErrorCode.KEY_ALREADY_EXISTING,
                f"a key with the label {call.label!r} is already existing; choose another label",
                refusal="key.exists",
            )
        if plan.spec.slow:
            return self._create_slowly(call, plan, digest)
        return self._put_new_key(call, plan, digest, make_key_pair(plan.spec))

    def _create_slowly(self, call: protocol.CreateKey, plan: CreationPlan, digest: bytes) -> Awaitable[protocol.Answer]:
        """Reserve label and operation id at once; make the key in a worker."""

        async def make() -> protocol.Answer:
            try:
                pair = await self._workers.generate(plan.spec, allow_weak=self._settings.allow_weak_keys)
                return self._put_new_key(call, plan, digest, pair)
            except Exception as error:
                return self._journal.refuse(call, error, "")
            finally:
                self._reserved.discard(call.label)

        self._reserved.add(call.label)
        task = asyncio.get_running_loop().create_task(make())
        self._operations.begin(call.operation_id, digest, task)
        return asyncio.shield(task)

    def _put_new_key(
        self, call: protocol.CreateKey, plan: CreationPlan, digest: bytes, pair: KeyPair
    ) -> protocol.Answer:
        now = self._clock_guard.now()
        record = KeyRecord(
            uuid=str(uuid4()),
            label=call.label,
            generation=self._store.next_generation(call.label),
            algorithm=plan.spec.algorithm,
            curve_oid=plan.spec.curve_oid,
            key_size=plan.spec.key_size,
            creation="generated",
            created=now,
            attributes=plan.attributes,
            policy=call.policy,
            blocked=call.blocked,
            key_id=call.key_id,
            public_key=pair.public_key,
        )
        with self._store.change() as change:
            stored = change.put_key(record, private_key=pair.private_key)
            answer = self._attester.attest(stored, now)
            change.put_operation(call.operation_id, digest, encode_message(answer), time=now)
        self._journal.grant(call, stored, None, payload=call.policy)
        return answer

    # --- what all share ----------------------------------------------------------------------------------

    def _key(self, label: str) -> KeyRecord:
        record = self._store.key(label)
        if record is None:
            raise KeyturnError(
                ErrorCode.KEY_NOT_EXISTENT,
                f"a key with the label {label[:MAX_SHOWN]!r} does not exist",
                refusal="key.unknown",
            )
        return record


def _check_payload(payload: bytes) -> None:
    if len(payload) > MAX_PAYLOAD:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            f"the payload has {len(payload)} bytes; at most {MAX_PAYLOAD} (64 KiB) are taken: hash larger data first",
            refusal="payload.too-large",
        )


def _stamp_payload(call: protocol.Stamp) -> bytes | None:
    """Check what a timestamp is asked for; the payload that goes into it."""
    try:
        action = Action(call.action)
    except ValueError:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED, f"{call.action} is no operation code: 1 to 4", refusal="stamp.action"
        ) from None
    if action in {Action.BLOCK, Action.UNBLOCK}:
        if call.payload:
            raise KeyturnError(
                ErrorCode.INVALID_PAYLOAD, "a timestamp for block or unblock has no payload", refusal="stamp.payload"
            )
        return None
    _check_payload(call.payload)
    if action is Action.MODIFY:
        decode_policy(call.payload)
    return call.payload
