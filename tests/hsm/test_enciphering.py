"""Encrypting, wrapping and MACs in the real HSM: what needs a key, what a public part does, what never leaves."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_private_key

from keyturn.crypto.keys import public_spki
from keyturn.crypto.schemes import SignOptions
from keyturn.errors import ErrorCode
from keyturn.hsm.client import HsmRefusedError
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.policy import encode_policy
from keyturn.ska.statement import encode_statement
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.hsm.client import HsmClient
    from keyturn_testing.hsm_process import HsmProcess

ADA = Officer("ada")
POLICY = encode_policy(make_policy(quorum(1, ADA)))
SECP256K1 = "1.3.132.0.10"
BIP340 = "NONE_WITH_EC_SCHNORR_BIP0340"
TWEAK = bytes(31) + b"\x07"
ALL_USES = {"encrypt": True, "decrypt": True, "wrap": True, "unwrap": True, "sign": True}


async def refusal(answer: Awaitable[object]) -> tuple[str, ErrorCode]:
    with pytest.raises(HsmRefusedError) as refused:
        await answer
    return refused.value.refusal, refused.value.code


async def make(client: HsmClient, label: str, kind: str, size: int = 0, curve: str = "", **attributes: bool) -> None:
    await client.create(operation_id(), label, kind, curve_oid=curve, key_size=size, attributes=attributes)


@pytest.mark.parametrize(
    ("kind", "size", "cipher", "iv"),
    [
        ("AES", 256, "AES_GCM", 12),
        ("Camellia", 192, "CAMELLIA", 16),
        ("TDEA", 0, "TDEA_CBC", 8),
        ("ChaCha20", 256, "CHACHA20", 16),
        ("ChaCha20", 256, "CHACHA20_AEAD", 12),
        ("RSA", 2048, "RSA_PADDING_OAEP_WITH_SHA256", 0),
    ],
)
async def test_what_was_encrypted_is_decrypted(
    hsm: HsmProcess, client: HsmClient, label: str, kind: str, size: int, cipher: str, iv: int
) -> None:
    await make(client, label, kind, size, encrypt=True, decrypt=True)
    made = await client.encrypt(label, b"attack at dawn", cipher)
    assert len(made.iv or b"") == iv
    again = await client.encrypt(label, b"attack at dawn", cipher)
    assert (made.ciphertext, made.iv) != (again.ciphertext, again.iv)
    back = await client.decrypt(b"", label, made.ciphertext, cipher, iv=made.iv)
    assert back.data == b"attack at dawn"
    lines = [line["kind"] for line in hsm.decisions() if line["label"] == label]
    assert lines.count("encrypt") == (0 if kind == "RSA" else 2)


async def test_a_symmetric_key_encrypts_only_with_the_attribute(client: HsmClient, label: str) -> None:
    await make(client, label, "AES", 128, decrypt=True)
    assert await refusal(client.encrypt(label, b"x", "AES_GCM")) == (
        "key.attribute",
        ErrorCode.KEY_ATTRIBUTES_INVALID,
    )
    await make(client, f"{label}-2", "AES", 128, decrypt=True, encrypt=True)
    assert (await client.encrypt(f"{label}-2", b"x", "AES_GCM")).mac
    # A key pair that may neither encrypt nor decrypt is none to encrypt for.
    await make(client, f"{label}-3", "RSA", 2048, sign=True)
    assert (await refusal(client.encrypt(f"{label}-3", b"x", "RSA")))[0] == "key.attribute"


@pytest.mark.rule("R3")
async def test_r3_a_public_key_encrypts_for_a_protected_key_without_anybody_approving(
    client: HsmClient, label: str
) -> None:
    await client.create(operation_id(), label, "RSA", key_size=2048, attributes={"decrypt": True}, policy=POLICY)
    made = await client.encrypt(label, b"for the board", "RSA_PADDING_OAEP")
    decrypting = client.decrypt(operation_id(), label, made.ciphertext, "RSA_PADDING_OAEP")
    assert (await refusal(decrypting))[0] == "approvals.missing"
    approval = ADA.approve_use(label, made.ciphertext)
    back = await client.decrypt(operation_id(), label, made.ciphertext, "RSA_PADDING_OAEP", approvals=[approval])
    assert back.data == b"for the board"


@pytest.mark.rule("R9")
async def test_r9_limits_of_a_key_hold_for_encryption_and_wrapping_too(client: HsmClient, label: str) -> None:
    await client.create(
        operation_id(),
        label,
        "AES",
        key_size=256,
        attributes=ALL_USES,
        allowed_operations=["encrypt"],
        allowed_algorithms=["AES_GCM"],
    )
    made = await client.encrypt(label, b"x", "AES_GCM", aad=b"head", tag_length=96)
    assert len(made.mac or b"") == 12
    assert (await refusal(client.encrypt(label, b"x", "AES")))[0] == "key.algorithm-not-allowed"
    assert (await refusal(client.decrypt(b"", label, made.ciphertext, "AES_GCM", iv=made.iv)))[0] == (
        "key.operation-not-allowed"
    )
    assert (await refusal(client.wrap(label, "AES_WRAP", label)))[0] == "key.operation-not-allowed"


@pytest.mark.parametrize(
    ("kind", "size", "curve"), [("EC", 0, P256), ("ED", 0, "1.3.101.112"), ("RSA", 2048, ""), ("DSA", 2048, "")]
)
async def test_a_wrapped_key_comes_back_as_the_same_key(
    client: HsmClient, label: str, kind: str, size: int, curve: str
) -> None:
    await make(client, f"{label}-kek", "AES", 256, encrypt=True, decrypt=True, wrap=True, unwrap=True)
    await make(client, label, kind, size, curve, sign=True, extractable=True)
    for method in (f"AES_WRAP_{kind}", f"AES_WRAP_PAD_{kind}"):
        wrapped = await client.wrap(f"{label}-kek", method, label)
        new = f"{label}-{method.lower()}"
        await client.unwrap(operation_id(), f"{label}-kek", wrapped, method, new, attributes={"sign": True})
        assert (await client.lookup(new)).public_key == (await client.lookup(label)).public_key
        changed = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        unwrapping = client.unwrap(
            operation_id(), f"{label}-kek", changed, method, f"{new}-2", attributes={"sign": True}
        )
        assert (await refusal(unwrapping))[0] == "unwrap.failed"


async def test_symmetric_keys_are_wrapped_by_symmetric_and_by_public_keys(client: HsmClient, label: str) -> None:
    await make(client, f"{label}-rsa", "RSA", 2048, unwrap=True)
    await make(client, f"{label}-aes", "AES", 128, encrypt=True, decrypt=True, extractable=True)
    made = await client.encrypt(f"{label}-aes", b"data", "AES_GCM")
    for method in ("RSA_WRAP_OAEP", "RSA_WRAP_PAD"):
        wrapped = await client.wrap(f"{label}-rsa", method, f"{label}-aes")
        new = f"{label}-{method.lower()}"
        await client.unwrap(operation_id(), f"{label}-rsa", wrapped, method, new, attributes={"decrypt": True})
        assert (await client.decrypt(b"", new, made.ciphertext, "AES_GCM", iv=made.iv)).data == b"data"
    for wrong in ("AES_WRAP", "AES_WRAP_PAD"):
        assert (await refusal(client.wrap(f"{label}-rsa", wrong, f"{label}-aes")))[0] == "wrap.wrong-key-type"


async def test_what_was_wrapped_opens_outside_with_the_exported_wrapping_key(client: HsmClient, label: str) -> None:
    """RFC 3394 and RFC 5649 by the library, with the wrapping key in hand."""
    await make(client, f"{label}-kek", "AES", 256, wrap=True, unwrap=True, extractable=True, sensitive=False)
    await make(client, label, "EC", 0, P256, sign=True, extractable=True)
    await make(client, f"{label}-mac", "HMACSHA256", sign=True, extractable=True, sensitive=False)
    kek = (await client.export(f"{label}-kek")).secret_key
    padded = aes_key_unwrap_with_padding(kek, await client.wrap(f"{label}-kek", "AES_WRAP_PAD_EC", label))
    filled = aes_key_unwrap(kek, await client.wrap(f"{label}-kek", "AES_WRAP_EC", label))
    public = (await client.lookup(label)).public_key
    for content in (padded, filled[: len(padded)]):
        key = load_der_private_key(content, None)
        assert public_spki(key) == public  # type: ignore[arg-type]  # It is an EC key, as its bytes say.
    assert not any(filled[len(padded) :])
    secret = aes_key_unwrap_with_padding(kek, await client.wrap(f"{label}-kek", "AES_WRAP_PAD", f"{label}-mac"))
    assert secret == (await client.export(f"{label}-mac")).secret_key


@pytest.mark.rule("R4")
async def test_r4_what_is_not_extractable_or_has_a_policy_is_never_wrapped(client: HsmClient, label: str) -> None:
    await make(client, f"{label}-kek", "AES", 256, wrap=True, unwrap=True)
    await make(client, f"{label}-in", "EC", 0, P256, sign=True)
    await make(client, f"{label}-out", "EC", 0, P256, sign=True, extractable=True)
    await client.create(operation_id(), label, "EC", curve_oid=P256, attributes={"sign": True}, policy=POLICY)
    for method in ("AES_WRAP_EC", "AES_WRAP_PAD_EC"):
        assert await refusal(client.wrap(f"{label}-kek", method, f"{label}-in")) == (
            "key.attribute",
            ErrorCode.KEY_ATTRIBUTES_INVALID,
        )
        assert (await refusal(client.wrap(f"{label}-kek", method, label)))[0] in ("export.policy", "key.attribute")
        assert await client.wrap(f"{label}-kek", method, f"{label}-out")
    assert (await refusal(client.wrap(f"{label}-kek", "AES_WRAP_RSA", f"{label}-out")))[0] == "key.wrong-type"
    assert (await refusal(client.wrap(f"{label}-kek", "AES_WRAP", f"{label}-out")))[0] == "key.wrong-type"
    await make(client, f"{label}-kek-2", "AES", 256, unwrap=True)
    assert (await refusal(client.wrap(f"{label}-kek-2", "AES_WRAP_EC", f"{label}-out")))[0] == "key.attribute"


async def test_a_mac_is_made_and_verified_with_its_key_alone(client: HsmClient, label: str) -> None:
    await make(client, label, "HMACSHA256", sign=True, extractable=True, sensitive=False)
    mac = await client.sign(b"", label, b"message", "HMAC_SHA256")
    secret = (await client.export(label)).secret_key
    assert mac == hmac.digest(secret, b"message", "sha256")
    assert await client.verify(label, b"message", "HMAC_SHA256", mac)
    for wrong in (mac[:-1] + bytes([mac[-1] ^ 1]), mac[:-1], b""):
        assert not await client.verify(label, b"message", "HMAC_SHA256", wrong)
    assert not await client.verify(label, b"messagf", "HMAC_SHA256", mac)
    await make(client, f"{label}-aes", "AES", 128, sign=True, decrypt=True)
    assert (await refusal(client.sign(b"", f"{label}-aes", b"x", "HMAC_SHA256")))[0] == "key.symmetric"
    assert (await refusal(client.verify(f"{label}-aes", b"x", "HMAC_SHA256", mac)))[0] == "key.symmetric"
    assert (await refusal(client.sign(b"", label, b"x", "SHA256_WITH_RSA")))[0] == "signature.wrong-key-type"


@pytest.mark.rule("R8")
async def test_r8_an_unbound_protected_key_takes_no_parameter_that_nobody_approved(
    client: HsmClient, label: str
) -> None:
    await client.create(operation_id(), label, "EC", curve_oid=SECP256K1, attributes={"sign": True}, policy=POLICY)
    digest = bytes(range(32))
    approval = ADA.approve_use(label, digest)
    for options in (
        SignOptions(taproot_tweak=TWEAK),
        SignOptions(merkle_root=TWEAK),
        SignOptions(auxiliary_random=TWEAK),
        SignOptions(context=b"x"),
    ):
        signing = client.sign(operation_id(), label, digest, BIP340, approvals=[approval], options=options)
        assert await refusal(signing) == ("signature.unapproved-option", ErrorCode.VALIDATION_FAILED)
    signature = await client.sign(operation_id(), label, digest, BIP340, approvals=[approval])
    assert await client.verify(label, digest, BIP340, signature)


@pytest.mark.rule("R7")
async def test_r7_a_bound_key_takes_the_parameters_that_its_statement_names_and_no_others(
    client: HsmClient, label: str
) -> None:
    attributes = {"sign": True, "boundApprovals": True}
    await client.create(operation_id(), label, "EC", curve_oid=SECP256K1, attributes=attributes, policy=POLICY)
    facts = await client.lookup(label)
    key, digest, request = (
        BoundKey(facts.uuid, facts.public_key, POLICY),
        bytes(range(32)),
        "0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162",
    )

    def approved(**parameters: bytes) -> bytes:
        return ADA.approve_use(label, encode_statement(key.sign(request, digest, BIP340, "", parameters)))

    async def sign(approval: bytes, options: SignOptions) -> bytes:
        return await client.sign(
            operation_id(), label, digest, BIP340, approvals=[approval], request_id=request, options=options
        )

    tweaked = SignOptions(taproot_tweak=TWEAK)
    other = SignOptions(taproot_tweak=TWEAK[:-1] + b"\x06")
    for approval, options in (
        (approved(), tweaked),
        (approved(taprootTweakData=TWEAK), SignOptions()),
        (approved(taprootTweakData=TWEAK), other),
        (approved(merkleRootData=TWEAK), tweaked),
    ):
        assert (await refusal(sign(approval, options)))[0] == "approvals.missing"
    assert await client.verify(label, digest, BIP340, await sign(approved(), SignOptions()))
    signature = await sign(approved(taprootTweakData=TWEAK), tweaked)
    # It is one of the tweaked key, which is not this key's.
    assert not await client.verify(label, digest, BIP340, signature)


async def test_the_hsms_randomness_is_in_every_initialization_vector(client: HsmClient, label: str) -> None:
    await make(client, label, "AES", 256, encrypt=True, decrypt=True, extractable=True, sensitive=False)
    made = [await client.encrypt(label, b"same", "AES_GCM", aad=b"head") for _ in range(20)]
    assert len({one.iv for one in made}) == 20
    key = AESGCM((await client.export(label)).secret_key)
    for one in made:
        assert key.decrypt(one.iv or b"", one.ciphertext, b"head") == b"same"
        assert one.mac == one.ciphertext[-16:]


async def test_the_log_does_not_let_anybody_guess_what_was_encrypted(client: HsmClient, label: str) -> None:
    """A hash of a PIN is the PIN. What was decrypted is logged by its ciphertext, and so is what was encrypted."""
    pin = b"4711"
    await make(client, label, "AES", 256, encrypt=True, decrypt=True)
    made = await client.encrypt(label, pin, "AES_GCM")
    refused = await refusal(client.encrypt(label, pin, "RSA_PADDING_OAEP_WITH_SHA256"))
    assert refused[0]
    lines = [line for line in await client.log_lines() if label in line]
    assert any(sha256(made.ciphertext).hexdigest() in line for line in lines)
    assert len(lines) == 3
    assert not any(sha256(pin).hexdigest() in line for line in lines)
