"""About the server: versions, device certificates, figures, and the API's own description.

Source: rest-api.md sections 1.1 and 3.9; decisions 6, 30.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import keyturn.web
from keyturn import __version__
from keyturn.api.answers import AttestationChain, KeyStoreStatistics
from keyturn.api.errors import HttpError
from keyturn.api.http import Call, Reply, Route, Services
from keyturn.errors import ErrorCode

API_LEVEL: Final = "2.2.0"
"""The level of the documented API with which this one is compatible (decisions 30)."""

_ASSETS: Final = Path(keyturn.web.__file__).parent / "swagger-ui"
_MEDIA_TYPES: Final = {
    "index.html": "text/html; charset=utf-8",
    "start.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
"""Files that are served, and nothing else in that folder."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""No foreign host at all. Inline styles are allowed because Swagger UI sets `style` attributes; scripts are not."""


async def version_info(services: Services, call: Call, body: None) -> dict[str, Any]:
    """Tell who is there: the API level, keyturn's own version, the profile and how the HSM is isolated."""
    del call, body
    return {"Version": API_LEVEL, "keyturn": __version__} | await services.broker.info()


async def statistics(services: Services, call: Call, body: None) -> KeyStoreStatistics:
    """Give figures about the key store."""
    del call, body
    return KeyStoreStatistics(await services.broker.statistics())


async def attestation(services: Services, call: Call, body: None) -> AttestationChain:
    """Give the certificates of the device that attests keys, the device's own first."""
    del call, body
    return AttestationChain(await services.broker.attestation_chain())


async def api_docs(services: Services, call: Call, body: None) -> Reply:
    """Give this document."""
    del services, call, body
    return Reply(_document(), "application/json")


@cache
def _document() -> bytes:
    from keyturn.api.openapi import document_bytes

    return document_bytes()


async def swagger_config(services: Services, call: Call, body: None) -> dict[str, str]:
    """Tell Swagger UI where the document is."""
    del services, call, body
    return {"url": "/v3/api-docs"}


async def swagger_page(services: Services, call: Call, body: None) -> Reply:
    """Lead to the page that shows this document."""
    del body
    _require_swagger(services, call)
    return Reply(b"", "text/plain", 302, {"location": "/swagger-ui/index.html"})


async def swagger_file(services: Services, call: Call, body: None) -> Reply:
    """Give a file of Swagger UI."""
    del body
    _require_swagger(services, call)
    media_type = _MEDIA_TYPES.get(call.parameter)
    if media_type is None:
        raise _nothing_at(call)
    return Reply(
        _asset(call.parameter),
        media_type,
        headers={"content-security-policy": CONTENT_SECURITY_POLICY, "cache-control": "no-cache"},
    )


@cache
def _asset(name: str) -> bytes:
    return (_ASSETS / name).read_bytes()


def _require_swagger(services: Services, call: Call) -> None:
    if not services.swagger_ui:
        raise _nothing_at(call)


def _nothing_at(call: Call) -> HttpError:
    return HttpError(
        404,
        ErrorCode.UNSUPPORTED_OPERATION,
        f"There is nothing at {call.path[:100]}; the endpoints are listed at /v3/api-docs.",
        refusal="http.path",
    )


ROUTES: Final = (
    Route("GET", "/v1/versionInfo", version_info, None, dict[str, Any]),
    Route("GET", "/v1/keystore/statistics", statistics, None, KeyStoreStatistics),
    Route("GET", "/v1/attestation", attestation, None, AttestationChain),
    # Its sub-paths were never published (rest-api.md section 3.1); whatever is asked for, this is what there is.
    Route("GET", "/v1/attestation/{sub*}", attestation, None, AttestationChain, hidden=True),
    Route("GET", "/v3/api-docs", api_docs, None, hidden=True),
    Route("GET", "/v3/api-docs/swagger-config", swagger_config, None, dict[str, str], hidden=True),
    Route("GET", "/", swagger_page, None, hidden=True),
    Route("GET", "/swagger-ui", swagger_page, None, hidden=True),
    Route("GET", "/swagger-ui/", swagger_page, None, hidden=True),
    Route("GET", "/swagger-ui.html", swagger_page, None, hidden=True),
    Route("GET", "/swagger-ui/{file}", swagger_file, None, hidden=True),
)
