"""Takes approvals back (R26).

Source: docs/security/rules.md R26.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from keyturn.broker.execution import Execution
    from keyturn.broker.executor import Executor
    from keyturn.broker.locks import RequestLocks
    from keyturn.broker.model import WithdrawCall
    from keyturn.broker.storage.database import Database
    from keyturn.clock import Clock

WITHDRAW: Final = b"WITHDRAW:"
"""What a signed withdrawal begins with; behind it come the token and the task id in ASCII."""


class Withdrawals:
    """Takes withdrawals, and brings them to the HSM.

    Args:
        database: The store.
        execution: Drives what changed.
        executor: The side that acts.
        clock: Where the time comes from.
        locks: One lock per request.
    """

    def __init__(
        self, database: Database, execution: Execution, executor: Executor, clock: Clock, locks: RequestLocks
    ) -> None:
        self._database = database
        self._execution = execution
        self._executor = executor
        self._clock = clock
        self._locks = locks

    async def withdraw(self, call: WithdrawCall) -> None:
        """Take an approval back; arguments and errors as `Broker.withdraw`."""
        raise NotImplementedError
