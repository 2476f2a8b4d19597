"""A broker with people around it, in a few lines.

    async with local_world(tmp_path) as world:
        await world.create("treasury", make_policy(use=quorum(2, ada, ben, eve)))
        request_id = await world.ask_signature("treasury", b"pay")
        await world.approve(ada)
        await world.approve(ben)
        view = await world.broker.request(request_id)

`MemoryHsm` is an HSM in memory for tests of the workflow alone: it signs with real keys, asks the real `ska.decide()`
and keeps operation ids, and it can be told to die or to be unreachable. End-to-end tests use the real process.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from base64 import b64decode, b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from keyturn.broker.airgapped import AirGappedExecutor
from keyturn.broker.answers import AttestedKey, Executed
from keyturn.broker.approver_calls import ApprovalCall, RejectCall, Signer, TaskQuery
from keyturn.broker.calls import CertifyCall, CreateCall, DecryptCall, ModifyCall, SignCall, UnwrapCall
from keyturn.broker.deriving_executors import AirGappedDeriving
from keyturn.broker.enciphering_executors import AirGappedEnciphering
from keyturn.broker.executor import ExecutionRefusedError, KeyRecord, SignedStamp, Withdrawal
from keyturn.broker.local import LocalExecutor
from keyturn.broker.onboarding_executors import AirGappedOnboarding
from keyturn.broker.service import Broker
from keyturn.broker.serving_executors import AirGappedServing
from keyturn.broker.settings import BrokerSettings, Profile
from keyturn.broker.transfer_executors import AirGappedTransfer
from keyturn.clock import ManualClock, SystemClock, iso
from keyturn.crypto.keys import PrivateKey, generate, make_spec, public_spki
from keyturn.crypto.registry import sign, verify
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.client import HsmClient
from keyturn.ska.actions import Action
from keyturn.ska.attestation import attestation_to_json
from keyturn.ska.decision import IntegrityKey, NotAuthorisedError, Question, require_authorised
from keyturn.ska.messages import Timestamp, encode_timestamp
from keyturn.ska.policy import Policy, decode_policy, encode_policy
from keyturn.ska.policy_json import policy_from_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from keyturn.broker.answers import RequestView, TaskView
    from keyturn.broker.executor import Executor
    from keyturn_testing.hsm_process import HsmProcess
    from keyturn_testing.officers import Officer

P256 = "1.2.840.10045.3.1.7"
ORIGINAL = b'{"signRequest":{}}'


@lru_cache
def example_key(name: str) -> PrivateKey:
    """A P-256 key; the same name gives the same key."""
    return generate(make_spec("EC", P256, 0))


@dataclass
class MemoryHsm(AirGappedServing, AirGappedTransfer, AirGappedDeriving, AirGappedEnciphering, AirGappedOnboarding):
    """An HSM in memory.

    Args:
        clock: Its clock.
    """

    clock: ManualClock
    keys: dict[str, KeyRecord] = field(default_factory=dict)
    operations: dict[bytes, tuple[bytes, Any]] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    """One entry for everything it did, in order: what a test counts."""
    calls: int = 0
    unreachable: bool = False
    loses_answer: bool = False
    """It acts, but the line breaks before the answer: nobody knows."""
    counter: int = 100
    withdrawn: list[Withdrawal] = field(default_factory=list)
    """Its ledger of withdrawals."""
    profile = Profile.LOCAL

    @property
    def connected(self) -> bool:
        return True

    async def close(self) -> None:
        return

    def put(self, label: str, policy: Policy | None, *, generation: int = 1, blocked: bool = False) -> KeyRecord:
        self.counter += 1
        self.keys[label] = KeyRecord(
            label=label,
            uuid=str(uuid.uuid4()),
            generation=generation,
            algorithm="EC",
            public_key=public_spki(example_key(label)),
            policy=b"" if policy is None else encode_policy(policy),
            blocked=blocked,
            created=int(self.clock.now()),
            state_counter=self.counter,
        )
        return self.keys[label]

    def _reach(self) -> None:
        self.calls += 1
        if self.unreachable:
            raise KeyturnError(ErrorCode.CONNECTIVITY, "no HSM answers", refusal="hsm.unreachable")

    def _stored(self, operation_id: bytes, *what: object) -> Any:
        digest = hashlib.sha256(repr(what).encode()).digest()
        stored = self.operations.get(operation_id)
        if stored is not None and stored[0] != digest:
            raise ExecutionRefusedError(ErrorCode.IN_HSM, "another input", refusal="operation.input-differs")
        return digest, None if stored is None else stored[1]

    def _keep(self, operation_id: bytes, digest: bytes, result: Any) -> Any:
        if operation_id:
            self.operations[operation_id] = (digest, result)
        if self.loses_answer:
            raise KeyturnError(ErrorCode.CONNECTIVITY, "the line broke", refusal="hsm.line-broken")
        return result

    def _authorise(self, key: KeyRecord, action: Action, payload: bytes, approvals: Sequence[bytes]) -> None:
        if not key.policy:
            return
        if key.blocked and action is Action.USE:
            raise ExecutionRefusedError(ErrorCode.IN_HSM, "the key is blocked", refusal="key.blocked")
        try:
            require_authorised(
                Question(
                    policy=decode_policy(key.policy),
                    action=action,
                    label=key.label,
                    payload=None if action in {Action.BLOCK, Action.UNBLOCK} else payload,
                    approvals=approvals,
                    now=int(self.clock.now()),
                    integrity_keys=self._integrity(),
                    not_before=key.created if key.generation > 1 else None,
                )
            )
        except NotAuthorisedError as error:
            raise ExecutionRefusedError(
                error.code, error.message, refusal=error.refusal, bad_approvals=error.decision.bad_approvals
            ) from None

    def _integrity(self) -> tuple[IntegrityKey, ...]:
        return (IntegrityKey(name="integrity", spki=public_spki(example_key("integrity"))),)

    async def key(self, label: str) -> KeyRecord:
        self._reach()
        if label not in self.keys:
            raise ExecutionRefusedError(ErrorCode.KEY_NOT_EXISTENT, f"{label} does not exist", refusal="key.unknown")
        return self.keys[label]

    async def labels(self) -> list[str]:
        return sorted(self.keys)

    async def attested(self, label: str, sealed_password: bytes | None = None) -> AttestedKey:
        await self.key(label)
        return AttestedKey(xml=f"<{label}/>", signature=b"signed", attestation_key_name="attestation")

    async def integrity_keys(self) -> tuple[IntegrityKey, ...]:
        return self._integrity()

    async def create(self, operation_id: bytes, call: CreateCall) -> AttestedKey:
        self.put(call.label, call.policy, blocked=call.blocked)
        return await self.attested(call.label)

    async def delete(self, operation_id: bytes, label: str, *, sealed_password: bytes = b"") -> None:
        await self.key(label)
        del self.keys[label]

    async def stamp(self, label: str, action: Action, payload: bytes) -> SignedStamp:
        await self.key(label)
        blob = encode_timestamp(
            Timestamp(int(self.clock.now()), "integrity", payload or None, is_policy=action is Action.MODIFY)
        )
        signature = sign(example_key("integrity"), "SHA256_WITH_ECDSA", blob)
        return SignedStamp(timestamp=blob, signature=signature, algorithm="SHA256_WITH_ECDSA")

    async def sign(
        self, operation_id: bytes, call: SignCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        key = await self.key(call.key_name)
        digest, stored = self._stored(operation_id, call.key_name, call.payload, list(approvals))
        if stored is not None:
            return Executed(bytes(stored))
        if key.policy and not operation_id:
            raise ExecutionRefusedError(ErrorCode.VALIDATION_FAILED, "id", refusal="operation.id-missing")
        self._authorise(key, Action.USE, call.payload, approvals)
        self.executed.append(f"sign {call.key_name}")
        signature = sign(example_key(call.key_name), call.algorithm, call.payload, call.signature_type)
        return Executed(bytes(self._keep(operation_id, digest, signature)))

    async def decrypt(
        self, operation_id: bytes, call: DecryptCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        raise NotImplementedError

    async def unwrap(
        self, operation_id: bytes, call: UnwrapCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[AttestedKey]:
        raise NotImplementedError

    async def block(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        return await self._set_blocked(operation_id, label, approvals, Action.BLOCK)

    async def unblock(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        return await self._set_blocked(operation_id, label, approvals, Action.UNBLOCK)

    async def _set_blocked(
        self, operation_id: bytes, label: str, approvals: Sequence[bytes], action: Action
    ) -> Executed[AttestedKey]:
        key = await self.key(label)
        digest, stored = self._stored(operation_id, label, action, list(approvals))
        if stored is None:
            self._authorise(key, action, b"", approvals)
            self.executed.append(f"{action.name.lower()} {label}")
            self.counter += 1
            now = int(self.clock.now())
            self.keys[label] = replace(
                key,
                blocked=action is Action.BLOCK,
                state_counter=self.counter,
                last_blocked=now if action is Action.BLOCK else key.last_blocked,
            )
            self._keep(operation_id, digest, True)
        return Executed(await self.attested(label))

    async def withdraw(self, withdrawal: Withdrawal) -> None:
        self._reach()
        self.withdrawn.append(withdrawal)

    async def modify(
        self,
        operation_id: bytes,
        label: str,
        policy: bytes,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        key = await self.key(label)
        digest, stored = self._stored(operation_id, label, policy, list(approvals))
        if stored is None:
            self._authorise(key, Action.MODIFY, policy, approvals)
            self.executed.append(f"modify {label}")
            self.counter += 1
            now = int(self.clock.now())
            self.keys[label] = replace(key, policy=policy, state_counter=self.counter, last_modified=now)
            self._keep(operation_id, digest, True)
        return Executed(await self.attested(label))

    async def certify(
        self, operation_id: bytes, call: CertifyCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        raise NotImplementedError

    async def attach_certificate(self, operation_id: bytes, label: str, certificate: bytes) -> None:
        raise NotImplementedError

    async def witness(self, kind: str, evidence: bytes, signature: bytes) -> bool:
        return False

    async def verify(
        self, label: str, algorithm: str, payload: bytes, signature: bytes, sealed_password: bytes = b""
    ) -> bool:
        try:
            verify((await self.key(label)).public_key, algorithm, payload, signature)
        except KeyturnError:
            return False
        return True

    async def chain(self) -> list[str]:
        return []

    async def figures(self) -> dict[str, int]:
        return {"keys": len(self.keys)}

    async def describe(self) -> dict[str, Any]:
        return {"isolation": "none"}


@dataclass
class World:
    """A broker and what people do with it.

    Args:
        broker: The broker.
        clock: Its clock.
    """

    broker: Broker
    clock: ManualClock
    _ticks: int = 0

    def timestamp(self) -> str:
        """The present time as text, never the same twice."""
        self._ticks += 1
        return iso(self.clock.now())[:-1] + f".{self._ticks:06d}Z"

    async def create(self, label: str, policy: Policy | None, **attributes: bool) -> AttestedKey:
        return await self.broker.create_key(
            CreateCall(
                label=label,
                algorithm="EC",
                curve_oid=P256,
                attributes={"sign": True, "decrypt": False, "unwrap": False, "destroyable": True, **attributes},
                policy=policy,
            )
        )

    async def ask_signature(self, label: str, payload: bytes = b"pay 100 to Alice", **fields: Any) -> str:
        call = SignCall(**{"payload": payload, "key_name": label, "algorithm": "SHA256_WITH_ECDSA", **fields})
        return await self.broker.open_sign(call, original=ORIGINAL)

    async def ask_change(self, label: str, policy: Policy) -> str:
        return await self.broker.open_modify(ModifyCall(key_name=label, policy=policy), original=b"{}")

    def query(self, officer: Officer, timestamp: str | None = None, **fields: Any) -> TaskQuery:
        timestamp = self.timestamp() if timestamp is None else timestamp
        return TaskQuery(
            **{
                "signer": Signer(spki=officer.spki),
                "timestamp": timestamp,
                "timestamp_signature": officer.sign(timestamp.encode()),
                "digest": officer.digest,
                **fields,
            }
        )

    async def tasks(self, officer: Officer, **fields: Any) -> list[TaskView]:
        return await self.broker.fetch_tasks(self.query(officer, **fields))

    def approval(self, officer: Officer, task: TaskView, **fields: Any) -> ApprovalCall:
        approval = fields.pop("approval", task.approval_to_be_signed)
        return ApprovalCall(
            **{
                "task_id": task.task_id,
                "approval": approval,
                "signature": officer.sign(approval),
                "digest": officer.digest,
                "signer": Signer(spki=officer.spki),
                **fields,
            }
        )

    async def approve(self, officer: Officer, request_id: str | None = None) -> TaskView:
        """The officer fetches the one task that waits, and approves it."""
        (task,) = await self.tasks(officer, request_id=request_id)
        await self.broker.approve(self.approval(officer, task))
        return task

    def rejection(self, officer: Officer, task_id: str, timestamp: str | None = None) -> RejectCall:
        query = self.query(officer, timestamp)
        assert query.signer is not None
        return RejectCall(
            task_id=task_id,
            signer=query.signer,
            timestamp=query.timestamp,
            timestamp_signature=query.timestamp_signature,
            digest=query.digest,
        )

    async def reject(self, officer: Officer, request_id: str | None = None) -> None:
        (task,) = await self.tasks(officer, request_id=request_id)
        await self.broker.reject(self.rejection(officer, task.task_id))

    async def view(self, request_id: str) -> RequestView:
        return await self.broker.request(request_id)


def _in_the_directory(_: Path) -> str:
    return ""


url_of: Callable[[Path], str] = _in_the_directory
"""Where brokers opened here keep their store, by their directory; `tests/broker/conftest.py` changes it."""


@asynccontextmanager
async def opened(directory: Path, executor: Executor, clock: Any) -> AsyncIterator[World]:
    """A broker on a directory, closed at the end."""
    broker = await Broker.open(BrokerSettings(data_dir=directory, database_url=url_of(directory)), executor, clock)
    try:
        yield World(broker, clock)
    finally:
        await broker.close()


@asynccontextmanager
async def memory_world(directory: Path) -> AsyncIterator[tuple[World, MemoryHsm]]:
    """A broker with an HSM in memory."""
    clock = ManualClock()
    hsm = MemoryHsm(clock)
    async with opened(directory, hsm, clock) as world:
        yield world, hsm


def attributes_body(attested: AttestedKey) -> dict[str, Any]:
    """The body of the offline `POST /v1/key/attributes` answer as values: what the courier carries, through JSON."""
    body = {
        "xml": attested.xml,
        "json": attestation_to_json(attested.attestation),
        "xmlSignature": b64encode(attested.signature).decode(),
        "attestationKeyName": attested.attestation_key_name,
    }
    return dict(json.loads(json.dumps(body)))


@asynccontextmanager
async def local_world(directory: Path, hsm: HsmProcess) -> AsyncIterator[World]:
    """A broker of profile `local` on a real HSM process."""
    client = await HsmClient.connect(hsm.address)
    async with opened(directory, LocalExecutor(client), SystemClock()) as world:
        yield world


@asynccontextmanager
async def gap_world(directory: Path, chain: Sequence[str], clock: Any = None) -> AsyncIterator[World]:
    """A broker of profile `air-gapped` that has pinned the device certificate at the head of `chain`."""
    executor = AirGappedExecutor(["".join(chain)] if chain else [])
    async with opened(directory, executor, SystemClock() if clock is None else clock) as world:
        yield world


async def register(world: World, attested: AttestedKey) -> None:
    """Carry an attested answer to the air-gapped side, as `POST /v1/offlineKey` takes it."""
    body = attributes_body(attested)
    await world.broker.register_offline_key(
        xml=body["xml"],
        signature=b64decode(body["xmlSignature"]),
        json=body["json"],
        attestation_key_name=body["attestationKeyName"],
    )


async def execute_offline(world: World, body: dict[str, Any]) -> dict[str, Any]:
    """Do with `inputOfflineHsm` what the offline REST layer does; returns what its answer becomes on the way back.

    Returns:
        `{"result": …}` or `{"keyAttributes": …}`, to be completed with the request's id.
    """
    body = json.loads(json.dumps(body))
    if "signRequest" in body:
        inner = body["signRequest"]
        call = SignCall(
            payload=b64decode(inner["payload"]),
            key_name=inner["signKeyName"],
            algorithm=inner["signatureAlgorithm"],
            signature_type=inner.get("signatureType", ""),
        )
        approvals = [b64decode(each) for each in inner["signedApprovals"]]
        return {"result": b64encode((await world.broker.sign_now(call, approvals)).value).decode()}
    inner = body["modifyRequest"]
    policy, _ = policy_from_json(inner["policy"], require_all_rules=True)
    change = ModifyCall(key_name=inner["modifyKeyName"], policy=policy)
    approvals = [b64decode(each) for each in inner["signedApprovals"]]
    return {"keyAttributes": attributes_body((await world.broker.modify_now(change, approvals)).value)}
