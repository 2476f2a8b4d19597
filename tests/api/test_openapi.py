"""The description of the API is made from the structs, and its committed copy is up to date."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import keyturn.web
from keyturn.api.endpoints import ROUTES
from keyturn.api.openapi import document, document_bytes

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
ASSETS = Path(keyturn.web.__file__).parent / "swagger-ui"


def test_the_committed_document_is_what_the_code_says() -> None:
    assert COMMITTED.read_bytes() == document_bytes(), "run `make openapi` and commit docs/openapi.json"


def test_every_endpoint_is_described_once_with_its_own_name() -> None:
    operations = [operation for methods in document()["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names) == sum(not route.hidden for route in ROUTES)
    assert all(operation["summary"].endswith(".") for operation in operations)


def test_every_summary_is_plain_text_of_its_own() -> None:
    summaries = [operation["summary"] for methods in document()["paths"].values() for operation in methods.values()]
    assert len(set(summaries)) == len(summaries)
    assert not any("`" in summary for summary in summaries)


def test_every_reference_leads_somewhere() -> None:
    whole = document()
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(v for k, v in value.items() if k == "$ref")
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(whole)
    assert found
    for reference in found:
        assert reference.removeprefix("#/components/schemas/") in whole["components"]["schemas"]


def test_the_shipped_files_are_the_ones_named_in_the_notice() -> None:
    notice = (ASSETS / "NOTICE").read_text()
    lines = re.findall(r"^  ([0-9a-f]{64})  (\S+)$", notice, flags=re.MULTILINE)
    assert len(lines) == 3
    for digest, name in lines:
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest
