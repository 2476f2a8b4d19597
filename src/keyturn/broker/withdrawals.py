"""Takes approvals back (R26), and brings what was taken back to the HSM's ledger.

Until its request is executed, an approver may withdraw an approval: signed, so that nobody else can. Here it stops
counting in the commit that acknowledges it. But whoever has seen the approval could still hand it to the HSM; so the
withdrawal goes there, too, and stays in the store until the HSM has it (ADR 0059).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from keyturn.broker import progress
from keyturn.broker.approvals import require_same_statement
from keyturn.broker.execution import LONGEST_DELAY, POSTPONING, TRIES
from keyturn.broker.executor import Withdrawal
from keyturn.broker.prediction import Step, StepKind
from keyturn.broker.signers import digest_of, load_signer, require_signature
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.database import StaleError
from keyturn.broker.storage.rows import EVIDENCE_WITHDRAWAL, RequestRow, TaskRow, TaskState, WithdrawalRow
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.signatures import wrap_signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.broker.approver_calls import WithdrawCall
    from keyturn.broker.execution import Execution
    from keyturn.broker.executor import Executor
    from keyturn.broker.locks import RequestLocks
    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.clock import Clock

_log: Final = logging.getLogger("keyturn.broker")

WITHDRAW: Final = b"WITHDRAW:"
"""What a signed withdrawal begins with; behind it come the token and the task id in ASCII."""

NO_USE: Final = frozenset({"key.unknown", "policy.none", "withdrawal.unlisted-key"})
"""Words with which the HSM refuses a withdrawal of what counts for nothing there anyway."""
LOOK_EVERY: Final = 5.0
"""Seconds between two looks for what a broker that died has left owed, where several share a store."""


class Withdrawals:
    """Takes withdrawals, and brings them to the HSM.

    Args:
        database: The store.
        execution: Drives what changed.
        executor: The side that acts.
        clock: Where the time comes from.
        locks: One lock per request.
    """

    def __init__(
        self, database: Database, execution: Execution, executor: Executor, clock: Clock, locks: RequestLocks
    ) -> None:
        self._database = database
        self._execution = execution
        self._executor = executor
        self._clock = clock
        self._locks = locks
        self._waiting = asyncio.Event()
        self._delivering = asyncio.Lock()
        self._courier: asyncio.Task[None] | None = None

    # --- taking ---

    async def withdraw(self, call: WithdrawCall) -> None:
        """Take an approval back; arguments and errors as `Broker.withdraw`."""
        key = load_signer(call.signer)
        task = await self._database.read(lambda tx: _task(tx, call.task_id))
        if task.signer != digest_of(key):
            raise KeyturnError(
                ErrorCode.SECURITY_NOT_ALLOWED,
                "This task belongs to another approver. Use the key with which it was approved.",
                refusal="task.wrong-approver",
            )
        async with self._locks.of(task.request_id):
            request, tasks = await self._database.read(lambda tx: progress.load(tx, task.request_id))
            require_same_statement(call.approval, request)
            signed = WITHDRAW + call.approval + task.id.encode("ascii")
            scheme = require_signature(key, call.digest, call.signature, signed)
            withdrawal = Withdrawal(
                label=request.key_label,
                approval=call.approval,
                task_id=task.id,
                signature=wrap_signature(scheme.name, call.signature),
                spki=call.signer.spki,
                certificate=call.signer.certificate,
            )
            await self._withdraw(call, task, request, tasks, withdrawal)
        if self._executor.connected:
            await self.deliver()

    async def _withdraw(
        self,
        call: WithdrawCall,
        task: TaskRow,
        request: RequestRow,
        tasks: list[TaskRow],
        withdrawal: Withdrawal,
    ) -> None:
        for _ in range(TRIES):
            _require_withdrawable(request, next(each for each in tasks if each.id == task.id))
            now = self._clock.now()
            tasks = [each._replace(state=TaskState.WITHDRAWN.value) if each.id == task.id else each for each in tasks]
            step = await self._step_of(request, tasks) if progress.can_be_reached(request, tasks) else None
            try:
                request = await self._database.write(self._storing(call, task, request, withdrawal, step=step, now=now))
            except StaleError:
                request, tasks = await self._database.read(lambda tx: progress.load(tx, task.request_id))
                continue
            await self._execution.carry_out(request, tasks, step)
            return
        raise KeyturnError(
            ErrorCode.TECHNICAL,
            "Too many changes to this request at the same time; nothing was stored. Try again.",
            refusal="request.busy",
        )

    async def _step_of(self, request: RequestRow, tasks: list[TaskRow]) -> Step:
        try:
            return await self._execution.step_of(request, tasks)
        except KeyturnError as error:
            if error.code not in POSTPONING:
                raise
            # What is taken back is taken back even while the HSM is away; the request is looked at again later.
            return Step(StepKind.WAIT, self._clock.now())

    def _storing(
        self,
        call: WithdrawCall,
        task: TaskRow,
        request: RequestRow,
        withdrawal: Withdrawal,
        *,
        step: Step | None,
        now: float,
    ) -> Callable[[Transaction], RequestRow]:
        connected = self._executor.connected

        def store(tx: Transaction) -> RequestRow:
            if tx.run(statements.WITHDRAW_TASK, {"w_id": task.id, "decided_at": now}) == 0:
                raise StaleError
            tx.run(
                statements.INSERT_EVIDENCE,
                {
                    "request_id": request.id,
                    "task_id": task.id,
                    "signer": task.signer,
                    "kind": EVIDENCE_WITHDRAWAL,
                    "statement": WITHDRAW + call.approval + task.id.encode("ascii"),
                    "signature": call.signature,
                    "digest": call.digest,
                    "recorded_at": now,
                },
            )
            if connected:
                tx.run(
                    statements.INSERT_WITHDRAWAL,
                    {
                        "key_label": withdrawal.label,
                        "task_id": task.id,
                        "statement": withdrawal.approval,
                        "signature": withdrawal.signature,
                        "spki": withdrawal.spki,
                        "certificate": withdrawal.certificate,
                        "recorded_at": now,
                    },
                )
            if step is not None:
                return progress.take_step(tx, request, step)
            return progress.advance(tx, request, status=RequestStatus.REJECTED.value, failure=progress.UNREACHABLE)

        return store

    # --- bringing to the HSM ---

    def start(self) -> None:
        """Begin to bring what waits, now and whenever something comes."""
        if self._executor.connected:
            self._waiting.set()
            self._courier = asyncio.get_running_loop().create_task(self._run(), name="keyturn-withdrawals")

    async def stop(self) -> None:
        """Stop; what waits stays in the store."""
        if self._courier is not None:
            self._courier.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._courier

    async def _run(self) -> None:
        delay = 1.0
        while True:
            await self._wait()
            self._waiting.clear()
            try:
                await self.deliver()
            except Exception:
                _log.exception("withdrawals could not be brought to the HSM; it is tried again")
                self._waiting.set()
            if self._waiting.is_set():
                await asyncio.sleep(delay)
                delay = min(LONGEST_DELAY, 2 * delay)
            else:
                delay = 1.0

    async def _wait(self) -> None:
        """Wait for something to bring; where other brokers share the store, not for long: one of them may have died."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY if self._database.shared else None):
                await self._waiting.wait()

    async def deliver(self) -> None:
        """Bring to the HSM what waits for it. What cannot be brought now stays, and is brought later."""
        async with self._delivering:
            rows = await self._database.read(lambda tx: tx.all(WithdrawalRow._make, statements.WITHDRAWALS, {}))
            for row in rows:
                try:
                    await self._executor.withdraw(_withdrawal(row))
                except KeyturnError as error:
                    if error.code in POSTPONING:
                        self._waiting.set()
                        return
                    _log.warning("the HSM did not take the withdrawal of task %s: %s", row.task_id, error.message)
                    if error.refusal not in NO_USE:
                        # The approval may still count: it stays owed, and holds up no other.
                        self._waiting.set()
                        continue
                await self._database.write(partial(_delivered, withdrawal_id=row.id))


