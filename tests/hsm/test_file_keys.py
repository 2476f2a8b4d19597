"""Keys of files: sealed by the public half, opened by the private one behind the door, and not for policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from keyturn.crypto.encrypted_files import HEADER, new_file_key, seal_file_key
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.client import HsmRefusedError
from keyturn.hsm.door import Kind, require_agreement
from keyturn.hsm.records import KeyRecord
from keyturn.ska.policy import Rule, encode_policy
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.client import HsmClient
    from keyturn_testing.hsm_process import HsmProcess

P384 = "1.3.132.0.34"
ADA = Officer("ada")


async def refusal(answer: Awaitable[object]) -> tuple[str, ErrorCode]:
    with pytest.raises(HsmRefusedError) as refused:
        await answer
    return refused.value.refusal, refused.value.code


async def make(client: HsmClient, label: str, curve: str = P384, **attributes: bool) -> None:
    await client.create(
        operation_id(), label, "EC", curve_oid=curve, attributes={"sign": True, "derive": True, **attributes}
    )


async def test_a_key_opens_what_was_sealed_for_it(hsm: HsmProcess, client: HsmClient, label: str) -> None:
    await make(client, label)
    file_key = new_file_key()
    header = await client.make_file_key(label, file_key)
    assert len(header) == HEADER
    assert file_key not in header
    assert await client.open_file_key(label, header) == file_key
    # Anybody who knows the public key can encrypt; and each opening is a use that leaves a line.
    outside = seal_file_key((await client.lookup(label)).public_key, file_key)
    assert await client.open_file_key(label, outside) == file_key
    lines = [line for line in hsm.decisions() if line["label"] == label and line["kind"].startswith("file-key")]
    assert [(line["kind"], line["outcome"]) for line in lines] == [("file-key-open", "granted")] * 2


async def test_another_keys_file_is_told_apart_from_a_damaged_one(client: HsmClient, label: str) -> None:
    await make(client, label)
    await make(client, f"{label}-2")
    header = await client.make_file_key(label, new_file_key())
    other = client.open_file_key(f"{label}-2", header)
    assert await refusal(other) == ("file.other-key", ErrorCode.INVALID_FILE_HEADER)
    forged = client.open_file_key(label, header[:-1] + bytes([header[-1] ^ 1]))
    assert await refusal(forged) == ("file.header-forged", ErrorCode.INVALID_FILE_HEADER)
    assert await refusal(client.open_file_key(label, b"PK")) == ("file.no-header", ErrorCode.INVALID_FILE_HEADER)
    assert await client.open_file_key(label, header)


async def test_a_key_without_derive_does_no_agreement(client: HsmClient, label: str) -> None:
    await make(client, label, derive=False)
    assert (await refusal(client.make_file_key(label, new_file_key())))[0] == "key.attribute"
    header = seal_file_key((await client.lookup(label)).public_key, new_file_key())
    assert await refusal(client.open_file_key(label, header)) == ("key.attribute", ErrorCode.KEY_ATTRIBUTES_INVALID)
    await make(client, f"{label}-2")
    assert await client.make_file_key(f"{label}-2", new_file_key())


async def test_only_p384_serves(client: HsmClient, label: str) -> None:
    await make(client, label, P256)
    assert (await refusal(client.make_file_key(label, new_file_key())))[0] == "file.wrong-key"
    await make(client, f"{label}-2")
    header = await client.make_file_key(f"{label}-2", new_file_key())
    assert (await refusal(client.open_file_key(label, header)))[0] == "file.wrong-key"


async def test_a_files_key_has_32_bytes(client: HsmClient, label: str) -> None:
    await make(client, label)
    for size in (0, 16, 31, 33):
        assert (await refusal(client.make_file_key(label, bytes(size))))[0] == "file.key-size"
    assert await client.make_file_key(label, bytes(32))


@pytest.mark.rule("R3")
@pytest.mark.rule("R4")
@pytest.mark.parametrize("use", [quorum(1, ADA), Rule.ALWAYS], ids=["protected", "empty policy"])
async def test_r4_a_key_with_a_policy_does_no_key_agreement(client: HsmClient, label: str, use: Rule) -> None:
    policy = encode_policy(make_policy(use, modify=Rule.ALWAYS))
    await client.create(
        operation_id(), label, "EC", curve_oid=P384, attributes={"sign": True}, policy=policy, blocked=False
    )
    header = seal_file_key((await client.lookup(label)).public_key, new_file_key())
    for attempt in (client.open_file_key(label, header), client.make_file_key(label, new_file_key())):
        assert await refusal(attempt) == ("key.agreement-with-policy", ErrorCode.OPERATION_FORBIDDEN_FOR_KEY)
    await make(client, f"{label}-2")
    assert await client.make_file_key(f"{label}-2", new_file_key())


@pytest.mark.rule("R4")
def test_r4_not_even_with_the_attribute() -> None:
    """Creation refuses the attribute on such keys; the door does not rely on that."""
    attributes = {"sign": True, "derive": True}
    record = KeyRecord(
        "u", "k", 1, "EC", P384, 0, "generated", 1, attributes, b"", blocked=False, key_id=None, public_key=b""
    )
    require_agreement(record)
    protected = msgspec.structs.replace(record, policy=b"some policy")
    with pytest.raises(KeyturnError, match="does no key agreement"):
        require_agreement(protected)
    assert Kind.DERIVE.value == "derive"


async def test_limits_leave_no_room_for_files(client: HsmClient, label: str) -> None:
    """A key that may only sign, by its allowed operations, decrypts no file (R9)."""
    call = protocol.CreateKey(
        operation_id(),
        label,
        "EC",
        P384,
        0,
        {"sign": True, "derive": True},
        b"",
        blocked=False,
        allowed_operations=["sign"],
    )
    await client.call(call)
    header = seal_file_key((await client.lookup(label)).public_key, new_file_key())
    assert (await refusal(client.open_file_key(label, header)))[0] == "key.operation-not-allowed"
    await make(client, f"{label}-2")
    own = await client.make_file_key(f"{label}-2", new_file_key())
    assert await client.open_file_key(f"{label}-2", own)


def test_keys_of_files_are_not_shown() -> None:
    for message in (
        protocol.FileKey(b"h", b"secret"),
        protocol.MakeFileKey("k", b"secret"),
        protocol.Random(b"secret"),
    ):
        assert "secret" not in repr(message)
