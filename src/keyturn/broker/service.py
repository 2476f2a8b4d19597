"""The broker: what `api` calls.

One object per process. Every method that changes something returns only after it is durable. What it does stands in
the modules beside this one; here they are put together.
"""

from __future__ import annotations

import asyncio
import json as json_module
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from keyturn.broker import progress
from keyturn.broker.airgapped import AirGappedExecutor
from keyturn.broker.approvals import Approvals
from keyturn.broker.cancelling import Cancelling
from keyturn.broker.deriving import Deriving
from keyturn.broker.directory import Directory
from keyturn.broker.enciphering import Enciphering
from keyturn.broker.execution import Execution
from keyturn.broker.fetching import Fetching
from keyturn.broker.files import SpoolRoom
from keyturn.broker.listing import listed_requests
from keyturn.broker.locks import RequestLocks
from keyturn.broker.onboarding import Onboarding
from keyturn.broker.opening import Opening
from keyturn.broker.prediction import collected, predict
from keyturn.broker.results import Results
from keyturn.broker.scheduler import Scheduler
from keyturn.broker.serving import Serving
from keyturn.broker.states import RequestStatus
from keyturn.broker.storage import statements
from keyturn.broker.storage.database import Database
from keyturn.broker.stored_calls import restore_call
from keyturn.broker.synchronous import Synchronous
from keyturn.broker.transfer import Transfer
from keyturn.broker.views import preflight_view, request_view
from keyturn.broker.withdrawals import Withdrawals
from keyturn.broker.witness import ATTESTATION
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping, Sequence

    from keyturn.broker.answers import AttestedKey, DirectoryEntry, Executed, RequestView, TaskView
    from keyturn.broker.approver_calls import ApprovalCall, RejectCall, TaskQuery, WithdrawCall
    from keyturn.broker.calls import (
        CertificateOrder,
        CertifyCall,
        CreateCall,
        DecryptCall,
        ModifyCall,
        RestoreCall,
        SignCall,
        StatusCall,
        UnwrapCall,
    )
    from keyturn.broker.executor import Executor, SignedStamp
    from keyturn.broker.register import Register
    from keyturn.broker.settings import BrokerSettings, Profile
    from keyturn.clock import Clock
    from keyturn.ska.actions import Action

