"""Reading the certificates that settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.x509 import load_pem_x509_certificates

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.plain import system_reason

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography.x509 import Certificate


def load_certificates(files: Iterable[Path], setting: str) -> list[Certificate]:
    """Read certificates.

    Args:
        files: PEM files, each with one or more of them.
        setting: Name of the setting, for messages.

    Returns:
        All certificates.

    Raises:
        KeyturnError: 301 `config.certificates`.
    """
    found: list[Certificate] = []
    for file in files:
        try:
            found += load_pem_x509_certificates(file.read_bytes())
        except (OSError, ValueError) as error:
            why = system_reason(error) if isinstance(error, OSError) else "it holds no certificate in PEM"
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID, f"{setting}: {file}: {why}.", refusal="config.certificates"
            ) from None
    return found