def _delivered(tx: Transaction, *, withdrawal_id: int) -> None:
    tx.run(statements.DELETE_WITHDRAWAL, {"w_id": withdrawal_id})


def _withdrawal(row: WithdrawalRow) -> Withdrawal:
    return Withdrawal(
        label=row.key_label,
        approval=row.statement,
        task_id=row.task_id,
        signature=row.signature,
        spki=row.spki,
        certificate=row.certificate,
    )


def _task(tx: Transaction, task_id: str) -> TaskRow:
    task = tx.one(TaskRow._make, statements.TASK, {"w_id": task_id})
    if task is None:
        raise KeyturnError(
            ErrorCode.TASK_NOT_EXISTENT,
            "There is no task with this id. Give the id of the task that you approved.",
            refusal="task.unknown",
        )
    return task


def _require_withdrawable(request: RequestRow, task: TaskRow) -> None:
    """Refuse to take back what was not approved, or what has been acted upon.

    Raises:
        KeyturnError: 611 `request.closed`, `request.in-execution`; 652 `task.not-approved`, `task.withdrawn`.
    """
    if task.state == TaskState.WITHDRAWN:
        raise KeyturnError(
            ErrorCode.TASK_NOT_EXISTENT,
            "You have taken this approval back already; it counts no more.",
            refusal="task.withdrawn",
        )
    if not RequestStatus(request.status).is_open:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"The request is {request.status}; that is final, and an approval of it cannot be taken back. If the key "
            "must not act on it again, have the key blocked or its policy changed.",
            refusal="request.closed",
        )
    if request.sent is not None:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            "The approvals are with the HSM at this moment, so that this one cannot be taken back now. Look at the "
            "request again, and have the key blocked if it must not act.",
            refusal="request.in-execution",
        )
    if task.state != TaskState.APPROVED:
        raise KeyturnError(
            ErrorCode.TASK_NOT_EXISTENT,
            "You have not approved this task, so that there is nothing to take back. Reject it instead.",
            refusal="task.not-approved",
        )
