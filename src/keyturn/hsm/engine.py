"""The HSM's engine: every call of the broker's protocol, decided and executed.

One loop, one writer: a call is decided and its effect applied in one turn of the event loop, without an `await` in
between. So two calls never see half of each other, and what was acknowledged holds for everything decided later
(R31). The only call that waits is the making of a slow key; its label is reserved meanwhile, and the effect is applied
in one turn at the end.

Refusals consume nothing and store nothing; every one is a line of the decision log, as is everything granted that
touches a private key, changes a key, stamps or attests. Reading (`info`, `list`, `lookup`, `verify`, `statistics`)
leaves no line.

Source: keyturn.hsm.protocol; architecture.md, laws 1 to 5.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import msgspec

from keyturn import __version__
from keyturn.crypto import registry
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.attesting import Attester
from keyturn.hsm.audit import LogEntry
from keyturn.hsm.authority import Authority, approver_fingerprints, parse_policy, protects
from keyturn.hsm.console import note
from keyturn.hsm.creation import check_new_policy, plan_creation
from keyturn.hsm.door import Act, Door, Kind
from keyturn.hsm.framing import encode_message
from keyturn.hsm.rate_limit import RateLimit
from keyturn.hsm.records import KeyRecord
from keyturn.hsm.worker import make_key_pair
from keyturn.ska.actions import Action
from keyturn.ska.decision import NotAuthorisedError, Verdict
from keyturn.ska.messages import Timestamp, encode_timestamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keyturn.clock import Clock
    from keyturn.hsm.clock_guard import ClockGuard
    from keyturn.hsm.creation import CreationPlan
    from keyturn.hsm.settings import HsmSettings
    from keyturn.hsm.store import Store
    from keyturn.hsm.system_keys import SystemKeys
    from keyturn.hsm.worker import KeyPair, WorkerPool
    from keyturn.ska.decision import Decision

MAX_PAYLOAD: Final = 64 * 1024
"""Largest payload of one call in bytes (rest-api.md section 1.3)."""
BURST: Final = 10
"""Rate limits allow this many seconds' worth at once."""

_SHOWN_FINDINGS: Final = 16
"""Approvals whose refusal is told one by one in a log line; a hostile call may bring a thousand."""
_SHOWN: Final = 200
"""Characters of a caller's text, or of a message, in a log line."""

