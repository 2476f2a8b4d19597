"""The endpoints, by subject, and the table that joins them."""

from typing import Final

from keyturn.api.endpoints import (
    approvers,
    certificates,
    control,
    decryption,
    derivation,
    directory,
    encapsulation,
    enciphering,
    files,
    giving,
    keys,
    objects,
    offline,
    requests,
    service,
    signing,
    tasks,
    timestamps,
    transfer,
    unwrapping,
)
from keyturn.api.http import AnyRoute

ROUTES: Final[tuple[AnyRoute, ...]] = (
    *keys.ROUTES,
    *derivation.ROUTES,
    *transfer.ROUTES,
    *signing.ROUTES,
    *decryption.ROUTES,
    *encapsulation.ROUTES,
    *enciphering.ROUTES,
    *unwrapping.ROUTES,
    *control.ROUTES,
    *certificates.ROUTES,
    *timestamps.ROUTES,
    *tasks.ROUTES,
    *directory.ROUTES,
    *approvers.ROUTES,
    *requests.ROUTES,
    *offline.ROUTES,
    *objects.ROUTES,
    *files.ROUTES,
    *giving.ROUTES,
    *service.ROUTES,
)
"""Every documented endpoint."""
