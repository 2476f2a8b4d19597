"""The OpenAPI document, made from the table of endpoints and the structs that they decode and encode.

`python -m keyturn.api.openapi` prints it; `docs/openapi.json` is its committed copy, and a test fails when the two
differ.

Source: rest-api.md section 1.1 (`/v3/api-docs`); OpenAPI 3.1.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from keyturn import __version__
from keyturn.api.answers import ErrorBody
from keyturn.api.endpoints import ROUTES
from keyturn.api.multipart import FILE_PART
from keyturn.api.schemas.policies import ModifiedPolicy, Policy

if TYPE_CHECKING:
    from keyturn.api.http import AnyRoute

_REFERENCE: Final = "#/components/schemas/{name}"
_TAGS: Final = {
    "keys": "Keys and their attested attributes.",
    "operations": "Signing, decrypting, unwrapping, blocking and policy changes, at once or as requests.",
    "certificates": "Certificates and requests for them, at once or as requests; those attached to keys.",
    "approval": "What approvers do.",
    "directory": "Approvers whom policies may list by name.",
    "approver management": "Approvers whose keys the HSM makes; off unless `approverManagement.enabled` is set.",
    "requests": "How requests stand.",
    "air gap": "Keys and results of an HSM that touches no network.",
    "data objects": "Values kept under a name in the HSM's sealed store.",
    "service": "About the server, and what its HSM gives.",
}
_ERRORS: Final = {
    "400": "The request is at fault; the body says what and where.",
    "401": "The server asks for an API key or a bearer token, and none that counts was sent.",
    "403": "Not addressed to this server, made by a foreign page, or the key or token opens another role.",
    "404": "There is no such key, request, task or approver.",
    "413": "The body is too large.",
    "415": "The body is not of the type that the endpoint takes.",
    "500": "The server or its HSM is unwell.",
}
_PARAMETERS: Final = {
    "keyName": "Label of the key.",
    "label": "Label of the key.",
    "id": "Id of the request.",
    "name": "Name of the approver.",
    "approverName": "Name of the approver.",
    "dataObjectName": "Name of the data object.",
    "length": "How many bytes, 1 to 65536.",
    "sub": "Anything; it is ignored.",
}


def document() -> dict[str, Any]:
    """Make the document.

    Returns:
        An OpenAPI 3.1 document as JSON values.
    """
    routes = [route for route in ROUTES if not route.hidden]
    types = [kind for route in routes for kind in (route.body, route.answer) if kind is not None]
    types += [route.form.body for route in routes if route.form is not None]
    types += [ErrorBody, Policy, ModifiedPolicy]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    by_type = {_key(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path.replace("*}", "}"), {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "keyturn",
            "version": __version__,
            "summary": "Keys that act only when enough listed keys agree, enforced by the HSM.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items()))},
    }


def document_bytes() -> bytes:
    """The document as indented JSON with a final newline."""
    return (json.dumps(document(), indent=2, ensure_ascii=False) + "\n").encode()


def _key(kind: object) -> str:
    return repr(kind)


def _operation(route: AnyRoute, by_type: dict[str, Any]) -> dict[str, Any]:
    summary, _, description = inspect.cleandoc(route.handler.__doc__ or "").partition("\n")
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "tags": [route.tag],
        # A summary is plain text in OpenAPI, and a page shows the marks of Markdown as they are.
        "summary": " ".join(summary.replace("`", "").split()),
    }
    if description.strip():
        operation["description"] = description.strip()
    if route.deprecated:
        operation["deprecated"] = True
    parameters = [_path_parameter(name) for name in re.findall(r"\{(\w+)\*?\}", route.path)]
    parameters += [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in route.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": by_type[_key(route.body)]}},
        }
    if route.form is not None:
        parts = {FILE_PART: {"type": "string", "format": "binary"}, route.form.part: by_type[_key(route.form.body)]}
        schema = {"type": "object", "properties": parts, "required": list(parts)}
        encoding = {route.form.part: {"contentType": "application/json"}}
        operation["requestBody"] = {
            "required": True,
            "content": {"multipart/form-data": {"schema": schema, "encoding": encoding}},
        }
    content: dict[str, Any] = {}
    if route.answer is not None:
        content["application/json"] = {"schema": by_type[_key(route.answer)]}
    content |= {media: {} for media in route.media}
    responses: dict[str, Any] = {str(route.status): {"description": "Done.", "content": content}}
    for status, text in _ERRORS.items():
        if status in {"413", "415"} and route.body is None and route.form is None:
            continue
        responses[status] = {
            "description": text,
            "content": {"application/json": {"schema": by_type[_key(ErrorBody)]}},
        }
    operation["responses"] = responses
    return operation


def _operation_id(route: AnyRoute) -> str:
    """A name that is unique in the document: the endpoint's function, or method and path where two rows share it."""
    shared = sum(other.handler is route.handler for other in ROUTES) > 1
    name = getattr(route.handler, "__name__", "")
    return f"{name}_{route.method.lower()}" if shared else name


def _path_parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _PARAMETERS[name],
        "schema": {"type": "string"},
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(document_bytes())
