"""Approver management and onboarding: approvers whose keys the HSM makes (off by default, R23).

Both verbs are taken where sources differ, and both paths of onboarding. The path of changing a backup password is in no
source and is ours.

Source: rest-api.md section 3.8; decisions 28; docs/security/rules.md R23, R27; docs/adr/0113, 0114.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from keyturn.api.answers import (
    Done,
    ManagedApprover,
    Onboarded,
    OnboardingStatus,
    OneTimeCode,
    RestoredApprover,
    UnwrapRequestId,
)
from keyturn.api.endpoints.parts import text
from keyturn.api.http import AnyRoute, Call, Route, Services
from keyturn.api.passwords import sealed_secret
from keyturn.api.schemas.approvers import (
    ApproverNameBody,
    ChangeBackupPasswordBody,
    CreateApproverBody,
    ForgotPasswordBody,
    OnboardBody,
)
from keyturn.broker.calls import RestoreCall
from keyturn.broker.onboarding import ApproverOrder
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.approver_secrets import BACKUP_PASSWORD, ONE_TIME_CODE, TRANSPORT_PASSWORD
from keyturn.ska.restorations import CHANGE, FORGOT, RESTORE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keyturn.broker.onboarding import ManagedApprover as Managed
    from keyturn.broker.onboarding import Restored

DEFAULT_BITS: Final = 3072
DEFAULT_DAYS: Final = 365


async def create_approver(services: Services, call: Call, body: CreateApproverBody) -> OneTimeCode:
    """Have the HSM make a key for an approver.

    The code, handed over by another way than this server, gets the file once; it is good for a day and five tries.
    """
    del call
    onboarding = services.broker.onboarding
    onboarding.require_enabled()
    if body.algorithm != "RSA":
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"Value {body.algorithm[:40]!a} is not valid for field 'algorithm': keys of approvers are RSA keys here. "
            "Who wants another kind makes the key themselves (keyturn approver keygen).",
            refusal="approver.algorithm",
        )
    order = ApproverOrder(
        name=body.approver_name,
        key_size=DEFAULT_BITS if body.key_size is None else _number(body.key_size),
        days=DEFAULT_DAYS if body.validity is None else _number(body.validity),
        backup_password=await sealed_secret(
            services, "backupPassword", BACKUP_PASSWORD, body.approver_name, body.backup_password
        ),
    )
    return OneTimeCode(await onboarding.create(order))


async def renew_one_time_code(services: Services, call: Call, body: ApproverNameBody) -> OneTimeCode:
    """Make another code for a file that waits. The one so far is void."""
    del call
    return OneTimeCode(await services.broker.onboarding.renew(body.approver_name))


async def onboard(services: Services, call: Call, body: OnboardBody) -> Onboarded:
    """Give an approver the file with their key, once, for the code.

    `encryptedPayload` is AES-GCM with a tag of 128 bits under the bytes of the transport password. In it is a PKCS#12
    file; the password of store and key is the backup password, the alias the approver's name.
    """
    del call
    onboarding, name = services.broker.onboarding, body.approver_name
    onboarding.require_enabled()
    package = await onboarding.onboard(
        name,
        await sealed_secret(services, "oneTimeCode", ONE_TIME_CODE, name, body.one_time_code),
        await sealed_secret(services, "transportPassword", TRANSPORT_PASSWORD, name, body.transport_password),
    )
    return Onboarded(encrypted_payload=text(package.payload), initialization_vector=text(package.initialization_vector))


async def restore_from_backup(services: Services, call: Call, body: ApproverNameBody) -> RestoredApprover:
    """Have an approver's file wait for a new code. The backup password stays.

    Where the backup key's policy needs approvals there is an `unwrapRequestId` in place of the code, which is then the
    result of that request.
    """
    del call
    return _restored(await services.broker.onboarding.restore(RestoreCall(name=body.approver_name, purpose=RESTORE)))


async def restore_with_new_password(services: Services, call: Call, body: ForgotPasswordBody) -> UnwrapRequestId:
    """Have an approver's file wait for a new code, under another backup password.

    The result of the request is the code. With an open policy of the backup key it is executed at once.
    """
    del call
    onboarding, name = services.broker.onboarding, body.approver_name
    onboarding.require_enabled()
    password = await sealed_secret(services, "newBackupPassword", BACKUP_PASSWORD, name, body.new_backup_password)
    wanted = RestoreCall(name=name, purpose=FORGOT, backup_password=password)
    return UnwrapRequestId((await onboarding.restore(wanted, as_request=True)).request_id)


async def change_backup_password(services: Services, call: Call, body: ChangeBackupPasswordBody) -> RestoredApprover:
    """Change the backup password of an approver's file, by the one so far.

    What the approver was given before keeps its password. Where the backup key's policy needs approvals there is an
    `unwrapRequestId`.
    """
    del call
    onboarding, name = services.broker.onboarding, body.approver_name
    onboarding.require_enabled()
    wanted = RestoreCall(
        name=name,
        purpose=CHANGE,
        backup_password=await sealed_secret(
            services, "newBackupPassword", BACKUP_PASSWORD, name, body.new_backup_password
        ),
        old_backup_password=await sealed_secret(
            services, "backupPassword", BACKUP_PASSWORD, name, body.backup_password
        ),
    )
    return _restored(await onboarding.restore(wanted))


async def onboarding_status(services: Services, call: Call, body: None) -> OnboardingStatus:
    """List the approvers whose keys the HSM made: those who have their file, and those who do not yet."""
    del call, body
    found = await services.broker.onboarding.approvers()
    return OnboardingStatus(
        onboarded=[_shown(one) for one in found if one.onboarded],
        pending=[_shown(one) for one in found if not one.onboarded],
    )


async def delete_approver(services: Services, call: Call, body: None) -> Done:
    """Forget an approver: key, file and code. Policies that list them stay as they are."""
    del body
    await services.broker.onboarding.delete(call.parameter)
    return Done()


def _number(value: int) -> int:
    # Further out numbers do not fit into the HSM's messages; its refusal names what fits.
    return max(-1, min(value, 1 << 31))


def _restored(done: Restored) -> RestoredApprover:
    return RestoredApprover(
        one_time_code=done.code or msgspec.UNSET, unwrap_request_id=done.request_id or msgspec.UNSET
    )


def _shown(one: Managed) -> ManagedApprover:
    pem = x509.load_der_x509_certificate(one.certificate).public_bytes(Encoding.PEM).decode("ascii")
    return ManagedApprover(one.name, pem)


def _same(handler: Callable[[Services, Call, Any], Awaitable[Any]], word: str, path: str) -> Any:
    """An endpoint that does what another one does, and says so under a name of its own."""

    async def same(services: Services, call: Call, body: Any) -> Any:
        return await handler(services, call, body)

    same.__name__ = f"{handler.__name__}_{word}"
    same.__doc__ = f"Do what `POST {path}` does."
    return same


_TAG: Final = "approver management"
_MANAGEMENT: Final = "/v1/approverManagement"
_STATUS: Final = f"{_MANAGEMENT}/onboarding/status"
_RESTORE: Final = f"{_MANAGEMENT}/restoreFromBackup"
_BOTH_VERBS: Final = (
    Route("POST", f"{_MANAGEMENT}/create", create_approver, CreateApproverBody, OneTimeCode, tag=_TAG),
    Route("POST", f"{_MANAGEMENT}/renewOneTimeCode", renew_one_time_code, ApproverNameBody, OneTimeCode, tag=_TAG),
    Route("POST", _RESTORE, restore_from_backup, ApproverNameBody, RestoredApprover, tag=_TAG, unsigned_use=True),
    Route(
        "POST",
        f"{_RESTORE}/forgotPassword",
        restore_with_new_password,
        ForgotPasswordBody,
        UnwrapRequestId,
        tag=_TAG,
        unsigned_use=True,
    ),
    Route(
        "POST",
        f"{_MANAGEMENT}/changeBackupPassword",
        change_backup_password,
        ChangeBackupPasswordBody,
        RestoredApprover,
        tag=_TAG,
        unsigned_use=True,
    ),
)

ROUTES: Final[tuple[AnyRoute, ...]] = (
    *_BOTH_VERBS,
    *(replace(route, method="PUT", handler=_same(route.handler, "by_put", route.path)) for route in _BOTH_VERBS),
    Route("POST", _STATUS, onboarding_status, None, OnboardingStatus, tag=_TAG),
    Route("GET", _STATUS, _same(onboarding_status, "by_get", _STATUS), None, OnboardingStatus, tag=_TAG),
    Route("DELETE", f"{_MANAGEMENT}/delete/{{approverName}}", delete_approver, None, Done, tag=_TAG),
    Route("POST", "/v1/approver/onboard", onboard, OnboardBody, Onboarded, tag=_TAG),
    Route(
        "POST",
        f"{_MANAGEMENT}/onboard",
        _same(onboard, "at_older_path", "/v1/approver/onboard"),
        OnboardBody,
        Onboarded,
        tag=_TAG,
        deprecated=True,
    ),
)
