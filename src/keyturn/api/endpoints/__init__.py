"""The endpoints, by subject, and the table that joins them."""

from typing import Final

from keyturn.api.endpoints import (
    control,
    decryption,
    directory,
    keys,
    offline,
    requests,
    service,
    signing,
    tasks,
    timestamps,
    unwrapping,
)
from keyturn.api.http import AnyRoute

ROUTES: Final[tuple[AnyRoute, ...]] = (
    *keys.ROUTES,
    *signing.ROUTES,
    *decryption.ROUTES,
    *unwrapping.ROUTES,
    *control.ROUTES,
    *timestamps.ROUTES,
    *tasks.ROUTES,
    *directory.ROUTES,
    *requests.ROUTES,
    *offline.ROUTES,
    *service.ROUTES,
)
"""Every documented endpoint."""