T = TypeVar("T")


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
        self._scheduler = Scheduler(clock, self._execution.drive, self._execution.overdue if database.shared else None)
        self._execution.scheduler = self._scheduler
        self._opening = Opening(database, executor, self._execution, clock)
        self._fetching = Fetching(database, executor, clock, settings)
        self._approvals = Approvals(database, self._execution, clock, self._locks, settings)
        self._register: Register | None = None
        if isinstance(executor, AirGappedExecutor):
            self._register = executor.register
            self._register.bind(database)
        self._results = Results(database, self._register, clock, self._locks)
        self._cancelling = Cancelling(database, executor, self._scheduler, self._locks)
        self._synchronous = Synchronous(executor, self._execution)
        self.transfer = Transfer(executor)
        self.serving = Serving(executor, SpoolRoom(settings.data_dir, settings.max_spooled))
        self.deriving = Deriving(executor)
        self.enciphering = Enciphering(executor)
        self._directory = Directory(database, clock)
        self.onboarding = Onboarding(
            executor, self._directory, self._open_restore, enabled=settings.approver_management
        )
        self._withdrawals = Withdrawals(database, self._execution, executor, clock, self._locks)
        self._working: set[asyncio.Task[Any]] = set()

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
        if not database.shared:
            due: list[tuple[Any, ...]] = await database.read(lambda tx: tx.all(tuple, statements.DUE_REQUESTS, {}))
            broker._scheduler.load((moment, request_id) for moment, request_id in due)
        broker._scheduler.start()
        broker._withdrawals.start()
        broker._cancelling.start()
        return broker

    async def close(self) -> None:
        """Stop the scheduler, finish what is being written, close store and executor."""
        await self._scheduler.stop()
        await self._withdrawals.stop()
        await self._cancelling.stop()
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

    async def attested_key(self, label: str, sealed_password: bytes = b"") -> AttestedKey:
        """Attested attributes of a key. Raises 650 for an unknown one, 620 without its password."""
        return await self._executor.attested(label, sealed_password)

    async def delete_key(self, label: str, sealed_password: bytes = b"") -> None:
        """Delete a key and cancel its open requests. Raises 650, 606 (not destroyable), 611 without an HSM."""
        await self._whole(self._cancelling.delete_key(label, sealed_password))

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

    async def open_decrypt(self, call: DecryptCall, *, original: bytes) -> str:
        """Open a request to decrypt; else as `open_sign`."""
        return await self._whole(self._opening.decrypt(call, original))

    async def open_unwrap(self, call: UnwrapCall, *, original: bytes) -> str:
        """Open a request to unwrap a key into a new one; else as `open_sign`."""
        return await self._whole(self._opening.unwrap(call, original))

    async def open_block(self, call: StatusCall, *, original: bytes) -> str:
        """Open a request to block a key; it must have a policy, else 614 `policy.none`. Else as `open_sign`."""
        return await self._whole(self._opening.block(call, original))

    async def open_unblock(self, call: StatusCall, *, original: bytes) -> str:
        """Open a request to unblock a key; else as `open_block`."""
        return await self._whole(self._opening.unblock(call, original))

    async def open_certificate(self, order: CertificateOrder, *, original: bytes) -> str:
        """Open a request for a certificate or for a request for one (R17); else as `open_sign`."""
        return await self._whole(self._opening.certify(order, original))

    async def requests_by_status(self, statuses: Collection[RequestStatus]) -> list[tuple[str, RequestStatus]]:
        """Ids and statuses of the requests in any of the statuses, newest first, at most `MOST_LISTED`."""
        return await listed_requests(self._database, statuses)

    # --- at once ---

    async def sign_now(self, call: SignCall, approvals: Sequence[bytes], *, request_id: str = "") -> Executed[bytes]:
        """Sign at once; nothing is stored here.

        Args:
            call: What is asked for.
            approvals: Ready-made approvals (authorization blobs), for keys that need them.
            request_id: The caller's id; with it there is a receipt (R24), for a refusal too.

        Returns:
            The signature. The other calls of this kind return attested attributes or decrypted data.

        Raises:
            ExecutionRefusedError: The HSM refused.
            KeyturnError: 611 without an HSM; 2 when it cannot be reached.
        """
        return await self._synchronous.sign(call, approvals, request_id)

    async def decrypt_now(
        self, call: DecryptCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Decrypt at once; else as `sign_now`."""
        return await self._synchronous.decrypt(call, approvals, request_id)

    async def certificate_now(self, order: CertificateOrder) -> bytes:
        """Make and sign a certificate, or a request for one, at once; DER. Keys that need approvals refuse.

        Raises:
            ExecutionRefusedError: The HSM refused.
            KeyturnError: 611 without an HSM; what makes no certificate.
        """
        return await self._whole(self._synchronous.order(order, self._clock.now()))

    async def certify_now(
        self, call: CertifyCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Sign bytes that were fixed elsewhere, for the offline side of a gap; DER. Else as `sign_now`."""
        return await self._whole(self._synchronous.certify(call, approvals, request_id))

    async def certificate_of(self, label: str) -> bytes:
        """The certificate that is attached to a key, DER. Raises 650, 402 `certificate.none`."""
        certificate = (await self._executor.key(label)).certificate
        if not certificate:
            raise KeyturnError(
                ErrorCode.INVALID_CERTIFICATE,
                f"The key {label} has no certificate. Attach one with POST /v1/certificate/import/plain, or sign one.",
                refusal="certificate.none",
            )
        return certificate

    async def attach_certificate(self, label: str, certificate: bytes) -> None:
        """Attach a certificate, DER, to its key; empty bytes take it off. Raises 650, 402, 612, 614, 626, 611."""
        await self._whole(self._executor.attach_certificate(uuid.uuid4().bytes, label, certificate))

    async def unwrap_now(
        self, call: UnwrapCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[AttestedKey]:
        """Unwrap at once, attributes of the new key; else as `sign_now`."""
        return await self._synchronous.unwrap(call, approvals, request_id)

    async def block_now(
        self, call: StatusCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[AttestedKey]:
        """Block at once, attributes after it; else as `sign_now`."""
        return await self._whole(self._synchronous.block(call, approvals, request_id))

    async def unblock_now(
        self, call: StatusCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[AttestedKey]:
        """Unblock at once, attributes after it; else as `sign_now`."""
        return await self._whole(self._synchronous.unblock(call, approvals, request_id))

    async def modify_now(
        self, call: ModifyCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[AttestedKey]:
        """Replace a policy at once, attributes after it; else as `sign_now`."""
        return await self._whole(self._synchronous.modify(call, approvals, request_id))

    async def stamp_now(self, key_name: str, action: Action, payload: bytes) -> SignedStamp:
        """Have the HSM sign the time for an operation with a key (decisions 15). Raises 650, 614, 611 without an HSM.

        Args:
            key_name: Label of the key; it has a policy.
            action: What the timestamp is for.
            payload: What approvals will carry: the payload for use, the policy blob for modify, else empty.
        """
        return await self._executor.stamp(key_name, action, payload)

    async def verify(
        self, key_name: str, algorithm: str, payload: bytes, signature: bytes, sealed_password: bytes = b""
    ) -> bool:
        """Check a signature or a MAC; for EC keys DER and raw are both taken. Raises 650, 600, 607, 620."""
        return await self._executor.verify(key_name, algorithm, payload, signature, sealed_password)

    async def request(self, request_id: str) -> RequestView:
        """How a request stands. Raises 651 for an unknown one."""
        row, tasks = await self._database.read(lambda tx: progress.load(tx, request_id))
        view = request_view(row, tasks, connected=self._executor.connected)
        restored = restore_call(row)
        if restored is None:
            return view
        executed = view.status is RequestStatus.EXECUTED
        result = await self.onboarding.code_of(restored, row.id) if executed else view.result
        return replace(view, result=result, restoration=True)

    async def cancel(self, request_id: str) -> None:
        """Cancel a request: its tasks vanish.

        Raises 651 for an unknown request, and (`request.closed`) for one that is final: there is nothing to cancel any
        more, and nobody must believe that what was executed was not. 611 while it is with the HSM. See ADR 0058.
        """
        await self._whole(self._cancelling.cancel(request_id))

    async def preflight(self, request_id: str) -> dict[str, Any]:
        """Whether the HSM would accept what has been collected: the JSON object of decisions 12."""
        row, tasks = await self._database.read(lambda tx: progress.load(tx, request_id))
        key = await self._executor.key(row.key_label)
        decision = None
        stale = key.uuid == row.key_uuid and await self._execution.is_stale(row, key)
        if key.policy and key.uuid == row.key_uuid:
            decision = predict(
                row._replace(policy=key.policy),
                collected(tasks),
                now=self._clock.now() if self._executor.connected else None,
                integrity_keys=await self._execution.integrity_keys(row)
                if self._register is None
                else await self._register.integrity_keys(row.key_label),
            )
        marks = [task.marked for task in tasks if task.marked]
        return preflight_view(row, key, decision, marks, now=self._clock.now(), stale=stale)

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

    async def withdraw(self, call: WithdrawCall) -> None:
        """Take an approval back before its request is executed (R26).

        Raises 652 for an unknown task or one that was not approved, 403 for a bad signature or other bytes, 611 when
        the request is final or with the HSM.
        """
        await self._whole(self._withdrawals.withdraw(call))

    # --- approver directory ---

    async def onboard_approver(self, name: str, certificate: bytes) -> None:
        """Take an approver into the directory.

        Args:
            name: Name, unique; the rules of key labels hold for it.
            certificate: X.509 certificate, DER; its key must be one that may approve (R13).

        Raises:
            KeyturnError: 632 `approver.exists`, 600 `approver.name`, and what `load_approver_certificate` raises.
        """
        await self.onboarding.require_free(name)
        await self._whole(self._directory.add(name, certificate))

    async def approvers(self) -> list[DirectoryEntry]:
        """The directory, by name."""
        return await self._directory.entries()

    async def remove_approver(self, name: str) -> None:
        """Remove an approver; policies that list them stay as they are. Raises 654 for an unknown name."""
        await self._whole(self._directory.remove(name))

    async def approver_certificates(self) -> Mapping[str, bytes | None]:
        """Certificates by name; `directory.resolver` makes of it what `policy_from_json` takes.

        Approvers whose keys the HSM made are among them; None for those who are not onboarded yet.
        """
        managed = await self.onboarding.certificates()
        return {**managed, **{entry.name: entry.certificate for entry in await self._directory.entries()}}

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

    async def witness_of(self, label: str) -> tuple[str, bytes, bytes]:
        """The newest thing that a key's HSM signed, as far as this broker knows (R6). Raises 650 for an unknown key.

        Returns:
            `attestation` or `receipt`; the XML text in UTF-8 or the receipt; the signature over it.
        """
        if self._register is None:
            attested = await self._executor.attested(label)
            return ATTESTATION, attested.xml.encode(), attested.signature
        message = (await self._register.witness(label)).message
        return message.kind, message.evidence, message.signature

    async def show_witness(self, kind: str, evidence: bytes, signature: bytes) -> bool:
        """Show the HSM something that it signed itself (R6); else as `witness_of` returns it.

        Returns:
            Whether the HSM's store is older than that.

        Raises:
            ExecutionRefusedError: The HSM did not sign it.
            KeyturnError: 611 without an HSM.
        """
        return await self._executor.witness(kind, evidence, signature)

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
        await self._withdrawals.deliver()
        await self._scheduler.run_due()

    async def _open_restore(self, restore: RestoreCall, call: UnwrapCall, original: bytes) -> str:
        return await self._whole(self._opening.restore(restore, call, original))

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even if the caller goes away: a step begun is finished."""
        task = asyncio.get_running_loop().create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        return await asyncio.shield(task)
