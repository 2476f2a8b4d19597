"""Takes requests to the HSM and brings the outcome home.

The order is what makes a request execute once, whatever dies in between:

1. With the approval that completes it, one commit writes which approvals go to the HSM (`sent`) and that the
   request is due. Only then is the approval acknowledged or anything sent.
2. The call carries the request's UUID as operation id. The HSM stores its result under it before it answers.
3. One commit writes the outcome.

After a crash between 1 and 3 the request is due: it is taken up at start with the same bytes and the same id, and
the HSM answers with what it has stored, or acts for the first time.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

from keyturn.broker import progress
from keyturn.broker.calls import RequestKind
from keyturn.broker.certificates import require_certified
from keyturn.broker.executor import ROLLED_BACK, ExecutionRefusedError
from keyturn.broker.prediction import StepKind, last_closing, next_step
from keyturn.broker.scheduler import AFTER_AN_ERROR, MOST_AT_A_LOOK, TAKE_OVER
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.database import StaleError
from keyturn.broker.storage.rows import EVIDENCE_REFUSED_APPROVAL, RequestRow, TaskRow, TaskState
from keyturn.broker.stored_calls import CERTIFICATE_KINDS, execute, sign_options
from keyturn.crypto.registry import verify
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.executor import Executor, KeyRecord
    from keyturn.broker.locks import RequestLocks
    from keyturn.broker.prediction import Step
    from keyturn.broker.scheduler import Scheduler
    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.clock import Clock
    from keyturn.ska.decision import IntegrityKey

_log: Final = logging.getLogger("keyturn.broker")

LONGEST_DELAY: Final = 60.0
"""Most seconds between two tries to reach an HSM."""
CLOCK_DIFFERENCE: Final = 1.0
"""Seconds after which a call is repeated that came too early by the HSM's clock."""
TRIES: Final = 8
"""How often a step is decided again because another broker changed the request in between."""

STALE: Final = "approval.stale-timestamp"
SPENT: Final = "approval.spent"
WITHDRAWN: Final = "approval.withdrawn"
"""Words with which the HSM says of an approval that it will not count any more, whatever else comes (R15, R26)."""
REPLAYABLE: Final = "allowReplayedControlApprovals"
"""Switch of an HSM that does not enforce R15."""
_CHANGING_THE_KEY: Final = frozenset({RequestKind.MODIFY, RequestKind.BLOCK, RequestKind.UNBLOCK})

POSTPONING: Final = frozenset({ErrorCode.CONNECTIVITY, ErrorCode.HSM_FAILURE})
"""Failures that say nothing about the request: it is tried again, unchanged."""
NOT_BEGUN: Final = frozenset({"hsm.unreachable", "hsm.sealed", "clock.ahead", "clock.behind", ROLLED_BACK})
"""Words with which a call is refused before anything is done with it."""


