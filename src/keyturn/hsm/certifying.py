"""Certificates: sign exactly the bytes that were approved, after checking that they are what they claim to be (R17).

The bytes come from the broker, which fixed them when the request was opened. The HSM believes none of it: it reads
them strictly, holds them against its own record of the key, and signs these octets and no others. A bound key's
approvals cover a statement of kind `csr`, `issue` or `selfsign`, so that an approved payload of an ordinary signature
never becomes a certificate, nor the other way round.

A certificate that is attached to a key names it as an issuer. So on keys with a policy one that is there is replaced by
one for another name, or taken off, only if ruleModify asks for nobody (as R28 has it for attributes); a renewal for the
same name, or the first one, is taken as it is: it is public, and whose key it is for is checked.

Source: docs/security/rules.md R7, R17, R18, R28; rest-api.md section 3.5; docs/adr/0104.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from keyturn.crypto import registry
from keyturn.crypto.certificate_signatures import identifier_of
from keyturn.crypto.foreign_certificates import read_certificate
from keyturn.crypto.keys import SecretKey
from keyturn.crypto.schemes import NO_OPTIONS
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import protocol
from keyturn.hsm.bound import statement_for
from keyturn.hsm.context import check_payload
from keyturn.hsm.door import Act, Kind
from keyturn.hsm.slow_signing import SlowSigning, is_slow
from keyturn.ska.actions import Action
from keyturn.ska.decision import NotAuthorisedError
from keyturn.ska.to_be_signed import SignedBytes, ToBeSigned, join_signed, read_to_be_signed

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from keyturn.crypto.keys import PrivateKey
    from keyturn.hsm.change import Change
    from keyturn.hsm.context import EngineContext
    from keyturn.hsm.records import KeyRecord
    from keyturn.ska.decision import Decision

CERTIFICATE_KINDS: Final = ("csr", "issue", "selfsign")
"""What `SignCertificate` makes."""


class Certifying:
    """Handles `SignCertificate` and `AttachCertificate`.

    Args:
        context: What the parts of the engine share.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._slow_signing = SlowSigning(context, self._open, self._finish)

    def sign(self, call: protocol.SignCertificate, digest: bytes) -> protocol.Answer | Awaitable[protocol.Answer]:
        """Sign a request or a certificate, and keep the certificate of an own key with it, if that is stored."""
        record = self._context.key(call.label)
        private_key, decision = self._open(call, record)
        if isinstance(private_key, SecretKey):
            raise _symmetric(record)
        if is_slow(private_key):
            return self._slow_signing.sign(call, digest, record, private_key, NO_OPTIONS)
        signature = registry.sign(private_key, call.algorithm, call.payload)
        return self._finish(call, digest, protocol.Signed(signature), record, decision)

    def _open(
        self, call: protocol.SignCertificate, record: KeyRecord
    ) -> tuple[PrivateKey | SecretKey, Decision | None]:
        """Check everything that a call says, and yield the key."""
        check_payload(call.payload)
        told = _read(call, record)
        target = self._target(call, record, told)
        if target is not None and target.uuid != record.uuid:
            # With approvals for its own certificate a key may get another name.
            require_attachable(self._context, target, told.subject)
        act = Act(
            Kind.SIGN,
            call.payload,
            call.algorithm,
            statement_for(call, record),
            operation="certify",
            sealed_password=call.sealed_password,
        )
        return self._context.door.open(record, act, call.approvals)

    def _finish(
        self,
        call: protocol.SignCertificate,
        digest: bytes,
        signed: protocol.Signed,
        record: KeyRecord,
        decision: Decision | None,
    ) -> protocol.Answer:
        """Put the certificate together, attach it, and store all of it in one commit."""
        context = self._context
        told = _read(call, record)
        target = self._target(call, record, told)
        identifier = identifier_of(call.algorithm, record.public_key)
        made = join_signed(SignedBytes(call.payload, identifier, signed.signature))
        # A derived key that is not stored has nothing to which it could be attached.
        stored = None if target is None else context.store.key(target.label)
        now = context.journal.now()
        with context.store.change() as change:
            change.count_use(record.uuid)
            if stored is not None:
                attached = change.put_key(replace(stored, certificate=made))
                record = attached if attached.uuid == record.uuid else record
            answer = context.finish(change, call, digest, protocol.Certified(made), record, now, decision)
        note = f"{call.kind} {told.subject_text[:120]!a}" + (f", attached to {stored.label!r}" if stored else "")
        context.journal.grant(call, record, decision, payload=call.payload, note=note)
        return answer

    def _target(self, call: protocol.SignCertificate, record: KeyRecord, told: ToBeSigned) -> KeyRecord | None:
        """The key to which the certificate is attached."""
        if call.kind == "selfsign":
            return record
        if not call.attach_to:
            return None
        if call.kind == "csr":
            raise _refused("a request is no certificate, and attached to nothing", "certificate.attach")
        target = self._context.key(call.attach_to)
        if target.public_key != told.spki:
            raise _refused(
                f"the certificate is not for the key {call.attach_to!r}, to which it is to be attached",
                "certificate.other-key",
            )
        return target

    def attach(self, call: protocol.AttachCertificate, digest: bytes) -> protocol.Answer:
        """Attach a certificate from elsewhere, or take one off."""
        context = self._context
        record = context.key(call.label)
        if not record.public_key:
            raise _symmetric(record)
        subject = b""
        if call.certificate:
            certificate = read_certificate(call.certificate)
            subject = certificate.subject
            if certificate.spki != record.public_key:
                raise _refused(f"the certificate is not for the key {record.label!r}", "certificate.other-key")
        elif not record.certificate:
            raise KeyturnError(
                ErrorCode.INVALID_CERTIFICATE,
                f"the key {record.label!r} has no certificate",
                refusal="certificate.none",
            )
        require_attachable(context, record, subject)
        present = context.store.key(record.label)
        if present is None:
            raise KeyturnError(
                ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
                f"the derived key {record.label!r} is not stored, so that a certificate has nothing to be attached to: "
                "store it with POST /v1/derivedKey first",
                refusal="key.derived",
            )
        with context.store.change() as change:
            stored = change.put_key(replace(present, certificate=call.certificate))
            answer = self._done(change, call, digest, stored)
        context.journal.grant(
            call, stored, None, payload=call.certificate, note="attached" if call.certificate else "taken off"
        )
        return answer

    def _done(
        self, change: Change, call: protocol.AttachCertificate, digest: bytes, record: KeyRecord
    ) -> protocol.Done:
        return self._context.finish(change, call, digest, protocol.Done(), record, self._context.journal.now())


