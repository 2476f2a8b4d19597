"""The administration protocol: what only the HSM's own user may ask, over a socket of its own (R2).

Framing as in `keyturn.hsm.framing`; messages as structs below. None of them exists in the broker's protocol, and the
two sockets share no decoder: a message of one is malformed on the other.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, TypeVar

import msgspec

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.addresses import Address
from keyturn.hsm.client import HsmRefusedError, Line
from keyturn.hsm.listening import peer_credentials
from keyturn.hsm.protocol import Message, Refused
from keyturn.plain import system_reason

if TYPE_CHECKING:
    from pathlib import Path

AnswerT = TypeVar("AnswerT")


class GetStatus(Message, frozen=True, tag="status"):
    """How is the HSM? Answer: `Status`. Works while sealed."""


class Unseal(Message, frozen=True, tag="unseal"):
    """Open the store. Answer: `Done`.

    Args:
        passphrase: The passphrase.
        create: Make the store if there is none; without this a mistyped directory does not become a new HSM.
        accept_log_loss: Go on although the decision log is lost, cut or broken; the loss is counted for ever.
    """

    passphrase: bytes
    create: bool = False
    accept_log_loss: bool = False

    def __repr__(self) -> str:
        return "Unseal(…)"


class ConfirmClock(Message, frozen=True, tag="clock-confirm"):
    """Believe the system's clock. Answer: `Done`.

    Args:
        reading: Seconds since the epoch that the administrator was shown and found right.
        backwards: Put the mark back to it.
    """

    reading: float
    backwards: bool = False


class MakeBackup(Message, frozen=True, tag="backup"):
    """Write a backup of the store. Answer: `Done`.

    Args:
        target: Absolute path of a new file, written by the HSM with mode 0600.
    """

    target: str


class ChangePassphrase(Message, frozen=True, tag="change-passphrase"):
    """Put the store under another passphrase. Answer: `Done`."""

    old: bytes
    new: bytes

    def __repr__(self) -> str:
        return "ChangePassphrase(…)"


class PresentWitness(Message, frozen=True, tag="present-witness"):
    """Hold something that this HSM signed against its store (R6). Answer: `Done`; `Status` says what came of it.

    Args:
        kind: `attestation` or `receipt`.
        evidence: The XML text in UTF-8, or the receipt.
        signature: Bare signature over it.
    """

    kind: str
    evidence: bytes
    signature: bytes


class AcceptRollback(Message, frozen=True, tag="rollback-accept"):
    """Go on with a store that is an older one, in a new restore epoch (R6). Answer: `Done`.

    Args:
        epoch: Restore epoch of the evidence that the administrator was shown.
        counter: State counter of that evidence.
    """

    epoch: int
    counter: int


class GetLedger(Message, frozen=True, tag="ledger"):
    """Look into the ledger: what later approvals are measured against. Answer: `LedgerIs`.

    Args:
        label: Label of the key whose lines are wanted; empty for an overview of all keys.
        after: Where the page before ended, from its `next`; empty for the first one.
    """

    label: str = ""
    after: bytes = b""


class GetDeleted(Message, frozen=True, tag="deleted"):
    """Which deleted keys lie sealed? (R28) Answer: `DeletedAre`.

    Args:
        after: Where the page before ended, from its `next`; empty for the first one.
    """

    after: str = ""


class RestoreDeleted(Message, frozen=True, tag="deleted-restore"):
    """Bring a deleted key back (R28). Answer: `Done`.

    Args:
        uuid: The key.
        label: The label it is to bear; empty for the one it had.
    """

    uuid: str
    label: str = ""


class EraseDeleted(Message, frozen=True, tag="deleted-erase"):
    """Erase a deleted key for good, before its time (R28). Answer: `Done`.

    Args:
        uuid: The key.
    """

    uuid: str


class Shutdown(Message, frozen=True, tag="shutdown"):
    """End in good order. Answer: `Done`, then the line closes."""


AdminCall = (
    GetStatus
    | Unseal
    | ConfirmClock
    | MakeBackup
    | ChangePassphrase
    | Shutdown
    | PresentWitness
    | AcceptRollback
    | GetLedger
    | GetDeleted
    | RestoreDeleted
    | EraseDeleted
)


class Status(Message, frozen=True, tag="status-is"):
    """How the HSM is.

    Args:
        version: keyturn version.
        pid: Process id.
        sealed: Whether it waits for a passphrase.
        has_store: Whether there is a store in its data directory.
        isolation: `none`, `user` or `machine` (R1).
        switches: Active weakening switches.
        address: Where the broker's protocol is served.
        notices: What an administrator should know and change, in sentences.
        hardening: What the kernel says of the process: name to number, or true and false as 1 and 0.
        instance_id, restore_epoch, state_counter, keys, log_losses: Of the store; empty and 0 while sealed.
        clock: `good`, `behind` or `ahead`; empty while sealed.
        clock_reading: Seconds since the epoch, by the system.
        clock_mark: Highest time used.
        figures: As `protocol.Statistics`.
        rolled_back: Whether genuine evidence showed that the store is an older one (R6).
        witnessed_epoch, witnessed_counter: Restore epoch and state counter of that evidence; 0 without.
        accepted_rollbacks: How often an administrator accepted that.
    """

    version: str
    pid: int
    sealed: bool
    has_store: bool
    isolation: str
    switches: list[str]
    address: str
    notices: list[str]
    hardening: dict[str, int]
    instance_id: str = ""
    restore_epoch: int = 0
    state_counter: int = 0
    keys: int = 0
    log_losses: int = 0
    clock: str = ""
    clock_reading: float = 0.0
    clock_mark: float = 0.0
    figures: dict[str, int] = msgspec.field(default_factory=dict)
    rolled_back: bool = False
    witnessed_epoch: int = 0
    witnessed_counter: int = 0
    accepted_rollbacks: int = 0


class LedgerKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A key, as the ledger knows it.

    Args:
        label: Its label.
        uuid: Its UUID text.
        single_use: Whether it is used once for each statement (R14).
        counts: Kind of line to the number of lines; see `keyturn.hsm.ledger.LedgerKind`.
    """

    label: str
    uuid: str
    single_use: bool
    counts: dict[str, int]


