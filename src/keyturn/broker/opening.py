"""Opens requests: looks at the key, asks for a timestamp where one is needed, makes the bytes approvers sign.

What the HSM would refuse whatever the approvers say is refused here, before anybody is asked: a rule nobody can
fulfil, an algorithm that does not fit the key, a payload with a double meaning (R8), a policy that breaks the rules.
That is courtesy; the HSM checks all of it again.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from keyturn.broker import progress
from keyturn.broker.model import DecryptCall, ModifyCall, RequestKind, SignCall, StatusCall, UnwrapCall
from keyturn.broker.prediction import CALL_ROOM, StepKind, most_needed_approvals, next_step, parsed_policy
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.rows import RequestRow
from keyturn.crypto.keys import describe_spki
from keyturn.crypto.registry import require_single_meaning, signature_algorithm
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, encode_approval
from keyturn.ska.policy import Rule, encode_policy
from keyturn.ska.policy_json import policy_from_json, policy_to_json
from keyturn.ska.policy_rules import check_policy, is_protected, listed_approvers, required_timestamp
from keyturn.ska.signatures import wrap_signature
from keyturn.ska.tlv import MAX_BLOB

if TYPE_CHECKING:
    from keyturn.broker.execution import Execution
    from keyturn.broker.executor import Executor, KeyRecord, SignedStamp
    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.clock import Clock

MAX_PAYLOAD: Final = 65_536
"""Most payload bytes (rest-api.md section 1.3)."""
SIGNED_APPROVAL_ROOM: Final = 4_096
"""Bytes kept free beside an approval for its signature and the signer's key or certificate: all of it must fit into
one blob. The largest keys and signatures (RSA 8192) take about 1 100 bytes each."""

APPROVAL_FRAME: Final = 128
"""Bytes in an approval beside statement, signature and signer, generously."""


class Opening:
    """Opens requests.

    Args:
        database: The store.
        executor: The side that acts.
        execution: Drives what needs no approval.
        clock: Where the time comes from.
    """

    def __init__(self, database: Database, executor: Executor, execution: Execution, clock: Clock) -> None:
        self._database = database
        self._executor = executor
        self._execution = execution
        self._clock = clock

    async def sign(self, call: SignCall, original: bytes) -> str:
        """Open a request for a signature; arguments and errors as `Broker.open_sign`."""
        if len(call.payload) > MAX_PAYLOAD:
            raise KeyturnError(
                ErrorCode.INVALID_PAYLOAD,
                f"The payload has {len(call.payload)} bytes; an HSM takes at most {MAX_PAYLOAD} (64 KiB). Sign its "
                "digest with a NONE… algorithm instead.",
                refusal="payload.too-large",
            )
        key = await self._executor.key(call.key_name)
        _check_algorithm(call, key)
        return await self._open(
            key,
            Action.USE,
            RequestKind.SIGN,
            payload=call.payload,
            original=original,
            call=call,
            algorithm=call.algorithm,
            signature_type=call.signature_type,
            payload_type=call.payload_type,
        )

    async def modify(self, call: ModifyCall, original: bytes) -> str:
        """Open a request to replace a policy; arguments and errors as `Broker.open_modify`."""
        key = await self._executor.key(call.key_name)
        if not key.policy:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                "This key was created without a policy; it can never get one. Create a key with a policy.",
                refusal="policy.none",
            )
        check_policy(call.policy, blocked=key.blocked)
        policy = encode_policy(call.policy)
        # The offline side makes the blob anew out of the JSON; approvals bind its bytes.
        if encode_policy(policy_from_json(policy_to_json(call.policy, blocked=None), allow_seconds=True)[0]) != policy:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED,
                "The policy has no JSON form that gives the same bytes again; name groups and approvers plainly.",
                refusal="policy.no-json-form",
            )
        return await self._open(key, Action.MODIFY, RequestKind.MODIFY, payload=policy, original=original, call=call)

    async def decrypt(self, call: DecryptCall, original: bytes) -> str:
        """Open a request to decrypt; arguments and errors as `Broker.open_decrypt`."""
        raise NotImplementedError

    async def unwrap(self, call: UnwrapCall, original: bytes) -> str:
        """Open a request to unwrap; arguments and errors as `Broker.open_unwrap`."""
        raise NotImplementedError

    async def block(self, call: StatusCall, original: bytes) -> str:
        """Open a request to block; arguments and errors as `Broker.open_block`."""
        raise NotImplementedError

    async def unblock(self, call: StatusCall, original: bytes) -> str:
        """Open a request to unblock; arguments and errors as `Broker.open_unblock`."""
        raise NotImplementedError

    async def _open(
        self,
        key: KeyRecord,
        action: Action,
        kind: RequestKind,
        *,
        payload: bytes,
        original: bytes,
        call: SignCall | ModifyCall,
        algorithm: str = "",
        signature_type: str = "",
        payload_type: str = "UNSPECIFIED",
    ) -> str:
        rule = parsed_policy(key.policy).rule(action) if key.policy else None
        stamp = await self._stamp(key, action, rule, payload)
        now = self._clock.now()
        request = RequestRow(
            id=str(uuid.uuid4()),
            kind=kind.value,
            action=int(action),
            status=RequestStatus.PENDING.value,
            version=0,
            created_at=now,
            key_label=key.label,
            key_uuid=key.uuid,
            key_generation=key.generation,
            key_created=key.created,
            key_public=key.public_key,
            key_counter=key.state_counter,
            policy=key.policy,
            payload=payload,
            payload_type=payload_type,
            algorithm=algorithm,
            signature_type=signature_type,
            statement=_statement(key, action, payload, stamp) if rule is not None else b"",
            stamp=None if stamp is None else stamp.timestamp,
            due_at=None,
            sent=None,
            attempts=0,
            executed_at=None,
            result=None,
            failure=None,
        )
        tasks = progress.task_rows(request.id, rule, now) if rule is not None else []
        step = next_step(
            request,
            tasks,
            now=now,
            connected=self._executor.connected,
            integrity_keys=await self._execution.integrity_keys(request),
        )
        values = {
            **request._asdict(),
            "meta_data": call.meta_data,
            "meta_data_signature": call.meta_data_signature,
            "original": original,
            "stamp_signature": None if stamp is None else stamp.signature,
            "stamp_algorithm": None if stamp is None else stamp.algorithm,
        }

        def store(tx: Transaction) -> RequestRow:
            tx.run(statements.INSERT_REQUEST, values)
            progress.insert_tasks(tx, tasks)
            if step.kind is StepKind.WAIT and step.due_at is None:
                return request
            return progress.take_step(tx, request, step)

        request = await self._database.write(store)
        # Nobody else knows the id yet, so that the request's lock is not needed.
        await self._execution.carry_out(request, tasks, step)
        return request.id

    async def _stamp(self, key: KeyRecord, action: Action, rule: Rule | None, payload: bytes) -> SignedStamp | None:
        """Refuse what cannot be fulfilled, and fetch the HSM's timestamp where approvals need one.

        That is: a rule with time limits; any key that is not the first of its label (R18); and, where there is an
        HSM, every change of a policy, whose approvals without a time would serve once in the key's life (R15).
        """
        if rule is None:
            return None
        if not rule.tokens:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"The key's rule for this action ({action.name.lower()}) can never be fulfilled, whoever approves.",
                refusal="rule.never",
            )
        needed = required_timestamp(rule) or key.generation > 1
        if self._executor.connected:
            if needed or (action is Action.MODIFY and any(token.groups for token in rule.tokens)):
                return await self._executor.stamp(key.label, action, payload)
            return None
        if needed:
            why = (
                "the key's policy has time limits"
                if required_timestamp(rule)
                else "the key is not the first of its label"
            )
            raise KeyturnError(
                ErrorCode.UNSUPPORTED_OPERATION,
                f"Approvals for this key need a timestamp signed by its HSM, because {why}; signed time across the gap "
                "is not available yet. Use the offline side directly, or a key without time limits.",
                refusal="timestamp.across-the-gap",
            )
        return None


def _statement(key: KeyRecord, action: Action, payload: bytes, stamp: SignedStamp | None) -> bytes:
    """Make the bytes approvers sign; refuse what they could sign but nobody could send afterwards."""
    token = ApprovalToken(
        action=action,
        label=key.label.encode(),
        timestamp=None if stamp is None else stamp.timestamp,
        timestamp_signature=None if stamp is None else wrap_signature(stamp.algorithm, stamp.signature),
        payload=payload,
    )
    # A timestamp repeats the payload.
    largest = (MAX_BLOB - SIGNED_APPROVAL_ROOM) // (1 if stamp is None else 2)
    try:
        statement = encode_approval(token)
    except FormatError:
        statement = b""
    if statement and len(statement) <= MAX_BLOB - SIGNED_APPROVAL_ROOM:
        _require_room(key, action, payload, statement)
        return statement
    raise KeyturnError(
        ErrorCode.INVALID_PAYLOAD,
        f"With {len(payload)} bytes it does not fit into a signed approval of 64 KiB; about {largest} do for this "
        "key. Sign a digest with a NONE… algorithm instead, or list fewer approvers in a policy.",
        refusal="payload.too-large",
    )


def _require_room(key: KeyRecord, action: Action, payload: bytes, statement: bytes) -> None:
    """Refuse what officers could approve, but what with all their approvals would not fit into one call.

    Beside the statement an approval holds the signer's key, or their certificate, and a signature about as long.
    """
    needed = most_needed_approvals(key.policy, int(action))
    if len(payload) + needed * (len(statement) + SIGNED_APPROVAL_ROOM) <= CALL_ROOM:
        return
    rule = parsed_policy(key.policy).rule(action)
    signer = max((len(one.certificate or one.spki) + len(one.spki) for one in listed_approvers(rule)), default=0)
    if len(payload) + needed * (len(statement) + signer + APPROVAL_FRAME) <= CALL_ROOM:
        return
    raise KeyturnError(
        ErrorCode.INVALID_PAYLOAD,
        f"This key's rule can need {needed} approvals, each of which repeats the {len(payload)} bytes; together they "
        "do not fit into one call to the HSM. Sign a digest with a NONE… algorithm instead, or list fewer approvers in "
        "a policy.",
        refusal="payload.too-large",
    )


def _check_algorithm(call: SignCall, key: KeyRecord) -> None:
    entry = signature_algorithm(call.algorithm)
    if entry.key_type != key.algorithm:
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"{call.algorithm} is for {entry.key_type} keys, but this is an {key.algorithm} key; choose one of its "
            "algorithms.",
            refusal="signature.wrong-key-type",
        )
    if key.policy and is_protected(parsed_policy(key.policy)):
        _, _, curve_oid, _ = describe_spki(key.public_key)
        require_single_meaning(call.algorithm, call.payload, curve_oid=curve_oid or "")
