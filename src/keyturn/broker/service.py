"""The broker: what `api` calls.

One object per process. Every method that changes something returns only after it is durable. What it does stands in
the modules beside this one; here they are put together.
"""

from __future__ import annotations

import asyncio
import json as json_module
import uuid
from typing import TYPE_CHECKING, Any, Self, TypeVar

from keyturn.broker import progress
from keyturn.broker.airgapped import AirGappedExecutor
from keyturn.broker.approvals import Approvals
from keyturn.broker.execution import Execution
from keyturn.broker.executor import ExecutionRefusedError
from keyturn.broker.fetching import Fetching
from keyturn.broker.locks import RequestLocks
from keyturn.broker.opening import Opening
from keyturn.broker.prediction import collected, predict
from keyturn.broker.results import Results
from keyturn.broker.scheduler import Scheduler
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.database import Database, StaleError
from keyturn.broker.views import preflight_view, request_view
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.policy import encode_policy

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from keyturn.broker.executor import Executor
    from keyturn.broker.model import (
        ApprovalCall,
        AttestedKey,
        BrokerSettings,
        CreateCall,
        ModifyCall,
        Profile,
        RejectCall,
        RequestView,
        SignCall,
        TaskQuery,
        TaskView,
    )
    from keyturn.broker.register import Register
    from keyturn.broker.storage.database import Transaction
    from keyturn.clock import Clock

T = TypeVar("T")

MOST_REMEMBERED_KEYS = 4096
"""Labels of keys with a policy that `sign_now` remembers."""


