"""Encrypting data and wrapping keys, and verifying, which for a MAC takes the key as well.

Whoever has a public key can encrypt and wrap with it; that takes no private key, no password and no approvals.
Symmetric keys come out of the one door (R3); those have no policy (R4). The key that is wrapped comes out of it as for
an export: extractable, and without a policy, whatever its attributes say.

Source: rest-api.md sections 3.3, 4.8 and 4.11; docs/security/rules.md R3, R4; docs/adr/0091.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from keyturn.crypto import ciphers, registry, wrapping
from keyturn.crypto.keys import SecretKey, load_public_key, private_key_to_der
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.context import check_payload
from keyturn.hsm.door import Act, Kind
from keyturn.hsm.limits import require_allowed
from keyturn.hsm.transfer import require_not_stateful

if TYPE_CHECKING:
    from keyturn.crypto.keys import PrivateKey, PublicKey
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord

_COUNTERPARTS = {Kind.ENCRYPT: Kind.DECRYPT, Kind.WRAP: Kind.UNWRAP}
"""What a key pair may do with its private part, if not with its public one: clients of old could not say `encrypt`."""


class Enciphering:
    """Handles `Encrypt`, `Wrap` and `Verify`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def encrypt(self, call: protocol.Encrypt) -> protocol.Answer:
        """Encrypt."""
        context = self._context
        check_payload(call.payload)
        record = context.key(call.label)
        act = Act(Kind.ENCRYPT, call.payload, call.algorithm, sealed_password=call.sealed_password)
        key = self._open(record, act)
        made = ciphers.encrypt(
            key,
            call.algorithm,
            call.payload,
            ciphers.CipherParameters(None, call.aad, call.tag_length),
            random=os.urandom,
        )
        # Never a hash of the plaintext: of a PIN it tells everything, and the log is shown to whoever runs the service.
        self._note(call, record, key, made.ciphertext)
        return protocol.Encrypted(made.ciphertext, made.iv, made.mac)

    def wrap(self, call: protocol.Wrap) -> protocol.Answer:
        """Wrap a key."""
        context = self._context
        record, inner = context.key(call.label), context.key(call.wrapped_label)
        key = self._open(record, Act(Kind.WRAP, b"", call.method, sealed_password=call.sealed_password))
        require_not_stateful(inner)
        content, _ = context.door.open(
            inner, Act(Kind.EXPORT, b"", "", sealed_password=call.wrapped_sealed_password), ()
        )
        wrapped = _wrapped(key, call.method, content)
        self._note(call, record, key, wrapped)
        context.journal.grant(call, inner, None, note=f"wrapped with {record.label!r} {record.uuid}")
        return protocol.Wrapped(wrapped)

    def verify(self, call: protocol.Verify) -> protocol.Answer:
        """Verify a signature or a MAC."""
        context = self._context
        check_payload(call.payload)
        record = context.key(call.label)
        key: PublicKey | SecretKey
        if record.public_key:
            key = load_public_key(record.public_key)
        else:
            act = Act(Kind.SIGN, call.payload, call.algorithm, sealed_password=call.sealed_password)
            opened, _ = context.door.open(record, act, ())
            if not isinstance(opened, SecretKey) or opened.algorithm != "HMACSHA256":
                raise KeyturnError(
                    ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
                    f"the key {record.label!r} is symmetric and has no public part to verify with",
                    refusal="key.symmetric",
                )
            key = opened
        try:
            registry.verify(key, call.algorithm, call.payload, call.signature)
        except KeyturnError as error:
            if error.code is ErrorCode.INVALID_SIGNATURE:
                return protocol.Verdict(valid=False)
            raise
        return protocol.Verdict(valid=True)

    def _open(self, record: KeyRecord, act: Act) -> PublicKey | PrivateKey | SecretKey:
        """The public part where there is one, else the symmetric key."""
        if not record.public_key:
            return self._context.door.open(record, act, ())[0]
        operation = act.kind.value
        if not record.attributes.get(operation) and not record.attributes.get(_COUNTERPARTS[act.kind].value):
            raise KeyturnError(
                ErrorCode.KEY_ATTRIBUTES_INVALID,
                f"the key {record.label!r} was created with neither the attribute `{operation}` nor "
                f"`{_COUNTERPARTS[act.kind].value}`",
                refusal="key.attribute",
            )
        require_allowed(record, operation, act.algorithm)
        return load_public_key(record.public_key)

    def _note(
        self,
        call: protocol.Encrypt | protocol.Wrap,
        record: KeyRecord,
        key: PublicKey | PrivateKey | SecretKey,
        payload: bytes,
    ) -> None:
        # A public key is used by whoever has it; only what takes a secret is counted and logged.
        if isinstance(key, SecretKey):
            self._context.store.count_use(record.uuid)
            self._context.journal.grant(call, record, None, payload=payload)


def _wrapped(key: PublicKey | PrivateKey | SecretKey, method: str, content: PrivateKey | SecretKey) -> bytes:
    entry = wrapping.wrap_method(method)
    if isinstance(content, SecretKey):
        if entry.wrapped_key_type != "AES":
            raise KeyturnError(
                ErrorCode.INVALID_KEY_TYPE,
                f"{method} is for wrapped keys of type {entry.wrapped_key_type}; this one is of type "
                f"{content.algorithm}.",
                refusal="key.wrong-type",
            )
        return wrapping.wrap(key, method, content.value, kind=content.algorithm)
    if entry.wrapped_key_type == "AES":
        raise KeyturnError(
            ErrorCode.INVALID_KEY_TYPE,
            f"{method} is for symmetric keys; take one whose name ends in the kind of the key to be wrapped.",
            refusal="key.wrong-type",
        )
    return wrapping.wrap(key, method, private_key_to_der(content))
