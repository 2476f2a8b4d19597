"""Run the application: uvicorn with httptools on uvloop, and nothing else switched on.

The socket comes bound (`keyturn.api.listening`) and listens only when everything behind it is ready. uvicorn's own
signal handling is replaced: it would end the process before the broker has closed its store.

Source: ADR 0035.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import uvicorn

from keyturn.api.connection import Connection

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator

    from keyturn.api.app import Application

GRACE: Final = 5
"""Seconds that requests under way get to finish after a stop was asked for."""
BACKLOG: Final = 512
KEEP_ALIVE: Final = 75
"""Seconds after which an idle connection is closed; longer than most proxies keep theirs."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which tells when it takes connections."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever called `run`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then tell."""
        await super().startup(sockets)
        if self.started:
            self._ready()


async def run(
    app: Application,
    bound: socket.socket,
    *,
    stop: asyncio.Event,
    ready: Callable[[], None],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until `stop` is set.

    Requests under way are finished first, for at most `GRACE` seconds.

    Args:
        app: The application.
        bound: The socket, from `bind`; closed at the end.
        stop: Set it to stop.
        ready: Called once, when connections are taken.
        tls: How connections are protected; None for plain HTTP.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=Connection,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )
    server = _Server(config, ready)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        stopping.cancel()