class Broker:
    """Records requests, hands out tasks, collects approvals, forwards, returns results.

    Make one with `Broker.open`, let go of it with `close`.
    """

    def __init__(self, settings: BrokerSettings, executor: Executor, clock: Clock, database: Database) -> None:
        self._executor = executor
        self._clock = clock
        self._database = database
        self._locks = RequestLocks()
        self._execution = Execution(database, executor, clock, self._locks)
        self._scheduler = Scheduler(clock, self._execution.drive)
        self._execution.scheduler = self._scheduler
        self._opening = Opening(database, executor, self._execution, clock)
        self._fetching = Fetching(database, executor, clock, settings)
        self._approvals = Approvals(database, self._execution, clock, self._locks, settings)
        self._register: Register | None = None
        if isinstance(executor, AirGappedExecutor):
            self._register = executor.register
            self._register.bind(database)
        self._results = Results(database, self._register, clock, self._locks)
        self._working: set[asyncio.Task[Any]] = set()
        self._with_policy: set[str] = set()

    @classmethod
    async def open(cls, settings: BrokerSettings, executor: Executor, clock: Clock) -> Self:
        """Open the store (making or migrating it), take up every unfinished request, start the scheduler.

        Args:
            settings: What the broker must be told.
            executor: `LocalExecutor(client)` or `AirGappedExecutor(chain)`; closed with the broker.
            clock: Where the time comes from.

        Raises:
            KeyturnError: 301 when the database cannot be opened, is in use by another broker, or was made by a
                newer version.
        """
        database = Database.open(settings.data_dir, settings.database_url)
        broker = cls(settings, executor, clock, database)
        due: list[tuple[Any, ...]] = await database.read(lambda tx: tx.all(tuple, statements.DUE_REQUESTS, {}))
        broker._scheduler.load((moment, request_id) for moment, request_id in due)
        broker._scheduler.start()
        return broker

    async def close(self) -> None:
        """Stop the scheduler, finish what is being written, close store and executor."""
        await self._scheduler.stop()
        while self._working:
            await asyncio.wait(self._working)
        await self._database.close()
        await self._executor.close()

    @property
    def profile(self) -> Profile:
        """The profile this broker runs in."""
        return self._executor.profile

    # --- keys ---

    async def create_key(self, call: CreateCall) -> AttestedKey:
        """Create a key in the HSM. Raises 611 without an HSM, else what the HSM says (600, 603, 606, 608, 610)."""
        return await self._executor.create(uuid.uuid4().bytes, call)

    async def list_keys(self) -> list[str]:
        """All labels, sorted; of the register in the air-gapped profile."""
        return await self._executor.labels()

    async def attested_key(self, label: str) -> AttestedKey:
        """Attested attributes of a key. Raises 650 for an unknown one."""
        return await self._executor.attested(label)

    async def delete_key(self, label: str) -> None:
        """Delete a key and cancel its open requests. Raises 650, 606 (not destroyable), 611 without an HSM."""
        await self._whole(self._delete_key(label))

    async def _delete_key(self, label: str) -> None:
        try:
            await self._executor.delete(uuid.uuid4().bytes, label)
        except KeyturnError as error:
            # A crash after an earlier deletion may have left its requests open; they are cancelled all the same.
            if error.code is not ErrorCode.KEY_NOT_EXISTENT:
                raise
            await self._cancel_requests_of(label)
            raise
        await self._cancel_requests_of(label)

    async def _cancel_requests_of(self, label: str) -> None:
        for request_id in await self._database.write(lambda tx: progress.cancel_open_requests(tx, label)):
            self._scheduler.at(None, request_id)

    # --- requests ---

    async def open_sign(self, call: SignCall, *, original: bytes) -> str:
        """Open a request for a signature; where no approval is needed it is executed before this returns.

        Args:
            call: What is asked for.
            original: The request as received, `{"signRequest": …, "requestSignature": …}`, JSON in UTF-8.

        Returns:
            Id of the request.
        """
        return await self._whole(self._opening.sign(call, original))

    async def open_modify(self, call: ModifyCall, *, original: bytes) -> str:
        """Open a request to replace a policy; else as `open_sign`."""
        return await self._whole(self._opening.modify(call, original))

    async def sign_now(self, call: SignCall, approvals: Sequence[bytes]) -> bytes:
        """Sign at once with ready-made approvals (authorization blobs); nothing is stored here."""
        # A key with a policy is used with an operation id, an ordinary one needs none, and then the HSM writes nothing.
        # Which it is, is learnt from the HSM's answer instead of asking before every call.
        if approvals or call.key_name in self._with_policy:
            return await self._executor.sign(uuid.uuid4().bytes, call, approvals)
        try:
            return await self._executor.sign(b"", call, approvals)
        except ExecutionRefusedError as error:
            if error.refusal != "operation.id-missing":
                raise
        if len(self._with_policy) >= MOST_REMEMBERED_KEYS:
            self._with_policy.clear()
        self._with_policy.add(call.key_name)
        return await self._executor.sign(uuid.uuid4().bytes, call, approvals)

    async def modify_now(self, call: ModifyCall, approvals: Sequence[bytes]) -> AttestedKey:
        """Replace a policy at once with ready-made approvals; returns the attributes after the change."""
        return await self._whole(self._modify_now(call, approvals))

    async def _modify_now(self, call: ModifyCall, approvals: Sequence[bytes]) -> AttestedKey:
        attested = await self._executor.modify(uuid.uuid4().bytes, call.key_name, encode_policy(call.policy), approvals)
        try:
            key = await self._executor.key(call.key_name)
        except KeyturnError:
            # The change is made; open requests learn of it from the HSM's next answer.
            return attested
        now = self._clock.now()

        def follow(tx: Transaction) -> list[str]:
            return progress.rebase_open_requests(tx, key.label, key.uuid, key.policy, key.state_counter, now)

        self._execution.due_now(await self._database.write(follow), now)
        return attested

    async def verify(self, key_name: str, algorithm: str, payload: bytes, signature: bytes) -> bool:
        """Check a signature; for EC keys DER and raw are both taken. Raises 650, 600, 607."""
        return await self._executor.verify(key_name, algorithm, payload, signature)

    async def request(self, request_id: str) -> RequestView:
        """How a request stands. Raises 651 for an unknown one."""
        row, tasks = await self._database.read(lambda tx: progress.load(tx, request_id))
        return request_view(row, tasks, connected=self._executor.connected)

    async def cancel(self, request_id: str) -> None:
        """Cancel a request: its tasks vanish. Raises 651 unknown, 611 `request.closed` when it is final."""
        await self._whole(self._cancel(request_id))

    async def _cancel(self, request_id: str) -> None:
        async with self._locks.of(request_id):
            request, _ = await self._database.read(lambda tx: progress.load(tx, request_id))
            if request.status == RequestStatus.CANCELLED:
                return
            if request.sent is not None:
                raise KeyturnError(
                    ErrorCode.UNSUPPORTED_OPERATION,
                    "The request is with the HSM and its outcome is not known yet; it cannot be cancelled now. Look "
                    "at it again when the HSM has answered.",
                    refusal="request.in-execution",
                )
            try:
                await self._database.write(
                    lambda tx: progress.advance(tx, request, status=RequestStatus.CANCELLED.value)
                )
            except StaleError:
                raise KeyturnError(
                    ErrorCode.UNSUPPORTED_OPERATION,
                    "The request changed at the same moment; look at it again.",
                    refusal="request.busy",
                ) from None
            self._scheduler.at(None, request_id)

    async def preflight(self, request_id: str) -> dict[str, Any]:
        """Whether the HSM would accept what has been collected: the JSON object of decisions 12."""
        row, tasks = await self._database.read(lambda tx: progress.load(tx, request_id))
        key = await self._executor.key(row.key_label)
        decision = None
        if key.policy and key.uuid == row.key_uuid:
            decision = predict(
                row._replace(policy=key.policy),
                collected(tasks),
                now=self._clock.now() if self._executor.connected else None,
                integrity_keys=await self._execution.integrity_keys(row),
            )
        return preflight_view(row, key, decision, [task.marked for task in tasks if task.marked])

    # --- tasks ---

    async def fetch_tasks(self, query: TaskQuery) -> list[TaskView]:
        """Tasks that wait for an approver. Raises 404 (code) for a stale timestamp, 403 for a bad signature."""
        return await self._fetching.fetch(query)

    async def approve(self, call: ApprovalCall) -> None:
        """Take an approval or a signed rejection; the last approval needed executes before this returns.

        Raises 652 for an unknown or finished task, 403 for a bad signature or bytes that are not the task's.
        """
        await self._whole(self._approvals.approve(call))

    async def reject(self, call: RejectCall) -> None:
        """Reject a task with a signed timestamp. Raises as `fetch_tasks` and `approve` do."""
        await self._whole(self._approvals.reject(call))

    # --- across the gap ---

    async def register_offline_key(
        self, *, xml: str, signature: bytes, json: Mapping[str, Any], attestation_key_name: str = ""
    ) -> None:
        """Take an offline key into the register (decisions 11, R19): the body of the offline attributes answer."""
        register = self._require_register()
        await self._whole(register.register(xml, signature, json, attestation_key_name, self._clock.now()))

    async def offline_keys(self) -> list[dict[str, Any]]:
        """The register, ready for JSON: label, uuid, generation, stateCounter, publicKey, policy, times."""
        return await self._require_register().listed()

    async def forget_offline_key(self, label: str) -> None:
        """Forget a registered key and cancel its open requests. Raises 650 for an unknown one."""
        await self._whole(self._require_register().forget(label))

    def _require_register(self) -> Register:
        if self._register is None:
            raise KeyturnError(
                ErrorCode.UNSUPPORTED_OPERATION,
                "This broker is connected to its HSM (profile local) and keeps no register of offline keys.",
                refusal="profile.local",
            )
        return self._register

    async def import_result(self, body: Mapping[str, Any]) -> None:
        """Take the offline HSM's result: the JSON object of decisions 14.

        Raises 651 unknown request, 403 for a wrong result, 611 for another result after the first, for a request
        that is final, and for imports that need a receipt.
        """
        await self._whole(self._results.take(body))

    # --- service ---

    async def attestation_chain(self) -> list[str]:
        """PEM certificates, device certificate first."""
        return await self._executor.chain()

    async def statistics(self) -> str:
        """Figures about key store and requests, one line."""
        figures = await self._executor.figures()
        counted: list[tuple[Any, ...]] = await self._database.read(lambda tx: tx.all(tuple, statements.COUNTS, {}))
        figures |= {f"requests.{status}": number for status, number in counted}
        return json_module.dumps(figures, sort_keys=True)

    async def info(self) -> dict[str, Any]:
        """What `versionInfo` says about profile and HSM: `profile`, `isolation`, `instanceId`, `switches`…."""
        return {"profile": self._executor.profile.value, **await self._executor.describe()}

    # --- inside ---

    async def run_due(self) -> None:
        """Do what is due by the clock, and return when it is done; the scheduler does it by itself, tests call it."""
        await self._scheduler.run_due()

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even if the caller goes away: a step begun is finished."""
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)
