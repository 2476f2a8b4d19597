"""Messages about certificates: sign what makes one, attach one to a key."""

from __future__ import annotations

from keyturn.hsm.messages.base import Message


class SignCertificate(Message, frozen=True, tag="certify"):
    """Sign a request for a certificate, or a certificate. Answer: `Certified`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key that signs.
        kind: `csr` (a request for the key itself), `issue` (a certificate for another key) or `selfsign`.
        payload: CertificationRequestInfo for `csr`, else TBSCertificate: the exact bytes, DER, that are signed and that
            approvals cover (R17).
        algorithm: API name of the signature algorithm.
        certificate_authority: Whether the subject is to be an authority; the bytes must say the same.
        attach_to: For `issue`: label of the key to which the certificate is attached, which must be its own; empty for
            none. A self-signed certificate is always attached to its key.
        approvals: Authorization blobs, at most `MAX_APPROVALS`.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
        sealed_password: The key's password, sealed to the transport key; empty for none.
    """

    operation_id: bytes
    label: str
    kind: str
    payload: bytes
    algorithm: str
    certificate_authority: bool
    attach_to: str
    approvals: list[bytes]
    request_id: str = ""
    sealed_password: bytes = b""


class Certified(Message, frozen=True, tag="certified"):
    """A signed request or certificate.

    Args:
        data: DER: the bytes of the call, the algorithm, and the signature.
        receipt: Receipt for the request id of the call, empty when it had none.
        receipt_signature: The receipt key's signature over it.
    """

    data: bytes
    receipt: bytes = b""
    receipt_signature: bytes = b""


class AttachCertificate(Message, frozen=True, tag="attach-certificate"):
    """Attach a certificate to its key, in the place of any that it has, or take it off. Answer: `Done`.

    Args:
        operation_id: 16 bytes.
        label: Label of the key.
        certificate: X.509 certificate for the key's own public key, DER; empty to take it off.
    """

    operation_id: bytes
    label: str
    certificate: bytes
