"""The directory of approvers: names that policies may use in place of certificates (an extension).

Source: rest-api.md section 5 (`onboarded_approver_certificate`); security rule R22; ADR 0062.
"""

from __future__ import annotations

from typing import Final

from keyturn.api.answers import Approver, ApproverList, Done
from keyturn.api.endpoints.parts import text
from keyturn.api.fields import keyed_base64
from keyturn.api.http import Call, Route, Services
from keyturn.api.schemas.approval import ApproverBody
from keyturn.clock import iso


async def onboard_approver(services: Services, call: Call, body: ApproverBody) -> Done:
    """Enter an approver into the directory.

    A policy that lists `onboarded_approver_certificate` with this name gets this certificate, once, when it is made.
    """
    del call
    certificate = keyed_base64("approverCertificate", body.approver_certificate) or b""
    await services.broker.onboard_approver(body.approver_name, certificate)
    return Done()


async def approvers(services: Services, call: Call, body: None) -> ApproverList:
    """List the directory, by name."""
    del call, body
    entries = await services.broker.approvers()
    return ApproverList(
        [
            Approver(
                approver_name=entry.name, approver_certificate=text(entry.certificate), added_time=iso(entry.added_at)
            )
            for entry in entries
        ]
    )


async def remove_approver(services: Services, call: Call, body: None) -> Done:
    """Take an approver out of the directory. Policies that list them stay as they are."""
    del body
    await services.broker.remove_approver(call.parameter)
    return Done()


ROUTES: Final = (
    Route("POST", "/v1/approverDirectory", onboard_approver, ApproverBody, Done, 201, tag="directory"),
    Route("GET", "/v1/approverDirectory", approvers, None, ApproverList, tag="directory"),
    Route("DELETE", "/v1/approverDirectory/{name}", remove_approver, None, Done, tag="directory"),
)
