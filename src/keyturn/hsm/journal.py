"""What the engine writes into the decision log, and what a refused caller is told.

Every refusal is a line, and everything granted that touches a private key, changes a key, stamps or attests. Reading
leaves no line. Lines hold hashes and words, never payloads.
"""

from __future__ import annotations

import traceback
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.audit import LogEntry
from keyturn.hsm.authority import approver_fingerprints
from keyturn.hsm.console import note
from keyturn.hsm.derived_keys import identity_of
from keyturn.ska.decision import NotAuthorisedError, Verdict

if TYPE_CHECKING:
    from keyturn.clock import Clock
    from keyturn.hsm.records import KeyRecord
    from keyturn.hsm.store import Store
    from keyturn.ska.decision import Decision

MAX_SHOWN: Final = 200
"""Characters of a caller's text, or of a message, in a log line or an answer."""

_SHOWN_FINDINGS: Final = 16
"""Approvals whose refusal is told one by one in a log line; a hostile call may bring a thousand."""
_READING: Final = frozenset(
    {"info", "list", "lookup", "verify", "statistics", "random", "log", "object", "file-key-make", "approvers"}
)
_KINDS: Final[dict[type, str]] = {kind: str(kind.__struct_config__.tag) for kind in protocol.Call.__args__}


class Journal:
    """Writes the lines of one engine.

    Args:
        store: Its log is written, and its records give a refused call's key an identity.
        clock: Time of the lines.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.granted = 0
        """Calls granted since the start."""
        self.refused = 0
        """Calls and frames refused since the start."""

    def now(self) -> int:
        """Time for lines and records: whole seconds since the epoch, by the system."""
        return int(self._clock.now())

    def grant(
        self, call: protocol.Call, record: KeyRecord, decision: Decision | None, *, payload: bytes = b"", note: str = ""
    ) -> None:
        """Write that a call was granted.

        Args:
            call: The call.
            record: The key.
            decision: Who approved; None where nobody had to.
            payload: The bytes that were processed, for their hash.
            note: What else should be known.
        """
        approvers = approver_fingerprints(decision) if decision is not None else ()
        self._granted(call, label=record.label, uuid=record.uuid, payload=payload, approvers=approvers, note=note)

    def serve(self, call: protocol.Call, *, payload: bytes = b"", note: str = "") -> None:
        """Write that a call was granted which is about no key.

        Args:
            call: The call.
            payload: The bytes that were processed, for their hash.
            note: What else should be known.
        """
        self._granted(call, payload=payload, note=note)

    def repeat(self, call: protocol.Call) -> None:
        """Write that a repeated call got its stored answer."""
        self._granted(call, label=_label(call), note="stored result of a repeated call")

    def _granted(
        self,
        call: protocol.Call,
        *,
        label: str = "",
        uuid: str = "",
        payload: bytes = b"",
        approvers: tuple[str, ...] = (),
        note: str,
    ) -> None:
        self.granted += 1
        self._store.log.append(
            LogEntry(
                time=self.now(),
                kind=_KINDS[type(call)],
                outcome="granted",
                label=label,
                uuid=uuid,
                payload=_hash(payload),
                approvers=approvers,
                operation=_operation(call),
                note=note,
            )
        )

    def refuse(self, call: protocol.Call, error: Exception, peer: str) -> protocol.Refused:
        """Write that a call was refused, or failed.

        Args:
            call: The call.
            error: Why. What is no `KeyturnError` is a defect of ours and shows to the operator only.
            peer: Who called.

        Returns:
            The answer.
        """
        self.refused += 1
        if not isinstance(error, KeyturnError):
            error = _defect(error)
        word = error.refusal or error.code.name
        bad: list[tuple[int, str]] = []
        if isinstance(error, NotAuthorisedError):
            bad = [
                (finding.position, finding.refusal)
                for finding in error.decision.approvals
                if finding.verdict is not Verdict.COUNTED
            ]
        kind = _KINDS[type(call)]
        if kind not in _READING:
            words = "; ".join(f"approval {position}: {found}" for position, found in bad[:_SHOWN_FINDINGS])
            payload: bytes = next((given for name in _hashed(call) if (given := getattr(call, name, b""))), b"")
            record = identity_of(self._store, _label(call))
            self._store.log.append(
                LogEntry(
                    time=self.now(),
                    kind=kind,
                    outcome="refused",
                    label=_label(call),
                    uuid="" if record is None else record.uuid,
                    refusal=word,
                    payload=_hash(payload),
                    operation=_operation(call),
                    note=f"{peer}: {error.message[:MAX_SHOWN]}" + (f" [{words}]" if words else ""),
                )
            )
        return protocol.Refused(error.code.name, word, error.message, bad)

    def refuse_frame(self, error: FormatError, peer: str) -> protocol.Refused:
        """Write that bytes were no call, or that somebody was not served.

        Args:
            error: What was wrong.
            peer: Who sent them.

        Returns:
            The answer.
        """
        self.refused += 1
        self._store.log.append(
            LogEntry(
                time=self.now(),
                kind="frame",
                outcome="refused",
                refusal=error.refusal,
                note=f"{peer}: {error.message[:MAX_SHOWN]}",
            )
        )
        return protocol.Refused(error.code.name, error.refusal, error.message)


def _defect(error: Exception) -> KeyturnError:
    """Tell the operator where it failed, without values; the caller learns nothing of it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    note(f"internal error {type(error).__name__} in {where}")
    return KeyturnError(
        ErrorCode.TECHNICAL, "the HSM has a defect; its standard error says where", refusal="internal.error"
    )


def _hashed(call: protocol.Call) -> tuple[str, ...]:
    """Fields of a call of which the first that is there is hashed; what is to be encrypted is nobody's to guess at."""
    return () if isinstance(call, protocol.Encrypt) else ("payload", "wrapped_key", "policy", "approval")


def _hash(payload: bytes) -> str:
    return sha256(payload).hexdigest() if payload else ""


def _label(call: protocol.Call) -> str:
    label: str = getattr(call, "label", "")
    return label[:MAX_SHOWN]


def _operation(call: protocol.Call) -> str:
    operation: bytes = getattr(call, "operation_id", b"")
    return operation[: protocol.OPERATION_ID_SIZE].hex()
