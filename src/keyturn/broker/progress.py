"""How a request moves on in the store: the units of work that change requests and their tasks.

Every change of a request is one call of `advance`. It checks the transition, names the version it started from, and
closes the tasks of a request that ends, all in the unit of the fact that caused it (law 3).
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

from keyturn.broker.prediction import StepKind, governing_rule, last_change, parsed_policy, stamp_seconds
from keyturn.broker.states import RequestStatus, require_transition
from keyturn.broker.storage import statements
from keyturn.broker.storage.database import StaleError
from keyturn.broker.storage.rows import RequestRow, TaskRow, TaskState
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.decision import can_still_be_reached
from keyturn.ska.key_names import SEPARATOR
from keyturn.ska.policy_rules import listed_approvers, serves_once

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from keyturn.broker.executor import KeyRecord
    from keyturn.broker.prediction import Step
    from keyturn.broker.storage.database import Transaction
    from keyturn.ska.policy import Rule

BLOCKED_NOTE: Final = "The key is blocked. Approvals are collected, but until it is unblocked its use fails."
"""`failure` of an open request to use a blocked key: said before anybody waits for the outcome."""
UNREACHABLE: Final = (
    "So many approvers rejected or withdrew that no token of the rule can be fulfilled any more. Open a new request."
)
"""`failure` of a request that is REJECTED."""
KEY_DELETED: Final = "Its key was deleted."
"""`failure` of a request that is CANCELLED because of that."""
SUPERSEDED: Final = (
    "The key's policy was replaced after this request was opened. Approvals of this key name the policy under which "
    "they were asked for, so that those for this request cannot count. Open a new request."
)
"""`failure` of a request for a bound key that is EXPIRED because of a new policy."""
_STALE: Final = {
    Action.UNBLOCK: "The key was blocked again",
    Action.MODIFY: "The key's policy was replaced",
}


def load(tx: Transaction, request_id: str) -> tuple[RequestRow, list[TaskRow]]:
    """Read a request with its tasks.

    Raises:
        KeyturnError: 651 for an unknown request.
    """
    request = tx.one(RequestRow._make, statements.REQUEST, {"w_id": request_id})
    if request is None:
        raise KeyturnError(
            ErrorCode.REQUEST_NOT_EXISTENT,
            "There is no request with this id. Check the id that was returned when it was opened.",
        )
    return request, tx.all(TaskRow._make, statements.TASKS_OF_REQUEST, {"w_request": request_id})


def advance(tx: Transaction, request: RequestRow, **changes: Any) -> RequestRow:
    """Change a request.

    Args:
        tx: The unit's transaction.
        request: The request as it was read.
        **changes: New values of `status`, `due_at`, `sent`, `attempts`, `executed_at`, `result`, `failure`, `receipt`,
            `receipt_signature`.

    Returns:
        The request as it is now.

    Raises:
        KeyturnError: 611 for a transition that does not exist.
        StaleError: The request has changed since it was read.
    """
    changed = request._replace(version=request.version + 1, **changes)
    if changed.status != request.status:
        require_transition(RequestStatus(request.status), RequestStatus(changed.status))
    if not RequestStatus(changed.status).is_open:
        # The password served for this request alone (R27).
        changed = changed._replace(due_at=None, sent=None, sealed_password=None)
        tx.run(statements.CLOSE_OPEN_TASKS, {"w_request": request.id})
    values = {name: getattr(changed, name) for name in statements.CHANGING}
    if tx.run(statements.ADVANCE_REQUEST, {"w_id": request.id, "w_version": request.version, **values}) == 0:
        raise StaleError
    return changed


def take_step(tx: Transaction, request: RequestRow, step: Step) -> RequestRow:
    """Write down what a request does next, before it does it.

    For `SEND` this fixes which approvals go to the HSM. Whoever takes up the request after a crash sends the same
    ones under the same operation id, so that the HSM gives its stored result (ARCHITECTURE.md, processes 1).
    """
    match step.kind:
        case StepKind.WAIT:
            return advance(tx, request, status=RequestStatus.PENDING.value, due_at=step.due_at)
        case StepKind.HOLD:
            return advance(tx, request, status=RequestStatus.APPROVED.value, due_at=step.due_at)
        case StepKind.SEND:
            return advance(tx, request, due_at=step.due_at, sent=json.dumps(step.sent))
        case StepKind.EXPIRE:
            return advance(
                tx,
                request,
                status=RequestStatus.EXPIRED.value,
                failure="The time in which its approvals count has passed. Open a new request.",
            )


def task_rows(request_id: str, rule: Rule, now: float, *, first: int = 0) -> list[TaskRow]:
    """Make one task for every approver a rule names.

    Args:
        request_id: Their request.
        rule: The rule that governs the action.
        now: Seconds since the epoch.
        first: Position of the first one.
    """
    return [
        TaskRow(
            id=str(uuid.uuid4()),
            request_id=request_id,
            position=position,
            signer=bytes.fromhex(load_approver_key(approver.spki).fingerprint),
            spki=approver.spki,
            state=TaskState.OPEN.value,
            created_at=now,
            fetched_at=now,
            decided_at=None,
            authorization=None,
            marked="",
        )
        for position, approver in enumerate(listed_approvers(rule), first)
    ]


def insert_tasks(tx: Transaction, tasks: Iterable[TaskRow]) -> None:
    """Write new tasks."""
    tx.run_many(statements.INSERT_TASK, (task._asdict() for task in tasks))


def open_requests_of(tx: Transaction, label: str) -> Sequence[RequestRow]:
    """The open requests of a key, and of those derived from it, whose outcome does not lie with the HSM now.

    A derived key is what its master has become (R21); its requests carry the master's uuid.
    """
    known: list[tuple[Any, ...]] = tx.all(tuple, statements.KEYS_OF_OPEN_REQUESTS, {})
    labels = {label} | {str(child) for child, _ in known if child.startswith(label + SEPARATOR)}
    rows = [
        row
        for name in sorted(labels)
        for row in tx.all(RequestRow._make, statements.OPEN_REQUESTS_OF_KEY, {"w_label": name})
    ]
    return [row for row in rows if row.sent is None]


def cancel_open_requests(tx: Transaction, label: str, uuids: Collection[str] | None = None) -> list[str]:
    """Cancel the open requests of keys that are gone; returns their ids (rest-api.md section 6.1).

    Args:
        tx: The unit's transaction.
        label: The keys' label.
        uuids: Their uuids, None for all that bore the label: a new key of the same label keeps its requests.
    """
    cancelled = []
    for request in open_requests_of(tx, label):
        # The register knows a derived key by itself, and forgets it by itself.
        if request.key_label == label if uuids is None else request.key_uuid in uuids:
            advance(tx, request, status=RequestStatus.CANCELLED.value, failure=KEY_DELETED)
            cancelled.append(request.id)
    return cancelled


def can_be_reached(request: RequestRow, tasks: Iterable[TaskRow]) -> bool:
    """Whether the rule can still be fulfilled after what approvers rejected and took back."""
    gone = {
        load_approver_key(task.spki).identity
        for task in tasks
        if task.state in (TaskState.REJECTED, TaskState.WITHDRAWN)
    }
    return can_still_be_reached(parsed_policy(request.policy), Action(request.action), gone)


def blocked_note(action: Action, *, blocked: bool) -> str | None:
    """What an open request says about a key that is blocked."""
    return BLOCKED_NOTE if blocked and action is Action.USE else None


def follow_key(tx: Transaction, key: KeyRecord, now: float, *, replayable: bool = False) -> list[str]:
    """Let a key's open requests follow what it has become: its policy, its block, and the age of their timestamps.

    On a protected key a modify that was stamped before the last one never counts, nor an unblock stamped before the
    last block (R15). A statement of a bound key names the policy under which it was asked (R7). Such requests end here,
    so that nobody approves them in vain.

    Args:
        tx: The unit's transaction.
        key: The key as it is now; requests for an earlier key of the label are left alone.
        now: Seconds since the epoch.
        replayable: Whether the HSM takes replays all the same (`hsm.allowReplayedControlApprovals`).

    Returns:
        Ids of the requests to be looked at.
    """
    changed = []
    for request in open_requests_of(tx, key.label):
        if request.key_uuid != key.uuid:
            continue
        action = Action(request.action)
        if is_stale(request, key, replayable=replayable):
            advance(tx, request, status=RequestStatus.EXPIRED.value, failure=stale_reason(action))
            changed.append(request.id)
        elif is_superseded(request, key):
            advance(tx, request, status=RequestStatus.EXPIRED.value, failure=SUPERSEDED)
            changed.append(request.id)
        elif action is Action.USE and (request.failure == BLOCKED_NOTE) is not key.blocked:
            advance(tx, request, failure=blocked_note(action, blocked=key.blocked))
    return changed + rebase_open_requests(tx, key.label, key.uuid, key.policy, key.state_counter, now)


def is_stale(request: RequestRow, key: KeyRecord, *, replayable: bool) -> bool:
    """Whether the HSM will not count a request's timestamp any more; arguments as in `follow_key`."""
    action = Action(request.action)
    if replayable or request.stamp is None or not key.policy or not serves_once(parsed_policy(key.policy), action):
        return False
    return stamp_seconds(request.stamp) <= last_change(key, action)


