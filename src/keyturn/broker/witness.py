"""Remembers the newest thing that the connected HSM signed, so that the HSM can be told if its store is older (R6).

Receipts and attested attributes carry the HSM's instance, restore epoch and state counter. The newest one is kept in a
file of the broker's data directory, which is not the HSM's, and shown at every connection. It is not verified here:
the HSM does that, and nobody else's word counts there. A broker under an attacker's control shows nothing or something
old; so a person keeps a witness, too (`keyturn hsm witness`).

The file is written at most twice a second: what is lost with the broker is half a second of what it saw.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.hsm import protocol
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.receipt import decode_receipt

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from keyturn.hsm.client import HsmRefusedError

_log: Final = logging.getLogger("keyturn.broker")

WITNESS_FILE: Final = "hsm-witness.json"
WRITE_EVERY: Final = 0.5
"""Seconds between two writes of the file at most."""
ATTESTATION: Final = "attestation"
RECEIPT: Final = "receipt"
_MAX_FILE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that the HSM signed, and how new it is.

    Args:
        instance_id: The HSM's instance.
        restore_epoch: Its restore epoch.
        state_counter: The store's state counter.
        message: The evidence as the HSM takes it.
    """

    instance_id: str
    restore_epoch: int
    state_counter: int
    message: protocol.Witness

    def follows(self, other: Seen | None) -> bool:
        """Whether this is what to show from now on: newer, or of another HSM than the one before."""
        if other is None or other.instance_id != self.instance_id:
            return True
        return (self.restore_epoch, self.state_counter) > (other.restore_epoch, other.state_counter)


def seen(kind: str, evidence: bytes, signature: bytes) -> Seen | None:
    """Read how new a piece of evidence is.

    Args:
        kind: `attestation` or `receipt`.
        evidence: The XML text in UTF-8, or the receipt.
        signature: Bare signature over it; not verified here.

    Returns:
        What it says, None where it cannot be read.
    """
    message = protocol.Witness(kind, evidence, signature)
    try:
        if kind == RECEIPT:
            receipt = decode_receipt(evidence)
            return Seen(receipt.instance_id, receipt.restore_epoch, receipt.state_counter, message)
        attested = parse_attestation(evidence)
    except FormatError:
        return None
    counter = attested.state_counter if attested.store_counter is None else attested.store_counter
    return Seen(attested.instance_id, attested.restore_epoch, counter, message)


class WitnessBook:
    """The newest witness of one broker. Belongs to one event loop.

    Args:
        path: The file, `WITNESS_FILE` in the broker's data directory.
        newest: What is remembered from before.
    """

    def __init__(self, path: Path, newest: Seen | None = None) -> None:
        self._path = path
        self._newest = newest
        self._timer: asyncio.TimerHandle | None = None
        self._warned = False

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read what is remembered from before; a file that cannot be read is nothing.

        Args:
            directory: The broker's data directory.
        """
        path = directory / WITNESS_FILE
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_FILE)
            document = json.loads(text)
            evidence = base64.b64decode(document["evidence"], validate=True)
            signature = base64.b64decode(document["signature"], validate=True)
            newest = seen(str(document["kind"]), evidence, signature)
        except FileNotFoundError:
            newest = None
        except (OSError, ValueError, KeyError, TypeError, binascii.Error, RecursionError):
            _log.warning("%s cannot be read, so the HSM is shown no witness until it signs something new", path)
            newest = None
        return cls(path, newest)

    # --- for the HSM's client ---

    def note(self, answer: protocol.Answer) -> None:
        """Remember what an answer holds, if it is newer."""
        match answer:
            case protocol.Signed() | protocol.Decrypted() | protocol.Refused() | protocol.Attested() if answer.receipt:
                self._take(seen(RECEIPT, answer.receipt, answer.receipt_signature))
            case protocol.Attested():
                self._take(seen(ATTESTATION, answer.xml.encode(), answer.signature))

    def newest(self) -> protocol.Witness | None:
        """What to show."""
        return None if self._newest is None else self._newest.message

    def refused(self, error: HsmRefusedError) -> None:
        """Tell the operator once: this is not the HSM that was connected before."""
        if not self._warned:
            self._warned = True
            _log.warning(
                "the HSM does not know the newest thing that this broker saw signed (%s): it is another HSM than "
                "before, or its own keys were put back to an older state. If that is not meant, find out why.",
                error.refusal,
            )

    # --- the file ---

    def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._write()

    def _take(self, found: Seen | None) -> None:
        if found is None or not found.follows(self._newest):
            return
        self._newest = found
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_EVERY, self._write)

    def _write(self) -> None:
        self._timer = None
        assert self._newest is not None  # noqa: S101 - Nothing waits before something was taken.
        message = self._newest.message
        document = {
            "kind": message.kind,
            "evidence": base64.b64encode(message.evidence).decode(),
            "signature": base64.b64encode(message.signature).decode(),
        }
        made = self._path.with_suffix(".new")
        try:
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(document, file)
            made.replace(self._path)
        except OSError as error:
            _log.warning("%s cannot be written (%s)", self._path, error.strerror)
            with contextlib.suppress(OSError):
                made.unlink(missing_ok=True)