class Execution:
    """Drives requests.

    Args:
        database: The store.
        executor: The side that acts.
        clock: Where the time comes from.
        locks: One lock per request.
    """

    def __init__(self, database: Database, executor: Executor, clock: Clock, locks: RequestLocks) -> None:
        self._database = database
        self._executor = executor
        self._clock = clock
        self._locks = locks
        self._postponed: set[str] = set()
        self.scheduler: Scheduler | None = None

    def schedule(self, request: RequestRow) -> None:
        """Keep the scheduler's appointment in step with the store."""
        if self.scheduler is not None:
            self.scheduler.at(request.due_at, request.id)

    async def step_of(self, request: RequestRow, tasks: Sequence[TaskRow]) -> Step:
        """What a request does next."""
        return next_step(
            request,
            tasks,
            now=self._clock.now(),
            connected=self._executor.connected,
            integrity_keys=await self.integrity_keys(request),
        )

    async def integrity_keys(self, request: RequestRow) -> Sequence[IntegrityKey]:
        """Keys whose timestamps count; asked for only where there is a timestamp, and an HSM to send it to."""
        if request.stamp is None or not self._executor.connected:
            return ()
        return await self._executor.integrity_keys()

    async def overdue(self, grace: float) -> list[str]:
        """Ask the store which requests have been due for longer than `grace` seconds, whoever was to look at them."""
        now = self._clock.now()
        found: list[tuple[str]] = await self._database.read(
            lambda tx: tx.all(
                tuple,
                statements.OVERDUE_REQUESTS,
                {"w_due": now - grace, "w_sent_due": now - TAKE_OVER, "w_limit": MOST_AT_A_LOOK},
            )
        )
        return [request_id for (request_id,) in found]

    def _with_another_broker(self, request: RequestRow, *, own: bool) -> bool:
        """Whether another broker is sending it at this moment, as far as can be told."""
        return (
            self._database.shared
            and request.sent is not None
            and not own
            and self._clock.now() < (request.due_at or 0.0) + TAKE_OVER
        )

    async def drive(self, request_id: str) -> None:
        """Take a request as far as it goes now."""
        async with self._locks.of(request_id):
            for _ in range(TRIES):
                try:
                    await self._drive(request_id)
                except StaleError:
                    continue
                return

    async def _drive(self, request_id: str) -> None:
        own = request_id in self._postponed
        self._postponed.discard(request_id)
        request, tasks = await self._database.read(lambda tx: progress.load(tx, request_id))
        if not RequestStatus(request.status).is_open or self._with_another_broker(request, own=own):
            return
        if await self._key_is_gone(request):
            ended = {"status": RequestStatus.CANCELLED.value, "failure": progress.KEY_DELETED}
            self.done(await self._database.write(lambda tx: progress.advance(tx, request, **ended)))
            return
        try:
            step = await self.step_of(request, tasks)
        except KeyturnError as error:
            if error.code not in POSTPONING and error.refusal != ROLLED_BACK:
                raise
            await self._postpone(request, error)
            return
        first = request.sent is None
        if first:
            request = await self._database.write(lambda tx: progress.take_step(tx, request, step))
        await self.carry_out(request, tasks, step, first=first)

    async def carry_out(
        self, request: RequestRow, tasks: Sequence[TaskRow], step: Step | None, *, first: bool = True
    ) -> None:
        """Do what has just been written down. Call it under the request's lock.

        Args:
            request: The request as it stands in the store.
            tasks: All its tasks.
            step: The step that was written; None when nothing follows from what was written.
            first: Whether these approvals have never gone to the HSM before.
        """
        if step is None or step.kind is not StepKind.SEND:
            self.schedule(request)
            return
        try:
            await self._send(request, tasks, first=first)
        except BaseException as error:
            # The approvals may have reached the HSM. The store says so; the scheduler will find out.
            if self.scheduler is not None:
                self.scheduler.at(self._clock.now() + AFTER_AN_ERROR, request.id)
            if not isinstance(error, StaleError):
                raise

    async def _send(self, request: RequestRow, tasks: Sequence[TaskRow], *, first: bool) -> None:
        """Send a request whose `sent` is written, and write down the outcome."""
        by_id = {task.id: task for task in tasks}
        sent = [by_id[task_id] for task_id in json.loads(request.sent or "[]")]
        approvals = [task.authorization or b"" for task in sent]
        key: KeyRecord | None = None
        try:
            await self._require_own_key(request)
            done = await execute(self._executor, request, approvals)
            first = False
            if request.kind == RequestKind.SIGN:
                _require_own_signature(request, done.value or b"")
            if request.kind in CERTIFICATE_KINDS:
                _require_own_certificate(request, done.value or b"")
            if request.kind in _CHANGING_THE_KEY:
                # Executed is executed, even if the key has gone since.
                key = await self._key_of(request)
        except ExecutionRefusedError as error:
            await self._refused(request, sent, error)
            return
        except KeyturnError as error:
            if error.code in POSTPONING or error.refusal == ROLLED_BACK:
                await self._postpone(request, error, untouched=first and error.refusal in NOT_BEGUN)
            else:
                await self._fail(request, error)
            return
        now = self._clock.now()

        def store(tx: Transaction) -> list[str]:
            progress.advance(
                tx,
                request,
                status=RequestStatus.EXECUTED.value,
                executed_at=int(now),
                result=done.value,
                failure=None,
                receipt=done.receipt or None,
                receipt_signature=done.receipt_signature or None,
            )
            return [] if key is None else progress.follow_key(tx, key, now, replayable=replayable)

        replayable = key is not None and await self._replayable()
        rebased = await self._database.write(store)
        self.done(request)
        self.due_now(rebased, now)

    async def _require_own_key(self, request: RequestRow) -> None:
        """Refuse to send a request for one key to another that has taken over its label (R18, R19).

        A signature is verified with the key it was asked of instead; an ordinary key's request is executed in the call
        that opens it.
        """
        if request.kind == RequestKind.SIGN or not request.policy:
            return
        key = await self._key_of(request)
        if key is not None and key.uuid != request.key_uuid:
            raise _other_key(request)

    async def is_stale(self, request: RequestRow, key: KeyRecord) -> bool:
        """Whether a request's timestamp is too old for what its key has become (R15)."""
        if not progress.is_stale(request, key, replayable=False):
            return False
        return not (self._executor.connected and await self._replayable())

    async def _replayable(self) -> bool:
        """Whether the HSM takes replayed approvals for unblock and modify; if it does not say so, it does not."""
        try:
            return REPLAYABLE in (await self._executor.describe()).get("switches", ())
        except KeyturnError:
            return False

    async def _key_is_gone(self, request: RequestRow) -> bool:
        """Whether a request that has not gone to the HSM is for a key that was deleted."""
        if request.sent is not None or not self._executor.connected:
            return False
        try:
            key = await self._key_of(request)
        except KeyturnError:
            # The HSM is away; what it would say is found out when the request is executed.
            return False
        return key is None or key.uuid != request.key_uuid

    async def _key_of(self, request: RequestRow) -> KeyRecord | None:
        """The key that bears the request's label now, or None when there is none."""
        try:
            return await self._executor.key(request.key_label)
        except KeyturnError as error:
            if error.code is not ErrorCode.KEY_NOT_EXISTENT:
                raise
            return None

    async def follow(self, key: KeyRecord) -> None:
        """Let a key's open requests follow what it has become: its policy, and which timestamps are too old for it."""
        now = self._clock.now()
        replayable = await self._replayable()
        followed = await self._database.write(lambda tx: progress.follow_key(tx, key, now, replayable=replayable))
        self.due_now(followed, now)

    def due_now(self, request_ids: Sequence[str], now: float) -> None:
        """Have requests looked at by the scheduler at once."""
        if self.scheduler is not None:
            for request_id in request_ids:
                self.scheduler.at(now, request_id)

    def done(self, request: RequestRow) -> None:
        """Drop the appointment of a request that has ended."""
        if self.scheduler is not None:
            self.scheduler.at(None, request.id)

    async def _fail(self, request: RequestRow, error: KeyturnError) -> None:
        failure = f"{error.message} ({error.refusal})" if error.refusal else error.message
        changes = {"status": RequestStatus.FAILED.value, "failure": failure, **_receipt_of(error)}
        await self._database.write(lambda tx: progress.advance(tx, request, **changes))
        self.done(request)

    async def _postpone(self, request: RequestRow, error: KeyturnError, *, untouched: bool = False) -> None:
        """Have a request looked at again later.

        Args:
            request: The request.
            error: Why.
            untouched: It is certain that the HSM has done nothing with it. Then its approvals do not count as sent, so
                that they can be withdrawn, and the request cancelled, while the HSM is away.
        """
        delay = min(LONGEST_DELAY, 2.0 ** min(request.attempts, 10))
        _log.warning("request %s waits %.0f s for the HSM: %s", request.id, delay, error.message)
        request = await self._database.write(
            lambda tx: progress.advance(
                tx,
                request,
                due_at=self._clock.now() + delay,
                attempts=request.attempts + 1,
                failure=error.message,
                sent=None if untouched else request.sent,
            )
        )
        if self._database.shared:
            self._postponed.add(request.id)
        self.schedule(request)

    async def _refused(self, request: RequestRow, sent: Sequence[TaskRow], error: ExecutionRefusedError) -> None:
        """Write down a refusal: what more or other approvals can cure goes back to waiting (R25)."""
        now = self._clock.now()
        closing = last_closing(request)
        words = {word for _, word in error.bad_approvals}
        failure = error.message
        if error.is_about_approvals and STALE in words:
            # All approvals carry the same timestamp, so that no other one could be better.
            changes: dict[str, Any] = {"status": RequestStatus.EXPIRED.value}
            failure = progress.stale_reason(Action(request.action))
        elif error.is_about_approvals and SPENT in words:
            changes = {"status": RequestStatus.FAILED.value}
            failure = "What its approvals say has been done already, and is done once only. Open a new request."
        elif error.refusal == "approvals.too-late" or (
            error.is_about_approvals and closing is not None and now >= closing
        ):
            changes = {"status": RequestStatus.EXPIRED.value}
        elif error.refusal == "approvals.too-early":
            changes = {"status": RequestStatus.APPROVED.value, "due_at": now + CLOCK_DIFFERENCE, "sent": None}
        elif error.is_about_approvals:
            changes = {"status": RequestStatus.PENDING.value, "due_at": closing, "sent": None}
        else:
            await self._fail(request, error)
            return
        bad = [(sent[position], word) for position, word in error.bad_approvals if position < len(sent)]
        reopen = changes["status"] == RequestStatus.PENDING.value

        def store(tx: Transaction) -> RequestRow:
            for task, word in bad if reopen else ():
                if word == WITHDRAWN:
                    tx.run(statements.SET_TASK_STATE, {"w_id": task.id, "state": TaskState.WITHDRAWN.value})
                    continue
                tx.run(statements.REOPEN_TASK, {"w_id": task.id, "marked": word})
                tx.run(
                    statements.INSERT_EVIDENCE,
                    {
                        "request_id": request.id,
                        "task_id": task.id,
                        "signer": task.signer,
                        "kind": EVIDENCE_REFUSED_APPROVAL,
                        "statement": request.statement,
                        "signature": task.authorization or b"",
                        "digest": word,
                        "recorded_at": now,
                    },
                )
            values = {"failure": failure, **changes, **_receipt_of(error)}
            if reopen and not progress.can_be_reached(*progress.load(tx, request.id)):
                values |= {"status": RequestStatus.REJECTED.value, "failure": progress.UNREACHABLE}
            return progress.advance(tx, request, **values)

        changed = await self._database.write(store)
        self.schedule(changed)
        if changed.status == RequestStatus.PENDING:
            await self._follow_policy(changed)

    async def _follow_policy(self, request: RequestRow) -> None:
        """After a refusal: the HSM may hold a newer policy than the one the prediction was made with."""
        try:
            key = await self._executor.key(request.key_label)
        except KeyturnError:
            return
        if key.uuid != request.key_uuid or key.policy == request.policy:
            return
        await self.follow(key)


