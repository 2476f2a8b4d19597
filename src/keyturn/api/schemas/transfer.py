"""Bodies that bring key material in, or are about passwords of keys.

Source: rest-api.md section 3.1.
"""

from __future__ import annotations

from typing import Any

from keyturn.api.schemas.common import Base64, Body, NonEmpty, Password
from keyturn.api.schemas.keys import KeyAttributes  # noqa: TC001 - Read with the fields.
from keyturn.api.schemas.policies import NewPolicy  # noqa: TC001 - Read with the fields.


class ChangePasswordBody(Body, frozen=True, rename="camel"):
    """`POST /v1/key/changePassword`: the password so far, and the new one; either may be none."""

    label: NonEmpty
    password: Password = None
    new_password: Password = None


class ImportKeyBody(Body, frozen=True, rename="camel"):
    """`POST /v1/key/import/plain`.

    `secretKey` excludes the others, `publicKey` excludes `certificate`; `attributes` are needed with `privateKey` and
    `secretKey`.
    """

    label: NonEmpty
    algorithm: NonEmpty | None = None
    password: Password = None
    id: str | None = None
    address_format: dict[str, Any] | None = None
    private_key: Base64 | None = None
    public_key: Base64 | None = None
    secret_key: Base64 | None = None
    certificate: Base64 | None = None
    attributes: KeyAttributes | None = None
    policy: NewPolicy | None = None
