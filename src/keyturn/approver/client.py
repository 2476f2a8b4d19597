"""The approver's client: fetches tasks, has them reviewed, signs what was reviewed and nothing else.

It talks to the server through a small protocol (`keyturn.client.RestClient` satisfies it) and opens no connection by
itself. Every fetch signs a timestamp of its own, used once (R26: a fetch signature must not be good for rejecting).

Source: rest-api.md section 3.7, decisions 4, docs/security/rules.md R11 and R26.
"""

from __future__ import annotations

import base64
import contextlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from keyturn.approver.memory import OfficerMemory, SentApproval
from keyturn.approver.review import Review, require_approval, review_task
from keyturn.approver.tasks import Task, disagrees, parse_task
from keyturn.approver.windows import late_sight
from keyturn.clock import SystemClock
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keyturn.approver.address_book import AddressBook
    from keyturn.approver.keys import ApproverKey
    from keyturn.clock import Clock

DETAIL: Final = "level5"
"""Everything the server will tell, because every field it tells is held against the approval."""
REJECTION_PREFIX: Final = b"REJECTED:"
WITHDRAWAL_PREFIX: Final = b"WITHDRAW:"

LATE_CURE: Final = (
    "It is approved only with --accept-old-timestamp. Find out first why you were asked late, and whether the waiting "
    "period was meant to be over by now."
)
"""What is said beside the age of a timestamp that was old when it was first seen (R12)."""

_DECIDED: Final = {
    "task.approved": "You approved it already; an approval counts once, and nothing more is needed from you.",
    "task.rejected": "You rejected it already; that cannot be taken back. Ask for a new request.",
    "task.withdrawn": "You withdrew your approval; that cannot be taken back. Ask for a new request.",
}
"""What the server's refusal words mean for the officer at whose own decision they point."""


MOST_LOOKED_AT: Final = 50
"""Most requests that are looked at to find those that wait for the HSM's time; each costs a call."""
TIMESTAMP_REQUEST: Final = "timestampRequest"
"""Member of `inputOfflineHsm` of a request that waits for the HSM's time (decisions 15)."""
_PENDING: Final = ("PENDING",)


