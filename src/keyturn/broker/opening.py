"""Opens requests: looks at the key, asks for a timestamp where one is needed, makes the bytes approvers sign.

What the HSM would refuse whatever the approvers say is refused here, before anybody is asked (`checks`). A blocked key
is not among that: approvals given while it is blocked count when it is unblocked (ska-wire-format.md section 8).
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from keyturn.broker import checks, progress
from keyturn.broker.bound import covered_by_approvals, is_bound, with_statement
from keyturn.broker.calls import (
    CertificateOrder,
    DecryptCall,
    ModifyCall,
    RequestKind,
    RestoreCall,
    SignCall,
    StatusCall,
    UnwrapCall,
)
from keyturn.broker.certificates import RANDOM_SIZE, REQUEST_KINDS, to_be_signed
from keyturn.broker.prediction import StepKind, last_change, next_step, parsed_policy, stamp_seconds
from keyturn.broker.stamping import Stamping
from keyturn.broker.statement import statement_for
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.database import StaleError
from keyturn.broker.storage.rows import RequestRow
from keyturn.broker.stored_calls import (
    certify_parameters,
    decrypt_parameters,
    restore_passwords,
    sign_parameters,
    unwrap_parameters,
)
from keyturn.broker.timestamps import tells_uses_apart
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.policy_rules import required_timestamp
from keyturn.ska.unwrap_flags import unwrap_payload_for

if TYPE_CHECKING:
    from keyturn.broker.execution import Execution
    from keyturn.broker.executor import Executor, KeyRecord, SignedStamp
    from keyturn.broker.storage.database import Database, Transaction
    from keyturn.clock import Clock
    from keyturn.ska.policy import Rule

STAMP_TRIES: Final = 3
"""How often a timestamp is asked for that has to be later than the key's last change."""
NEXT_SECOND: Final = 0.02
"""Seconds into the HSM's next second at which it is asked for again."""
_SIGNING_CURE: Final = "Sign its digest with a NONE… algorithm instead."
_OTHER_CURE: Final = "Encrypt or wrap in smaller pieces."


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
        self._stamping = Stamping(database, clock)

    async def sign(self, call: SignCall, original: bytes) -> str:
        """Open a request for a signature; arguments and errors as `Broker.open_sign`."""
        checks.check_size(call.payload, _SIGNING_CURE)
        key = await self._executor.key(call.key_name)
        checks.check_signing(call, key)
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
            parameters=sign_parameters(call),
        )

    async def decrypt(self, call: DecryptCall, original: bytes) -> str:
        """Open a request to decrypt; arguments and errors as `Broker.open_decrypt`."""
        checks.check_size(call.payload, _OTHER_CURE)
        key = await self._executor.key(call.key_name)
        checks.check_decrypting(call, key)
        return await self._open(
            key,
            Action.USE,
            RequestKind.DECRYPT,
            payload=call.payload,
            original=original,
            call=call,
            algorithm=call.algorithm,
            parameters=decrypt_parameters(call),
        )

    async def unwrap(self, call: UnwrapCall, original: bytes) -> str:
        """Open a request to unwrap; arguments and errors as `Broker.open_unwrap`."""
        checks.check_size(call.wrapped_key, _OTHER_CURE)
        key = await self._executor.key(call.key_name)
        checks.check_unwrapping(call, key)
        await self._require_free(call.new_label)
        return await self._open(
            key,
            Action.USE,
            RequestKind.UNWRAP,
            payload=_unwrap_payload(key, call),
            original=original,
            call=call,
            algorithm=call.method,
            parameters=unwrap_parameters(call),
        )

    async def restore(self, restore: RestoreCall, call: UnwrapCall, original: bytes) -> str:
        """Open a request to restore an approver's file: an unwrap with the backup key, which leaves no new key.

        Args:
            restore: What is asked for.
            call: What is unwrapped, as the HSM says.
            original: The request as approvers are shown it.

        Returns:
            Id of the request.
        """
        key = await self._executor.key(call.key_name)
        return await self._open(
            key,
            Action.USE,
            RequestKind.UNWRAP,
            payload=_unwrap_payload(key, call),
            original=original,
            call=call,
            algorithm=call.method,
            parameters=unwrap_parameters(call, restore),
            backup_passwords=restore_passwords(restore),
        )

    async def certify(self, order: CertificateOrder, original: bytes) -> str:
        """Open a request for a certificate; arguments and errors as `Broker.open_certificate`.

        The bytes that approvers approve and the HSM signs are fixed here: serial number, times and all (R17).
        """
        key = await self._executor.key(order.key_name)
        call = to_be_signed(order, key, now=int(self._clock.now()), random=secrets.token_bytes(RANDOM_SIZE))
        checks.check_certifying(call, key)
        return await self._open(
            key,
            Action.USE,
            REQUEST_KINDS[order.kind],
            payload=call.to_be_signed,
            original=original,
            call=order,
            algorithm=call.algorithm,
            parameters=certify_parameters(call),
        )

    async def block(self, call: StatusCall, original: bytes) -> str:
        """Open a request to block; arguments and errors as `Broker.open_block`."""
        key = await self._executor.key(call.key_name)
        checks.check_policy_key(key)
        return await self._open(key, Action.BLOCK, RequestKind.BLOCK, payload=b"", original=original, call=call)

    async def unblock(self, call: StatusCall, original: bytes) -> str:
        """Open a request to unblock; arguments and errors as `Broker.open_unblock`."""
        key = await self._executor.key(call.key_name)
        checks.check_policy_key(key)
        if self._executor.connected:
            checks.check_blocked(key)
        return await self._open(key, Action.UNBLOCK, RequestKind.UNBLOCK, payload=b"", original=original, call=call)

    async def modify(self, call: ModifyCall, original: bytes) -> str:
        """Open a request to replace a policy; arguments and errors as `Broker.open_modify`."""
        key = await self._executor.key(call.key_name)
        checks.check_policy_key(key)
        policy = checks.checked_new_policy(call.policy, key)
        return await self._open(key, Action.MODIFY, RequestKind.MODIFY, payload=policy, original=original, call=call)

    async def _require_free(self, label: str) -> None:
        """Refuse a new label that is taken; only where there is an HSM to ask."""
        if not self._executor.connected:
            return
        try:
            await self._executor.key(label)
        except KeyturnError as error:
            if error.code is ErrorCode.KEY_NOT_EXISTENT:
                return
            raise
        raise KeyturnError(
            ErrorCode.KEY_ALREADY_EXISTING,
            f"There is a key with the label {label} already. Choose another label for the new key.",
            refusal="key.exists",
        )

    async def _open(
        self,
        key: KeyRecord,
        action: Action,
        kind: RequestKind,
        *,
        payload: bytes,
        original: bytes,
        call: SignCall | CertificateOrder | DecryptCall | UnwrapCall | StatusCall | ModifyCall,
        algorithm: str = "",
        signature_type: str = "",
        payload_type: str = "UNSPECIFIED",
        parameters: str | None = None,
        backup_passwords: bytes = b"",
    ) -> str:
        if key.has_password or call.sealed_password:
            # Found out now, and not when people have approved it.
            await self._executor.check_password(key.label, call.sealed_password)
        rule = parsed_policy(key.policy).rule(action) if key.policy else None
        request = RequestRow(
            id=str(uuid.uuid4()),
            kind=kind.value,
            action=int(action),
            status=RequestStatus.PENDING.value,
            version=0,
            created_at=self._clock.now(),
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
            statement=b"",
            stamp=None,
            due_at=None,
            sent=None,
            attempts=0,
            executed_at=None,
            result=None,
            failure=progress.blocked_note(action, blocked=key.blocked),
            parameters=parameters,
            sealed_password=call.sealed_password or backup_passwords or None,
        )
        if is_bound(key):
            request = with_statement(request)
        covered = covered_by_approvals(request)
        stamp = await self._stamp(key, action, rule, covered)
        # Without bytes to be approved there are no tasks yet.
        opened = rule is not None and (
            self._executor.connected or not await self._stamping.awaited(key, action, covered)
        )
        now = self._clock.now()
        request = request._replace(
            created_at=now,
            statement=statement_for(key.label, key.policy, action, covered, stamp) if opened else b"",
            stamp=None if stamp is None else stamp.timestamp,
        )
        tasks = progress.task_rows(request.id, rule, now) if rule is not None and opened else []
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
            if not self._executor.connected and self._stamping.asked_meanwhile(tx, request):
                tx.run(statements.INSERT_REQUEST, {**values, "statement": b""})
                return request._replace(statement=b"")
            tx.run(statements.INSERT_REQUEST, values)
            progress.insert_tasks(tx, tasks)
            if step.kind is StepKind.WAIT and step.due_at is None:
                return request
            return progress.take_step(tx, request, step)

        request = await self._database.write(store)
        # Nobody else knows the id yet, so that the request's lock is not needed.
        await self._execution.carry_out(request, tasks, step)
        if tasks and step.kind is not StepKind.SEND:
            await self._cancel_without_key(request)
        return request.id

    async def _cancel_without_key(self, request: RequestRow) -> None:
        """Cancel a request whose key was deleted while it was opened: the deletion has not seen it."""
        try:
            key = await self._executor.key(request.key_label)
        except KeyturnError as error:
            if error.code is not ErrorCode.KEY_NOT_EXISTENT:
                # The HSM is away; what it would say is found out when the request is executed.
                return
        else:
            if key.uuid == request.key_uuid:
                return
        with suppress(StaleError, KeyturnError):
            await self._database.write(
                lambda tx: progress.advance(
                    tx, request, status=RequestStatus.CANCELLED.value, failure=progress.KEY_DELETED
                )
            )
            self._execution.done(request)

    async def _stamp(self, key: KeyRecord, action: Action, rule: Rule | None, payload: bytes) -> SignedStamp | None:
        """Refuse what cannot be fulfilled, and fetch the HSM's timestamp where approvals need one.

        That is: a rule with time limits; any key that is not the first of its label (R18); the use of a key whose
        approvals serve once (R14); and, where there is an HSM, every modify and unblock, whose approvals without a time
        would serve once in the key's life (R15).
        """
        if rule is None:
            return None
        if not rule.tokens:
            raise KeyturnError(
                ErrorCode.IN_HSM,
                f"The key's rule for this action ({action.name.lower()}) can never be fulfilled, whoever approves.",
                refusal="rule.never",
            )
        if not self._executor.connected:
            # The courier brings it, where one is needed.
            return None
        control = action in (Action.UNBLOCK, Action.MODIFY) and any(token.groups for token in rule.tokens)
        if control or required_timestamp(rule) or key.generation > 1 or tells_uses_apart(key, action):
            return await self._fetch_stamp(key, action, payload)
        return None

    async def _fetch_stamp(self, key: KeyRecord, action: Action, payload: bytes) -> SignedStamp:
        """Fetch a timestamp that is later than the key's last change, in whole seconds (R15).

        What is asked for within the second of a block would be refused in the end, as if it were from before it.
        """
        for _ in range(STAMP_TRIES - 1):
            stamp = await self._executor.stamp(key.label, action, payload)
            if stamp_seconds(stamp.timestamp) > last_change(key, action):
                return stamp
            await asyncio.sleep(1.0 - self._clock.now() % 1.0 + NEXT_SECOND)
        return await self._executor.stamp(key.label, action, payload)


def _unwrap_payload(key: KeyRecord, call: UnwrapCall) -> bytes:
    """What people approve for an unwrap: in a statement the wrapped key itself stands, else the documented form."""
    if is_bound(key):
        return call.wrapped_key
    return unwrap_payload_for(call.attributes, call.wrapped_key, call.new_label)