_answers: Final[msgspec.msgpack.Decoder[protocol.Answer]] = msgspec.msgpack.Decoder(protocol.Answer)


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
        self._clock = clock
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
        self._making: dict[bytes, tuple[bytes, asyncio.Future[protocol.Answer]]] = {}
        self._reserved: set[str] = set()
        self._granted = 0
        self._refused = 0
        self._handlers: dict[type, Callable[..., protocol.Answer | Awaitable[protocol.Answer]]] = {
            protocol.GetInfo: self._info,
            protocol.ListKeys: self._list,
            protocol.Lookup: self._lookup,
            protocol.Attest: self._attest,
            protocol.CreateKey: self._create,
            protocol.DeleteKey: self._delete,
            protocol.Sign: self._sign,
            protocol.Modify: self._modify,
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
            return self._refuse(message, error, peer)

    def refuse_frame(self, error: FormatError, peer: str) -> protocol.Refused:
        """Log bytes that are no call; the answer says what was wrong with them."""
        self._refused += 1
        self._log("frame", "refused", refusal=error.refusal, note=f"{peer}: {error.message}")
        return protocol.Refused(error.code.name, error.refusal, error.message)

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
                "grantedSinceStart": self._granted,
                "refusedSinceStart": self._refused,
            }
        )

    # --- acting ------------------------------------------------------------------------------------------

    def _sign(self, call: protocol.Sign) -> protocol.Answer:
        digest = b""
        if call.operation_id:
            digest = _input_digest(call)
            stored = self._stored(call.operation_id, digest)
            if stored is not None:
                return self._repeated(call, stored)
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
                change.put_operation(call.operation_id, digest, encode_message(answer), time=self._now())
        else:
            self._store.count_use(record.uuid)
        self._grant(call, record, decision, payload=call.payload)
        return answer

    def _modify(self, call: protocol.Modify) -> protocol.Answer:
        digest = _input_digest(call)
        stored = self._stored(call.operation_id, digest)
        if stored is not None:
            return self._repeated(call, stored)
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
        self._grant(call, record, decision, payload=call.policy)
        return answer

    def _delete(self, call: protocol.DeleteKey) -> protocol.Answer:
        digest = _input_digest(call)
        stored = self._stored(call.operation_id, digest)
        if stored is not None:
            return self._repeated(call, stored)
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
            change.put_operation(call.operation_id, digest, encode_message(answer), time=self._now())
        self._door.forget(record.uuid)
        self._grant(call, record, None)
        return answer

    def _attest(self, call: protocol.Attest) -> protocol.Attested:
        record = self._key(call.label)
        self._attestations.take()
        answer = self._attester.attest(record, self._clock_guard.now())
        self._grant(call, record, None)
        return answer

    def _stamp(self, call: protocol.Stamp) -> protocol.Stamped:
        record = self._key(call.label)
        if not record.policy:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the key {record.label!r} has no policy: nothing with it needs a timestamp",
                refusal="policy.none",
            )
        payload = _stamp_payload(call)
        self._stamps.take()
        integrity = self._system_keys.integrity
        now = self._clock_guard.now()
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
        self._grant(call, record, None, payload=call.payload, note=f"action {call.action}")
        return protocol.Stamped(blob, signature, integrity.algorithm, integrity.name)

    # --- creating ----------------------------------------------------------------------------------------

    def _create(self, call: protocol.CreateKey) -> protocol.Answer | Awaitable[protocol.Answer]:
        digest = _input_digest(call)
        stored = self._stored(call.operation_id, digest)
        if stored is not None:
            return self._repeated(call, stored)
        making = self._making.get(call.operation_id)
        if making is not None:
            return asyncio.shield(making[1])
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
                return self._refuse(call, error, "")
            finally:
                self._reserved.discard(call.label)
                self._making.pop(call.operation_id, None)

        self._reserved.add(call.label)
        task = asyncio.get_running_loop().create_task(make())
        self._making[call.operation_id] = (digest, task)
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
        self._grant(call, stored, None, payload=call.policy)
        return answer

    # --- what all share ----------------------------------------------------------------------------------

    def _key(self, label: str) -> KeyRecord:
        record = self._store.key(label)
        if record is None:
            raise KeyturnError(
                ErrorCode.KEY_NOT_EXISTENT,
                f"a key with the label {label[:_SHOWN]!r} does not exist",
                refusal="key.unknown",
            )
        return record

    def _stored(self, operation_id: bytes, digest: bytes) -> protocol.Answer | None:
        """The stored answer of a repeated call, None for a new one."""
        if len(operation_id) != protocol.OPERATION_ID_SIZE:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                f"an operation id has {protocol.OPERATION_ID_SIZE} bytes, not {len(operation_id)}",
                refusal="operation.id-missing" if not operation_id else "operation.id-size",
            )
        making = self._making.get(operation_id)
        if making is not None and making[0] != digest:
            raise _input_differs()
        stored = self._store.operation(operation_id)
        if stored is None:
            return None
        if stored.input_digest != digest:
            raise _input_differs()
        return _answers.decode(self._store.operation_result(stored))

    def _now(self) -> int:
        return int(self._clock.now())

    def _repeated(self, call: protocol.Call, answer: protocol.Answer) -> protocol.Answer:
        self._granted += 1
        self._log(
            _kind(call),
            "granted",
            label=_label(call),
            operation=_operation(call),
            note="stored result of a repeated call",
        )
        return answer

    def _grant(
        self, call: protocol.Call, record: KeyRecord, decision: Decision | None, *, payload: bytes = b"", note: str = ""
    ) -> None:
        self._granted += 1
        self._store.log.append(
            LogEntry(
                time=self._now(),
                kind=_kind(call),
                outcome="granted",
                label=record.label,
                uuid=record.uuid,
                payload=sha256(payload).hexdigest() if payload else "",
                approvers=approver_fingerprints(decision) if decision is not None else (),
                operation=_operation(call),
                note=note,
            )
        )

    def _refuse(self, call: protocol.Call, error: Exception, peer: str) -> protocol.Refused:
        self._refused += 1
        if not isinstance(error, KeyturnError):
            # A defect of ours. The trace goes to standard error, without values; the caller learns nothing of it.
            frames = traceback.extract_tb(error.__traceback__)
            where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
            note(f"internal error {type(error).__name__} in {where}")
            error = KeyturnError(
                ErrorCode.TECHNICAL, "the HSM has a defect; its standard error says where", refusal="internal.error"
            )
        bad: list[tuple[int, str]] = []
        if isinstance(error, NotAuthorisedError):
            bad = [
                (finding.position, finding.refusal)
                for finding in error.decision.approvals
                if finding.verdict is not Verdict.COUNTED
            ]
        words = "; ".join(f"approval {position}: {word}" for position, word in bad[:_SHOWN_FINDINGS])
        if _kind(call) not in _READING:
            payload = getattr(call, "payload", b"") or getattr(call, "policy", b"")
            record = self._store.key(_label(call))
            self._log(
                _kind(call),
                "refused",
                label=_label(call),
                uuid="" if record is None else record.uuid,
                refusal=error.refusal or error.code.name,
                payload=sha256(payload).hexdigest() if payload else "",
                operation=_operation(call),
                note=f"{peer}: {error.message[:_SHOWN]}" + (f" [{words}]" if words else ""),
            )
        return protocol.Refused(error.code.name, error.refusal or error.code.name, error.message, bad)

    def _log(
        self,
        kind: str,
        outcome: str,
        *,
        label: str = "",
        uuid: str = "",
        refusal: str = "",
        payload: str = "",
        operation: str = "",
        note: str = "",
    ) -> None:
        self._store.log.append(
            LogEntry(
                time=self._now(),
                kind=kind,
                outcome=outcome,
                label=label,
                uuid=uuid,
                refusal=refusal,
                payload=payload,
                operation=operation,
                note=note,
            )
        )