class TaskServer(Protocol):
    """What the client needs of a server."""

    def tasks(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """`POST /v1/filteredAllApprovalTask`: the task objects."""
        ...

    def approve(self, approval: Mapping[str, Any]) -> None:
        """`POST /v1/approval`."""
        ...

    def withdraw(self, withdrawal: Mapping[str, Any]) -> None:
        """`DELETE /v1/approval`."""
        ...

    def request(self, request_id: str) -> dict[str, Any]:
        """`GET /v1/request/{id}`."""
        ...

    def filtered_requests(self, statuses: Sequence[str]) -> list[dict[str, Any]]:
        """`POST /v1/filteredRequests`: ids and statuses, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """What was signed and sent.

    Args:
        task_id: UUID of the task.
        signed: The exact bytes that were signed.
        signature: The bare signature over them.
        digest: Digest name of the signature (rest-api.md section 4.5).
        spki: The key that signed.
    """

    task_id: str
    signed: bytes
    signature: bytes
    digest: str
    spki: bytes


def rejection_bytes(approval: bytes, task_id: str) -> bytes:
    """What a rejection signs: `REJECTED:`, the token bytes as delivered, the task's id in ASCII (decisions 4, R26).

    Read as an approval its first four bytes announce more than a gigabyte, so it can never pass for one.

    Args:
        approval: Decoded `approvalToBeSigned`, well-formed or not.
        task_id: UUID text.
    """
    return REJECTION_PREFIX + approval + task_id.encode("ascii")


def withdrawal_bytes(approval: bytes, task_id: str) -> bytes:
    """What a withdrawal signs: `WITHDRAW:`, the approval that was signed, the task's id in ASCII (R26).

    Like a rejection it can never pass for an approval.

    Args:
        approval: The bytes that were approved.
        task_id: UUID text.
    """
    return WITHDRAWAL_PREFIX + approval + task_id.encode("ascii")


class ApproverClient:
    """One officer at one server.

    Args:
        server: The server, see `TaskServer`.
        key: The officer's key.
        address_book: The officer's own address book.
        device_certificate: The pinned certificate of the HSM, DER; None while first trust has not taken place.
        memory: What the officer has seen and approved; one for this object only if None.
        clock: Where fetch timestamps come from, and what the age of the HSM's timestamps is judged by.
        address: How the server is called in the memory.
    """

    def __init__(
        self,
        server: TaskServer,
        key: ApproverKey,
        address_book: AddressBook,
        *,
        device_certificate: bytes | None = None,
        memory: OfficerMemory | None = None,
        clock: Clock | None = None,
        address: str = "",
    ) -> None:
        self._server = server
        self._key = key
        self._address_book = address_book
        self._device_certificate = device_certificate
        self._memory = OfficerMemory() if memory is None else memory
        self._clock = SystemClock() if clock is None else clock
        self._address = address
        self._last_fetch = datetime.fromtimestamp(0, tz=UTC)

    def tasks(self, *, task_id: str | None = None, request_id: str | None = None) -> tuple[Task, ...]:
        """Fetch what waits for this officer.

        Args:
            task_id: Only this task.
            request_id: Only tasks of this request.

        Raises:
            KeyturnError: The server's refusal, or `task.malformed`.
        """
        timestamp = self._fresh_timestamp()
        query: dict[str, Any] = {
            "timestamp": timestamp,
            "timestampSignature": _base64(self._key.sign_timestamp(timestamp)),
            "timestampDigestAlgorithm": self._key.digest,
            "approverPublicKey": self._key.spki_base64,
            "detailLevel": DETAIL,
        }
        if task_id is not None:
            query["id"] = task_id
        if request_id is not None:
            query["requestId"] = request_id
        return tuple(parse_task(task, asked_for=request_id) for task in self._server.tasks(query))

    def waiting_for_time(self, *, request_id: str | None = None) -> int:
        """How many requests nobody can approve yet, because the HSM's signed time is still being fetched.

        This goes by the server's word and is for information only. Before the time is there no request says whom it
        will ask, so that all count, not those for this officer alone.

        Args:
            request_id: Only this request; else the newest pending ones are looked at, `MOST_LOOKED_AT` at the most.

        Returns:
            The number; 0 also where the server does not say.
        """
        found = 0
        # A server that lists tasks and no more is good enough to approve with.
        with contextlib.suppress(KeyturnError):
            pending = (
                [request_id] if request_id else [one.get("id") for one in self._server.filtered_requests(_PENDING)]
            )
            for one in pending[:MOST_LOOKED_AT]:
                asked = self._server.request(str(one)).get("inputOfflineHsm")
                found += isinstance(asked, dict) and TIMESTAMP_REQUEST in asked
        return found

    def task(self, task_id: str) -> Task:
        """Fetch one task.

        Args:
            task_id: Its UUID.

        Raises:
            KeyturnError: 652 when no such task waits for this officer.
        """
        for task in self.tasks(task_id=task_id):
            if task.id.lower() == task_id.lower():
                return task
        raise KeyturnError(
            ErrorCode.TASK_NOT_EXISTENT,
            "No task with this id waits for your key: you may have decided it already, or it was cancelled or has "
            "expired. With --request and the id of its request you are told which; `keyturn approver tasks` lists "
            "what waits.",
            refusal="task.unknown",
        )

    def require_undecided(self, request_id: str) -> None:
        """Say so if this officer has decided a request already, by what the server tells of it.

        Args:
            request_id: A request with no task that waits for this officer.

        Raises:
            KeyturnError: 652 `task.approved`, `task.rejected` or `task.withdrawn`; the server's refusal when there is
                no such request.
        """
        state = self._server.request(request_id)
        for member, refusal in (
            ("approvedBy", "task.approved"),
            ("rejectedBy", "task.rejected"),
            ("withdrawnBy", "task.withdrawn"),
        ):
            decided = state.get(member)
            if isinstance(decided, list) and self._names_me(decided):
                raise KeyturnError(ErrorCode.TASK_NOT_EXISTENT, _DECIDED[refusal], refusal=refusal)

    def _names_me(self, signers: list[object]) -> bool:
        certificate = self._key.certificate
        mine = {self._key.spki_base64, None if certificate is None else _base64(certificate)}
        return any(isinstance(signer, str) and signer in mine for signer in signers)

    def review(self, task: Task) -> Review:
        """Work out what a task asks for, and remember when it was seen first.

        Args:
            task: As fetched.

        Raises:
            KeyturnError: A `review.…` refusal that names the field that disagrees; `officer-memory.…`.
        """
        review = review_task(
            task,
            own_spki=self._key.spki,
            address_book=self._address_book,
            now=self._now(),
            device_certificate=self._device_certificate,
        )
        late = self._late(review)
        return replace(review, warnings=(f"{late} {LATE_CURE}", *review.warnings)) if late else review

    def approve(self, review: Review, *, accept_old_timestamp: bool = False) -> Sent:
        """Sign exactly the bytes that were reviewed, and send the approval.

        Args:
            review: What was shown to the officer.
            accept_old_timestamp: Approve even if the HSM's timestamp was old when it was first seen (R12).

        Returns:
            What was signed.

        Raises:
            KeyturnError: `review.not-an-approval` when the bytes are none (checked again at the last moment);
                `review.old-timestamp`; `officer-memory.…`; the server's refusal.
        """
        self.require_approvable(review, accept_old_timestamp=accept_old_timestamp)
        sent = self._signed(review.task_id, review.approval)
        # Noted first: what is sent and then forgotten could not be withdrawn. The note stays whatever the server
        # answers: one that says no has the signature all the same.
        self._memory.remember(SentApproval(review.task_id, review.approval, self._address, self._now()))
        self._send(sent)
        return sent

    def require_approvable(self, review: Review, *, accept_old_timestamp: bool = False) -> None:
        """Refuse what must not be signed, before anybody is asked.

        Args:
            review: What was, or will be, shown to the officer.
            accept_old_timestamp: Let a timestamp pass that was old when it was first seen (R12).

        Raises:
            KeyturnError: As `approve`, but for the server's refusals.
        """
        require_approval(review.approval)
        if review.approval != review.task.approval:
            raise disagrees("approvalToBeSigned", "not-an-approval", "It is not what was reviewed.")
        late = self._late(review)
        if late and not accept_old_timestamp:
            raise KeyturnError(
                ErrorCode.VALIDATION_FAILED, f"{review.task_id}: {late} {LATE_CURE}", refusal="review.old-timestamp"
            )

    def withdraw(self, approved: SentApproval) -> Sent:
        """Sign and send the withdrawal of an approval that this officer gave.

        Args:
            approved: As remembered.

        Returns:
            What was signed.

        Raises:
            KeyturnError: The server's refusal, for instance because it was executed already; `officer-memory.…`.
        """
        sent = self._signed(approved.task_id, withdrawal_bytes(approved.approval, approved.task_id))
        self._server.withdraw(self._message(sent, approved.approval))
        self._memory.mark_withdrawn(approved, self._now())
        return sent

    def reject(self, subject: Task | Review) -> Sent:
        """Sign and send a rejection of a task, reviewed or not: a task that lies may be rejected too.

        Args:
            subject: The task or its review.

        Returns:
            What was signed.

        Raises:
            KeyturnError: `review.not-an-approval` when the task carries no bytes at all; the server's refusal.
        """
        task = subject.task if isinstance(subject, Review) else subject
        sent = self._signed(task.id, rejection_bytes(task.approval, task.id))
        self._send(sent)
        return sent

    def _signed(self, task_id: str, signed: bytes) -> Sent:
        return Sent(task_id, signed, self._key.sign(signed), self._key.digest, self._key.spki)

    def _send(self, sent: Sent) -> None:
        try:
            self._server.approve(self._message(sent, sent.signed))
        except KeyturnError as error:
            if error.refusal in _DECIDED:
                raise KeyturnError(error.code, _DECIDED[error.refusal], refusal=error.refusal) from None
            raise

    def _message(self, sent: Sent, token: bytes) -> dict[str, str]:
        return {
            "id": sent.task_id,
            "approvalToBeSigned": _base64(token),
            "signature": _base64(sent.signature),
            "approvalDigestAlgorithm": sent.digest,
            "approverPublicKey": self._key.spki_base64,
        }

    def _late(self, review: Review) -> str:
        """Why the HSM's timestamp was too old at first sight, which may be this one; empty when it was not."""
        first_seen = self._memory.first_seen(review.approval, self._now())
        return "" if review.stamp is None else late_sight(review.stamp.seconds, first_seen)

    def _now(self) -> int:
        return int(self._clock.now())

    def _fresh_timestamp(self) -> str:
        """The present time with microseconds, later than every one this client has signed."""
        now = datetime.fromtimestamp(self._clock.now(), tz=UTC)
        self._last_fetch = max(now, self._last_fetch + timedelta(microseconds=1))
        return self._last_fetch.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
