"""Keys, public keys and certificates that were made elsewhere, brought in as they are.

* `secretKey` excludes `privateKey` and `publicKey`; `publicKey` excludes `certificate`.
* A private or secret key takes a free label. It comes in with the creation `imported`, is held to all that holds for a
  key made here, and to be whole (`keyturn.crypto.imported_keys`). A public key or certificate beside it must be its
  own.
* A public key or a certificate alone makes a key that can verify, encrypt and wrap, and nothing more; on a label that
  is taken it replaces what stood there. Where the label has a private key the public key must be the same (R18): then a
  certificate is attached, and a public key changes nothing.

Source: rest-api.md section 3.1; docs/security/rules.md R4, R18; docs/adr/0102.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from msgspec.structs import replace

from keyturn.crypto.foreign_certificates import read_certificate
from keyturn.crypto.imported_keys import as_pkcs8, checked_private_key
from keyturn.crypto.key_types import KEY_TYPES, SECRET_KEY_TYPES
from keyturn.crypto.keys import (
    KeySpec,
    SecretKey,
    describe_private,
    kind_of,
    load_public_key,
    private_key_to_stored,
    public_spki,
)
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.certifying import require_attachable
from keyturn.hsm.creation import check_name, check_new_address, check_new_key
from keyturn.hsm.limits import Limits, check_limits
from keyturn.hsm.records import KeyRecord

if TYPE_CHECKING:
    from keyturn.hsm import protocol
    from keyturn.hsm.change import Change
    from keyturn.hsm.context import EngineContext

_PUBLIC_ATTRIBUTES: Final = {
    **dict.fromkeys(("decrypt", "sign", "unwrap", "derive", "bip32", "slip10", "copyable", "sensitive"), False),
    **dict.fromkeys(("encrypt", "verify", "wrap", "extractable", "modifiable", "destroyable"), True),
    **dict.fromkeys(("boundApprovals", "singleUse", "alwaysSensitive", "neverExtractable"), False),
}
"""Attributes of a key of which there is a public part only."""


@dataclass(frozen=True, slots=True)
class _Material:
    """What an import brings, checked.

    Args:
        spec: What kind of key it is.
        public_key: SPKI, DER; empty for a symmetric key.
        stored: The private or secret key as the store holds it; None for a public part only.
    """

    spec: KeySpec
    public_key: bytes
    stored: bytes | None = field(repr=False)


class Importing:
    """Handles `ImportKey`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context

    def take_in(self, call: protocol.ImportKey, digest: bytes) -> protocol.Answer:
        """Take a key in."""
        check_combination(call)
        material = self._material(call)
        check_new_address(call.address_format, material.spec.curve_oid, call.policy)
        if material.stored is None:
            return self._public(call, material, digest)
        context = self._context
        if call.attributes is None:
            raise _refused("attributes must be given with a private or secret key", "import.attributes-missing")
        attributes = check_new_key(
            call.label,
            call.key_id,
            call.attributes,
            call.policy,
            context.settings,
            context.system_names,
            algorithm=material.spec.algorithm,
            blocked=call.blocked,
            imported=True,
        )
        limits = check_limits(
            call.allowed_operations,
            call.allowed_algorithms,
            key_type=material.spec.algorithm,
            attributes=attributes,
        )
        context.require_free(call.label)
        return self._put_new(call, material, attributes, limits, digest)

    def _material(self, call: protocol.ImportKey) -> _Material:
        allow_weak = self._context.settings.allow_weak_keys
        if call.secret_key:
            if call.algorithm not in SECRET_KEY_TYPES:
                raise _refused(f"a secret key is of one of the kinds {', '.join(SECRET_KEY_TYPES)}", "import.kind")
            secret = SecretKey(call.algorithm, call.secret_key)
            return _Material(secret.spec, b"", secret.value)
        if call.private_key:
            private = checked_private_key(as_pkcs8(call.private_key), allow_weak=allow_weak)
            spec, spki = describe_private(private), public_spki(private)
            _require_kind(call.algorithm, spec)
            given, beside = call.public_key, "public key"
            if call.certificate:
                given, beside = read_certificate(call.certificate).spki, "certificate"
            if given and public_spki(load_public_key(given)) != spki:
                raise _refused(f"the {beside} does not belong to the private key", "import.other-key")
            return _Material(spec, spki, private_key_to_stored(private))
        public = load_public_key(read_certificate(call.certificate).spki if call.certificate else call.public_key)
        spec = kind_of(public).spec_of(public)
        _require_kind(call.algorithm, spec)
        KEY_TYPES[spec.algorithm].check(spec.curve_oid, spec.key_size, allow_weak=allow_weak)
        return _Material(spec, public_spki(public), None)

    def _public(self, call: protocol.ImportKey, material: _Material, digest: bytes) -> protocol.Answer:
        """A public key or certificate alone: a new one, or in the place of what its label has."""
        context = self._context
        check_name(call.label, call.key_id, context.system_names)
        if call.policy or call.blocked:
            raise _refused(
                "a policy governs a private key, and there is none in this import: leave `policy` out",
                "import.policy-without-private-key",
            )
        if call.sealed_password or call.allowed_operations or call.allowed_algorithms:
            raise _refused(
                "passwords and limits are for private and secret keys: leave `password` and the lists out",
                "import.nothing-to-protect",
            )
        present = context.store.key(call.label)
        if present is None:
            context.require_free(call.label)
            return self._put_new(call, material, dict(_PUBLIC_ATTRIBUTES), Limits(), digest)
        if present.public_key != material.public_key:
            if present.private_key:
                raise KeyturnError(
                    ErrorCode.KEY_ALREADY_EXISTING,
                    f"the label {call.label!r} is already existing with a private key, and this belongs to another "
                    "one; choose another label",
                    refusal="import.other-key",
                )
            return self._replace(call, present, material, digest)
        if call.certificate:
            require_attachable(context, present, read_certificate(call.certificate).subject)
        now = context.clock_guard.now()
        with context.store.change() as change:
            stored = change.put_key(replace(present, certificate=call.certificate or present.certificate))
            answer = context.finish(change, call, digest, context.attester.attest(stored, now), stored, now)
        context.journal.grant(call, stored, None, payload=call.certificate, note="attached to a key that is there")
        return answer

    def _replace(
        self, call: protocol.ImportKey, present: KeyRecord, material: _Material, digest: bytes
    ) -> protocol.Answer:
        """Another public key takes a label: it is another key, with a uuid and a generation of its own (R18)."""
        with self._context.store.change() as change:
            change.remove_key(present.uuid)
            return self._put_in(change, call, material, dict(_PUBLIC_ATTRIBUTES), Limits(), digest)

    def _put_new(
        self,
        call: protocol.ImportKey,
        material: _Material,
        attributes: dict[str, bool],
        limits: Limits,
        digest: bytes,
    ) -> protocol.Answer:
        with self._context.store.change() as change:
            return self._put_in(change, call, material, attributes, limits, digest)

    def _put_in(
        self,
        change: Change,
        call: protocol.ImportKey,
        material: _Material,
        attributes: dict[str, bool],
        limits: Limits,
        digest: bytes,
    ) -> protocol.Answer:
        context = self._context
        now = context.clock_guard.now()
        uuid = str(uuid4())
        record = KeyRecord(
            uuid=uuid,
            label=call.label,
            generation=context.store.next_generation(call.label),
            algorithm=material.spec.algorithm,
            curve_oid=material.spec.curve_oid,
            key_size=material.spec.key_size,
            creation="imported",
            created=now,
            attributes=attributes,
            policy=call.policy,
            blocked=call.blocked,
            key_id=call.key_id,
            public_key=material.public_key,
            allowed_operations=limits.operations,
            allowed_algorithms=limits.algorithms,
            password=context.passwords.verifier(uuid, call.label, call.sealed_password),
            certificate=call.certificate,
            address_format=call.address_format,
        )
        stored = context.put_new_key(change, record, material.stored)
        answer = context.finish(change, call, digest, context.attester.attest(stored, now), stored, now)
        context.journal.grant(call, stored, None, payload=call.policy)
        return answer


def check_combination(call: protocol.ImportKey) -> None:
    """Refuse material that does not go together.

    Args:
        call: The import.

    Raises:
        KeyturnError: 600 `import.empty`, `import.combination`.
    """
    if not (call.private_key or call.public_key or call.secret_key or call.certificate):
        raise _refused("one of privateKey, publicKey, secretKey and certificate must be given", "import.empty")
    if call.secret_key and (call.private_key or call.public_key or call.certificate):
        raise _refused("secretKey excludes privateKey, publicKey and certificate", "import.combination")
    if call.public_key and call.certificate:
        raise _refused("publicKey excludes certificate, which holds the public key already", "import.combination")


def _require_kind(algorithm: str, spec: KeySpec) -> None:
    if algorithm and algorithm != spec.algorithm:
        raise _refused(
            f"this is a key of the kind {spec.algorithm}, and `algorithm` says {algorithm[:64]!a}", "import.kind"
        )


def _refused(message: str, word: str) -> KeyturnError:
    return KeyturnError(ErrorCode.VALIDATION_FAILED, message, refusal=word)