def require_attachable(context: EngineContext, record: KeyRecord, subject: bytes) -> None:
    """Make sure that a certificate may take the place of the one that a key has (R28).

    Args:
        context: Who decides.
        record: The key, as stored.
        subject: Subject of the new certificate, DER; empty where the certificate is taken off.

    Raises:
        KeyturnError: 614 `certificate.name-kept`.
    """
    if not record.policy or not record.certificate:
        return
    if subject and read_certificate(record.certificate).subject == subject:
        return
    try:
        context.authority.require(record, Action.MODIFY, b"", ())
    except NotAuthorisedError:
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            f"the key {record.label!r} has a policy, and a certificate by whose name it issues; that is replaced "
            "by one for the same name, or by a self-signed one with approvals, but not taken away",
            refusal="certificate.name-kept",
        ) from None


def _read(call: protocol.SignCertificate, record: KeyRecord) -> ToBeSigned:
    """Read the bytes to be signed and hold them against the call and the key."""
    if call.kind not in CERTIFICATE_KINDS:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"{call.kind[:40]!a} is none of {', '.join(CERTIFICATE_KINDS)}",
            refusal="certificate.kind",
        )
    if not record.public_key:
        raise _symmetric(record)
    told = read_to_be_signed(call.payload)
    if told.is_request is not (call.kind == "csr"):
        what = "a request" if told.is_request else "a certificate"
        raise _refused(f"the bytes are those of {what}, which is not what is asked for", "certificate.wrong-kind")
    if call.kind != "issue" and told.spki != record.public_key:
        raise _refused(f"the bytes are not about the key {record.label!r} itself", "certificate.other-key")
    if told.certificate_authority is not call.certificate_authority:
        said = "makes" if told.certificate_authority else "does not make"
        raise _refused(
            f"the certificate {said} an authority of its subject, which is not what is asked for", "certificate.ca-flag"
        )
    identifier = identifier_of(call.algorithm, record.public_key)
    if told.is_request:
        return told
    if told.algorithm != identifier:
        raise _refused("the certificate names another signature algorithm than the call", "certificate.algorithm")
    if call.kind == "selfsign":
        if told.issuer != told.subject:
            raise _refused("a self-signed certificate names its subject as the issuer", "certificate.issuer")
        return told
    _require_issuer(record, told)
    return told


def _require_issuer(record: KeyRecord, told: ToBeSigned) -> None:
    """Make sure that a certificate names the key that issues it."""
    if not record.certificate:
        if record.policy:
            raise _refused(
                f"the key {record.label!r} has no certificate that says in whose name it issues: attach one, or sign "
                "one by itself first",
                "certificate.no-issuer",
            )
        return
    issuer = read_certificate(record.certificate)
    if told.issuer != issuer.subject:
        raise _refused(
            f"the certificate names another issuer than the certificate of the key {record.label!r} does",
            "certificate.issuer",
        )
    if record.policy and not issuer.certificate_authority:
        raise _refused(
            f"the certificate of the key {record.label!r} is not that of an authority", "certificate.issuer-no-ca"
        )


def _symmetric(record: KeyRecord) -> KeyturnError:
    return KeyturnError(
        ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
        f"the key {record.label!r} is symmetric and has no certificates",
        refusal="key.symmetric",
    )


def _refused(why: str, word: str) -> KeyturnError:
    return KeyturnError(ErrorCode.INVALID_PAYLOAD, f"Nothing was signed or attached: {why}.", refusal=word)
