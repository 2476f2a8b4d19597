"""The broker: what `api` calls.

One object per process. Every method that changes something returns only after it is durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    from keyturn.broker.states import RequestStatus
    from keyturn.clock import Clock


class Broker:
    """Records requests, hands out tasks, collects approvals, forwards, returns results.

    Make one with `Broker.open`, let go of it with `close`.
    """

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
        raise NotImplementedError

    async def close(self) -> None:
        """Stop the scheduler, finish what is being written, close store and executor."""
        raise NotImplementedError

    @property
    def profile(self) -> Profile:
        """The profile this broker runs in."""
        raise NotImplementedError

    # --- keys ---

    async def create_key(self, call: CreateCall) -> AttestedKey:
        """Create a key in the HSM. Raises 611 without an HSM, else what the HSM says (600, 603, 606, 608, 610)."""
        raise NotImplementedError

    async def list_keys(self) -> list[str]:
        """All labels, sorted; of the register in the air-gapped profile."""
        raise NotImplementedError

    async def attested_key(self, label: str) -> AttestedKey:
        """Attested attributes of a key. Raises 650 for an unknown one."""
        raise NotImplementedError

    async def delete_key(self, label: str) -> None:
        """Delete a key and cancel its open requests. Raises 650, 606 (not destroyable), 611 without an HSM."""
        raise NotImplementedError

    # --- requests ---

    async def open_sign(self, call: SignCall, *, original: bytes) -> str:
        """Open a request for a signature; where no approval is needed it is executed before this returns.

        Args:
            call: What is asked for.
            original: The inner request object's JSON as received (with keyPassword null), UTF-8.

        Returns:
            Id of the request.
        """
        raise NotImplementedError

    async def open_modify(self, call: ModifyCall, *, original: bytes) -> str:
        """Open a request to replace a policy; else as `open_sign`."""
        raise NotImplementedError

    async def sign_now(self, call: SignCall, approvals: Sequence[bytes]) -> bytes:
        """Sign at once with ready-made approvals (authorization blobs); nothing is stored here."""
        raise NotImplementedError

    async def modify_now(self, call: ModifyCall, approvals: Sequence[bytes]) -> AttestedKey:
        """Replace a policy at once with ready-made approvals; returns the attributes after the change."""
        raise NotImplementedError

    async def verify(self, key_name: str, algorithm: str, payload: bytes, signature: bytes) -> bool:
        """Check a signature; for EC keys DER and raw are both taken. Raises 650, 600, 607."""
        raise NotImplementedError

    async def request(self, request_id: str) -> RequestView:
        """How a request stands. Raises 651 for an unknown one."""
        raise NotImplementedError

    async def requests_with(self, statuses: Iterable[RequestStatus]) -> list[tuple[str, RequestStatus]]:
        """Ids and statuses of all requests in one of these statuses, oldest first (decisions 5)."""
        raise NotImplementedError

    async def cancel(self, request_id: str) -> None:
        """Cancel a request: its tasks vanish. Raises 651 unknown, 611 `request.closed` when it is final."""
        raise NotImplementedError

    async def preflight(self, request_id: str) -> dict[str, Any]:
        """Whether the HSM would accept what has been collected: the JSON object of decisions 12."""
        raise NotImplementedError

    # --- tasks ---

    async def fetch_tasks(self, query: TaskQuery) -> list[TaskView]:
        """Tasks that wait for an approver. Raises 404 (code) for a stale timestamp, 403 for a bad signature."""
        raise NotImplementedError

    async def approve(self, call: ApprovalCall) -> None:
        """Take an approval or a signed rejection; the last approval needed executes before this returns.

        Raises 652 for an unknown or finished task, 403 for a bad signature or bytes that are not the task's.
        """
        raise NotImplementedError

    async def reject(self, call: RejectCall) -> None:
        """Reject a task with a signed timestamp. Raises as `fetch_tasks` and `approve` do."""
        raise NotImplementedError

    # --- across the gap ---

    async def register_offline_key(self, *, xml: str, signature: bytes, json: Mapping[str, Any]) -> None:
        """Take an offline key into the register (decisions 11, R19): the body of the offline attributes answer."""
        raise NotImplementedError

    async def offline_keys(self) -> list[dict[str, Any]]:
        """The register, ready for JSON: label, uuid, generation, stateCounter, publicKey, policy, times."""
        raise NotImplementedError

    async def forget_offline_key(self, label: str) -> None:
        """Forget a registered key and cancel its open requests. Raises 650 for an unknown one."""
        raise NotImplementedError

    async def import_result(self, body: Mapping[str, Any]) -> None:
        """Take the offline HSM's result: the JSON object of decisions 14.

        Raises 651 unknown request, 403 for a wrong result, 611 for another result after the first, for a request
        that is final, and for imports that need a receipt.
        """
        raise NotImplementedError

    # --- service ---

    async def attestation_chain(self) -> list[str]:
        """PEM certificates, device certificate first."""
        raise NotImplementedError

    async def statistics(self) -> str:
        """Figures about key store and requests, one line."""
        raise NotImplementedError

    async def info(self) -> dict[str, Any]:
        """What `versionInfo` says about profile and HSM: `profile`, `isolation`, `instanceId`, `switches`…."""
        raise NotImplementedError
