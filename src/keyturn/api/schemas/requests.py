"""Bodies about requests.

Source: rest-api.md section 3.6; decisions 5.
"""

from __future__ import annotations

from keyturn.api.schemas.common import Body, RequestStatus


class FilteredRequestsBody(Body, frozen=True, rename="camel"):
    """`POST /v1/filteredRequests`: null and empty mean all."""

    request_status_list: list[RequestStatus] | None
