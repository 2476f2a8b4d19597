"""What the broker needs of the side that acts: one interface, two profiles.

`local.LocalExecutor` talks to an HSM; `airgapped.AirGappedExecutor` has none and answers from the register of
attested keys. The service asks `connected` only where the journeys differ: after the last approval.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from keyturn.broker.deriving import DerivingExecutor
from keyturn.broker.enciphering import EncipheringExecutor
from keyturn.broker.onboarding import OnboardingExecutor
from keyturn.broker.serving import ServingExecutor
from keyturn.broker.transfer import TransferExecutor
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keyturn.broker.answers import AttestedKey, Executed
    from keyturn.broker.calls import CertifyCall, CreateCall, DecryptCall, SignCall, UnwrapCall
    from keyturn.broker.settings import Profile
    from keyturn.ska.actions import Action
    from keyturn.ska.decision import IntegrityKey

ROLLED_BACK: Final = "store.rolled-back"
"""Word of an HSM whose store is an older one (R6). It judges no request: they wait until its administrator has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """A key's public side, for predictions and for checking results.

    Args:
        label: Its label.
        uuid: UUID text; the identity (R18), unlike the label.
        generation: How many keys have borne the label, this one included.
        algorithm: `RSA`, `EC`, `ED`.
        public_key: SPKI, DER.
        policy: Policy blob, empty for an ordinary key.
        blocked: Whether it is blocked.
        created: Seconds since the epoch.
        state_counter: Counter of the HSM's store at the key's last change.
        attested_at: When the HSM attested this, seconds since the epoch; None for an unsigned look-up.
        last_blocked: When it was last blocked, seconds since the epoch, 0 if never (or not known).
        last_modified: When its policy was last replaced, likewise.
        attributes: Attributes by their API names, as far as they are known.
        allowed_operations: Limits among sign, decrypt and unwrap; empty for none (R9).
        allowed_algorithms: API names of the only algorithms; empty for no limit.
        has_password: Whether it opens with a password only, as far as that is known (R27).
        certificate: Certificate that is attached to it, DER; empty for none.
    """

    label: str
    uuid: str
    generation: int
    algorithm: str
    public_key: bytes
    policy: bytes
    blocked: bool
    created: int
    state_counter: int
    attested_at: int | None = None
    last_blocked: int = 0
    last_modified: int = 0
    attributes: Mapping[str, bool | None] = field(default_factory=dict)
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()
    certificate: bytes = b""
    has_password: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStamp:
    """A timestamp of the HSM.

    Args:
        timestamp: Timestamp blob.
        signature: Bare signature over it.
        algorithm: API name of the signature algorithm.
        key_name: Name of the integrity key.
    """

    timestamp: bytes
    signature: bytes
    algorithm: str
    key_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A withdrawal for the HSM's ledger (R26).

    Args:
        label: Label of the key.
        approval: The approval blob that is taken back.
        task_id: Id of its task; the signature covers it.
        signature: DER-wrapped signature over `WITHDRAW:`, `approval` and the task id in ASCII.
        spki: The signer's public key, or None if `certificate` is given.
        certificate: The signer's certificate, or None if `spki` is given.
    """

    label: str
    approval: bytes
    task_id: str
    signature: bytes
    spki: bytes | None = None
    certificate: bytes | None = None


class ExecutionRefusedError(KeyturnError):
    """The HSM refused; nothing changed there.

    Args:
        code: As the HSM gave it.
        message: As the HSM gave it.
        refusal: Its stable word.
        bad_approvals: Positions of approvals that did not count, with the word why.
        receipt: The HSM's receipt for the refusal; empty where the call carried no request id (R24).
        receipt_signature: Bare signature over it.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        refusal: str,
        bad_approvals: Sequence[tuple[int, str]] = (),
        receipt: bytes = b"",
        receipt_signature: bytes = b"",
    ) -> None:
        super().__init__(code, message, refusal=refusal)
        self.bad_approvals = tuple(bad_approvals)
        self.receipt = receipt
        self.receipt_signature = receipt_signature

    @property
    def is_about_approvals(self) -> bool:
        """Whether other or more approvals could cure it."""
        return self.refusal.startswith(("approval.", "approvals."))