def is_superseded(request: RequestRow, key: KeyRecord) -> bool:
    """Whether approvals for a request name a policy that its key has no more (R7); arguments as in `follow_key`."""
    return request.bound_statement is not None and request.policy != key.policy


def stale_reason(action: Action) -> str:
    """Why a request ends whose timestamp became too old (R15)."""
    what = _STALE.get(action, "The key was changed")
    return f"{what} after the HSM's timestamp in this request, so that its approvals cannot count. Open a new request."


def rebase_open_requests(
    tx: Transaction, label: str, uuid_text: str, policy: bytes, counter: int, now: float
) -> list[str]:
    """Let a key's open requests follow a change of its policy.

    Approvals are not bound to a policy (ska-wire-format.md section 8, rule 18), unless the key is bound: then its
    requests ended before this (`follow_key`). Those given count under the new one if their signer is listed there.
    Whoever is newly listed gets a task; open tasks of those no longer listed go.

    Args:
        tx: The unit's transaction.
        label: The key's label.
        uuid_text: Its uuid; requests for an earlier key of the label are left alone.
        policy: The policy blob now in force.
        counter: State counter of the change.
        now: Seconds since the epoch; the requests become due, because fewer approvals may be enough now.

    Returns:
        Ids of the requests.
    """
    changed = []
    for request in open_requests_of(tx, label):
        if request.key_uuid != uuid_text or request.policy == policy:
            continue
        values = {"version": request.version + 1, "due_at": now, "policy": policy, "key_counter": counter}
        if tx.run(statements.REBASE_REQUEST, {"w_id": request.id, "w_version": request.version, **values}) == 0:
            raise StaleError
        changed.append(request.id)
        if not request.statement:
            # It waits for signed time; its tasks are made when that is there.
            continue
        old = tx.all(TaskRow._make, statements.TASKS_OF_REQUEST, {"w_request": request.id})
        new = task_rows(request.id, governing_rule(policy, request.action), now, first=len(old))
        listed = {task.signer for task in new}
        known = {task.signer: task for task in old}
        insert_tasks(tx, (task for task in new if task.signer not in known))
        for task in old:
            if task.state == TaskState.OPEN and task.signer not in listed:
                tx.run(statements.SET_TASK_STATE, {"w_id": task.id, "state": TaskState.CLOSED.value})
            elif task.state == TaskState.CLOSED and task.signer in listed:
                tx.run(statements.SET_TASK_STATE, {"w_id": task.id, "state": TaskState.OPEN.value})
    return changed
