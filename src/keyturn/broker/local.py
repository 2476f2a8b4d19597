"""The local profile: a connected HSM does the work.

Everything here is translation between the broker's values and the HSM's protocol. The look-up of a key serves
predictions only; the HSM decides by what it holds itself.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from keyturn.broker.answers import AttestedKey, Executed
from keyturn.broker.asking import as_attested
from keyturn.broker.asking import asked as _asked
from keyturn.broker.deriving_executors import LocalDeriving
from keyturn.broker.enciphering_executors import LocalEnciphering
from keyturn.broker.executor import KeyRecord, SignedStamp
from keyturn.broker.onboarding_executors import LocalOnboarding
from keyturn.broker.serving_executors import LocalServing
from keyturn.broker.settings import Profile
from keyturn.broker.transfer_executors import LocalTransfer
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.decision import IntegrityKey
from keyturn.ska.policy import encode_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.broker.calls import CertifyCall, CreateCall, DecryptCall, SignCall, UnwrapCall
    from keyturn.broker.executor import Withdrawal
    from keyturn.broker.witness import WitnessBook
    from keyturn.hsm import protocol
    from keyturn.hsm.client import HsmClient
    from keyturn.ska.actions import Action


class LocalExecutor(LocalServing, LocalTransfer, LocalDeriving, LocalEnciphering, LocalOnboarding):
    """Sends calls to an HSM.

    Args:
        client: A connected client; closed with the executor.
        witnesses: What the client shows the HSM at every connection (R6); closed with the executor.
    """

    profile = Profile.LOCAL

    def __init__(self, client: HsmClient, witnesses: WitnessBook | None = None) -> None:
        super().__init__(client)
        self._witnesses = witnesses
        self._integrity_keys: tuple[IntegrityKey, ...] = ()

    @property
    def connected(self) -> bool:
        """True: there is an HSM to send requests to."""
        return True

    async def close(self) -> None:
        """Close the line, keep what was seen."""
        await self._client.close()
        if self._witnesses is not None:
            self._witnesses.close()

    async def key(self, label: str) -> KeyRecord:
        """Look a key up; unsigned, for predictions."""
        facts = await _asked(self._client.lookup(label))
        return KeyRecord(
            label=facts.label,
            uuid=facts.uuid,
            generation=facts.generation,
            algorithm=facts.algorithm,
            public_key=facts.public_key,
            policy=facts.policy,
            blocked=facts.blocked,
            created=facts.created,
            state_counter=facts.state_counter,
            last_blocked=facts.last_blocked,
            last_modified=facts.last_modified,
            attributes=facts.attributes,
            allowed_operations=tuple(facts.allowed_operations),
            allowed_algorithms=tuple(facts.allowed_algorithms),
            has_password=facts.has_password,
            certificate=facts.certificate,
        )

    async def labels(self) -> list[str]:
        """All labels, sorted."""
        return await _asked(self._client.labels())

    async def attested(self, label: str, sealed_password: bytes | None = None) -> AttestedKey:
        """Attested attributes of a key."""
        return as_attested(await _asked(self._client.attest(label, sealed_password)))

    async def integrity_keys(self) -> tuple[IntegrityKey, ...]:
        """All integrity keys of the HSM, with the retirement of those that are no longer in use.

        Asked for each time: the operator may name another key while this broker runs, and another broker's stamps may
        carry it. Requests that were opened before are judged by the stamp that they have, so the retired keys belong
        to it. While the HSM restarts, what it said last serves: this predicts, and nothing is executed meanwhile.
        """
        try:
            info = await _asked(self._client.info())
            if info.sealed:
                raise KeyturnError(
                    ErrorCode.HSM_FAILURE,
                    "the HSM is sealed; its administrator opens it with `keyturn hsm unseal`",
                    refusal="hsm.sealed",
                )
        except KeyturnError:
            if not self._integrity_keys:
                raise
        else:
            self._integrity_keys = tuple(IntegrityKey(*one) for one in info.integrity_keys)
        return self._integrity_keys

    async def create(self, operation_id: bytes, call: CreateCall) -> AttestedKey:
        """Create a key."""
        answer = self._client.create(
            operation_id,
            call.label,
            call.algorithm,
            curve_oid=call.curve_oid,
            key_size=call.key_size,
            attributes=call.attributes,
            policy=b"" if call.policy is None else encode_policy(call.policy),
            blocked=call.blocked,
            key_id=call.key_id,
            address_format=call.address_format,
            allowed_operations=call.allowed_operations,
            allowed_algorithms=call.allowed_algorithms,
            sealed_password=call.sealed_password,
        )
        return as_attested(await _asked(answer))

    async def delete(self, operation_id: bytes, label: str, *, sealed_password: bytes = b"") -> None:
        """Delete a key."""
        await _asked(self._client.delete(operation_id, label, sealed_password=sealed_password))

    async def stamp(self, label: str, action: Action, payload: bytes) -> SignedStamp:
        """Have the HSM sign the time."""
        stamped = await _asked(self._client.stamp(label, int(action), payload))
        return SignedStamp(
            timestamp=stamped.timestamp,
            signature=stamped.signature,
            algorithm=stamped.algorithm,
            key_name=stamped.key_name,
        )

    async def sign(
        self, operation_id: bytes, call: SignCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Sign."""
        signed = await _asked(
            self._client.sign_with_receipt(
                operation_id,
                call.key_name,
                call.payload,
                call.algorithm,
                signature_type=call.signature_type,
                approvals=approvals,
                request_id=request_id,
                sealed_password=call.sealed_password,
                options=call.options,
            )
        )
        return Executed(signed.signature, signed.receipt, signed.receipt_signature)

    async def decrypt(
        self, operation_id: bytes, call: DecryptCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Decrypt."""
        decrypted = await _asked(
            self._client.decrypt(
                operation_id,
                call.key_name,
                call.payload,
                call.algorithm,
                iv=call.iv,
                aad=call.aad,
                tag_length=call.tag_length,
                approvals=approvals,
                request_id=request_id,
                sealed_password=call.sealed_password,
            )
        )
        return Executed(decrypted.data, decrypted.receipt, decrypted.receipt_signature)

    async def unwrap(
        self, operation_id: bytes, call: UnwrapCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[AttestedKey]:
        """Unwrap a key into a new one."""
        answer = self._client.unwrap(
            operation_id,
            call.key_name,
            call.wrapped_key,
            call.method,
            call.new_label,
            attributes=call.attributes,
            approvals=approvals,
            policy=b"" if call.policy is None else encode_policy(call.policy),
            blocked=call.blocked,
            key_id=call.key_id,
            allowed_operations=call.allowed_operations,
            allowed_algorithms=call.allowed_algorithms,
            request_id=request_id,
            sealed_password=call.sealed_password,
        )
        return _executed(await _asked(answer))

    async def certify(
        self, operation_id: bytes, call: CertifyCall, approvals: Sequence[bytes], *, request_id: str = ""
    ) -> Executed[bytes]:
        """Sign a request for a certificate or a certificate."""
        certified = await _asked(
            self._client.sign_certificate(
                operation_id,
                call.key_name,
                call.kind,
                call.to_be_signed,
                call.algorithm,
                certificate_authority=call.certificate_authority,
                attach_to=call.attach_to,
                approvals=approvals,
                request_id=request_id,
                sealed_password=call.sealed_password,
            )
        )
        return Executed(certified.data, certified.receipt, certified.receipt_signature)

    async def attach_certificate(self, operation_id: bytes, label: str, certificate: bytes) -> None:
        """Attach a certificate to its key, or take it off."""
        await _asked(self._client.attach_certificate(operation_id, label, certificate))

    async def block(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        """Block a key."""
        answer = self._client.block(
            operation_id, label, approvals, request_id=request_id, sealed_password=sealed_password
        )
        return _executed(await _asked(answer))

    async def unblock(
        self,
        operation_id: bytes,
        label: str,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        """Unblock a key."""
        answer = self._client.unblock(
            operation_id, label, approvals, request_id=request_id, sealed_password=sealed_password
        )
        return _executed(await _asked(answer))

    async def modify(
        self,
        operation_id: bytes,
        label: str,
        policy: bytes,
        approvals: Sequence[bytes],
        *,
        request_id: str = "",
        sealed_password: bytes = b"",
    ) -> Executed[AttestedKey]:
        """Replace a key's policy."""
        answer = self._client.modify(
            operation_id, label, policy, approvals, request_id=request_id, sealed_password=sealed_password
        )
        return _executed(await _asked(answer))

    async def withdraw(self, withdrawal: Withdrawal) -> None:
        """Enter a withdrawal into the HSM's ledger."""
        await _asked(
            self._client.withdraw(
                withdrawal.label,
                withdrawal.approval,
                withdrawal.task_id,
                withdrawal.signature,
                spki=withdrawal.spki,
                certificate=withdrawal.certificate,
            )
        )

    async def witness(self, kind: str, evidence: bytes, signature: bytes) -> bool:
        """Show the HSM something that it signed itself."""
        await _asked(self._client.witness(kind, evidence, signature))
        return (await _asked(self._client.info())).rolled_back

    async def verify(
        self, label: str, algorithm: str, payload: bytes, signature: bytes, sealed_password: bytes = b""
    ) -> bool:
        """Check a signature with a key's public part, or a MAC."""
        return await _asked(self._client.verify(label, payload, algorithm, signature, sealed_password=sealed_password))

    async def chain(self) -> list[str]:
        """Certificates of the attestation key."""
        return (await _asked(self._client.info())).device_chain

    async def figures(self) -> dict[str, int]:
        """Figures about the key store."""
        return await _asked(self._client.statistics())

    async def describe(self) -> dict[str, Any]:
        """Who the HSM is."""
        info = await _asked(self._client.info())
        clock = {} if info.sealed else {"hsmTime": info.clock, "hsmClockMark": info.clock_mark}
        return {
            "hsm": info.version,
            "sealed": info.sealed,
            "instanceId": info.instance_id,
            "restoreEpoch": info.restore_epoch,
            "isolation": info.isolation,
            "switches": info.switches,
            "rolledBack": info.rolled_back,
            "acceptedRollbacks": info.accepted_rollbacks,
            "rfcTimestampCertificate": base64.b64encode(info.rfc_timestamp_certificate).decode("ascii"),
            **clock,
        }


def _executed(answer: protocol.Attested) -> Executed[AttestedKey]:
    return Executed(as_attested(answer), answer.receipt, answer.receipt_signature)
