"""Keys with policies, their requests and tasks, as tests of the documented endpoints need them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import policy_json, proof

if TYPE_CHECKING:
    from keyturn_testing.plain_client import PlainClient

ADA = Officer("Ada", "P-256")
EMPTY = {"ruleUse": None, "ruleBlock": None, "ruleUnblock": None, "ruleModify": None}
RULED = policy_json(make_policy(quorum(1, ADA)), new=True)
"""A policy by which one officer must approve every use."""


def protected(api: PlainClient, **rules: Any) -> str:
    """A new key that signs and decrypts, with an empty policy or with rules."""
    policy = {**EMPTY, "keyStatus": {"blocked": False}, **rules}
    made = api.create("RSA", "sign", "decrypt", "unwrap", policy=policy)
    return str(made["json"]["label"])


def unwrap_request(api: PlainClient, outer: str, wrapped: str) -> dict[str, Any]:
    """The inner object of an unwrap call."""
    attributes = {"decrypt": True, "sign": False, "unwrap": False}
    return {
        "wrappedKey": wrapped, "label": api.label(), "attributes": attributes, "unwrapKeyName": outer,
        "wrapMethod": "AES_WRAP",
    }  # fmt: skip


def executed(api: PlainClient, request: str) -> Any:
    """A request that must be executed at the first look."""
    status = api.get(f"/v1/request/{request}")
    assert status["status"] == "EXECUTED", status
    assert (status["approvedBy"], status["notYetApprovedBy"], status["rejectedBy"]) == ([], [], [])
    return status


def tasks(api: PlainClient, kind: str, **more: Any) -> list[dict[str, Any]]:
    """Ada's tasks."""
    found: list[dict[str, Any]] = api.post(f"/v1/filtered{kind}ApprovalTask", proof(ADA) | more)["tasks"]
    return found


def task_of(api: PlainClient, request: str) -> dict[str, Any]:
    """Ada's task of one request."""
    (task,) = tasks(api, "Sign", requestId=request)
    return task