_READING: Final = frozenset({"info", "list", "lookup", "verify", "statistics"})
_KINDS: Final[dict[type, str]] = {
    kind: str(kind.__struct_config__.tag)
    for kind in (
        *(protocol.GetInfo, protocol.ListKeys, protocol.Lookup, protocol.Attest, protocol.CreateKey),
        *(protocol.DeleteKey, protocol.Sign, protocol.Modify, protocol.Verify, protocol.Stamp, protocol.GetStatistics),
    )
}


def _kind(call: protocol.Call) -> str:
    return _KINDS[type(call)]


def _label(call: protocol.Call) -> str:
    label: str = getattr(call, "label", "")
    return label[:_SHOWN]


def _operation(call: protocol.Call) -> str:
    operation: bytes = getattr(call, "operation_id", b"")
    return operation[: protocol.OPERATION_ID_SIZE].hex()


def _input_digest(call: protocol.Call) -> bytes:
    """SHA-256 over the whole canonical call, its kind included."""
    return sha256(b"keyturn/operation-input/1\x00" + encode_message(call)).digest()


def _input_differs() -> KeyturnError:
    return KeyturnError(
        ErrorCode.IN_HSM,
        "this operation id has already served for another input; a new operation needs a new id",
        refusal="operation.input-differs",
    )


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
        parse_policy(call.payload)
    return call.payload
