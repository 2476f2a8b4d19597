"""The server that a command talks to, with what it asks for: API key, bearer token, client certificate.

These come from the environment and are no flags: a command line can be read by everybody on the machine.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keyturn.client import RestClient
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping

API_KEY: Final = "KEYTURN_API_KEY"
TOKEN: Final = "KEYTURN_TOKEN"  # noqa: S105 - The name of a variable.
CERTIFICATE: Final = "KEYTURN_CLIENT_CERTIFICATE"
KEY: Final = "KEYTURN_CLIENT_KEY"


def connect(url: str, ca_file: Path | None, environment: Mapping[str, str] = os.environ) -> RestClient:
    """A client of the server.

    Args:
        url: Its address.
        ca_file: PEM file with those who may vouch for it; None for the system's.
        environment: `KEYTURN_API_KEY` (one or, for rollover, several separated by commas), `KEYTURN_TOKEN`,
            `KEYTURN_CLIENT_CERTIFICATE` with `KEYTURN_CLIENT_KEY` (PEM files); each may be absent.

    Returns:
        The client, to be closed.

    Raises:
        KeyturnError: 301 `client.certificate` for a certificate without its key, or a key without its certificate.
    """
    certificate, key = environment.get(CERTIFICATE), environment.get(KEY)
    if bool(certificate) != bool(key):
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"{CERTIFICATE} and {KEY} go together: name both PEM files.",
            refusal="client.certificate",
        )
    return RestClient(
        url,
        ca_file=ca_file,
        api_keys=[one for one in environment.get(API_KEY, "").split(",") if one],
        token=environment.get(TOKEN) or None,
        client_certificate=(Path(certificate), Path(key)) if certificate and key else None,
    )
