"""The statement of each kind of call on a key with `boundApprovals`.

The HSM builds it from the call that it got, the broker from the call that it is going to make: through the same
functions, so that they name the same parameters and mark the same ones absent.

Source: docs/security/rules.md R7, R16; docs/formats/statements.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from keyturn.ska.key_attributes import filled_in
from keyturn.ska.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class BoundKey:
    """The key that acts.

    Args:
        uuid: Its UUID text.
        spki: Its SubjectPublicKeyInfo, DER.
        policy: The policy blob in force, outer header included.
    """

    uuid: str
    spki: bytes
    policy: bytes

    def sign(
        self,
        request_id: str,
        payload: bytes,
        algorithm: str,
        signature_type: str,
        parameters: Mapping[str, bytes] | None = None,
    ) -> Statement:
        """A signature. `signature_type` is `DER`, `RAW`, `ETH` or empty; `parameters` by API names: as in the call."""
        return Statement(
            kind="sign",
            key_uuid=self.uuid,
            spki_hash=self._spki_hash,
            policy_hash=self._policy_hash,
            request_id=request_id,
            algorithm=algorithm,
            signature_type=signature_type or None,
            data=payload,
            sign_parameters=dict(parameters) if parameters else None,
        )

    def decrypt(
        self,
        request_id: str,
        ciphertext: bytes,
        algorithm: str,
        *,
        iv: bytes | None = None,
        aad: bytes | None = None,
        tag_length: int = 0,
    ) -> Statement:
        """A decryption. `tag_length` counts bits, 0 for the algorithm's own."""
        return Statement(
            kind="decrypt",
            key_uuid=self.uuid,
            spki_hash=self._spki_hash,
            policy_hash=self._policy_hash,
            request_id=request_id,
            algorithm=algorithm,
            iv=iv,
            aad=aad,
            tag_length=tag_length or None,
            data=ciphertext,
        )

    def unwrap(
        self,
        request_id: str,
        wrapped_key: bytes,
        method: str,
        new_label: str,
        attributes: Mapping[str, bool],
        *,
        policy: bytes = b"",
        blocked: bool = False,
        key_id: str | None = None,
        allowed_operations: Sequence[str] = (),
        allowed_algorithms: Sequence[str] = (),
    ) -> Statement:
        """An unwrap. `attributes` are those of the call, filled in here; the lists are in any order, empty for none."""
        return Statement(
            kind="unwrap",
            key_uuid=self.uuid,
            spki_hash=self._spki_hash,
            policy_hash=self._policy_hash,
            request_id=request_id,
            wrap_method=method,
            new_label=new_label,
            new_attributes=filled_in(attributes),
            new_policy=policy or None,
            new_blocked=blocked,
            new_key_id=key_id,
            new_allowed_operations=_names(allowed_operations),
            new_allowed_algorithms=_names(allowed_algorithms),
            data=wrapped_key,
        )

    def certify(
        self, request_id: str, kind: str, to_be_signed: bytes, algorithm: str, *, attach_to: str | None = None
    ) -> Statement:
        """A certificate or a request. `kind` is `csr`, `issue` or `selfsign`; `attach_to` is a label, for issue."""
        return Statement(
            kind=kind,
            key_uuid=self.uuid,
            spki_hash=self._spki_hash,
            policy_hash=self._policy_hash,
            request_id=request_id,
            algorithm=algorithm,
            new_label=attach_to,
            data=to_be_signed,
        )

    def block(self, request_id: str) -> Statement:
        """A block."""
        return self._control("block", request_id)

    def unblock(self, request_id: str) -> Statement:
        """The lifting of a block."""
        return self._control("unblock", request_id)

    def _control(self, kind: str, request_id: str) -> Statement:
        return Statement(
            kind=kind,
            key_uuid=self.uuid,
            spki_hash=self._spki_hash,
            policy_hash=self._policy_hash,
            request_id=request_id,
        )

    @property
    def _spki_hash(self) -> bytes:
        return sha256(self.spki).digest()

    @property
    def _policy_hash(self) -> bytes:
        return sha256(self.policy).digest()


def _names(names: Sequence[str]) -> tuple[str, ...] | None:
    return tuple(sorted(set(names))) or None
