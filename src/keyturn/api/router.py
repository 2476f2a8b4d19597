"""From method and path to a route: a dictionary for fixed paths, a short list for those with an open part.

Source: rest-api.md section 2; ADR 0035 (why this is not a framework).
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from keyturn.api.errors import HttpError
from keyturn.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keyturn.api.http import AnyRoute

MAX_PATH: Final = 2048
"""Longest path in characters; a label has at most 128 bytes, each up to three characters when encoded."""

_DERIVED: Final = re.compile("[^/]+(/[0-9]+'?)+")
"""What looks like the name of a derived key."""

Methods = dict[str, "AnyRoute"]


class Router:
    """The table of endpoints, ready for look-ups.

    Args:
        routes: All rows. A path may have one open part in braces: `/v1/key/{keyName}/attributes`. One at the end whose
            name has a star, `/v1/hsm/log/{sub*}`, may hold slashes.
    """

    def __init__(self, routes: Iterable[AnyRoute]) -> None:
        self._fixed: dict[str, Methods] = {}
        self._deep: set[str] = set()
        open_paths: dict[tuple[str, str], Methods] = {}
        for route in routes:
            prefix, brace, rest = route.path.partition("{")
            if rest.endswith("*}"):
                self._deep.add(prefix)
            if brace:
                methods = open_paths.setdefault((prefix, rest.partition("}")[2]), {})
            else:
                methods = self._fixed.setdefault(route.path, {})
            methods[route.method] = route
        # The longest fixed text first, so that `/v1/request/qrCode/{id}` is not taken for a request named so.
        self._open = sorted(open_paths.items(), key=lambda entry: -len(entry[0][0]) - len(entry[0][1]))

    def find(self, method: str, path: str) -> tuple[AnyRoute, str]:
        """Find the route of a request.

        Args:
            method: HTTP method.
            path: Decoded path.

        Returns:
            The route, and the text of its open part (empty if it has none).

        Raises:
            HttpError: 404 for an unknown path, 405 for a known path without this method.
        """
        methods = self._fixed.get(path)
        parameter = ""
        if methods is None:
            if "//" in path:
                # Some published clients double slashes (rest-api.md section 1.1).
                while "//" in path:
                    path = path.replace("//", "/")
                return self.find(method, path)
            methods, parameter = self._find_open(path)
        route = methods.get(method)
        if route is None and not parameter:
            # A key may be labelled like an endpoint: `DELETE /v1/key/attributes` is about that key.
            with suppress(HttpError):
                others, parameter = self._find_open(path)
                methods = methods | others
                route = methods.get(method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise HttpError(
                405,
                ErrorCode.UNSUPPORTED_OPERATION,
                f"{method[:20]} is not possible at {path}; possible: {allowed}.",
                refusal="http.method",
                headers={"allow": allowed},
            )
        return route, parameter

    def _find_open(self, path: str) -> tuple[Methods, str]:
        if len(path) <= MAX_PATH:
            for (prefix, suffix), methods in self._open:
                if path.startswith(prefix) and path.endswith(suffix):
                    parameter = path[len(prefix) : len(path) - len(suffix)]
                    # An id or label has no slash; the name of a derived key has.
                    one = suffix or "/" not in parameter or prefix in self._deep or _DERIVED.fullmatch(parameter)
                    if parameter and one:
                        return methods, parameter
        shown = path if len(path) <= 100 else path[:100] + "…"
        raise HttpError(
            404,
            ErrorCode.UNSUPPORTED_OPERATION,
            f"There is nothing at {shown}; the endpoints are listed at /swagger-ui and /v3/api-docs.",
            refusal="http.path",
        )