class LedgerLine(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A line of the ledger.

    Args:
        kind: A `keyturn.hsm.ledger.LedgerKind`.
        statement: SHA-256 of the signed bytes; empty where the line is about none.
        signer: SHA-256 of a signer's identity; empty where the line is about all of them.
        time: Seconds since the epoch.
        stamp: Seconds since the epoch in the statement's timestamp, None where it has none.
        operation: Id of the operation for which it served; empty where there is none.
        kept: Whether the result of that operation is still kept.
    """

    kind: str
    statement: bytes
    signer: bytes
    time: int
    stamp: int | None
    operation: bytes
    kept: bool


class LedgerIs(Message, frozen=True, tag="ledger-is"):
    """A page of the ledger.

    Args:
        keys: The key asked for, or some of all keys.
        lines: Some of its lines; none in an overview.
        next: What to ask for the next page with; empty on the last one.
    """

    keys: list[LedgerKey]
    lines: list[LedgerLine] = msgspec.field(default_factory=list)
    next: bytes = b""


class DeletedKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A deleted key that lies sealed.

    Args:
        label: The label it had.
        uuid: Its UUID text.
        algorithm: Kind of key.
        governed: Whether it has a policy.
        deleted: When it was deleted, seconds since the epoch.
        erased: When it will be erased, seconds since the epoch.
    """

    label: str
    uuid: str
    algorithm: str
    governed: bool
    deleted: int
    erased: int


class DeletedAre(Message, frozen=True, tag="deleted-are"):
    """A page of the deleted keys.

    Args:
        keys: Some of them, by UUID.
        next: What to ask for the next page with; empty on the last one.
    """

    keys: list[DeletedKey]
    next: str = ""


class AdminDone(Message, frozen=True, tag="admin-done"):
    """It is done, durably."""


AdminAnswer = Status | AdminDone | LedgerIs | DeletedAre | Refused


class AdminClient:
    """The administrator's side. Made by `connect`; one call after the other.

    Args:
        line: The open line.
    """

    def __init__(self, line: Line) -> None:
        self._line = line

    @classmethod
    async def connect(cls, path: Path) -> AdminClient:
        """Open the administration socket.

        Args:
            path: Its path.

        Returns:
            The client.

        Raises:
            KeyturnError: CONNECTIVITY, when no HSM listens there or this user may not; `admin.other-user`, when a
                process of another user listens there: no passphrase is for it.
        """
        loop = asyncio.get_running_loop()
        try:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.setblocking(False)
                await loop.sock_connect(connection, str(path))
                _require_own_process(connection, path)
                _, line = await loop.create_unix_connection(
                    lambda: Line(Address(path=path), AdminAnswer, loop), sock=connection
                )
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            raise KeyturnError(
                ErrorCode.CONNECTIVITY,
                f"no HSM answers at {path}: {system_reason(error)}; is it running, and are you its user?",
                refusal="hsm.unreachable",
            ) from None
        return cls(line)

    async def close(self) -> None:
        """Close the line."""
        self._line.close()
        await asyncio.sleep(0)

    async def call(self, message: AdminCall, expected: type[AnswerT]) -> AnswerT:
        """Send one message.

        Args:
            message: The message.
            expected: Type of the answer.

        Returns:
            The answer.

        Raises:
            HsmRefusedError: The HSM refused.
            KeyturnError: CONNECTIVITY, when the line breaks.
        """
        answer = await self._line.call(message)
        if isinstance(answer, Refused):
            code = ErrorCode.__members__.get(answer.code, ErrorCode.TECHNICAL)
            raise HsmRefusedError(code, answer.message, refusal=answer.refusal)
        return msgspec.convert(answer, expected)

    async def status(self) -> Status:
        """How the HSM is."""
        return await self.call(GetStatus(), Status)


def _require_own_process(connection: socket.socket, path: Path) -> None:
    if peer_credentials(connection).uid != os.getuid():
        raise KeyturnError(
            ErrorCode.CONNECTIVITY,
            f"a process of another user listens at {path}, and an HSM is administered by its own user only: be that "
            f"user, or look who may write into that directory",
            refusal="admin.other-user",
        )
