"""An engine in the test's own process, on a clock that the test sets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from keyturn.clock import ManualClock
from keyturn.hsm import protocol
from keyturn.hsm.clock_guard import ClockGuard
from keyturn.hsm.engine import Engine
from keyturn.hsm.settings import HsmSettings
from keyturn.hsm.store import Store
from keyturn.hsm.system_keys import SystemKeys
from keyturn.hsm.worker import WorkerPool
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.policy import encode_policy
from keyturn.ska.signatures import wrap_signature
from keyturn_testing.hsm_store import PASSPHRASE, create_store
from keyturn_testing.keys import P256, operation_id

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.ska.actions import Action
    from keyturn.ska.policy import Policy

NOW = 1_700_000_000
"""The time at which every engine starts, seconds since the epoch."""


class Room:
    """An engine with a store of its own; `close` ends it, and `again` starts it anew on the same store.

    Args:
        directory: Of the store; it is made.
        now: Its first time, seconds since the epoch.
        **switches: Settings that differ from the defaults.
    """

    def __init__(self, directory: Path, now: float = NOW, **switches: Any) -> None:
        self.directory = directory
        self.settings = HsmSettings(data_dir=str(directory), **switches)
        self.clock = ManualClock(now)
        self._begin(create_store(directory, self.clock))

    def _begin(self, store: Store) -> None:
        self.store = store
        self.guard = ClockGuard(self.clock, store)
        self.workers = WorkerPool(1)
        self.engine = Engine(
            store=store,
            system_keys=SystemKeys.open(store, now=int(self.clock.now())),
            clock_guard=self.guard,
            clock=self.clock,
            settings=self.settings,
            isolation="none",
            workers=self.workers,
        )

    def again(self) -> None:
        """Close the store and open it again, as a restart does."""
        self.store.close()
        self.open()

    def open(self, *, accept_log_loss: bool = False) -> None:
        """Open the store that `close` closed, or what has been put in its place."""
        self._begin(Store.open(self.directory, PASSPHRASE, clock=self.clock, accept_log_loss=accept_log_loss))

    def close(self) -> None:
        """End it."""
        self.store.close()

    def ask(self, call: protocol.Call) -> Any:
        """The answer to a call that needs no waiting."""
        answer = self.engine.handle(call, "test")
        assert not asyncio.iscoroutine(answer)
        return answer

    def create(self, label: str, policy: Policy, **attributes: bool) -> None:
        """Make a P-256 key that signs."""
        call = protocol.CreateKey(
            operation_id(), label, "EC", P256, 0, {"sign": True, **attributes}, encode_policy(policy), blocked=False
        )
        made = self.ask(call)
        assert isinstance(made, protocol.Attested), made

    def stamp(self, label: str, action: Action, payload: bytes = b"") -> ApprovalToken:
        """What is approved, with a timestamp of now."""
        stamped = self.ask(protocol.Stamp(label, action, payload))
        assert isinstance(stamped, protocol.Stamped), stamped
        signature = wrap_signature(stamped.algorithm, stamped.signature)
        return ApprovalToken(action, label.encode(), stamped.timestamp, signature, payload or None)
