# Made by scripts/async_client.py of keyturn/client/rest.py: change that, then `make client`.
"""The asynchronous client of the REST API: one method per endpoint, decoded JSON in and out.

It knows paths, methods and error bodies and nothing else: no keys, no signing, no policy. The methods stand by subject
in the modules of this room.

Source: rest-api.md sections 2 and 3; decisions 4 to 6, 11 to 15 and 17.
"""

from __future__ import annotations

from keyturn.client.asynchronous.approval import AsyncApprovalCalls
from keyturn.client.asynchronous.approver_management import AsyncApproverManagementCalls
from keyturn.client.asynchronous.certificates import AsyncCertificateCalls
from keyturn.client.asynchronous.derivation import AsyncDerivationCalls
from keyturn.client.asynchronous.encapsulation import AsyncEncapsulationCalls
from keyturn.client.asynchronous.enciphering import AsyncEncipheringCalls
from keyturn.client.asynchronous.files import AsyncFileCalls
from keyturn.client.asynchronous.giving import AsyncGivingCalls
from keyturn.client.asynchronous.keys import AsyncKeyCalls
from keyturn.client.asynchronous.offline import AsyncOfflineCalls
from keyturn.client.asynchronous.operations import AsyncOperationCalls
from keyturn.client.asynchronous.requests import AsyncRequestCalls
from keyturn.client.asynchronous.service import AsyncServiceCalls
from keyturn.client.asynchronous.transfer import AsyncTransferCalls


class AsyncRestClient(
    AsyncKeyCalls,
    AsyncTransferCalls,
    AsyncDerivationCalls,
    AsyncOperationCalls,
    AsyncEncapsulationCalls,
    AsyncEncipheringCalls,
    AsyncCertificateCalls,
    AsyncFileCalls,
    AsyncGivingCalls,
    AsyncApprovalCalls,
    AsyncApproverManagementCalls,
    AsyncRequestCalls,
    AsyncOfflineCalls,
    AsyncServiceCalls,
):
    """A connection to one keyturn (or compatible) server.

    Use it as a context manager, or call `close`. Proxy settings of the environment are not followed: what an officer
    approves goes to the address the officer named and nowhere else. A call that only reads is repeated when the
    connection breaks; any other one is not, because it may have been done.

    Args:
        base_url: Scheme, host and port, such as `http://127.0.0.1:8080`; a path prefix is kept.
        timeout: Longest wait for one answer, in seconds.
        ca_file: PEM file with the certificates that may vouch for the server (TLS); the system's if None.
        api_keys: Values for `X-API-KEY`. The first is sent; when the server does not know it (401 with 631) the next
            one is taken from then on, so that keys can be replaced while programs run.
        token: A bearer token (JWT).
        client_certificate: PEM files of a certificate and its private key, to be shown to the server (mutual TLS).
        transport: Replaces the network, for tests.
    """
