"""The broker's protocol with the HSM, version 1: its messages and their framing.

A connection carries frames: a big-endian u32 length, then that many bytes of MessagePack. A frame is the
two-element array `[correlation id, message]`; answers carry the id of their request and may come in any
order. The correlation id is an unsigned 32-bit number chosen by the client. Messages are the structs of
`keyturn.hsm.messages`, tagged by name, encoded as arrays (fields in the order written there; new fields are appended,
with defaults).

There are no workflows and requests here, no people but the names of approvers whose keys are made here, and no
administration: unsealing, clock confirmation and the like exist only on the administration socket
(`keyturn.hsm.admin`, rule R2). Whatever is not one of these messages is refused.

Keys with the attribute `boundApprovals` take approvals over one statement of the whole call (`keyturn.ska.statement`,
R7) where other keys take them over the payload; their calls, and the payloads of `Stamp` for them, need the request id
that stands in it.

`operation_id` (16 bytes, opaque) makes a call idempotent: the HSM stores id, digest of the whole input and
result in the commit that carries the effect, before it answers. Same id and input: the stored result. Same
id, other input: refused with `operation.input-differs`.
"""

from __future__ import annotations

from typing import Final

from keyturn.hsm.messages.approvers import (
    ApproverCode,
    ApproverPackage,
    Approvers,
    CreateApprover,
    DeleteApprover,
    GetRestoration,
    GetRestoredCode,
    ListApprovers,
    OnboardApprover,
    RenewApproverCode,
    Restoration,
)
from keyturn.hsm.messages.base import Message
from keyturn.hsm.messages.certificates import AttachCertificate, Certified, SignCertificate
from keyturn.hsm.messages.derivation import Address, DeriveKey, GetAddress, ImportSeed
from keyturn.hsm.messages.enciphering import Encrypt, Encrypted, Wrap, Wrapped
from keyturn.hsm.messages.giving import (
    Dated,
    DateWithRfc3161,
    FileKey,
    GetLog,
    GetRandom,
    LogLines,
    MakeFileKey,
    OpenFileKey,
    Random,
)
from keyturn.hsm.messages.governing import Block, Modify, Stamp, Stamped, Unblock, Withdraw
from keyturn.hsm.messages.keys import Attest, Attested, CreateKey, DeleteKey, KeyFacts, Labels, ListKeys, Lookup
from keyturn.hsm.messages.objects import DeleteObject, GetObject, ObjectIs, PutObject
from keyturn.hsm.messages.service import Done, GetInfo, GetStatistics, Info, Refused, Statistics, Witness
from keyturn.hsm.messages.transfer import ChangePassword, CheckPassword, Exported, ExportKey, ImportKey
from keyturn.hsm.messages.using import Decrypt, Decrypted, Sign, Signed, Unwrap, Verdict, Verify

__all__ = [
    "MAX_APPROVALS",
    "MAX_FRAME",
    "OPERATION_ID_SIZE",
    "PROTOCOL_VERSION",
    "Address",
    "Answer",
    "ApproverCode",
    "ApproverPackage",
    "Approvers",
    "AttachCertificate",
    "Attest",
    "Attested",
    "Block",
    "Call",
    "Certified",
    "ChangePassword",
    "CheckPassword",
    "CreateApprover",
    "CreateKey",
    "DateWithRfc3161",
    "Dated",
    "Decrypt",
    "Decrypted",
    "DeleteApprover",
    "DeleteKey",
    "DeleteObject",
    "DeriveKey",
    "Done",
    "Encrypt",
    "Encrypted",
    "ExportKey",
    "Exported",
    "FileKey",
    "GetAddress",
    "GetInfo",
    "GetLog",
    "GetObject",
    "GetRandom",
    "GetRestoration",
    "GetRestoredCode",
    "GetStatistics",
    "ImportKey",
    "ImportSeed",
    "Info",
    "KeyFacts",
    "Labels",
    "ListApprovers",
    "ListKeys",
    "LogLines",
    "Lookup",
    "MakeFileKey",
    "Message",
    "Modify",
    "ObjectIs",
    "OnboardApprover",
    "OpenFileKey",
    "PutObject",
    "Random",
    "Refused",
    "RenewApproverCode",
    "Restoration",
    "Sign",
    "SignCertificate",
    "Signed",
    "Stamp",
    "Stamped",
    "Statistics",
    "Unblock",
    "Unwrap",
    "Verdict",
    "Verify",
    "Withdraw",
    "Witness",
    "Wrap",
    "Wrapped",
]

PROTOCOL_VERSION: Final = 1
MAX_FRAME: Final = 1 << 20
"""Largest frame in bytes: 64 KiB of payload, its policy or approvals, and room for a few hundred signers."""
MAX_APPROVALS: Final = 1024
"""Most approvals in one call; far above four times the signers a 64 KiB policy can list usefully."""
OPERATION_ID_SIZE: Final = 16

Call = (
    GetInfo
    | ListKeys
    | Lookup
    | Attest
    | CreateKey
    | DeleteKey
    | Sign
    | Modify
    | Verify
    | Stamp
    | GetStatistics
    | PutObject
    | GetObject
    | DeleteObject
    | GetRandom
    | GetLog
    | DateWithRfc3161
    | MakeFileKey
    | OpenFileKey
    | Decrypt
    | Unwrap
    | Encrypt
    | Wrap
    | Block
    | Unblock
    | Withdraw
    | Witness
    | ImportSeed
    | DeriveKey
    | GetAddress
    | SignCertificate
    | AttachCertificate
    | CheckPassword
    | ChangePassword
    | ExportKey
    | ImportKey
    | CreateApprover
    | RenewApproverCode
    | OnboardApprover
    | ListApprovers
    | DeleteApprover
    | GetRestoration
    | GetRestoredCode
)
"""What the broker may ask."""

Answer = (
    Info
    | Labels
    | KeyFacts
    | Attested
    | Signed
    | Certified
    | Decrypted
    | Encrypted
    | Wrapped
    | Done
    | Verdict
    | Stamped
    | Address
    | Statistics
    | ObjectIs
    | Random
    | LogLines
    | Dated
    | FileKey
    | Exported
    | ApproverCode
    | ApproverPackage
    | Approvers
    | Restoration
    | Refused
)
"""What the HSM answers."""
