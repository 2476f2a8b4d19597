"""Requests: how they stand, lists of them, their pre-flight, their QR codes, and their end.

Source: rest-api.md section 3.6; decisions 5, 10, 12, 13, 17.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from keyturn.api.access.roles import may_see_code, may_see_request
from keyturn.api.answers import Done, QrCodes, RequestList, RequestState, RequestSummary
from keyturn.api.endpoints.parts import receipt_fields
from keyturn.api.errors import HttpError
from keyturn.api.http import Call, Reply, Route, Services
from keyturn.api.schemas.requests import FilteredRequestsBody
from keyturn.broker.states import RequestStatus
from keyturn.clock import iso
from keyturn.errors import ErrorCode, FormatError, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.answers import RequestView
    from keyturn.transport.station import Station

MAX_EXTRA: Final = 256
"""Most fountain parts behind the plain ones: more than any sheet of paper loses."""
MAX_DRAWN_MODULES: Final = 1 << 21
"""Most modules (black or white squares) drawn for one answer: about half a minute of work, and 220 symbols of the
default size, more than the largest payload needs."""
_QR_QUERY: Final = {
    "format": "`ur` (default): uniform resources, one or many parts; `json`: the plain text, one symbol only",
    "errorCorrection": "`L`, `M` (default), `Q` or `H`",
    "maxVersion": "largest symbol, 1 to 40 (default 20)",
    "extra": f"fountain parts behind the plain ones, 0 (default) to {MAX_EXTRA}, so that a sheet survives lost pages",
}


_STATUSES: Final = tuple(status.value for status in RequestStatus)
_STATUS_QUERY: Final = {"requestStatusList": "statuses, joined by commas; all if absent"}


def _keys(keys: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(key).decode("ascii") for key in keys]


def render_request(view: RequestView) -> RequestState:
    """Render a request as the documented object.

    Args:
        view: As the broker gave it.
    """
    return RequestState(
        id=view.id,
        status=view.status.value,
        execution_time=None if view.execution_time is None else iso(view.execution_time),
        approved_by=_keys(view.approved_by),
        not_yet_approved_by=_keys(view.not_yet_approved_by),
        rejected_by=_keys(view.rejected_by),
        result=view.result,
        input_offline_hsm=msgspec.UNSET if view.input_offline_hsm is None else view.input_offline_hsm,
        failure=msgspec.UNSET if view.failure is None else view.failure,
        withdrawn_by=_keys(view.withdrawn_by) or msgspec.UNSET,
        **receipt_fields(view.receipt, view.receipt_signature),
    )


async def request_state(services: Services, call: Call, body: None) -> RequestState:
    """Tell how a request stands, who decided, and its result."""
    del body
    view = await _visible(services, call)
    if view.restoration and not may_see_code(call.roles):
        view = replace(view, result=None)
    return render_request(view)


async def filtered_requests(services: Services, call: Call, body: FilteredRequestsBody) -> RequestList:
    """List requests by status, newest first."""
    del call
    return await _listed(services, body.request_status_list or ())


async def filtered_requests_by_query(services: Services, call: Call, body: None) -> RequestList:
    """List requests by status, for clients that ask with GET; does what `POST /v1/filteredRequests` does."""
    del body
    given = call.options(*_STATUS_QUERY).get("requestStatusList", "")
    names = [name for name in given.split(",") if name]
    for name in names:
        if name not in _STATUSES:
            possible = ", ".join(_STATUSES)
            raise FormatError(
                f"Value '{name[:60]}' is not valid for field requestStatusList; possible: {possible}.",
                refusal="query.wrong-value",
            )
    return await _listed(services, names)


async def _listed(services: Services, names: Sequence[str]) -> RequestList:
    statuses = {RequestStatus(name) for name in names or RequestStatus}
    found = await services.broker.requests_by_status(statuses)
    return RequestList([RequestSummary(request_id, status.value) for request_id, status in found])


async def cancel_request(services: Services, call: Call, body: None) -> Done:
    """Cancel a request; its tasks vanish."""
    del body
    if not may_see_request(call.roles, restoration=False):
        await _visible(services, call)
    await services.broker.cancel(call.parameter)
    return Done()


async def _visible(services: Services, call: Call) -> RequestView:
    view = await services.broker.request(call.parameter)
    if not may_see_request(call.roles, restoration=view.restoration):
        raise HttpError(
            403,
            ErrorCode.SECURITY_NOT_ALLOWED,
            "Of requests, the role approverKeyManagement opens those that restore an approver's file; this is another.",
            refusal="access.role",
        )
    return view


async def preflight(services: Services, call: Call, body: None) -> dict[str, Any]:
    """Predict from the attested policy whether the HSM will accept what was collected so far. The HSM decides."""
    del body
    return await services.broker.preflight(call.parameter)


async def qr_code(services: Services, call: Call, body: None) -> QrCodes | Reply:
    """Give the body for the offline HSM as QR codes: one PNG, or a JSON list of PNGs where one symbol is not enough."""
    del body
    options = call.options(*_QR_QUERY)
    form = options.get("format", "ur")
    if form not in {"ur", "json"}:
        raise FormatError(
            f"Value '{form[:60]}' is not valid for field format; possible: ur, json.", refusal="query.wrong-value"
        )
    level = options.get("errorCorrection")
    if level not in {None, "L", "M", "Q", "H"}:
        raise FormatError("Field 'errorCorrection' must be L, M, Q or H.", refusal="query.wrong-value")
    drawing: dict[str, Any] = {
        "max_version": _whole_number(options, "maxVersion", 1, 40),
        "extra": _whole_number(options, "extra", 0, MAX_EXTRA),
        "error_correction": level,
    }
    view = await services.broker.request(call.parameter)
    if view.input_offline_hsm is None:
        raise KeyturnError(
            ErrorCode.UNSUPPORTED_OPERATION,
            f"Request {view.id} has nothing to carry to an offline HSM (status {view.status.value}).",
            refusal="request.nothing-to-carry",
        )
    text = msgspec.json.encode(view.input_offline_hsm)
    chosen = {name: value for name, value in drawing.items() if value is not None}
    # Sealing writes to disk and drawing dozens of symbols takes a while; other requests go on meanwhile.
    images = await asyncio.to_thread(_draw, services.station, view.id, text, plain=form == "json", chosen=chosen)
    if len(images) == 1:
        return Reply(images[0], "image/png")
    return QrCodes(len(images), [base64.b64encode(image).decode("ascii") for image in images])


def _draw(station: Station, request_id: str, text: bytes, *, plain: bool, chosen: dict[str, Any]) -> list[bytes]:
    """Draw a request's offline input: as plain text, or sealed as a bundle (decisions 16)."""
    # Drawing needs libraries that no other endpoint needs; the server starts without them.
    from keyturn.transport import qr
    from keyturn.transport.bundle import REQUEST

    if plain:
        return qr.qr_pngs(text.decode(), **chosen)
    peers = station.trust.peers()
    to = peers[0] if len(peers) == 1 else None
    # The same page shown twice is the same sheet, so that its parts can be mixed.
    symbols = qr.qr_set(station.seal(REQUEST, request_id, text, to=to, reuse=True), **chosen)
    modules = len(symbols.texts) * (17 + 4 * symbols.max_version) ** 2
    if len(symbols.texts) > 1 and modules > MAX_DRAWN_MODULES:
        raise FormatError(
            f"{len(symbols.texts)} symbols of version {symbols.max_version} are more than this server draws at once. "
            "Choose another maxVersion (20 suits most sheets), a lower errorCorrection or fewer extra parts, or carry "
            "a file: keyturn transport export --out.",
            refusal="qr.too-many-symbols",
        )
    return [qr.draw(symbols, index) for index in range(len(symbols.texts))]


def _whole_number(options: dict[str, str], name: str, least: int, most: int) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and least <= int(text) <= most):
        raise FormatError(f"Field '{name}' must be a whole number from {least} to {most}.", refusal="query.wrong-value")
    return int(text)


ROUTES: Final = (
    Route("POST", "/v1/filteredRequests", filtered_requests, FilteredRequestsBody, RequestList, tag="requests"),
    Route(
        "GET",
        "/v1/filteredRequests",
        filtered_requests_by_query,
        None,
        RequestList,
        tag="requests",
        query=_STATUS_QUERY,
    ),
    Route("GET", "/v1/request/{id}", request_state, None, RequestState, tag="requests"),
    Route("DELETE", "/v1/request/{id}", cancel_request, None, Done, tag="requests"),
    Route("GET", "/v1/request/{id}/preflight", preflight, None, dict[str, Any], tag="requests"),
    Route(
        "GET",
        "/v1/request/qrCode/{id}",
        qr_code,
        None,
        QrCodes,
        tag="requests",
        query=_QR_QUERY,
        media={"image/png": "The only symbol needed."},
    ),
)
