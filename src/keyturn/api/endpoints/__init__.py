"""The endpoints, by subject, and the table that joins them."""

from keyturn.api.endpoints import keys, offline, operations, requests, service, tasks

ROUTES = (
    *keys.ROUTES,
    *operations.ROUTES,
    *tasks.ROUTES,
    *requests.ROUTES,
    *offline.ROUTES,
    *service.ROUTES,
)
"""Every documented endpoint."""
