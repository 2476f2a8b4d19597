"""Takes what approvers decide: approvals, signed rejections, rejections by timestamp.

An approval is stored only if it is for this task, by this task's approver, over exactly this task's bytes, with a
valid signature (R25). A rejection by timestamp must not reuse a signature that fetched tasks: whoever sees an
officer's polling could otherwise reject in their name (R26).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from keyturn.broker import progress
from keyturn.broker.execution import TRIES
from keyturn.broker.signers import digest_of, load_signer, require_fresh, require_signature
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.database import StaleError
from keyturn.broker.storage.rows import EVIDENCE_REJECTION, RequestRow, TaskRow, TaskState
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.messages import Authorization, decode_approval, encode_authorization
from keyturn.ska.signatures import wrap_signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.broker.approver_calls import ApprovalCall, RejectCall
    from keyturn.broker.execution import Execution
    from keyturn.broker.locks import RequestLocks
    from keyturn.broker.prediction import Step
    from keyturn.broker.settings import BrokerSettings
    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.clock import Clock
    from keyturn.ska.approver_keys import ApproverKey

REJECTED: Final = b"REJECTED:"
"""What a signed rejection begins with (decisions 4). No approval does: its first four bytes are a length."""


class Approvals:
    """Takes approvals and rejections.

    Args:
        database: The store.
        execution: Executes what became complete.
        clock: Where the time comes from.
        locks: One lock per request.
        settings: Freshness of timestamps.
    """

    def __init__(
        self,
        database: Database,
        execution: Execution,
        clock: Clock,
        locks: RequestLocks,
        settings: BrokerSettings,
    ) -> None:
        self._database = database
        self._execution = execution
        self._clock = clock
        self._locks = locks
        self._settings = settings

    async def approve(self, call: ApprovalCall) -> None:
        """Take an approval or a signed rejection; arguments and errors as `Broker.approve`."""
        key = load_signer(call.signer)
        task = await self._task(call.task_id, key)
        async with self._locks.of(task.request_id):
            request, tasks = await self._database.read(lambda tx: progress.load(tx, task.request_id))
            if call.approval.startswith(REJECTED):
                await self._signed_rejection(call, key, request, task)
                return
            require_same_statement(call.approval, request)
            scheme = require_signature(key, call.digest, call.signature, call.approval)
            authorization = encode_authorization(
                Authorization(
                    approval=call.approval,
                    signature=wrap_signature(scheme.name, call.signature),
                    spki=call.signer.spki,
                    certificate=call.signer.certificate,
                )
            )
            await self._store_approval(task, authorization, request, tasks)

    async def _store_approval(
        self, task: TaskRow, authorization: bytes, request: RequestRow, tasks: list[TaskRow]
    ) -> None:
        for _ in range(TRIES):
            now = self._clock.now()
            approved = task._replace(state=TaskState.APPROVED.value, decided_at=now, authorization=authorization)
            tasks = [approved if each.id == task.id else each for each in tasks]
            # What the HSM holds already is not changed by one more approval.
            step = None if request.sent is not None else await self._execution.step_of(request, tasks)
            try:
                request = await self._database.write(_storing_approval(approved, request, step))
            except StaleError:
                request, tasks = await self._database.read(lambda tx: progress.load(tx, task.request_id))
                continue
            await self._execution.carry_out(request, tasks, step)
            return
        raise _busy()

    async def _signed_rejection(self, call: ApprovalCall, key: ApproverKey, request: RequestRow, task: TaskRow) -> None:
        rest = call.approval[len(REJECTED) :]
        if rest not in (request.statement, request.statement + task.id.encode("ascii")):
            raise KeyturnError(
                ErrorCode.INVALID_SIGNATURE,
                "The rejection is not for this task: after REJECTED: come exactly the task's approvalToBeSigned and, "
                "optionally, the task's id.",
                refusal="rejection.wrong-task",
            )
        require_signature(key, call.digest, call.signature, call.approval)
        now = self._clock.now()

        def record(tx: Transaction) -> None:
            tx.run(
                statements.INSERT_EVIDENCE,
                {
                    "request_id": request.id,
                    "task_id": task.id,
                    "signer": task.signer,
                    "kind": EVIDENCE_REJECTION,
                    "statement": call.approval,
                    "signature": call.signature,
                    "digest": call.digest,
                    "recorded_at": now,
                },
            )

        await self._reject(task, now, record)

    async def reject(self, call: RejectCall) -> None:
        """Take a rejection by timestamp; arguments and errors as `Broker.reject`."""
        now = self._clock.now()
        require_fresh(call.timestamp, now, self._settings)
        key = load_signer(call.signer)
        require_signature(key, call.digest, call.timestamp_signature, call.timestamp.encode())
        task = await self._task(call.task_id, key)
        pair = {"signer": task.signer, "timestamp": call.timestamp}

        def spend(tx: Transaction) -> None:
            if tx.one(tuple, statements.SPENT_TIMESTAMP, {f"w_{name}": value for name, value in pair.items()}):
                raise KeyturnError(
                    ErrorCode.SECURITY_NOT_ALLOWED,
                    "This timestamp's signature has served before and cannot reject. Sign the present time again, with "
                    "a fraction of a second if need be, or reject with a signed rejection through /v1/approval.",
                    refusal="timestamp.already-used",
                )
            tx.run(statements.SPEND_TIMESTAMP, {**pair, "used_at": now})

        async with self._locks.of(task.request_id):
            await self._reject(task, now, spend)

    async def _reject(self, task: TaskRow, now: float, first: Callable[[Transaction], None]) -> None:
        for _ in range(TRIES):
            try:
                request = await self._database.write(lambda tx: _rejecting(tx, task, now, first))
            except StaleError:
                continue
            self._execution.schedule(request)
            return
        raise _busy()

    async def _task(self, task_id: str, key: ApproverKey) -> TaskRow:
        task = await self._database.read(lambda tx: tx.one(TaskRow._make, statements.TASK, {"w_id": task_id}))
        if task is None:
            raise KeyturnError(
                ErrorCode.TASK_NOT_EXISTENT,
                "There is no task with this id. Fetch your tasks again.",
                refusal="task.unknown",
            )
        if task.signer != digest_of(key):
            raise KeyturnError(
                ErrorCode.SECURITY_NOT_ALLOWED,
                "This task belongs to another approver. Use the key to which the task was given.",
                refusal="task.wrong-approver",
            )
        require_undecided(task)
        return task


def _storing_approval(task: TaskRow, request: RequestRow, step: Step | None) -> Callable[[Transaction], RequestRow]:
    def store(tx: Transaction) -> RequestRow:
        decided = {"state": task.state, "decided_at": task.decided_at, "authorization": task.authorization}
        if tx.run(statements.DECIDE_TASK, {"w_id": task.id, **decided}) == 0:
            raise_decided(tx, task)
        if step is None:
            return progress.advance(tx, request)
        return progress.take_step(tx, request, step)

    return store


def _rejecting(tx: Transaction, task: TaskRow, now: float, first: Callable[[Transaction], None]) -> RequestRow:
    values = {"state": TaskState.REJECTED.value, "decided_at": now, "authorization": None}
    if tx.run(statements.DECIDE_TASK, {"w_id": task.id, **values}) == 0:
        raise_decided(tx, task)
    first(tx)
    request, tasks = progress.load(tx, task.request_id)
    if request.sent is not None or progress.can_be_reached(request, tasks):
        return progress.advance(tx, request)
    return progress.advance(tx, request, status=RequestStatus.REJECTED.value, failure=progress.UNREACHABLE)


def require_same_statement(approval: bytes, request: RequestRow) -> None:
    """Refuse approval bytes that are not the task's, and say in what they differ (R25).

    Args:
        approval: What the approver signed.
        request: The task's request.

    Raises:
        KeyturnError: 403 with `approval.malformed`, `approval.wrong-operation`, `approval.wrong-label`,
            `approval.wrong-payload` or `approval.wrong-timestamp`.
    """
    if approval == request.statement:
        return
    try:
        given, wanted = decode_approval(approval), decode_approval(request.statement)
    except FormatError as error:
        raise KeyturnError(
            ErrorCode.INVALID_SIGNATURE,
            f"approvalToBeSigned is not a well-formed approval ({error.message}). Sign the bytes as they were fetched.",
            refusal="approval.malformed",
        ) from None
    if given.action != wanted.action:
        word, what = "operation", f"the operation {given.action.name.lower()}, not {wanted.action.name.lower()}"
    elif given.label != wanted.label:
        word, what = "label", "another key"
    elif given.payload != wanted.payload:
        word, what = "payload", "another payload"
    else:
        word, what = "timestamp", "another timestamp"
    raise KeyturnError(
        ErrorCode.INVALID_SIGNATURE,
        f"The approval is for {what}; this task asks for something else. Fetch the task again and sign its bytes.",
        refusal=f"approval.wrong-{word}",
    )


def require_undecided(task: TaskRow) -> None:
    """Refuse a task that is gone (decisions 36).

    Raises:
        KeyturnError: 652 `task.approved`, `task.rejected` or `task.closed`.
    """
    if task.state == TaskState.OPEN:
        return
    messages = {
        TaskState.APPROVED: "You have approved this task already; an approval counts once.",
        TaskState.REJECTED: "You have rejected this task; that cannot be taken back. Ask for a new request.",
        TaskState.WITHDRAWN: "You have taken your approval of this task back; that is final. Ask for a new request.",
        TaskState.CLOSED: "This task is gone: its request has ended, or you are no longer listed.",
    }
    state = TaskState(task.state)
    raise KeyturnError(ErrorCode.TASK_NOT_EXISTENT, messages[state], refusal=f"task.{state.lower()}")


def raise_decided(tx: Transaction, task: TaskRow) -> NoReturn:
    """Say what became of a task between reading and writing."""
    current = tx.one(TaskRow._make, statements.TASK, {"w_id": task.id})
    require_undecided(current or task._replace(state=TaskState.CLOSED.value))
    raise StaleError


def _busy() -> KeyturnError:
    return KeyturnError(
        ErrorCode.TECHNICAL,
        "Too many changes to this request at the same time; nothing was stored. Try again.",
        refusal="request.busy",
    )