def _receipt_of(error: KeyturnError) -> dict[str, bytes]:
    """The HSM's receipt for a refusal, as columns of the request; nothing where it gave none."""
    if not isinstance(error, ExecutionRefusedError) or not error.receipt:
        return {}
    return {"receipt": error.receipt, "receipt_signature": error.receipt_signature}


def _require_own_signature(request: RequestRow, signature: bytes) -> None:
    """Refuse a signature of another key that has taken over the label (R18, R19).

    Such a key may need no approval at all, so that the HSM signs; but this is not what was approved. An ordinary key's
    request is executed in the call that opens it, and is not checked again.
    """
    if not request.policy:
        return
    try:
        verify(
            request.key_public,
            request.algorithm,
            request.payload,
            signature,
            signature_type=request.signature_type,
            options=sign_options(request),
        )
    except KeyturnError:
        raise _other_key(request) from None


def _require_own_certificate(request: RequestRow, made: bytes) -> None:
    """The same for a certificate, and that it consists of the bytes that were approved (R17)."""
    try:
        require_certified(request, made)
    except KeyturnError:
        raise _other_key(request) from None


def _other_key(request: RequestRow) -> KeyturnError:
    return KeyturnError(
        ErrorCode.KEY_NOT_EXISTENT,
        f"The label {request.key_label} belongs to another key now than the one this request was opened for. Open a "
        "new request.",
        refusal="key.other",
    )
