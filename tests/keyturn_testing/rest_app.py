"""The REST application without a network, over a given broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from keyturn.api.app import Application
from keyturn.api.guard import guard_for
from keyturn.api.http import Services
from keyturn.clock import SystemClock
from keyturn.transport.station import Station

if TYPE_CHECKING:
    from pathlib import Path

BASE = "http://127.0.0.1:8080"


def application(broker: Any, directory: Path, port: int = 8080, **services: bool) -> Application:
    """The application, addressed as 127.0.0.1 and `port`."""
    return Application(
        Services(broker=broker, station=Station(directory, SystemClock()), **services), guard_for(["127.0.0.1"], port)
    )


def in_process(broker: Any, directory: Path, **services: bool) -> httpx.AsyncClient:
    """A client whose requests reach the application directly, as if it listened on 127.0.0.1 port 8080."""
    app = application(broker, directory, **services)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)
