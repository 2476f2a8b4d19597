"""The air-gapped profile: no HSM at all. Answers come from the register, and what would change a key is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from keyturn.broker.certificates import ENDPOINTS
from keyturn.broker.deriving_executors import AirGappedDeriving
from keyturn.broker.enciphering_executors import AirGappedEnciphering
from keyturn.broker.executor import without_hsm
from keyturn.broker.onboarding_executors import AirGappedOnboarding
from keyturn.broker.register import Register, attested_of, parsed, record_of
from keyturn.broker.serving_executors import AirGappedServing
from keyturn.broker.settings import Profile
from keyturn.broker.transfer_executors import AirGappedTransfer
from keyturn.crypto.registry import verify
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.answers import AttestedKey, Executed
    from keyturn.broker.calls import CertifyCall, CreateCall, DecryptCall, SignCall, UnwrapCall
    from keyturn.broker.executor import KeyRecord, SignedStamp, Withdrawal
    from keyturn.ska.actions import Action
    from keyturn.ska.decision import IntegrityKey


class AirGappedExecutor(
    AirGappedServing, AirGappedTransfer, AirGappedDeriving, AirGappedEnciphering, AirGappedOnboarding
):
    """Stands in for an HSM that is out of reach.

    Args:
        chains: As in `Register`.
    """

    profile = Profile.AIR_GAPPED

    def __init__(self, chains: Sequence[str]) -> None:
        self.register = Register(chains)

    @property
    def connected(self) -> bool:
        """False: satisfied requests wait for the courier."""
        return False

    async def close(self) -> None:
        """Nothing is open."""

    async def key(self, label: str) -> KeyRecord:
        """The registered key."""
        return record_of(await self.register.row(label))

    async def labels(self) -> list[str]:
        """All registered labels."""
        return await self.register.labels()

    async def attested(self, label: str, sealed_password: bytes | None = None) -> AttestedKey:
        """The registered attestation."""
        return attested_of(await self.register.row(label))

    async def integrity_keys(self) -> tuple[IntegrityKey, ...]:
        """None: the register knows them key by key (`Register.integrity_keys`)."""
        return ()

    async def create(self, operation_id: bytes, call: CreateCall) -> AttestedKey:
        """Refused."""
        _refuse("created", "Create the key at the offline side and register it here with POST /v1/offlineKey.")

    async def delete(self, operation_id: bytes, label: str, *, sealed_password: bytes = b"") -> None:
        """Refused."""
        _refuse("deleted", "Delete it at the offline side; DELETE /v1/offlineKey/{label} makes this side forget it.")

    async def stamp(self, label: str, action: Action, payload: bytes) -> SignedStamp:
        """Refused."""
        _refuse("given a timestamp", "Requests that need one ask the offline side for it, by courier.")

    async def sign(
        self, operation_id: bytes, call: SignCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Refused."""
        _ask_offline("used", "sign")

    async def decrypt(
        self, operation_id: bytes, call: DecryptCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Refused."""
        _ask_offline("used", "decrypt")

    async def unwrap(
        self, operation_id: bytes, call: UnwrapCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[AttestedKey]:
        """Refused."""
        _ask_offline("used", "unwrap")

    async def certify(
        self, operation_id: bytes, call: CertifyCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Refused."""
        _ask_offline("used", f"certificate/{ENDPOINTS[call.kind]}")

    async def attach_certificate(self, operation_id: bytes, label: str, certificate: bytes) -> None:
        """Refused."""
        _refuse(
            "given a certificate",
            "Attach it at the offline side and register the key's attributes here again with POST /v1/offlineKey: they "
            "carry it.",
        )

    async def block(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        """Refused."""
        _ask_offline("blocked", "block")

    async def unblock(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        """Refused."""
        _ask_offline("unblocked", "unblock")

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
        """Refused."""
        _ask_offline("changed", "modify")

    async def withdraw(self, withdrawal: Withdrawal) -> None:
        """Refused."""
        _refuse("told of a withdrawal", "The withdrawal is recorded here; what was carried already is not recalled.")

    async def witness(self, kind: str, evidence: bytes, signature: bytes) -> bool:
        """Refused."""
        _refuse("held against what its HSM signed", "A bundle with a request brings it to the offline side.")

    async def verify(
        self, label: str, algorithm: str, payload: bytes, signature: bytes, sealed_password: bytes = b""
    ) -> bool:
        """Check a signature with the registered public key."""
        public_key = parsed((await self.register.row(label)).xml).public_key
        try:
            verify(public_key, algorithm, payload, signature)
        except KeyturnError as error:
            if error.code is ErrorCode.INVALID_SIGNATURE:
                return False
            raise
        return True

    async def chain(self) -> list[str]:
        """The pinned certificates."""
        return self.register.chain_pems

    async def figures(self) -> dict[str, int]:
        """How many keys are registered."""
        return {"registeredKeys": len(await self.register.labels())}

    async def describe(self) -> dict[str, Any]:
        """There is no HSM; isolation is the gap."""
        return {"isolation": "air-gap", "pinnedCertificates": len(self.register.chain_pems)}


def _ask_offline(what: str, endpoint: str) -> NoReturn:
    """Refuse what a request can ask for instead."""
    _refuse(what, f"Open a request with POST /v1/{endpoint}, and carry it to the offline side.")


def _refuse(what: str, cure: str) -> NoReturn:
    without_hsm(f"No key can be {what} here. {cure}")
