"""Bodies of approver management: approvers whose keys the HSM makes.

Source: rest-api.md section 3.8; security rule R23.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from keyturn.api.schemas.common import Body, NonEmpty

Secret = Annotated[list[str] | str, Meta(description="A password or code: a text, or an array of single characters.")]
ApproverName = Annotated[
    str,
    Meta(
        min_length=1,
        description="Name of the approver, unique; the rules of labels hold for it. At most 64 characters.",
    ),
]


class CreateApproverBody(Body, frozen=True, rename="camel"):
    """An approver whose key the HSM is to make; `validity` of the certificate is in days, 365 if absent."""

    approver_name: ApproverName
    algorithm: Annotated[NonEmpty, Meta(description="`RSA`")]
    backup_password: Secret
    key_size: Annotated[int, Meta(description="2048, 3072 (if absent) or 4096")] | None = None
    validity: Annotated[int, Meta(description="Days, 1 to 7305")] | None = None


class ApproverNameBody(Body, frozen=True, rename="camel"):
    """Which approver is meant."""

    approver_name: ApproverName


class ForgotPasswordBody(Body, frozen=True, rename="camel"):
    """Whose file gets another backup password, which nobody has to know so far."""

    approver_name: ApproverName
    new_backup_password: Secret


class ChangeBackupPasswordBody(Body, frozen=True, rename="camel"):
    """Whose file gets another backup password, by who knows the one so far."""

    approver_name: ApproverName
    backup_password: Secret
    new_backup_password: Secret


class OnboardBody(Body, frozen=True, rename="camel"):
    """What an approver brings to get the file: the code, and a password of 16 or 32 bytes under which it travels."""

    approver_name: ApproverName
    one_time_code: Secret
    transport_password: Secret
