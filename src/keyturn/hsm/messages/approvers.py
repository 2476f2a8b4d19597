"""Messages about approvers whose keys this HSM makes (`keyturn.hsm.approvers`, R23)."""

from __future__ import annotations

from keyturn.hsm.messages.base import Message


class CreateApprover(Message, frozen=True, tag="approver-create"):
    """Make an approver's key and file, and a code for which the file is given once. Answer: `ApproverCode`.

    Args:
        operation_id: 16 bytes.
        name: The approver's name: as a label, at most 64 characters and bytes.
        key_size: 2048, 3072 or 4096.
        days: Validity of the certificate.
        backup_password: Password of the file, sealed (`keyturn.ska.approver_secrets`).
    """

    operation_id: bytes
    name: str
    key_size: int
    days: int
    backup_password: bytes


class RenewApproverCode(Message, frozen=True, tag="approver-renew"):
    """Make another code for a file that waits; the one so far is void. Answer: `ApproverCode`."""

    operation_id: bytes
    name: str


class ApproverCode(Message, frozen=True, tag="approver-code"):
    """A one-time code.

    Args:
        code: Six digits; empty in the answer to a repeated call, and where the code is used, replaced or expired.
    """

    code: str

    def __repr__(self) -> str:
        return "ApproverCode(…)"


class OnboardApprover(Message, frozen=True, tag="approver-onboard"):
    """Give an approver's file, once, for its code. Answer: `ApproverPackage`.

    Args:
        operation_id: 16 bytes.
        name: The approver's name.
        code: The code, sealed (`keyturn.ska.approver_secrets`).
        transport_password: 16 or 32 bytes, sealed likewise.
    """

    operation_id: bytes
    name: str
    code: bytes
    transport_password: bytes


class ApproverPackage(Message, frozen=True, tag="approver-package"):
    """An approver's PKCS#12 file, encrypted by AES-GCM under the transport password.

    Args:
        initialization_vector: 12 bytes.
        payload: The encrypted file with its tag of 16 bytes.
    """

    initialization_vector: bytes
    payload: bytes


class ListApprovers(Message, frozen=True, tag="approvers"):
    """Ask for all approvers whose keys were made here. Answer: `Approvers`."""


class Approvers(Message, frozen=True, tag="approvers-are"):
    """Approvers whose keys were made here.

    Args:
        entries: Name, certificate (DER), and whether their file was given to them once.
    """

    entries: list[tuple[str, bytes, bool]]


class DeleteApprover(Message, frozen=True, tag="approver-delete"):
    """Forget an approver: key, file and code. Answer: `Done`."""

    operation_id: bytes
    name: str


class GetRestoration(Message, frozen=True, tag="approver-restoration"):
    """Ask what must be unwrapped, and approved, to restore an approver's file. Answer: `Restoration`.

    Args:
        name: The approver's name.
        purpose: `restore` (the backup password stays), `forgot` (another one, and nobody knows the one so far) or
            `change` (another one, by who knows the one so far; no code is made).
        backup_password: The new backup password, sealed; empty for `restore`.
    """

    name: str
    purpose: str
    backup_password: bytes = b""


class Restoration(Message, frozen=True, tag="approver-restoration-is"):
    """What must be unwrapped to restore an approver's file, as `Unwrap` takes it.

    Args:
        label: Label of the backup key.
        wrapped_key: The wrapped key of the backup; another one after each restoration, so that an approval for this
            one serves once.
        method: The wrap method.
        new_label: Says in approvals whose file is restored and how; for another password with a hash of it, sealed.
        attributes: What approvals say about what is unwrapped.
    """

    label: str
    wrapped_key: bytes
    method: str
    new_label: str
    attributes: dict[str, bool]


class GetRestoredCode(Message, frozen=True, tag="approver-restored-code"):
    """Ask for the code that a restoration made, while it is good. Answer: `ApproverCode`.

    Args:
        name: The approver's name.
        operation_id: Of the `Unwrap` that restored.
    """

    name: str
    operation_id: bytes
