"""The synchronous client of the REST API: one method per endpoint, decoded JSON in and out.

It knows paths, methods and error bodies and nothing else: no keys, no signing, no policy. The methods stand by subject
in the modules of this room.

Source: rest-api.md sections 2 and 3; decisions 4 to 6, 11 to 15 and 17.
"""

from __future__ import annotations

from keyturn.client.approval import ApprovalCalls
from keyturn.client.certificates import CertificateCalls
from keyturn.client.derivation import DerivationCalls
from keyturn.client.encapsulation import EncapsulationCalls
from keyturn.client.files import FileCalls
from keyturn.client.giving import GivingCalls
from keyturn.client.keys import KeyCalls
from keyturn.client.offline import OfflineCalls
from keyturn.client.operations import OperationCalls
from keyturn.client.requests import RequestCalls
from keyturn.client.service import ServiceCalls
from keyturn.client.transfer import TransferCalls


class RestClient(
    KeyCalls,
    TransferCalls,
    DerivationCalls,
    OperationCalls,
    EncapsulationCalls,
    CertificateCalls,
    FileCalls,
    GivingCalls,
    ApprovalCalls,
    RequestCalls,
    OfflineCalls,
    ServiceCalls,
):
    """A connection to one keyturn (or compatible) server.

    Use it as a context manager, or call `close`. Proxy settings of the environment are not followed: what an officer
    approves goes to the address the officer named and nowhere else.

    Args:
        base_url: Scheme, host and port, such as `http://127.0.0.1:8080`; a path prefix is kept.
        timeout: Longest wait for one answer, in seconds.
        ca_file: PEM file with the certificates that may vouch for the server (TLS); the system's if None.
        transport: Replaces the network, for tests.
    """