def without_hsm(what: str) -> NoReturn:
    """Refuse what only an HSM does, in the profile that has none.

    Args:
        what: Where or how it is done instead, sentences.

    Raises:
        KeyturnError: 611 `profile.air-gapped`, always.
    """
    raise KeyturnError(
        ErrorCode.UNSUPPORTED_OPERATION,
        f"This broker has no HSM (profile air-gapped). {what}",
        refusal="profile.air-gapped",
    )


class Executor(ServingExecutor, TransferExecutor, DerivingExecutor, EncipheringExecutor, OnboardingExecutor, Protocol):
    """The side that acts, or stands in for it.

    Every method raises `KeyturnError`: 650 for an unknown key, `ExecutionRefusedError` when the HSM refused,
    2 when it cannot be reached (then nothing is known about the call's outcome), 611 where the profile cannot.
    """

    profile: Profile

    @property
    def connected(self) -> bool:
        """Whether there is an HSM to send satisfied requests to."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...

    async def key(self, label: str) -> KeyRecord:
        """Look a key up."""
        ...

    async def labels(self) -> list[str]:
        """All labels, sorted."""
        ...

    async def attested(self, label: str, sealed_password: bytes | None = None) -> AttestedKey:
        """Attested attributes of a key; with a password (empty for none) on behalf of a caller who must know it."""
        ...

    async def integrity_keys(self) -> tuple[IntegrityKey, ...]:
        """Keys whose timestamps count, for predictions."""
        ...

    async def create(self, operation_id: bytes, call: CreateCall) -> AttestedKey:
        """Create a key."""
        ...

    async def delete(self, operation_id: bytes, label: str, *, sealed_password: bytes = b"") -> None:
        """Delete a key."""
        ...

    async def stamp(self, label: str, action: Action, payload: bytes) -> SignedStamp:
        """Have the HSM sign the time and what it is for."""
        ...

    async def sign(
        self, operation_id: bytes, call: SignCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Sign; with an operation id, at most once. With a request id there is a receipt, here and below."""
        ...

    async def decrypt(
        self, operation_id: bytes, call: DecryptCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Decrypt."""
        ...

    async def unwrap(
        self, operation_id: bytes, call: UnwrapCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[AttestedKey]:
        """Unwrap a key into a new one, at most once; attributes of the new key."""
        ...

    async def certify(
        self, operation_id: bytes, call: CertifyCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Sign a request for a certificate or a certificate, at most once; DER."""
        ...

    async def attach_certificate(self, operation_id: bytes, label: str, certificate: bytes) -> None:
        """Attach a certificate to its key; empty bytes take it off."""
        ...

    async def block(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        """Block a key, at most once."""
        ...

    async def unblock(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        """Unblock a key, at most once."""
        ...

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
        """Replace a key's policy, at most once."""
        ...

    async def withdraw(self, withdrawal: Withdrawal) -> None:
        """Enter a withdrawal into the HSM's ledger; the same one twice does no harm."""
        ...

    async def witness(self, kind: str, evidence: bytes, signature: bytes) -> bool:
        """Show the HSM something that it signed itself; whether its store is older than that, or was before (R6)."""
        ...

    async def verify(
        self, label: str, algorithm: str, payload: bytes, signature: bytes, sealed_password: bytes = b""
    ) -> bool:
        """Check a signature with a key's public part, or a MAC."""
        ...

    async def chain(self) -> list[str]:
        """Certificates of the attestation key, PEM, device certificate first."""
        ...

    async def figures(self) -> dict[str, int]:
        """Figures about the key store."""
        ...

    async def describe(self) -> dict[str, Any]:
        """What `versionInfo` says about the HSM: instance, isolation, switches."""
        ...
