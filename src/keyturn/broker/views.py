"""How requests are shown: their state, the body for the offline side, the preflight. Pure.

Source: rest-api.md sections 3.6 and 6.7; decisions 12, 13; docs/security/rules.md R10.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from keyturn.broker.model import OFFLINE_RESULT, RequestKind, RequestView
from keyturn.broker.prediction import collected, fewest_approvals, parsed_policy
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage.rows import TaskState
from keyturn.clock import iso
from keyturn.ska.actions import Action
from keyturn.ska.policy import decode_policy
from keyturn.ska.policy_json import policy_to_json
from keyturn.ska.policy_rules import open_modify, open_unblock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.executor import KeyRecord
    from keyturn.broker.storage.rows import RequestRow, TaskRow
    from keyturn.ska.decision import Decision, TokenFinding


def text(data: bytes) -> str:
    """Base64 with padding, as everywhere in the API."""
    return b64encode(data).decode("ascii")


def request_view(request: RequestRow, tasks: Sequence[TaskRow], *, connected: bool) -> RequestView:
    """Show a request.

    Args:
        request: The request.
        tasks: All its tasks.
        connected: Whether there is an HSM.
    """
    status = RequestStatus(request.status)
    for_courier = not connected and status.is_open and awaits_courier(request, tasks)
    result: str | None = None
    if for_courier:
        result = OFFLINE_RESULT
    elif status is RequestStatus.EXECUTED and request.kind == RequestKind.SIGN and request.result is not None:
        result = text(request.result)

    def signers(state: TaskState) -> tuple[bytes, ...]:
        return tuple(task.spki for task in tasks if task.state == state)

    return RequestView(
        id=request.id,
        kind=RequestKind(request.kind),
        status=status,
        execution_time=request.executed_at,
        approved_by=signers(TaskState.APPROVED),
        not_yet_approved_by=signers(TaskState.OPEN),
        rejected_by=signers(TaskState.REJECTED),
        result=result,
        input_offline_hsm=offline_input(request, tasks) if for_courier else None,
        failure=request.failure,
    )


def awaits_courier(request: RequestRow, tasks: Sequence[TaskRow]) -> bool:
    """Whether there is something to carry: from the first approval on, or at once where none is needed."""
    if collected(tasks):
        return True
    return not request.policy or fewest_approvals(request.policy, request.action) == 0


def offline_input(request: RequestRow, tasks: Sequence[TaskRow]) -> dict[str, Any]:
    """The body that the offline side takes as it is (decisions 13).

    Args:
        request: The request.
        tasks: All its tasks; their approvals go in, in the order of the policy.
    """
    approvals = [text(task.authorization or b"") for task in collected(tasks)]
    if request.kind == RequestKind.MODIFY:
        return {
            "modifyRequest": {
                "modifyKeyName": request.key_label,
                "policy": policy_to_json(decode_policy(request.payload), blocked=None),
                "signedApprovals": approvals,
            }
        }
    payload = request.payload.hex() if request.payload_type == "HEX" else text(request.payload)
    sign_request: dict[str, Any] = {
        "payload": payload,
        "payloadType": request.payload_type,
        "signKeyName": request.key_label,
        "signatureAlgorithm": request.algorithm,
    }
    if request.signature_type:
        sign_request["signatureType"] = request.signature_type
    return {"signRequest": {**sign_request, "signedApprovals": approvals}}


def preflight_view(
    request: RequestRow, key: KeyRecord, decision: Decision | None, marks: Sequence[str]
) -> dict[str, Any]:
    """Say whether the HSM would accept what has been collected (decisions 12).

    Args:
        request: The request.
        key: The key as it is known now.
        decision: The prediction under its present policy, None for an ordinary key.
        marks: Words of approvals that the HSM did not count.

    Returns:
        The documented fields, and beside them `status`, `reason` (why not), `surplus` (approvals beyond the quorums of
        the satisfied token), `blocked`, `openModify`, `openUnblock`, `refusedApprovals`.
    """
    action = Action(request.action)
    same_key = key.uuid == request.key_uuid
    blocked = key.blocked and action is Action.USE
    reason = decision.reason if decision is not None and not decision.authorised else ""
    if not same_key:
        reason = "The label belongs to another key now. Open a new request."
    elif blocked:
        reason = "The key is blocked; it acts for nobody until it is unblocked."
    tokens = () if decision is None else decision.tokens
    policy = parsed_policy(key.policy) if key.policy else None
    return {
        "satisfied": same_key and not blocked and (decision is None or decision.authorised),
        "action": action.name.lower(),
        "tokens": [_token(token) for token in tokens],
        "policyAttestTime": None if key.attested_at is None else iso(key.attested_at),
        "status": request.status,
        "reason": reason or None,
        "surplus": next((_surplus(token) for token in tokens if token.satisfied), 0),
        "blocked": key.blocked,
        "openModify": policy is not None and open_modify(policy),
        "openUnblock": policy is not None and open_unblock(policy),
        "refusedApprovals": list(marks),
    }


def _token(token: TokenFinding) -> dict[str, Any]:
    return {
        "name": token.name,
        "satisfied": token.satisfied,
        "opensAt": None if token.opens_at is None else iso(token.opens_at),
        "closesAt": None if token.closes_at is None else iso(token.closes_at),
        "groups": [
            {
                "name": group.name,
                "quorum": group.quorum,
                "approved": [text(identity) for identity in group.approved],
                "missing": group.missing,
            }
            for group in token.groups
        ],
    }


def _surplus(token: TokenFinding) -> int:
    return sum(max(0, len(group.approved) - group.quorum) for group in token.groups)
